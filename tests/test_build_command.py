"""``python -m paddle_focal.build``: what it says, and what it builds in a package of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from paddle_focal import build

SOURCES = Path(__file__).resolve().parents[1] / "paddle_focal/csrc"


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
    with pytest.raises(build.BuildError, match="/etc/passwd cannot be run: Permission denied"):
        build._run(["/etc/passwd"])
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

    def test_a_compiler_that_is_not_there(self, package):
        result = self.run(package, CXX="/none/g++")
        assert result.returncode == 1
        assert result.stderr == (
            "The native library was not built: /none/g++ cannot be run: No such file or directory\n"
        )

    @pytest.mark.slow
    @pytest.mark.skipif(not shutil.which("c++"), reason="there is no C++ compiler")
    def test_build(self, package):
        """Twice, of which the second time has nothing to do for the library."""
        result = self.run(package, "--operator")
        assert result.returncode == 0, result.stderr
        assert "warning" not in result.stderr
        names = (build.LIBRARY, build.operator_name())
        *_, library, operator = result.stdout.splitlines()
        assert [library, operator] == [f"built {package / 'paddle_focal' / name}" for name in names]
        code = "import paddle_focal; print(paddle_focal.backend_report())"
        report = subprocess.run([sys.executable, "-c", code], cwd=package, capture_output=True, text=True).stdout
        assert "cpu: native" in report
        assert self.run(package).stdout == f"up to date: {package / 'paddle_focal' / build.LIBRARY}\n"
