"""How the native library and the operator over it are compiled: names, fingerprint, compilers, commands."""

from __future__ import annotations

import shutil
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
    ("changed", "in_library", "in_kernels"),
    [
        ("focal.h", True, True),
        ("formulas/elementary.h", True, True),
        ("cpu/kernels_avx2.cc", True, False),
        ("cpu/kernels.inc", True, False),
        ("paddle/operator.cc", False, False),
        ("cuda/focal_launch.cc", True, False),
        ("cuda/focal_partition.cuh", True, True),
        ("cuda/focal_kernels.cu", False, True),
    ],
)
def test_the_fingerprints_are_those_of_what_is_compiled(sources, changed, in_library, in_kernels):
    library, kernels = build.fingerprint(), build.kernels_fingerprint()
    with (sources / changed).open("a") as file:
        file.write("// changed\n")
    assert (build.fingerprint() != library) is in_library
    assert (build.kernels_fingerprint() != kernels) is in_kernels
    assert len(library) == len(kernels) == 16


def test_the_fingerprint_holds_the_compilers_options(monkeypatch):
    before = build.fingerprint(), build.kernels_fingerprint()
    for name in ("FREESTANDING", "NVCC_FLAGS"):
        monkeypatch.setattr(build, name, (*getattr(build, name), "-g"))
    assert build.fingerprint() != before[0]
    assert build.kernels_fingerprint() != before[1]


def test_the_end_of_a_file_may_be_anything():
    assert build.split_kernels(b"kernels" + b"\xff" * 16) == (b"kernels", "\ufffd" * 16)


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

    def no_kernels(directory):
        raise build.BuildError("of a test")

    monkeypatch.setattr(build, "_find_compiler", lambda: "c++")
    monkeypatch.setattr(build, "build_kernels", no_kernels)
    monkeypatch.setattr(build, "_wants_kernels", lambda: True)
    return recorded


def test_how_the_library_is_compiled_and_linked(commands, tmp_path, capsys):
    library = build.build(tmp_path / "new")
    assert capsys.readouterr().out == "no kernels for GPUs were built: of a test\n"
    assert library == tmp_path / "new" / "libpaddle_focal.so"
    assert library.read_text() == "built"
    assert library.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in (tmp_path / "new").iterdir()] == [library.name]
    *compiled, linked = commands
    sources = [Path(command[command.index("-c") + 1]) for command in compiled]
    assert sorted(sources) == sorted([*SOURCES.glob("cpu/*.cc"), SOURCES / "cuda/focal_launch.cc"])
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


def test_kernels_that_are_insisted_on(commands, tmp_path, monkeypatch):
    monkeypatch.setenv("PADDLE_FOCAL_CUDA", "1")
    with pytest.raises(build.BuildError, match="of a test"):
        build.build(tmp_path)


def test_kernels_that_are_up_to_date_are_left_alone(commands, tmp_path, capsys, monkeypatch):
    kernels = tmp_path / build.KERNELS
    kernels.write_bytes(b"of " + build.kernels_fingerprint().encode())
    build.build(tmp_path)
    assert capsys.readouterr().out == ""
    kernels.write_bytes(b"of 0123456789abcdef")
    build.build(tmp_path)
    assert capsys.readouterr().out == "no kernels for GPUs were built: of a test\n"
    monkeypatch.setattr(build, "_wants_kernels", lambda: False)
    build.build(tmp_path)
    assert capsys.readouterr().out == ""


def test_a_library_that_is_up_to_date_is_left_alone(commands, tmp_path):
    library = tmp_path / build.LIBRARY
    library.write_bytes(b"of " + build.fingerprint().encode() + b"!")
    assert build.build(tmp_path) == library
    assert commands == []
    library.write_bytes(b"of other sources")
    build.build(tmp_path)
    assert library.read_text() == "built"


def test_a_file_is_there_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    def fail(*paths):
        raise OSError("no room")

    (tmp_path / "library.so").write_bytes(b"old")
    monkeypatch.setattr(build.os, "replace", fail)
    with pytest.raises(OSError, match="no room"):
        build._put(b"new", tmp_path / "library.so")
    assert (tmp_path / "library.so").read_bytes() == b"old"


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


def test_all_that_paddle_says_of_its_operators(commands, tmp_path, monkeypatch):
    paddle_says = SimpleNamespace(
        include_dirs=["include"], library_dirs=["lib"], runtime_library_dirs=["run"], extra_link_args=["-lpaddle"]
    )
    monkeypatch.setattr(paddle.utils.cpp_extension, "CppExtension", lambda **options: paddle_says)
    (tmp_path / build.LIBRARY).touch()
    build.build_operator(tmp_path)
    compiled, linked = commands
    assert "-isysteminclude" in compiled
    *linked, _, target = linked
    ours = [f"{tmp_path}/{build.LIBRARY}", "-Wl,-rpath,$ORIGIN"]
    assert linked == ["c++", "-shared", compiled[-1], *ours, "-Llib", "-Wl,-rpath,run", "-lpaddle"]
    assert Path(target).name == build.operator_name()


def test_a_paddle_that_cannot_build_operators(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "paddle.utils.cpp_extension", SimpleNamespace())
    with pytest.raises(
        build.BuildError, match=r"^Paddle cannot be imported while its operator is built \(cannot import"
    ):
        build.build_operator(tmp_path)


def test_lint_looks_at_every_source(commands):
    build.check()
    looked_at = sorted(Path(command[-1]) for command in commands)
    assert looked_at == sorted([*SOURCES.glob("cpu/*.cc"), SOURCES / "cuda/focal_launch.cc"])
    assert all({"-Wall", "-Wextra", "-Werror", "-fsyntax-only"} <= set(command) for command in commands)


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_another_system(monkeypatch, tmp_path, system):
    monkeypatch.setattr(sys, "platform", system)
    with pytest.raises(build.BuildError, match=f"the native library is built on Linux only, and this is {system}"):
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


NVCC = """#!/bin/sh
if [ "$1" = --list-gpu-code ]; then echo "sm_35 sm_70 sm_87 sm_90"; exit; fi
echo "$*" >> {folder}/log
case "$*" in *{accepted}*) ;; *) echo "error: -- unsupported GNU version! gcc versions later" >&2; exit 1;; esac
for output; do :; done
printf kernels > "$output"
"""


class TestKernels:
    """The kernels for GPUs, by an nvcc that only writes down how it is called."""

    @pytest.fixture
    def nvcc(self, tmp_path, monkeypatch):
        for variable in ("CUDA_HOME", "CUDA_PATH"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
        monkeypatch.setattr(build, "USUAL_CUDA", str(tmp_path / "cuda"))

        def make(folder: Path, accepted: str = "") -> None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "nvcc").write_text(NVCC.format(folder=tmp_path, accepted=accepted))
            (folder / "nvcc").chmod(0o755)

        return make

    def calls(self, tmp_path) -> list[list[str]]:
        return [line.split() for line in (tmp_path / "log").read_text().splitlines()]

    def test_what_is_compiled(self, nvcc, tmp_path):
        nvcc(tmp_path / "bin")
        built = build.build_kernels(tmp_path / "package")
        assert built == tmp_path / "package/paddle_focal_cuda.fatbin"
        assert built.read_bytes() == f"kernels{build.kernels_fingerprint()}".encode()
        assert built.stat().st_mode & 0o777 == 0o644
        (call,) = self.calls(tmp_path)
        assert [option[9:] for option in call if option.startswith("-gencode")] == [
            "arch=compute_70,code=sm_70",
            "arch=compute_90,code=sm_90",
            "arch=compute_70,code=compute_70",
        ]
        assert {
            "-std=c++17",
            "-O3",
            "-fatbin",
            "--threads=0",
            f"-I{SOURCES}",
            str(SOURCES / "cuda/focal_kernels.cu"),
        } <= set(call)
        assert call[call.index("-Xfatbin") + 1] == "-compress-all"

    @pytest.mark.parametrize("accepted", ["-ccbin", "-allow-unsupported-compiler"])
    def test_a_compiler_that_is_too_new(self, nvcc, tmp_path, accepted):
        nvcc(tmp_path / "bin", accepted)
        older = tmp_path / "bin/g++-11"
        older.write_text("")
        older.chmod(0o755)
        build.build_kernels(tmp_path)
        tried = [call[: call.index("-std=c++17")] for call in self.calls(tmp_path)]
        assert (
            tried == [[], ["-ccbin", str(older)], ["-allow-unsupported-compiler"]][: 2 if accepted == "-ccbin" else 3]
        )

    def test_which_compilers_it_is_offered(self, tmp_path, monkeypatch):
        for version in (8, 9, 10, 11, 12):
            (tmp_path / f"g++-{version}").touch(mode=0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        older = [("-ccbin", f"{tmp_path}/g++-{version}") for version in (11, 10, 9, 8)]
        assert build._host_compilers() == [(), *older, ("-allow-unsupported-compiler",)]

    @pytest.mark.parametrize(
        ("script", "said"),
        [
            ("echo a warning >&2; echo an error >&2; echo 1 of them >&2", "an error"),
            ("echo a warning >&2; echo the end >&2; echo out", "the end"),
            ("echo out", "out"),
            ("true", "without a message"),
        ],
    )
    def test_what_it_says(self, script, said):
        with pytest.raises(build.BuildError) as error:
            build._ask_nvcc("sh", "-c", f"{script}; exit 2")
        assert str(error.value) == f"sh failed: {said}"

    def test_another_mistake_is_not_tried_again(self, nvcc, tmp_path):
        nvcc(tmp_path / "bin", "-nothing")
        script = tmp_path / "bin/nvcc"
        script.write_text(script.read_text().replace("unsupported GNU version", "no room"))
        with pytest.raises(build.BuildError, match="error: -- no room"):
            build.build_kernels(tmp_path)
        assert len(self.calls(tmp_path)) == 1

    def test_none_that_it_accepts(self, nvcc, tmp_path):
        nvcc(tmp_path / "bin", "-nothing")
        with pytest.raises(build.BuildError, match=r"bin/nvcc failed: error: -- unsupported GNU version! gcc versions"):
            build.build_kernels(tmp_path)
        assert not list(tmp_path.glob("*.fatbin"))

    @pytest.mark.parametrize("variable", ["CUDA_HOME", "CUDA_PATH"])
    def test_where_it_is_looked_for(self, nvcc, tmp_path, monkeypatch, variable):
        nvcc(tmp_path / "bin"), nvcc(tmp_path / "home/bin"), nvcc(tmp_path / "cuda/bin")
        assert build._find_nvcc() == f"{tmp_path}/bin/nvcc"
        monkeypatch.setenv(variable, f"{tmp_path}/home")
        assert build._find_nvcc() == f"{tmp_path}/home/bin/nvcc"

    def test_none(self, nvcc, tmp_path):
        nvcc(tmp_path / "cuda/bin")
        assert build._find_nvcc() == f"{tmp_path}/cuda/bin/nvcc"
        shutil.rmtree(tmp_path / "cuda")
        with pytest.raises(
            build.BuildError, match=f"there is no nvcc in CUDA_HOME, CUDA_PATH, PATH or {tmp_path}/cuda"
        ):
            build.build_kernels()

    def test_one_that_is_too_old(self, nvcc, tmp_path):
        nvcc(tmp_path / "bin")
        script = tmp_path / "bin/nvcc"
        script.write_text(script.read_text().replace("sm_70 sm_87 sm_90", ""))
        with pytest.raises(
            build.BuildError, match="knows none of the compute capabilities 70, 75, 80, 86, 89, 90, 100"
        ):
            build.build_kernels(tmp_path)


@needs_library
def test_the_library_says_what_it_was_built_from():
    from paddle_focal.ops.native.interface import load

    assert load(build.PACKAGE / build.LIBRARY).focal_fingerprint().decode() == build.fingerprint()
