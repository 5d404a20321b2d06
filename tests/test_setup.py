"""What setup.py asks setuptools for, and what its commands do."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import setuptools
from setuptools.dist import Distribution

import paddle_focal

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="this is no checkout")


@pytest.fixture
def read(monkeypatch):
    """Runs setup.py, with a value of PADDLE_FOCAL_BUILD, and returns what it defines and what it passes to setup()."""

    def read(value: str | None = None) -> tuple[SimpleNamespace, dict]:
        monkeypatch.delenv("PADDLE_FOCAL_BUILD", raising=False)
        if value is not None:
            monkeypatch.setenv("PADDLE_FOCAL_BUILD", value)
        passed = []
        monkeypatch.setattr(setuptools, "setup", lambda **options: passed.append(options))
        module = SimpleNamespace(**runpy.run_path(str(ROOT / "setup.py")))
        (options,) = passed
        return module, options

    return read


def test_the_package(read):
    _, options = read()
    assert {"paddle_focal", "paddle_focal.ops.native", "paddle_focal.detection.heads"} <= {*options["packages"]}
    assert not [name for name in options["packages"] if not name.startswith("paddle_focal")]
    packed = {
        path for pattern in options["package_data"]["paddle_focal"] for path in (ROOT / "paddle_focal").glob(pattern)
    }
    assert {path for path in (ROOT / "paddle_focal/csrc").rglob("*") if path.is_file()} <= packed
    assert {name: command.__name__ for name, command in options["cmdclass"].items()} == {
        "bdist_wheel": "WheelForAnyPython",
        "build_ext": "BuildLibrary",
        "build_py": "BuildWithConfigurations",
    }
    assert options["version"] == paddle_focal.__version__
    assert options["long_description"] == (ROOT / "README.md").read_text(encoding="utf-8")
    assert options["entry_points"] == {"console_scripts": ["paddle-focal = paddle_focal.cli.main:main"]}
    assert options["install_requires"] == ["numpy"]  # and no Paddle
    extras = options["extras_require"]
    assert {name: extras[name] for name in extras if name != "detection"} == {
        "cpu": ["paddlepaddle>=3.3"],
        "onnx": ["onnx>=1.17", "paddle2onnx>=2.1"],
    }
    assert options["python_requires"] == ">=3.9"
    assert (options["name"], options["license"]) == ("paddle_focal", "Apache-2.0")
    assert options["long_description_content_type"] == "text/markdown"


def test_one_version():
    """The citation and the changelog's first section are of the package's version."""
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [paddle_focal.__version__]
    sections = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sections[0] == paddle_focal.__version__


def test_what_the_detection_extra_asks_for(read):
    """What paddledet imports, as the lock file has it; not paddledet, nor any Paddle."""
    wanted = read()[1]["extras_require"]["detection"]
    assert {re.split(r"[<>=]", line)[0] for line in wanted} == {
        "matplotlib", "numpy", "opencv-python-headless", "pandas", "pillow", "protobuf", "pycocotools", "pyyaml",
        "requests", "scikit-learn", "scipy", "setuptools", "shapely", "six", "terminaltables", "tqdm", "visualdl",
    }  # fmt: skip
    assert {"setuptools<80", "numpy<2.3", "pycocotools"} <= {*wanted}
    locked = {line.split("==")[0] for line in (ROOT / "requirements.txt").read_text().splitlines()}
    assert {re.split(r"[<>=]", line)[0] for line in wanted} <= locked


@pytest.mark.parametrize(("value", "built"), [(None, True), ("", True), ("1", True), ("0", False)])
def test_whether_the_library_is_built(read, value, built):
    _, options = read(value)
    assert [extension.name for extension in options["ext_modules"]] == ["paddle_focal.native"] * built


def test_another_value(read):
    with pytest.raises(SystemExit) as end:
        read("yes")
    assert end.value.code == "PADDLE_FOCAL_BUILD must be 0, 1 or unset, but is 'yes'"


class TestBuildLibrary:
    class BuildError(RuntimeError):
        pass

    def command(self, module, build, **options):
        """The command, with a builder in place of the package's."""
        module.BuildLibrary.run.__globals__["load_build_module"] = lambda: SimpleNamespace(
            build=build, BuildError=self.BuildError, KERNELS="kernels"
        )
        command = module.BuildLibrary(Distribution())
        command.build_lib = "folder/lib"
        vars(command).update(options)
        return command

    @pytest.mark.parametrize("in_place", [False, True])
    @pytest.mark.parametrize("names", [["library.so"], ["library.so", "kernels"]])
    def test_where_it_is_built(self, read, tmp_path, monkeypatch, in_place, names):
        """In the folder of the build, or in the package itself; kernels for GPUs are there or not."""
        module, _ = read()
        monkeypatch.setitem(module.BuildLibrary.run.__globals__, "ROOT", tmp_path / "root")
        folder = tmp_path / ("root/paddle_focal" if in_place else "lib/paddle_focal")

        def build(directory):
            assert directory == folder
            directory.mkdir(parents=True)
            for name in names:
                (directory / name).touch()
            return directory / "library.so"

        command = self.command(module, build, inplace=in_place)
        command.build_lib = str(tmp_path / "lib")
        assert command.get_outputs() == []
        command.run()
        assert command.get_outputs() == [str(folder / name) for name in names]
        assert command.get_output_mapping() == {}

    @pytest.mark.parametrize("value", [None, "1"])
    def test_what_fails(self, read, value):
        def build(directory):
            raise self.BuildError("no compiler")

        command = self.command(read(value)[0], build)
        if value == "1":
            with pytest.raises(self.BuildError):
                command.run()
        else:
            with pytest.warns(UserWarning, match="^paddle_focal: installed without its native library: no compiler$"):
                command.run()
        assert command.get_outputs() == []


def test_the_builder_is_loaded_without_the_package(read):
    builder = read()[0].load_build_module()
    assert builder.__name__ == "paddle_focal_build"
    assert builder.build.__code__.co_filename == str(ROOT / "paddle_focal/build.py")


def test_a_wheel_is_of_a_platform_only(read, monkeypatch):
    module, _ = read()
    monkeypatch.setattr(module.bdist_wheel, "get_tag", lambda self: ("cp311", "cp311", "linux_x86_64"))
    assert module.WheelForAnyPython(Distribution()).get_tag() == ("py3", "none", "linux_x86_64")


@pytest.mark.parametrize("editable", [False, True])
def test_configurations_are_laid_into_the_package(read, monkeypatch, tmp_path, editable):
    module, _ = read()
    monkeypatch.setattr(module.build_py, "run", lambda self: calls.append("run"))
    calls, command = [], module.BuildWithConfigurations(Distribution())
    command.build_lib, command.editable_mode = str(tmp_path), editable
    for _ in range(2):  # over an older build
        command.run()
    assert calls == ["run", "run"]
    laid = {path.relative_to(tmp_path / "paddle_focal") for path in tmp_path.rglob("*.yml")}
    assert laid == (set() if editable else {path.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.yml")})
