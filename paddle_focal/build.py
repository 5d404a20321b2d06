"""Builds the native library: ``python -m paddle_focal.build`` compiles ``csrc`` into the package.

The library knows neither Paddle nor Python, so that one file serves every version of both; it holds the fingerprint of
its sources, by which one of other sources is refused. ``--operator`` builds the operator for static graphs, too, which
needs Paddle's headers and serves this Paddle and this Python only. This module imports nothing from the package,
because setup.py runs it where Paddle may be missing.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PACKAGE = Path(__file__).parent
SOURCES = PACKAGE / "csrc"
LIBRARY = "libpaddle_focal.so"
OPTIMIZED = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-Wall", "-Wextra", f"-I{SOURCES}")
#: No runtime of C++, which would ask for a newer system, nor of OpenMP: Paddle's is handed over when it is loaded.
FREESTANDING = ("-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics", "-fopenmp-simd", "-fvisibility=hidden")
LINKED = ("-shared", "-nodefaultlibs", "-Wl,-z,defs", f"-Wl,-soname,{LIBRARY}")
LIBRARIES = ("-lc", "-lm", "-lgcc")


class BuildError(RuntimeError):
    """Something cannot be built here; the message says why."""


def fingerprint() -> str:
    """Of the sources of the library, and of how they are compiled."""
    digest = hashlib.sha256(" ".join((*OPTIMIZED[:-1], *FREESTANDING)).encode())
    for path in sorted(path for folder in (".", "formulas", "cpu") for path in (SOURCES / folder).glob("*.*")):
        digest.update(path.relative_to(SOURCES).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _library_sources() -> list[Path]:
    return sorted(SOURCES.glob("cpu/*.cc"))


def _find_compiler() -> str:
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if not compiler:
        raise BuildError("there is no C++ compiler: install g++, or name one in the environment variable CXX")
    return compiler


def is_up_to_date(library: Path) -> bool:
    """Whether there is a library of the present sources."""
    return library.is_file() and fingerprint().encode() in library.read_bytes()


def build(directory: Path = PACKAGE) -> Path:
    """Compiles the library into ``directory``, unless it is there already, and returns its path.

    Raises:
        BuildError: there is no compiler, or it fails; the message then includes its output.
    """
    if is_up_to_date(directory / LIBRARY):
        return directory / LIBRARY
    if sys.platform != "linux":
        raise BuildError(f"the native library is built on Linux only, and this is {sys.platform}")
    compiler = _find_compiler()
    flags = (*OPTIMIZED, *FREESTANDING, f'-DFOCAL_FINGERPRINT="{fingerprint()}"')
    return _compile(compiler, _library_sources(), flags, LINKED, LIBRARIES, directory / LIBRARY)


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
        library.parent.mkdir(parents=True, exist_ok=True)
        partial = library.with_suffix(".partial")
        shutil.copy(built, partial)
        os.replace(partial, library)
    return library


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


def _run(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise BuildError(f"{' '.join(command)}\nfailed with exit code {result.returncode}:\n{result.stderr.strip()}")
    if result.stderr.strip():
        print(result.stderr, file=sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    """Build, or with ``--check`` only look for warnings. Returns 0, or 1 on failure."""
    parser = argparse.ArgumentParser(prog="paddle-focal build", description="Compile the native library.")
    parser.add_argument("--operator", action="store_true", help="the operator for static graphs of this Paddle, too")
    parser.add_argument("--check", action="store_true", help="only look whether the compiler warns of anything")
    options = parser.parse_args(arguments)
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
