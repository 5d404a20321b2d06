"""The kernels on a GPU: their numbers beside float64, their time beside a copy's. Exit status 1 if any number is wrong.

Needs a CUDA device, PyTorch, and what ``python -m paddle_focal.build`` builds; no Paddle. With ``--driver`` another
library takes the place of NVIDIA's driver, whose GPU is the host; nothing is timed then.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import sys
from pathlib import Path
from types import ModuleType

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "paddle_focal"
#: By dtype, the largest relative error, in float64 that of the reference, and the largest error of small numbers.
TOLERANCE = {"float64": 1e-9, "float32": 2e-6, "float16": 1.02 * 2**-11, "bfloat16": 1.02 * 2**-8}
SMALL = {"float64": 1e-300, "float32": 2.4e-38, "float16": 2**-24, "bfloat16": 2.4e-38}
#: [outer, classes, inner]: class-last, binary, class-major in packs and without.
SHAPES = [
    (1, 1, 1), (1501, 3, 1), (3001, 80, 1), (41, 91, 1), (9, 1203, 1), (70001, 1, 1), (5, 1, 77),
    (2, 80, 640), (3, 3, 16), (2, 80, 35), (2, 19, 13), (2, 1203, 3),
]  # fmt: skip
#: Number of the loss, and what it is tried with: kinds of labels, and second and third numbers.
LOSSES = {
    "sigmoid": (0, ("hard", "smoothed", "poly", "dense", "own", "weighted", "labels")),
    "softmax": (1, ("hard", "smoothed", "dense", "own", "weighted")),
    "quality": (2, ("hard", "scored", "dense", "own", "weighted", "labels")),
    "varifocal": (3, ("scored", "detached", "dense", "own", "weighted")),
    "gaussian": (4, ("dense", "own", "weighted")),
    "asymmetric": (5, ("hard", "clipped", "dense", "own", "weighted")),
}
SECOND = {("sigmoid", "smoothed"): 0.1, ("softmax", "smoothed"): 0.1, ("varifocal", "detached"): 1.0}
THIRD = {("sigmoid", "poly"): 1.0, ("asymmetric", "clipped"): 0.25, ("asymmetric", "own"): 0.25}
GAMMAS = (2.0, 1.5, 0.0, 1.0)
#: Two images of 800x1344 in RetinaNet; a softmax sees fewer.
TIMED = {"class-last": (403200, 80, 1), "class-major": (2, 80, 201600)}


def load(name: str) -> ModuleType:
    """A file of the package, without the package, which imports Paddle; or of the tests."""
    specification = importlib.util.spec_from_file_location(Path(name).stem, ROOT / name)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


build, definition = load("paddle_focal/build.py"), load("tests/support/definition.py")
interface, driver = load("paddle_focal/ops/native/interface.py"), load("paddle_focal/ops/native/driver.py")


def encode(values: np.ndarray, dtype: str) -> np.ndarray:
    """NumPy has no bfloat16: its bits."""
    if dtype != "bfloat16":
        return np.ascontiguousarray(values).astype(dtype)
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def decode(array: np.ndarray, dtype: str) -> np.ndarray:
    array = (array.astype(np.uint32) << 16).view(np.float32) if dtype == "bfloat16" else array
    return array.astype(np.float64)


class Host:
    stream = 0

    def put(self, array: np.ndarray) -> np.ndarray:
        return array

    def get(self, held: np.ndarray, dtype: np.dtype) -> np.ndarray:
        return held.reshape(-1).view(dtype)

    def address(self, held: np.ndarray) -> int:
        return held.ctypes.data


class Gpu:
    """Memory of a CUDA device, as PyTorch's bytes."""

    def __init__(self) -> None:
        import torch

        self.torch, self.stream = torch, torch.cuda.current_stream().cuda_stream

    def put(self, array: np.ndarray):
        return self.torch.from_numpy(array.reshape(-1).view(np.uint8)).cuda()

    def get(self, held, dtype: np.dtype) -> np.ndarray:
        return held.cpu().numpy().view(dtype)

    def address(self, held) -> int:
        return held.data_ptr()

    def milliseconds(self, function, times: int = 20) -> float:
        """Of one call; the median of several rows of calls, for which the device need not wait."""
        rows = [[self.torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(8)]
        for start, end in rows:
            start.record()
            for _ in range(times):
                function()
            end.record()
        self.torch.cuda.synchronize()
        return float(np.median([start.elapsed_time(end) / times for start, end in rows[1:]]))


class Losses:
    """The library and its kernels on a device."""

    def __init__(self, device: Host | Gpu, path: str, kernels: Path) -> None:
        self.device, self.library = device, interface.load(PACKAGE / build.LIBRARY)
        image, fingerprint = build.split_kernels(kernels.read_bytes())
        built = self.library.focal_fingerprint().decode(), fingerprint
        if built != (build.fingerprint(), build.kernels_fingerprint()):
            raise SystemExit("the library or the kernels were built from other sources")
        self.kernels = driver.Kernels(driver.Driver(path), image, interface.kernel_names(self.library), 0)

    def run(self, function, *arguments) -> None:
        if self.kernels.run(function, self.kernels.packed, *arguments, self.device.stream) != interface.OK:
            raise RuntimeError(self.library.focal_error().decode())


class Case:
    """A loss with labels of a kind, one of those in ``LOSSES``.

    They are class indices, in ``scored`` and ``detached`` with a target for each; or dense targets, in float32 or the
    logits' ``own`` format. What is ``weighted`` has weights, and scales of each class; ``labels``, class indices with
    weights alone. Wide logits are not aligned.
    """

    def __init__(self, losses: Losses, rng, shape, dtype: str, loss: str, kind: str, gamma: float, wide=False) -> None:
        self.losses, self.shape, self.dtype, self.loss, self.kind, self.gamma = losses, shape, dtype, loss, kind, gamma
        outer, classes, inner = shape
        self.second = 4.0 if loss == "gaussian" else SECOND.get((loss, kind), 0.0)
        self.third = THIRD.get((loss, kind), 0.0)
        self.compute, self.offset = "float64" if dtype == "float64" else "float32", int(wide)
        self.held, self.addresses = {}, {}
        self.logit = self.hold("logit", rng.uniform(-100, 100, shape) if wide else rng.normal(-2, 3, shape), dtype)
        self.is_softmax, self.is_dense = loss == "softmax", kind in ("dense", "own") or loss == "gaussian"
        self.result_shape = (outer, 1, inner) if self.is_softmax else shape
        if self.is_dense:
            values = rng.choice([0.0, 1.0, 0.25, 0.75], shape, p=[0.7, 0.1, 0.1, 0.1])
            self.target = self.hold("label", values, dtype if kind == "own" else "float32")
            self.own, self.kept = self.target != 0, np.ones(shape, bool)
        else:
            background = classes - 1 if self.is_softmax else classes
            rare = rng.random((outer, inner)) < 0.3
            label = np.where(rare, rng.integers(-1, classes, (outer, inner)), background)
            self.hold("label", label, "int32" if kind in ("smoothed", "scored") else "int64")
            score = np.ones((outer, inner))
            if kind in ("scored", "detached"):
                score = self.hold("score", rng.choice([0.0, 0.25, 0.75, 1.0], (outer, inner)), self.compute)
            self.own = label[:, None] == np.arange(classes)[:, None]
            self.target, self.kept = self.own * score[:, None], np.broadcast_to(label[:, None] != -1, shape)
        self.weight, self.scales = 1.0, [0.25, 0.75]
        if kind in ("weighted", "labels"):
            self.weight = self.hold("weight", rng.uniform(0, 2, (outer, 1, inner)), self.compute)
        if kind == "weighted":
            self.scales = [self.hold(f"scale{i}", rng.uniform(0.1, 1, classes), self.compute)[:, None] for i in (0, 1)]
        self.grad_out = self.hold("grad_out", rng.choice([-3.0, 0.5, 2.0], self.result_shape), dtype)

    def hold(self, name: str, values: np.ndarray, dtype: str) -> np.ndarray:
        encoded = encode(values, dtype)
        self.held[name] = self.losses.device.put(np.append(encoded.ravel()[: self.offset], encoded))
        address = self.losses.device.address(self.held[name]) + self.offset * encoded.itemsize
        self.addresses[name] = address, interface.FORMATS[dtype]
        return decode(encoded, dtype)

    def params(self, reduce: bool) -> bytes:
        scales, weight = [(scale, 0, 0) for scale in self.scales], (0,) * 5
        if self.kind == "weighted":
            scales = [(0.0, self.addresses[f"scale{i}"][0], 1) for i in (0, 1)]
        if "weight" in self.addresses:
            weight = (*self.addresses["weight"], self.shape[2], 0, 1)
        score = self.addresses.get("score", (0, 0))
        arrays = interface.ARRAYS.pack(*self.addresses["logit"], *self.addresses["label"], *score)
        arrays += interface.SCALES.pack(*itertools.chain(*scales)) + interface.WEIGHT.pack(*weight)
        numbers = LOSSES[self.loss][0], *self.shape, self.gamma, self.second, self.third, -1, reduce
        return arrays + interface.NUMBERS.pack(*numbers)

    def prepare(self, one: str, reduce: bool):
        """Room for the results of a pass, their dtype, and a function that computes them."""
        device, params = self.losses.device, self.params(reduce)
        shape, dtype = self.result_shape if one == "forward" else self.shape, self.dtype
        if reduce and one == "forward":
            shape, dtype = 1, self.compute
        result = device.put(encode(np.full(shape, 7.0), dtype))
        if one == "forward":
            size = self.losses.library.focal_gpu_workspace(params)
            self.held["workspace"] = device.put(np.zeros(max(size, 8), np.uint8))
            arguments = device.address(result), device.address(self.held["workspace"])
        else:
            self.hold("number", np.full(1, 3.0), self.compute)
            grad_out = self.addresses["number" if reduce else "grad_out"]
            arguments = interface.ARRAY.pack(*grad_out), device.address(result)
        function = getattr(self.losses.library, f"focal_gpu_{one}")
        return result, dtype, lambda: self.losses.run(function, params, *arguments)

    def expected(self) -> tuple[np.ndarray, np.ndarray]:
        """Losses and derivatives."""
        if self.is_softmax:
            share, scale = self.target * self.kept, self.scales[0]
            loss, gradient = definition.softmax(self.logit, share, scale, self.gamma, self.second)
            return loss[:, None] * self.weight, gradient * self.weight
        arguments = self.target, self.own, self.scales, self.gamma, self.second, self.third
        factor = self.weight * self.kept
        return tuple(result * factor for result in definition.single(self.loss, self.logit, *arguments))

    def errors(self):
        """By pass, the largest error in units of what is allowed."""
        loss, gradient = self.expected()
        rtol, atol, of_sum = TOLERANCE[self.dtype], SMALL[self.dtype], min(TOLERANCE[self.dtype], 2e-5)
        is_any = self.gamma not in (0, 1, 2) or self.loss == "asymmetric"
        rtol *= 10 if self.dtype == "float32" and is_any else 1
        meets = self.is_softmax or self.is_dense or self.kind in ("smoothed", "scored", "detached", "clipped")
        meeting = rtol * np.abs(gradient).max() if meets else 0  # terms of opposite sign
        near = rtol * loss.max() if self.third and self.loss == "asymmetric" else 0  # a probability and the margin
        yield "forward", self.distance("forward", False, loss, rtol, atol + near)
        yield "sum", self.distance("forward", True, loss.sum(), of_sum, atol)
        yield "backward", self.distance("backward", False, gradient * self.grad_out, rtol, 3 * (atol + meeting))
        yield "of the sum", self.distance("backward", True, gradient * 3, rtol, 3 * (atol + meeting))

    def distance(self, one: str, reduce: bool, expected: np.ndarray, rtol: float, atol: float) -> float:
        held, dtype, compute = self.prepare(one, reduce)
        compute()
        actual = decode(self.losses.device.get(held, encode(np.zeros(1), dtype).dtype), dtype)
        error = np.abs(actual - np.ravel(expected)) / (rtol * np.abs(np.ravel(expected)) + atol)
        return float(np.inf if np.isnan(error).any() else error.max())


class Assignment:
    """Boxes of some images among anchors; one box in four is there twice, and one has no area."""

    def __init__(self, losses: Losses, rng, images: int, anchors: int, boxes: int) -> None:
        self.losses, self.shape = losses, (images, anchors)
        self.starts = np.minimum(np.arange(images + 1), max(images - 1, 1)) * boxes  # of several, the last has no box
        low = rng.uniform(0, 1000, (anchors + boxes * images, 2))
        corners = np.concatenate([low, low + rng.uniform(8, 300, low.shape)], axis=1).astype(np.float32)
        self.anchors, self.boxes = corners[:anchors], corners[anchors:]
        self.boxes[1::4], self.boxes[3::8, 2:] = self.boxes[::4][: len(self.boxes[1::4])], self.boxes[3::8, :2]
        self.classes = rng.integers(0, 80, len(self.boxes))
        device = losses.device
        inputs = [device.put(one) for one in (self.anchors, self.boxes, self.classes)]
        self.results = [device.put(np.zeros(self.shape, dtype)) for dtype in (np.int64, np.int64, np.uint8)]
        self.best = device.put(np.zeros(len(self.boxes), np.int32))
        self.held = inputs, self.starts
        self.given = interface.ASSIGNMENT.pack(
            *map(device.address, inputs), interface.FORMATS["int64"], self.starts.ctypes.data, anchors, images, 0.5,
            0.4, 0.0, 1, 80, -1,
        )  # fmt: skip
        self.assigned = interface.ASSIGNED.pack(*map(device.address, (self.best, *self.results)))

    def run(self) -> None:
        self.best[...] = 0
        self.losses.run(self.losses.library.focal_gpu_assign, self.given, self.assigned)

    def expected(self):
        """Label, row and foreground, with one rounding to float32 after each operation, as in PaddleDetection."""
        for start, end in zip(self.starts, self.starts[1:]):
            box, anchor = self.boxes[start:end, None], self.anchors[None]
            extent = np.minimum(box[..., 2:], anchor[..., 2:]) - np.maximum(box[..., :2], anchor[..., :2])
            shared = extent.clip(0).prod(axis=2)
            areas = [(one[..., 2:] - one[..., :2]).prod(axis=2) for one in (box, anchor)]
            iou = np.where(shared > 0, shared / (areas[0] + areas[1] - shared), np.float32(0))
            if start == end:
                iou = np.zeros((1, len(self.anchors)), np.float32)
            best = ((iou == iou.max(axis=1, keepdims=True)) & (iou > 0)).any(axis=0)
            is_foreground = (iou.max(axis=0) >= np.float32(0.5)) | best
            row = np.where(is_foreground, iou.argmax(axis=0) + start, self.starts[-1])
            other = np.where(iou.max(axis=0) >= np.float32(0.4), -1, 80)
            yield np.where(is_foreground, np.append(self.classes, 0)[row], other), row, is_foreground

    def wrong(self) -> int:
        """How many numbers differ."""
        self.run()
        expected = [np.stack(one) for one in zip(*self.expected())]
        actual = [self.losses.device.get(one, wanted.dtype) for one, wanted in zip(self.results, expected)]
        return sum(int((one != wanted.ravel()).sum()) for one, wanted in zip(actual, expected))


def check_assignment(losses: Losses) -> int:
    """Prints how many numbers of labels and rows are wrong, of cases of several sizes; returns it."""
    rng, wrong = np.random.default_rng(9), 0
    for images, anchors, boxes in ((1, 1, 1), (2, 1000, 0), (3, 1001, 1), (2, 5000, 100), (300, 70, 2)):
        wrong += Assignment(losses, rng, images, anchors, boxes).wrong()
    print(f"assignment of anchors: {wrong} wrong")
    return wrong


def cases():
    """Shape, loss, kind, gamma, and whether logits are wide; a softmax, which takes long to check, has fewer labels."""
    for loss, (_, kinds) in LOSSES.items():
        for (outer, classes, inner), kind, gamma in itertools.product(SHAPES, kinds, GAMMAS):
            if gamma in GAMMAS[2:] and (kind in ("weighted", "labels") or outer * inner > 2000):
                continue
            if loss == "softmax":
                yield (min(outer, 503), classes, min(inner, 64)), loss, kind, gamma, False
            else:
                yield (outer, classes, inner), loss, kind, gamma, False
    for gamma in (*GAMMAS, 0.5, 5.0):
        yield (4001, 5, 1), "sigmoid", "hard", gamma, True


def check(losses: Losses) -> int:
    """Prints the largest error of each dtype and pass; returns how many cases are wrong."""
    rng, wrong = np.random.default_rng(7), 0
    print(f"{'loss':9} {'dtype':9} {'pass':12} largest error, in units of what is allowed")
    largest: dict[tuple[str, str, str], float] = {}
    for dtype, (shape, loss, kind, gamma, is_wide) in itertools.product(TOLERANCE, cases()):
        if is_wide and dtype == "float16":
            continue
        for one, error in Case(losses, rng, shape, dtype, loss, kind, gamma, is_wide).errors():
            largest[loss, dtype, one] = max(largest.get((loss, dtype, one), 0.0), error)
            if not error <= 1:
                wrong += 1
                print(f"WRONG {dtype} {one} of {shape}, {loss} {kind}, gamma {gamma}: {error:.3g}")
    for (loss, dtype, one), error in largest.items():
        print(f"{loss:9} {dtype:9} {one:12} {error:.3f}")
    print(f"{wrong} wrong")
    return wrong


def measure(losses: Losses) -> None:
    """Prints the times of a sum's passes beside a copy of the logits, which moves as much as the backward pass."""
    rng, device = np.random.default_rng(8), losses.device
    print(f"\n{device.torch.cuda.get_device_name()}, PyTorch {device.torch.__version__}")
    for images, boxes in ((2, 7), (8, 100)):
        one = Assignment(losses, rng, images, 201600, boxes)
        copies = [(result.clone(), result) for result in one.results]
        times = (lambda: [to.copy_(source) for to, source in copies]), one.run  # noqa: B023
        print(f"assignment of {images} images with {boxes} boxes: copy of the results, and itself:",
              *(f"{device.milliseconds(run):8.3f}" for run in times), "ms", flush=True)  # fmt: skip
    print(f"{'loss':19} {'logits':12} {'dtype':9} {'copy':>8} {'forward':>8} {'backward':>8}  in ms")
    timed = [("sigmoid", "hard", 2.0), ("sigmoid", "hard", 1.5), ("sigmoid", "weighted", 2.0),
             ("sigmoid", "labels", 2.0), ("quality", "own", 2.0), ("varifocal", "own", 2.0), ("gaussian", "own", 2.0),
             ("softmax", "hard", 2.0)]  # fmt: skip
    for (loss, kind, gamma), (layout, shape), dtype in itertools.product(timed, TIMED.items(), TOLERANCE):
        if dtype != "float32" and gamma != 2:
            continue
        case = Case(losses, rng, shape, dtype, loss, kind, gamma)
        result, _, forward = case.prepare("forward", True)
        grad, _, backward = case.prepare("backward", True)
        runs = (lambda to=grad, logit=case.held["logit"]: to.copy_(logit)), forward, backward
        times = (f"{device.milliseconds(run):8.3f}" for run in runs)
        print(f"{loss:9} {kind:5.5} {gamma:3} {layout:12} {dtype:9}", *times, flush=True)
        del case, result, grad, forward, backward, runs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernels", type=Path, default=PACKAGE / build.KERNELS)
    parser.add_argument("--driver", help="a library in place of NVIDIA's, whose GPU is the host")
    options = parser.parse_args()
    losses = Losses(Host() if options.driver else Gpu(), options.driver or driver.LIBRARY, options.kernels)
    wrong = check_assignment(losses) + check(losses)
    if not options.driver:
        measure(losses)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
