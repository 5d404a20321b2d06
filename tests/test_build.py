"""How the native library and the operator over it are compiled: names, fingerprint, compilers, commands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import paddle
import pytest
from native_library import needs_library

from paddle_focal import build

SOURCES = Path(__file__).resolve().parents[1] / "paddle_focal/csrc"


@pytest.fixture
def sources(tmp_path, monkeypatch) -> Path:
    """A copy of the sources, which the builder takes for its own."""
    shutil.copytree(SOURCES, tmp_path / "csrc")
    monkeypatch.setattr(build, "SOURCES", tmp_path / "csrc")
    return tmp_path / "csrc"


@pytest.mark.parametrize(
    ("changed", "is_part"),
    [
        ("focal.h", True),
        ("formulas/elementary.h", True),
        ("cpu/kernels_avx2.cc", True),
        ("cpu/kernels.inc", True),
        ("paddle/operator.cc", False),
        ("cuda/focal_kernels.cuh", False),
    ],
)
def test_the_fingerprint_is_that_of_what_is_compiled(sources, changed, is_part):
    before = build.fingerprint()
    with (sources / changed).open("a") as file:
        file.write("// changed\n")
    assert (build.fingerprint() != before) is is_part
    assert len(before) == 16


def test_the_fingerprint_holds_the_compilers_options(monkeypatch):
    before = build.fingerprint()
    monkeypatch.setattr(build, "FREESTANDING", (*build.FREESTANDING, "-g"))
    assert build.fingerprint() != before


def test_the_operators_name_holds_what_it_is_built_from_and_for(sources, monkeypatch):
    names = [build.operator_name()]
    for module, attribute, value in (
        (sys, "version_info", SimpleNamespace(major=3, minor=99)),
        (paddle.version, "full_version", "9.9.9"),
        (paddle.version, "commit", "another"),
    ):
        monkeypatch.setattr(module, attribute, value)
        names.append(build.operator_name())
    for name in ("paddle/operator.cc", "focal.h"):
        with (sources / name).open("a") as file:
            file.write("// changed\n")
        names.append(build.operator_name())
    assert len(set(names)) == len(names)
    assert names[-1].startswith("_operator-py3.99-paddle9.9.9-")


@pytest.fixture
def commands(monkeypatch) -> list[list[str]]:
    """The commands that are run, which do nothing but leave a file."""
    recorded = []

    def run(command):
        recorded.append(command)
        if "-o" in command:
            Path(command[command.index("-o") + 1]).write_text("built")

    monkeypatch.setattr(build, "_run", run)
    monkeypatch.setattr(build, "_find_compiler", lambda: "c++")
    return recorded


def test_how_the_library_is_compiled_and_linked(commands, tmp_path):
    library = build.build(tmp_path / "new")
    assert library == tmp_path / "new" / "libpaddle_focal.so"
    assert library.read_text() == "built"
    assert [path.name for path in (tmp_path / "new").iterdir()] == [library.name]
    *compiled, linked = commands
    sources = [Path(command[command.index("-c") + 1]) for command in compiled]
    assert sorted(sources) == sorted(SOURCES.glob("cpu/*.cc"))
    objects = [command[command.index("-o") + 1] for command in compiled]
    assert len(set(objects)) == len(objects)
    for command in compiled:
        assert command[0] == "c++"
        assert {"-O3", "-fPIC", "-fno-exceptions", "-fopenmp-simd", "-fvisibility=hidden"} <= set(command)
        assert "-fopenmp" not in command  # Paddle's serves
        assert f"-I{SOURCES}" in command
        assert f'-DFOCAL_FINGERPRINT="{build.fingerprint()}"' in command
    assert linked[:5] == ["c++", "-shared", "-nodefaultlibs", "-Wl,-z,defs", "-Wl,-soname,libpaddle_focal.so"]
    assert set(linked[5:]) > set(objects)
    assert linked[-5:-1] == ["-lc", "-lm", "-lgcc", "-o"]


def test_a_library_that_is_up_to_date_is_left_alone(commands, tmp_path):
    library = tmp_path / build.LIBRARY
    library.write_bytes(b"of " + build.fingerprint().encode() + b"!")
    assert build.build(tmp_path) == library
    assert commands == []
    library.write_bytes(b"of other sources")
    build.build(tmp_path)
    assert library.read_text() == "built"


def test_how_the_operator_is_compiled_and_linked(commands, tmp_path, monkeypatch):
    with pytest.raises(build.BuildError, match=r"linked to libpaddle_focal\.so, which is not there: run python -m"):
        build.build_operator(tmp_path)
    library = tmp_path / "libpaddle_focal.so"
    library.touch()
    stale = tmp_path / build.operator_name().replace(build.operator_name()[-13:], "0123456789.so")
    other = tmp_path / "_operator-py2.7-paddle1.8-0123456789.so"
    stale.touch(), other.touch()
    operator = build.build_operator(tmp_path)
    assert sorted(tmp_path.glob("_operator*")) == sorted([operator, other])
    assert operator == tmp_path / build.operator_name()
    compiled, linked = commands
    assert compiled[compiled.index("-c") + 1] == str(SOURCES / "paddle/operator.cc")
    assert {"-DPADDLE_WITH_CUSTOM_KERNEL", "-DPADDLE_NO_PYTHON", "-D_GLIBCXX_USE_CXX11_ABI=1"} <= set(compiled)
    assert any(option.startswith("-isystem") for option in compiled)
    assert "-fno-exceptions" not in compiled  # Paddle's headers throw
    assert linked[:2] == ["c++", "-shared"]
    assert {str(library), "-Wl,-rpath,$ORIGIN"} <= set(linked)
    assert any(option.startswith("-L") for option in linked)


def test_lint_looks_at_every_source(commands):
    build.check()
    assert sorted(Path(command[-1]) for command in commands) == sorted(SOURCES.glob("cpu/*.cc"))
    assert all({"-Wall", "-Wextra", "-Werror", "-fsyntax-only"} <= set(command) for command in commands)


def test_another_system(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(build.BuildError, match="the native library is built on Linux only, and this is win32"):
        build.build(tmp_path)


@pytest.mark.parametrize(("variable", "found"), [(None, "c++"), ("clang++", "clang++")])
def test_which_compiler(monkeypatch, tmp_path, variable, found):
    for name in ("c++", "g++"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    if variable:
        monkeypatch.setenv("CXX", variable)
    assert Path(build._find_compiler()).name == found
    (tmp_path / "c++").unlink()
    if not variable:
        assert Path(build._find_compiler()).name == "g++"


class TestMain:
    """The command without its builders."""

    @pytest.fixture(autouse=True)
    def builders(self, monkeypatch):
        monkeypatch.setattr(build, "is_up_to_date", lambda library: library == build.PACKAGE / build.LIBRARY)
        monkeypatch.setattr(build, "build", lambda: "a library")
        monkeypatch.setattr(build, "build_operator", lambda: "an operator")
        monkeypatch.setattr(build, "check", lambda: None)

    def test_what_is_built(self, monkeypatch, capsys):
        for arguments, there, said in (
            ([], True, "up to date: a library\n"),
            ([], False, "built a library\n"),
            (["--operator"], True, "up to date: a library\nbuilt an operator\n"),
            (["--check"], False, ""),
        ):
            monkeypatch.setattr(build, "is_up_to_date", lambda library, there=there: there)
            assert build.main(arguments) == 0
            assert tuple(capsys.readouterr()) == (said, "")

    @pytest.mark.parametrize(
        ("failing", "arguments", "said"),
        [
            ("build", ["--operator"], ""),
            ("build_operator", ["--operator"], "up to date: a library\n"),
            ("check", ["--check"], ""),
        ],
    )
    def test_what_fails(self, monkeypatch, capsys, failing, arguments, said):
        def fail():
            raise build.BuildError("no compiler")

        monkeypatch.setattr(build, failing, fail)
        assert build.main(arguments) == 1
        assert tuple(capsys.readouterr()) == (said, "The native library was not built: no compiler\n")

    def test_help(self, capsys):
        with pytest.raises(SystemExit):
            build.main(["--help"])
        text = " ".join(capsys.readouterr().out.split())
        assert text.startswith("usage: paddle-focal build [-h] [--operator] [--check] Compile the native library.")
        assert "--operator the operator for static graphs of this Paddle, too" in text
        assert "--check only look whether the compiler warns of anything" in text


def test_what_the_compiler_says_is_shown(capfd):
    build._run(["sh", "-c", "echo odd >&2"])
    assert capfd.readouterr().err == "odd\n\n"
    build._run(["sh", "-c", "echo fine"])
    assert tuple(capfd.readouterr()) == ("", "")
    with pytest.raises(build.BuildError) as failure:
        build._run(["sh", "-c", "echo ' worse ' >&2; exit 3"])
    assert str(failure.value) == "sh -c echo ' worse ' >&2; exit 3\nfailed with exit code 3:\nworse"


class TestCommand:
    """``python -m paddle_focal.build`` in a package of its own."""

    @pytest.fixture
    def package(self, tmp_path) -> Path:
        shutil.copytree(SOURCES.parent, tmp_path / "paddle_focal", ignore=shutil.ignore_patterns("*.so"))
        return tmp_path

    def run(self, package, *flags, **environment):
        command = [sys.executable, "-m", "paddle_focal.build", *flags]
        variables = {**os.environ, **environment}
        return subprocess.run(command, env=variables, cwd=package, capture_output=True, text=True)

    def test_no_compiler(self, package):
        result = self.run(package, PATH=str(package), CXX="")
        assert result.returncode == 1
        assert "there is no C++ compiler: install g++, or name one in the environment variable CXX" in result.stderr

    def test_a_compiler_that_fails(self, package):
        result = self.run(package, CXX="false")
        assert result.returncode == 1
        assert result.stderr.startswith("The native library was not built: false ")
        assert "failed with exit code 1" in result.stderr
        assert not list(package.rglob("*.so"))

    @pytest.mark.slow
    @pytest.mark.skipif(not shutil.which("c++"), reason="there is no C++ compiler")
    def test_build(self, package):
        """Twice, of which the second time has nothing to do for the library."""
        result = self.run(package, "--operator")
        assert result.returncode == 0, result.stderr
        assert "warning" not in result.stderr
        names = (build.LIBRARY, build.operator_name())
        assert result.stdout == "".join(f"built {package / 'paddle_focal' / name}\n" for name in names)
        code = "import paddle_focal; print(paddle_focal.backend_report())"
        report = subprocess.run([sys.executable, "-c", code], cwd=package, capture_output=True, text=True).stdout
        assert "cpu: native" in report
        assert self.run(package).stdout == f"up to date: {package / 'paddle_focal' / build.LIBRARY}\n"


@needs_library
def test_the_library_says_what_it_was_built_from():
    from paddle_focal.ops.native.library import load

    assert load(build.PACKAGE / build.LIBRARY).focal_fingerprint().decode() == build.fingerprint()
