"""What class-alpha prints and draws, as a whole."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from paddle_focal import fonts
from paddle_focal.cli import class_alpha

# Weights 2/3 and 4/3 of inverse frequency, at the odds 1/3 of alpha 0.25.
PRINTED = """\
class                objects   share   alpha
cat                    2,000  66.67%  0.1818
an even longer one     1,000  33.33%  0.3077
cow                        0   0.00%  0.2500  no objects

alpha: [0.1818, 0.3077, 0.25]

{}
"""


@pytest.fixture
def figures(monkeypatch):
    """The figures and how they are saved."""
    drawn = []

    def savefig(figure, path, **options):
        drawn.append((figure, options))
        path.touch()

    monkeypatch.setattr(Figure, "savefig", savefig)
    return drawn


def write(folder: Path) -> Path:
    counts = {"cat": 2000, "an even longer one": 1000, "cow": 0}
    labels = [number for number, count in enumerate(counts.values(), 1) for _ in range(count)]
    document = {
        "images": [{"id": 1, "file_name": "1.png", "width": 10, "height": 10}],
        "categories": [{"id": number, "name": name} for number, name in enumerate(counts, 1)],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": label, "bbox": [0, 0, 2, 3], "area": 6, "iscrowd": 0}
            for i, label in enumerate(labels)
        ],
    }
    (folder / "1.png").touch()
    (folder / "some.json").write_text(json.dumps(document))
    return folder / "some.json"


@pytest.mark.filterwarnings("error")
def test_printed_and_drawn(figures, tmp_path, capsys):
    path = write(tmp_path)
    target = tmp_path / "alpha.png"
    class_alpha.main(["--annotations", str(path), "--output", str(target)])
    assert capsys.readouterr().out == PRINTED.format(target)
    ((figure, options),) = figures
    assert options == {"dpi": 110}
    assert figure.get_suptitle() == "some.json: inverse_frequency"
    assert figure.get_size_inches().tolist() == pytest.approx([10, 1.4 + 3 * 0.26])
    assert figure.get_layout_engine().__class__.__name__ == "ConstrainedLayoutEngine"
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["cat", "an even longer one", "cow"]
    assert [bar.get_width() for bar in left.patches] == [2000, 1000, 0]
    assert [bar.get_width() for bar in right.patches] == pytest.approx([2 / 11, 4 / 13, 1 / 4])
    assert [text.get_text() for text in left.texts] == ["2,000", "1,000", "0"]
    assert [text.get_text() for text in right.texts] == ["0.182", "0.308", "0.250"]
    assert [(axes.get_xlabel(), axes.get_xscale()) for axes in figure.axes] == [
        ("objects (logarithmic)", "log"),
        ("alpha", "linear"),
    ]
    colors = [{to_hex(bar.get_facecolor()) for bar in axes.patches} for axes in figure.axes]
    assert colors == [{to_hex("tab:blue")}, {to_hex("tab:orange")}]
    assert left.get_xlim() == (0.5, 10_000)
    assert right.get_xlim() == pytest.approx((0, 4 / 13 * 1.15))
    assert left.get_ylim()[0] > left.get_ylim()[1]  # the first class on top
    assert left.get_shared_y_axes().joined(left, right)
    for axes in figure.axes:
        assert {text.xyann for text in axes.texts} == {(3, 0)}
        assert axes.get_axisbelow() is True
        lines = axes.get_xgridlines()
        assert {(line.get_visible(), line.get_alpha()) for line in lines} == {(True, 0.3)}
        assert not any(line.get_visible() for line in axes.get_ygridlines())


def test_a_configuration_with_settings(figures, tmp_path, capsys, monkeypatch):
    """What is counted is named by the configuration's file, and the settings are those of the command line."""
    pytest.importorskip("ppdet")
    from paddle_focal.data import annotations

    seen = []

    class configured:  # noqa: N801 - a function's stand-in
        def __init__(self, flags):
            seen.append((flags.config, flags.opt))

        def __enter__(self):
            return SimpleNamespace(filename="folder/my.run")

        def __exit__(self, *_):
            seen.append("left")

    monkeypatch.setattr(class_alpha, "configured", configured)
    monkeypatch.setattr(annotations, "training_counts", lambda: {"a": 1})
    (tmp_path / "c.yml").write_text("epoch: 1")
    config, target = str(tmp_path / "c.yml"), str(tmp_path / "alpha.png")
    class_alpha.main(["-c", config, "-o", "epoch=2", "A.b=x", "--output", target, "--alpha", "0.5"])
    class_alpha.main(["-c", config, "--output", target, "--method", "frequency"])
    assert seen == [(config, {"epoch": 2, "A": {"b": "x"}}), "left", (config, {}), "left"]
    assert [figure.get_suptitle() for figure, _ in figures] == ["my.run: inverse_frequency", "my.run: frequency"]
    assert "a             1 100.00%  0.5000\n" in capsys.readouterr().out


def test_bad_arguments(tmp_path, capsys):
    path = str(write(tmp_path))
    for arguments, said in (
        (["--annotations", path, "-o", "a=1"], "error: -o goes with -c\n"),
        (["--annotations", str(tmp_path)], f"error: no such annotation file: {tmp_path}\n"),
        (
            ["--annotations", path, "--beta", "1"],
            "error: argument --beta: must be a number between 0 and 1, both excluded, but got 1\n",
        ),
    ):
        with pytest.raises(SystemExit) as end:
            class_alpha.main(arguments)
        assert end.value.code == 2
        assert capsys.readouterr().err.endswith(said)


def test_a_file_that_is_no_annotation_file(tmp_path, capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "paddle_focal.engine.logs", raising=False)
    (tmp_path / "a.json").write_text("[1")
    with pytest.raises(SystemExit) as end:
        class_alpha.main(["--annotations", str(tmp_path / "a.json"), "--output", str(tmp_path / "a.png")])
    assert end.value.code == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert f"error: {tmp_path}/a.json" in errors


def test_names_that_no_font_has(monkeypatch, tmp_path, figures):
    monkeypatch.setattr(fonts, "font_files", lambda: (fonts.DEFAULT,))
    class_alpha.draw({"牛": 1, "b": 2}, {"牛": 0.3, "b": 0.2}, "猫.json", tmp_path / "alpha.png")
    ((figure, _),) = figures
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["class 0", "b"]
    assert figure.get_suptitle() == "?.json"
    assert matplotlib.rcParams["font.family"] == ["sans-serif"]


def test_the_table_of_short_names():
    assert class_alpha.table({"a": 1, "b": 3}, {"a": 0.5, "b": 0.25}) == (
        "class   objects   share   alpha\n"
        "a             1  25.00%  0.5000\n"
        "b             3  75.00%  0.2500"
    )  # fmt: skip


def test_the_lines_for_a_configuration():
    alphas = {"a": 0.123456, "b": 1e-7}
    assert class_alpha.snippet(alphas) == "alpha: [0.1235, 1e-07]"
    assert class_alpha.snippet(alphas, [("PPYOLOEHead",), ("RetinaHead", "loss_class")]) == (
        "PPYOLOEHead:\n"
        "  alpha: [0.1235, 1e-07]\n"
        "RetinaHead:\n"
        "  loss_class:\n"
        "    alpha: [0.1235, 1e-07]"
    )  # fmt: skip
