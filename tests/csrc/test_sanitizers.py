"""The native CPU kernels under AddressSanitizer and UndefinedBehaviorSanitizer, for each instruction set."""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[2] / "paddle_focal/csrc"
KERNELS = sorted(SOURCES.glob("cpu/*.cc"))
COMPILER = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
SANITIZED = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fopenmp", "-std=c++17", "-Wall", "-Wextra"]
SANITIZED += ['-DFOCAL_FINGERPRINT=""']
QUICKLY = ["-Og", "-g1", "--param", "asan-instrumentation-with-call-threshold=0"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def kernels(tmp_path_factory) -> Path:
    """The program of sanitized_kernels.cc."""
    if not COMPILER:
        pytest.skip("there is no C++ compiler")
    folder = tmp_path_factory.mktemp("sanitized")
    (folder / "empty.cc").write_text("int main() {}\n")
    tried = subprocess.run(
        [COMPILER, *SANITIZED, folder / "empty.cc", "-o", folder / "empty"], capture_output=True, text=True
    )
    if tried.returncode:
        pytest.skip(f"{COMPILER} has no sanitizers: {tried.stderr.strip().splitlines()[-1]}")

    def compile_one(source: Path) -> Path:
        target = folder / f"{source.stem}.o"
        subprocess.run([COMPILER, *SANITIZED, *QUICKLY, f"-I{SOURCES}", "-c", source, "-o", target], check=True)
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, [Path(__file__).parent / "sanitized_kernels.cc", *KERNELS]))
    program = folder / "sanitized_kernels"
    subprocess.run([COMPILER, *SANITIZED, *objects, "-o", program], check=True)
    return program


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("instruction_set", ["baseline", "avx2", "avx512"])
def test_no_sanitizer_objects(kernels, instruction_set, threads):
    environment = {**os.environ, "PADDLE_FOCAL_ISA": instruction_set, "OMP_NUM_THREADS": str(threads)}
    environment["ASAN_OPTIONS"] = "detect_leaks=0"  # OpenMP's threads, and blocks that are kept for the next call
    result = subprocess.run([kernels, "4"], env=environment, capture_output=True, text=True, timeout=300)
    if "must be one of those this processor has" in result.stderr:
        pytest.skip(f"this processor has no {instruction_set}")
    assert result.returncode == 0, result.stderr[-5000:]
