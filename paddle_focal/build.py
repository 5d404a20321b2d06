"""Builds the native library: ``python -m paddle_focal.build`` compiles ``csrc`` into the package.

The library knows neither Paddle nor Python, so that one file serves every version of both; it holds the fingerprint of
its sources, by which one of other sources is refused. Where there is an nvcc, the kernels for GPUs are compiled beside
it, which need the driver only. ``--operator`` builds the operator for static graphs, too, which needs Paddle's headers
and serves this Paddle and this Python only. This module imports nothing from the package, because setup.py runs it
where Paddle may be missing.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import site
import subprocess
import sys
import sysconfig
import tempfile
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PACKAGE = Path(__file__).parent
SOURCES = PACKAGE / "csrc"
LIBRARY = "libpaddle_focal.so"
#: Each function begins a cache line, lest its speed depend on what is linked before it.
OPTIMIZED = (
    "-std=c++17", "-O3", "-falign-functions=64", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-Wall", "-Wextra",
    f"-I{SOURCES}",
)  # fmt: skip
#: No runtime of C++, which would ask for a newer system, nor of OpenMP: Paddle's is handed over when it is loaded.
FREESTANDING = ("-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics", "-fopenmp-simd", "-fvisibility=hidden")
LINKED = ("-shared", "-nodefaultlibs", "-Wl,-z,defs", f"-Wl,-soname,{LIBRARY}")
LIBRARIES = ("-lc", "-lm", "-lgcc")
#: Machine code for the compute capabilities that nvcc knows of these, or of the GPUs that are here, and PTX of the
#: lowest one for all others.
KERNELS = "paddle_focal_cuda.fatbin"
CAPABILITIES = (70, 75, 80, 86, 89, 90, 100, 120)
USUAL_CUDA = "/usr/local/cuda"
NVCC_FLAGS = ("-std=c++17", "-O3", "-fatbin", "-Xfatbin", "-compress-all")


class BuildError(RuntimeError):
    """Something cannot be built here; the message says why."""


def fingerprint() -> str:
    """Of the sources of the library, and of how they are compiled."""
    return _fingerprint((*OPTIMIZED[:-1], *FREESTANDING), ("*.h", "formulas/*", "cpu/*", "cuda/*.cc", "cuda/*.cuh"))


def kernels_fingerprint() -> str:
    """Of the sources of the kernels for GPUs; the last 16 bytes of their file."""
    return _fingerprint(NVCC_FLAGS, ("*.h", "formulas/*", "cuda/*.cu", "cuda/*.cuh"))


def split_kernels(content: bytes) -> tuple[bytes, str]:
    """The kernels of a file and the fingerprint of their sources."""
    return content[:-16], content[-16:].decode(errors="replace")


def _fingerprint(flags: Sequence[str], patterns: Sequence[str]) -> str:
    digest = hashlib.sha256(" ".join(flags).encode())
    for path in sorted(path for pattern in patterns for path in SOURCES.glob(pattern)):
        digest.update(path.relative_to(SOURCES).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _library_sources() -> list[Path]:
    return sorted([*SOURCES.glob("cpu/*.cc"), *SOURCES.glob("cuda/*.cc")])


def _find_compiler() -> str:
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if not compiler:
        raise BuildError("there is no C++ compiler: install g++, or name one in the environment variable CXX")
    return compiler


def is_up_to_date(library: Path) -> bool:
    """Whether there is a library of the present sources."""
    return library.is_file() and fingerprint().encode() in library.read_bytes()


def build(directory: Path = PACKAGE) -> Path:
    """Compiles the library into ``directory`` and returns its path; and the kernels for GPUs, or says why not.

    What is there already stays as it is.

    Raises:
        BuildError: there is no compiler, or it fails; the message then includes its output. PADDLE_FOCAL_CUDA is 1, and
            there is no nvcc, or it fails.
    """
    library, kernels = directory / LIBRARY, directory / KERNELS
    if not is_up_to_date(library):
        if sys.platform != "linux":
            raise BuildError(f"the native library is built on Linux only, and this is {sys.platform}")
        compiler = _find_compiler()
        flags = (*OPTIMIZED, *FREESTANDING, f'-DFOCAL_FINGERPRINT="{fingerprint()}"')
        _compile(compiler, _library_sources(), flags, LINKED, LIBRARIES, library)
    is_current = kernels.is_file() and split_kernels(kernels.read_bytes())[1] == kernels_fingerprint()
    if _wants_kernels() and not is_current:
        try:
            print(f"built {build_kernels(directory)}")
        except BuildError as error:
            if os.environ.get("PADDLE_FOCAL_CUDA") == "1":
                raise
            print(f"no kernels for GPUs were built: {error}")
    return library


def _wants_kernels() -> bool:
    """Whether to compile what takes minutes: as PADDLE_FOCAL_CUDA says, or where Paddle is, or will be, for GPUs."""
    wanted = os.environ.get("PADDLE_FOCAL_CUDA", "")
    if wanted not in ("", "0", "1"):
        raise BuildError(f"PADDLE_FOCAL_CUDA must be 0, 1 or unset, but is {wanted!r}")
    if wanted:
        return wanted == "1"
    # pip hides the packages of the environment from a build, but not where they are.
    places = {*sys.path, *map(sysconfig.get_path, ("purelib", "platlib")), site.getusersitepackages()}
    names = {path.name for place in places for path in Path(place or ".").glob("paddlepaddle*-info")}
    return any(name.startswith("paddlepaddle_gpu-") for name in names) or (not names and bool(_present_gpus()))


def _present_gpus() -> set[int]:
    """The compute capabilities of this machine's GPUs."""
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return set()
    return {int(major) * 10 + int(minor) for major, minor in re.findall(r"^(\d+)\.(\d)$", result.stdout, re.MULTILINE)}


def build_kernels(directory: Path = PACKAGE) -> Path:
    """Compiles the kernels into ``directory`` and returns their path: for the GPUs that are here, or for all.

    Raises:
        BuildError: there is no nvcc, or it fails.
    """
    nvcc = _find_nvcc()
    known = _ask_nvcc(nvcc, "--list-gpu-code").split()
    wanted = CAPABILITIES if os.environ.get("PADDLE_FOCAL_CUDA") == "1" else sorted(_present_gpus()) or CAPABILITIES
    capabilities = [number for number in wanted if f"sm_{number}" in known]
    if not capabilities:
        raise BuildError(f"{nvcc} knows none of the compute capabilities {', '.join(map(str, wanted))}")
    options = [f"-gencode=arch=compute_{number},code=sm_{number}" for number in capabilities]
    options += [f"-gencode=arch=compute_{capabilities[0]},code=compute_{capabilities[0]}", "--threads=0"]
    with tempfile.TemporaryDirectory() as temporary:
        built = Path(temporary, KERNELS)
        command = [*NVCC_FLAGS, *options, f"-I{SOURCES}", str(SOURCES / "cuda/focal_kernels.cu"), "-o", str(built)]
        for compiler in (accepted := _host_compilers()):
            try:
                _ask_nvcc(nvcc, *compiler, *command)
                break
            except BuildError as error:
                if "unsupported GNU version" not in str(error) or compiler == accepted[-1]:
                    raise
        return _put(built.read_bytes() + kernels_fingerprint().encode(), directory / KERNELS)


def _find_nvcc() -> str:
    homes = [home for name in ("CUDA_HOME", "CUDA_PATH") if (home := os.environ.get(name))]
    folders = [*(f"{home}/bin" for home in homes), *os.get_exec_path(), f"{USUAL_CUDA}/bin"]
    nvcc = shutil.which("nvcc", path=os.pathsep.join(folders))
    if not nvcc:
        raise BuildError(f"there is no nvcc in CUDA_HOME, CUDA_PATH, PATH or {USUAL_CUDA}")
    return nvcc


def _host_compilers() -> list[tuple[str, ...]]:
    """Options of nvcc, which knows older compilers than the system may have; it uses them as preprocessors only."""
    older = [path for version in (11, 10, 9, 8) if (path := shutil.which(f"g++-{version}"))]
    return [(), *(("-ccbin", path) for path in older), ("-allow-unsupported-compiler",)]


def _ask_nvcc(nvcc: str, *arguments: str) -> str:
    result = _completed([nvcc, *arguments])
    if result.returncode:
        lines = (result.stderr.strip() or result.stdout.strip() or "without a message").splitlines()
        raise BuildError(f"{nvcc} failed: {next((line for line in lines if 'error' in line), lines[-1])}")
    return result.stdout


def _compile(
    compiler: str,
    sources: Sequence[Path],
    flags: Sequence[str],
    linked: Sequence[str],
    libraries: Sequence[str],
    library: Path,
) -> Path:
    """Compiles sources, as many at a time as there are cores, and puts the whole library into its place."""
    with tempfile.TemporaryDirectory() as temporary:

        def compile_one(source: Path) -> str:
            target = f"{temporary}/{source.stem}.o"
            _run([compiler, *flags, "-c", str(source), "-o", target])
            return target

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compile_one, sources))
        built = f"{temporary}/{library.name}"
        _run([compiler, *linked, *objects, *libraries, "-o", built])
        return _put(Path(built).read_bytes(), library, 0o755)


def _put(content: bytes, path: Path, mode: int = 0o644) -> Path:
    """Writes a file that is there as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.chmod(mode)
    os.replace(partial, path)
    return path


def operator_name() -> str:
    """The file name of the operator for this Python, its Paddle and the present sources."""
    import paddle

    sources = b"".join((SOURCES / name).read_bytes() for name in ("focal.h", "paddle/operator.cc"))
    digest = hashlib.sha256(paddle.version.commit.encode() + sources).hexdigest()[:10]
    python = f"py{sys.version_info.major}.{sys.version_info.minor}"
    return f"_operator-{python}-paddle{paddle.version.full_version}-{digest}.so"


def build_operator(directory: Path = PACKAGE) -> Path:
    """Compiles the operator for static graphs into ``directory``, where the library is, and returns its path.

    Raises:
        BuildError: Paddle, the library or a compiler is missing, or the compiler fails.
    """
    try:
        from paddle.utils.cpp_extension import CppExtension
    except ImportError as error:
        raise BuildError(f"Paddle cannot be imported while its operator is built ({error})") from error
    if not (directory / LIBRARY).is_file():
        raise BuildError(f"the operator is linked to {LIBRARY}, which is not there: run python -m paddle_focal.build")
    paddle = CppExtension(sources=["operator.cc"], extra_compile_args={"cxx": []})
    flags = (*OPTIMIZED, "-DPADDLE_WITH_CUSTOM_KERNEL", "-DPADDLE_NO_PYTHON", "-D_GLIBCXX_USE_CXX11_ABI=1")
    flags += tuple(f"-isystem{path}" for path in paddle.include_dirs)
    libraries = [str(directory / LIBRARY), "-Wl,-rpath,$ORIGIN"]
    libraries += [f"-L{path}" for path in paddle.library_dirs]
    libraries += [f"-Wl,-rpath,{path}" for path in paddle.runtime_library_dirs]
    library = directory / operator_name()
    for stale in directory.glob(library.name.rsplit("-", 1)[0] + "-*.so"):
        stale.unlink()
    libraries += paddle.extra_link_args
    return _compile(_find_compiler(), [SOURCES / "paddle/operator.cc"], flags, ["-shared"], libraries, library)


def check() -> None:
    """Compiles the library's sources without writing anything; raises BuildError if the compiler gives any warning."""
    for source in _library_sources():
        flags = (*OPTIMIZED, *FREESTANDING, '-DFOCAL_FINGERPRINT=""')
        _run([_find_compiler(), *flags, "-Werror", "-fsyntax-only", str(source)])


def _completed(command: list[str]) -> subprocess.CompletedProcess:
    try:
        return subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise BuildError(f"{command[0]} cannot be run: {error.strerror}") from error


def _run(command: list[str]) -> None:
    result = _completed(command)
    if result.returncode:
        raise BuildError(f"{' '.join(command)}\nfailed with exit code {result.returncode}:\n{result.stderr.strip()}")
    if result.stderr.strip():
        print(result.stderr, file=sys.stderr)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="paddle-focal build", description="Compile the native library.")
    parser.add_argument("--operator", action="store_true", help="the operator for static graphs of this Paddle, too")
    parser.add_argument("--check", action="store_true", help="only look whether the compiler warns of anything")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Build, or with ``--check`` only look for warnings. Returns 0, or 1 on failure."""
    options = make_parser().parse_args(arguments)
    warnings.filterwarnings("ignore", "No ccache found")  # as Paddle says when it is imported
    try:
        if options.check:
            check()
            return 0
        was_there = is_up_to_date(PACKAGE / LIBRARY)
        print(f"{'up to date:' if was_there else 'built'} {build()}")
        if options.operator:
            print(f"built {build_operator()}")
    except BuildError as error:
        print(f"The native library was not built: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
