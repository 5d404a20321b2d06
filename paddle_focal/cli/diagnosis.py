"""What is installed, which backend is used, and whether it computes the right numbers."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from paddle_focal import _paddle  # noqa: F401 - must come first, see that module

# isort: split
import numpy as np
import paddle

import paddle_focal
from paddle_focal import build
from paddle_focal.ops import BACKENDS
from paddle_focal.ops.native import reason_against
from paddle_focal.ops.registry import SIGMOID

#: The self-test's cases, with alpha 0.25: logit, target, gamma, and the loss and its derivative, from mpmath with 60
#: digits.
FIGURES = (
    (0.0, 1, 2.0, 0.04332169878499658, -0.07457169878499659),
    (-4.0, 0, 2.0, 4.403677291401933e-06, 1.3012898416153318e-05),
    (3.0, 1, 0.5, 0.0026452754623489906, -0.0038419507564253362),
    (-17.0, 0, 2.0, 5.321605070935671e-23, 1.5964814662029198e-22),
    (20.0, 1, 0.5, 2.339405737388169e-14, -3.509108601260379e-14),
    (-30.0, 1, 1.5, 7.499999999998971, -0.25000000000099426),
    (0.75, 0, 0.0, 0.8526532545861749, 0.5093840243815447),
    (12.0, 0, 5.0, 8.999728123544003, 0.7502488311438016),
    (-9.5, 0, 1.0, 4.201625569300788e-09, 8.402779422905147e-09),
    (0.5, 0.25, 2.0, 0.16715074785016262, 0.1433140181203591),
)
#: The largest relative error allowed.
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}
PACKAGES = (
    "numpy",
    "paddledet",
    "opencv-python-headless",
    "opencv-python",
    "pycocotools",
    "scikit-learn",
    "matplotlib",
)


def report() -> int:
    """Print what there is to say. Returns 0 if nothing is wrong, and 1 if something is."""
    problems: list[str] = []
    for line in _report(problems):
        print(line, flush=True)
    print()
    for problem in problems:
        print(f"PROBLEM: {problem}")
    print(f"{len(problems)} problem{'s'[: len(problems) != 1]} found")
    return 1 if problems else 0


def _report(problems: list[str]) -> Iterator[str]:
    yield f"paddle_focal {paddle_focal.__version__} in {Path(paddle_focal.__file__).parent}"
    yield f"Python {platform.python_version()}, {platform.platform()}"
    cuda = f"CUDA {paddle.version.cuda()}" if paddle.is_compiled_with_cuda() else "for the CPU"
    yield f"Paddle {paddle.__version__}, {cuda}, commit {paddle.version.commit[:10]}"
    yield f"Devices: {_devices()}"
    for name in PACKAGES:
        version = _version(name)
        if version:
            yield f"{name} {version}"
    yield ""
    yield from paddle_focal.backend_report().splitlines()[1:]
    operators = {path.name for path in build.PACKAGE.glob("_operator-*.so")}
    has_operator = build.operator_name() in operators
    built = "the operator is built" if has_operator else "no operator is built, which neither training nor export needs"
    yield f"static graphs: {built}"
    stale = sorted(operators - {build.operator_name()})
    if stale:
        yield f"Operators of another Python, Paddle or state of the sources, not loaded: {', '.join(stale)}"
    yield _ppdet(problems)
    problems += _clashes()
    yield ""
    yield from _self_test(problems)


def _devices() -> str:
    cpu = f"CPU with {len(os.sched_getaffinity(0))} cores"
    count = paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0
    return ", ".join([cpu, *(paddle.device.cuda.get_device_name(i) for i in range(count))])


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _ppdet(problems: list[str]) -> str:
    if importlib.util.find_spec("ppdet") is None:
        return "ppdet: not installed; the losses work without it, tools and FocalRetinaHead need it"
    from paddle_focal.detection.compatibility import import_ppdet

    try:
        import_ppdet()
    except ImportError as error:
        problems.append(str(error))
        return "ppdet: cannot be imported, see below"
    return f"ppdet: {Path(sys.modules['ppdet'].__file__).parent}"


def _clashes() -> Iterator[str]:
    """Installed packages that are known to clash, with the remedy."""
    if _version("paddlepaddle") and _version("paddlepaddle-gpu"):
        yield "paddlepaddle and paddlepaddle-gpu are both installed, one over the other: uninstall both, install one"
    if _version("opencv-python") and _version("opencv-python-headless"):
        yield "opencv-python and opencv-python-headless are both installed: uninstall both, install one"
    if _version("sklearn") and not _version("scikit-learn"):
        yield "paddledet asks for the empty package sklearn; it imports scikit-learn: pip install scikit-learn"


def _self_test(problems: list[str]) -> Iterator[str]:
    places = ["cpu"] + (["gpu"] if paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() else [])
    for place in places:
        for backend in BACKENDS:
            if backend == "native" and reason_against(place, SIGMOID):
                yield f"Self-test on the {place}, {backend}: left out"
                continue
            for dtype, tolerance in TOLERANCE.items():
                error = _largest_error(place, backend, dtype)
                right = error <= tolerance  # False if the error is NaN
                yield (
                    f"Self-test on the {place}, {backend}, {dtype}: {'right' if right else 'WRONG'}, "
                    f"largest relative error {error:.1e}, allowed {tolerance:.0e}"
                )
                if not right:
                    problems.append(f"the {backend} backend computes wrong numbers in {dtype} on the {place}")


def _largest_error(place: str, backend: str, dtype: str) -> float:
    """The largest error of the losses and gradients, relative to the figures."""
    errors = []
    for logit, target, gamma, loss, gradient in FIGURES:
        x = paddle.to_tensor([logit], dtype=dtype, place=place, stop_gradient=False)
        y = paddle.to_tensor([target], dtype=dtype, place=place)
        value = paddle_focal.sigmoid_focal_loss(x, y, gamma=gamma, backend=backend)
        value.backward()
        errors += [abs(value.item() / loss - 1), abs(x.grad.item() / gradient - 1)]
    return math.nan if any(map(math.isnan, errors)) else float(np.max(errors))
