"""Builds the native operator: ``python -m paddle_focal.build`` compiles it for the installed Paddle.

The library's name holds what it was built from and for: the version of Python, whose functions Paddle's headers call,
Paddle's version and flavour, and a fingerprint of Paddle's commit and of the sources. A library that does not fit is
therefore never loaded. This module imports nothing from the package, because setup.py runs it where Paddle may be
missing.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PACKAGE = Path(__file__).parent
SOURCES = PACKAGE / "csrc"
OPTIMIZED = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-fopenmp", "-Wall", "-Wextra")
#: Compute capabilities that get machine code if nvcc knows them. The newest known one also gets PTX, for later GPUs.
ARCHITECTURES = (70, 75, 80, 86, 89, 90)


class BuildError(RuntimeError):
    """The operator cannot be built here; the message says why."""


def library_name() -> str:
    """The file name of the operator's library for this Python, its Paddle and the present sources."""
    import paddle

    cuda = paddle.version.cuda()
    flavour = "cpu" if str(cuda) == "False" else f"cuda{cuda}"
    fingerprint = hashlib.sha256(f"{paddle.version.commit} {flavour}".encode())
    for path in _sources():
        if flavour != "cpu" or not path.suffix.startswith(".cu"):
            fingerprint.update(path.relative_to(SOURCES).as_posix().encode() + path.read_bytes())
    python = f"py{sys.version_info.major}.{sys.version_info.minor}"
    return f"_C-{python}-paddle{paddle.version.full_version}-{flavour}-{fingerprint.hexdigest()[:10]}.so"


def _sources() -> list[Path]:
    return sorted(path for path in SOURCES.rglob("*") if path.is_file())


def _cpp_sources() -> list[Path]:
    return [path for path in _sources() if path.suffix == ".cc"]


def _find_compiler() -> str:
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if not compiler:
        raise BuildError("there is no C++ compiler: install g++, or name one in the environment variable CXX")
    return compiler


def build(directory: Path = PACKAGE) -> Path:
    """Compiles the operator into ``directory`` and returns the library's path.

    Raises:
        BuildError: Paddle or a compiler is missing, or the compiler fails; the message then includes its output.
    """
    if sys.platform != "linux":
        raise BuildError(f"the native operator is built on Linux only, and this is {sys.platform}")
    try:
        import paddle
    except ImportError as error:
        raise BuildError(
            f"Paddle cannot be imported while building ({error}); with pip, pass --no-build-isolation"
        ) from error
    compiler = _find_compiler()
    nvcc = _find_nvcc() if paddle.is_compiled_with_cuda() else None
    library = directory / library_name()
    with tempfile.TemporaryDirectory() as temporary:
        built = Path(temporary) / library.name
        _compile(compiler, nvcc, built)
        directory.mkdir(parents=True, exist_ok=True)
        for stale in directory.glob(library.name.rsplit("-", 1)[0] + "-*.so"):
            stale.unlink()
        shutil.copy(built, library.with_suffix(".partial"))
        os.replace(library.with_suffix(".partial"), library)
    return library


def _find_nvcc() -> str | None:
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    return shutil.which("nvcc", path=f"{home}/bin" if home else None)


def _compile(compiler: str, nvcc: str | None, library: Path) -> None:
    cuda = [path for path in _sources() if path.suffix == ".cu"] if nvcc else []
    paddle, flags = _flags_of_paddle(nvcc)

    def compile_one(source: Path) -> str:
        target = str(library.parent / f"{source.relative_to(SOURCES).as_posix().replace('/', '_')}.o")
        if source in cuda:
            command = [nvcc, "-std=c++17", "-O3", "-Xcompiler=-fPIC", *_architectures(nvcc), f"-I{SOURCES}"]
        else:
            command = [compiler, *OPTIMIZED, *flags]
        _run([*command, "-c", str(source), "-o", target])
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, [*_cpp_sources(), *cuda]))
    directories = [f"-L{path}" for path in paddle.library_dirs]
    directories += [f"-Wl,-rpath,{path}" for path in paddle.runtime_library_dirs]
    # Linked without -fopenmp, so that the operator uses the OpenMP that Paddle has loaded, and its number of threads.
    _run([compiler, "-shared", *objects, *directories, *paddle.extra_link_args, "-o", str(library)])


def check() -> None:
    """Compiles the C++ sources without writing anything; raises BuildError if the compiler gives any warning."""
    _, flags = _flags_of_paddle(nvcc=None)
    for source in _cpp_sources():
        _run([_find_compiler(), *OPTIMIZED, *flags, "-Werror", "-fsyntax-only", str(source)])


def _flags_of_paddle(nvcc: str | None):
    """Paddle's extension object, and the flags for our C++ sources, which silence warnings from Paddle's headers."""
    from paddle.utils.cpp_extension import CppExtension, CUDAExtension

    names = [path.name for path in _cpp_sources()]
    paddle = (CUDAExtension if nvcc else CppExtension)(sources=names, extra_compile_args={"cxx": [], "nvcc": []})
    defines = ["-DPADDLE_WITH_CUSTOM_KERNEL", "-D_GLIBCXX_USE_CXX11_ABI=1"] + (["-DPADDLE_WITH_CUDA"] if nvcc else [])
    if _deleters_are_kept():
        defines.append("-DPADDLE_FOCAL_OWN_MEMORY")
    return paddle, [*defines, f"-I{SOURCES}", *(f"-isystem{path}" for path in paddle.include_dirs)]


def _deleters_are_kept() -> bool:
    """Whether Paddle can be given our memory: up to 2.6, it uses the deleter of a thread's first tensor for all."""
    import paddle

    return (int(paddle.version.major), int(paddle.version.minor)) >= (3, 3)  # versions in between were not tried


def _architectures(nvcc: str) -> list[str]:
    listed = _run([nvcc, "--list-gpu-code"]).split()
    known = [number for number in ARCHITECTURES if f"sm_{number}" in listed]
    flags = [f"-gencode=arch=compute_{number},code=sm_{number}" for number in known]
    return [*flags, f"-gencode=arch=compute_{known[-1]},code=compute_{known[-1]}"]


def _run(command: list[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise BuildError(f"{' '.join(command)}\nfailed with exit code {result.returncode}:\n{result.stderr.strip()}")
    if result.stderr.strip():
        print(result.stderr, file=sys.stderr)
    return result.stdout


def main(arguments: list[str] | None = None) -> int:
    """Build, or with ``--check`` only look for warnings. Returns 0, or 1 on failure."""
    parser = argparse.ArgumentParser(prog="paddle-focal build", description="Compile the native operator.")
    parser.add_argument("--check", action="store_true", help="only look whether the compiler warns of anything")
    options = parser.parse_args(arguments)
    try:
        check() if options.check else print(f"built {build()}")
    except BuildError as error:
        print(f"The native operator was not built: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
