"""replace() takes over components under their own names."""

from __future__ import annotations

import logging

import pytest

pytest.importorskip("ppdet")

from ppdet.core import workspace

from paddle_focal import __version__
from paddle_focal.detection import replace

pytestmark = pytest.mark.usefixtures("workspace_copy")


def component(name: str) -> type:
    section = workspace.global_config[name]
    return getattr(section.pymodule, name)


@pytest.fixture
def logged(monkeypatch):
    lines = []
    monkeypatch.setattr(logging.getLogger("paddle_focal"), "info", lambda text, *values: lines.append(text % values))
    return lines


def test_those_that_are_named(logged):
    stock, other = component("PPYOLOEHead"), component("PPYOLOEContrastHead")
    assert replace(["PPYOLOEHead"]) == __version__
    assert component("PPYOLOEHead") is not stock
    assert issubclass(component("PPYOLOEHead"), stock)
    assert component("PPYOLOEHead").__name__ == "PPYOLOEHead"
    assert component("PPYOLOEContrastHead") is other
    assert logged == ["Focal losses of paddle_focal in PPYOLOEHead"]


def test_all_of_them_and_once_only(logged):
    replace()
    first = component("PPYOLOEHead")
    replace()
    replace(["PPYOLOEHead"])
    assert component("PPYOLOEHead") is first
    assert len(logged) == 1
    assert {"PPYOLOEHead", "PPYOLOEContrastHead"} <= set(
        logged[0].removeprefix("Focal losses of paddle_focal in ").split(", ")
    )


def test_sections_are_kept():
    workspace.global_config["PPYOLOEHead"].update(reg_max=7, gamma=1.5)
    before = workspace.global_config["PPYOLOEHead"]
    replace(["PPYOLOEHead"])
    section = workspace.global_config["PPYOLOEHead"]
    assert (section["reg_max"], section["gamma"], section["detach_weight"]) == (7, 1.5, False)
    assert "gamma" not in before.schema  # the one that is there without the plugin stays as it was


@pytest.mark.parametrize(
    ("names", "error", "said"),
    [
        (
            ["PPYOLOEHed"],
            ValueError,
            "names has 'PPYOLOEHed', which is none of the components that can be replaced: \\[",
        ),
        ("PPYOLOEHead", TypeError, "names must be None or a list of names of components, but got 'PPYOLOEHead'"),
        ([1], TypeError, "but got \\[1\\]"),
    ],
)
def test_names_that_are_none(names, error, said):
    with pytest.raises(error, match=said):
        replace(names)


def test_unknown_keys_are_named():
    replace(["PPYOLOEHead"])
    workspace.global_config["PPYOLOEHead"]["gama"] = 1.5
    with pytest.raises(ValueError, match="PPYOLOEHead has no key 'gama'; did you mean 'gamma'\\? Its keys are "):
        workspace.create("PPYOLOEHead", input_shape=[])
