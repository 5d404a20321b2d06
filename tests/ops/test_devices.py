"""Tensors on several devices, another one being the current one, and auto_cast; without any but the CPU."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from surroundings import on_another_device

from paddle_focal import (
    ForegroundNormalizer,
    GaussianFocalLoss,
    SigmoidFocalLoss,
    binary_focal_loss,
    gaussian_focal_loss,
    joint_logit,
    quality_focal_loss,
    sigmoid_focal_loss,
)
from paddle_focal.ops import devices

LABEL = (0, 1, 2, 3)
ALPHA = [0.25, 0.5, 0.75]


@pytest.fixture
def apart(monkeypatch):
    """Tensors in the list pass for some on a GPU, all others are on the CPU."""
    on_gpu: list[paddle.Tensor] = []

    def name(tensor: paddle.Tensor) -> str:
        return "gpu:0" if tensor.data_ptr() in [one.data_ptr() for one in on_gpu] else "cpu"

    monkeypatch.setattr(devices, "_is_cpu_only", lambda: False)
    monkeypatch.setattr(devices, "name", name)
    return on_gpu


def leaf(values, dtype: str = "float32") -> paddle.Tensor:
    return paddle.to_tensor(np.asarray(values, dtype), stop_gradient=False)


def closed_form(x, label, alpha=0.25) -> tuple[np.ndarray, np.ndarray]:
    """Losses and derivatives of ``[N, C]`` for gamma 2."""
    x = np.asarray(x, np.float64)
    is_positive = np.eye(x.shape[1] + 1, dtype=bool)[np.asarray(label)][..., :-1]
    z = np.where(is_positive, -x, x)
    p, cross_entropy = 1 / (1 + np.exp(-z)), np.logaddexp(0, z)
    factor = np.where(is_positive, alpha, 1 - np.asarray(alpha))
    slope = factor * p**2 * (2 * (1 - p) * cross_entropy + p)
    return factor * p**2 * cross_entropy, np.where(is_positive, -slope, slope)


X = np.linspace(-2, 2, 12, dtype="float32").reshape(4, 3)


class TestTensorsOnSeveralDevices:
    @pytest.mark.parametrize("name", ["label", "score", "weight", "normalizer"])
    def test_large_ones_are_refused(self, backend, apart, name):
        tensors = {
            "label": paddle.to_tensor(LABEL),
            "score": paddle.ones([4]),
            "weight": paddle.ones([4, 1]),
            "normalizer": paddle.full([3], 2.0),
        }
        apart.append(tensors[name])
        with pytest.raises(ValueError, match=f"^{name} must be on the device of logit, cpu, but is on gpu:0$"):
            quality_focal_loss(paddle.zeros([4, 3]), backend=backend, **tensors)

    def test_a_heatmap(self, backend, apart):
        apart.append(paddle.ones([4, 3]))
        with pytest.raises(ValueError, match=r"^heatmap must be on the device of logit, cpu, but is on gpu:0$"):
            gaussian_focal_loss(paddle.zeros([4, 3]), apart[0], backend=backend)

    def test_labels_of_a_layer(self, apart):
        apart.append(paddle.to_tensor(LABEL))
        with pytest.raises(ValueError, match="label must be on the device of logit"):
            SigmoidFocalLoss(normalizer="foreground")(paddle.zeros([4, 3]), apart[0], reduction="sum")

    @pytest.mark.parametrize("alpha", [0.25, ALPHA])
    @pytest.mark.parametrize("shape", [[], [1]])
    def test_a_normalizer_of_one_number_is_read(self, backend, apart, shape, alpha):
        apart.append(paddle.full(shape, 4.0))
        loss = sigmoid_focal_loss(paddle.to_tensor(X), paddle.to_tensor(LABEL), apart[0], alpha, backend=backend)
        assert float(loss) == pytest.approx(closed_form(X, LABEL, alpha)[0].sum() / 4, rel=1e-5)
        apart.append(paddle.full(shape, 0.0))
        with pytest.raises(ValueError, match=r"normalizer must be a finite number > 0, but got 0\.0"):
            sigmoid_focal_loss(paddle.to_tensor(X), paddle.to_tensor(LABEL), apart[1], backend=backend)

    def test_both_of_a_joint_logit(self, backend, apart):
        apart.append(paddle.zeros([3]))
        with pytest.raises(ValueError, match=r"^b must be on the device of a, cpu, but is on gpu:0$"):
            joint_logit(paddle.zeros([2, 3]), apart[0], backend=backend)


class TestGradientFromAbove:
    def gradient(self, function, grad_out: paddle.Tensor, **options) -> np.ndarray:
        x = leaf(X)
        result = function(x, paddle.to_tensor(LABEL), **options)
        (grad,) = paddle.grad([result], [x], [grad_out])
        return grad.numpy()

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
    def test_in_any_dtype(self, backend, dtype):
        for shape, reduction in (([], "sum"), ([4, 3], "none")):
            factor = paddle.full(shape, 3.0, dtype)
            grad = self.gradient(sigmoid_focal_loss, factor, reduction=reduction, backend=backend)
            np.testing.assert_allclose(grad, 3 * closed_form(X, LABEL)[1], rtol=1e-5)

    @pytest.mark.parametrize("dtype", ["float16", "float64"])
    def test_of_a_joint_logit_in_any_dtype(self, backend, dtype):
        # Of log(p / (1 - p)) with p = 1/4: (dp/da) / (p (1 - p)) = (1/8) / (3/16) = 2/3.
        a, b = leaf([0.0, 0.0]), leaf([0.0, 0.0])
        grads = paddle.grad([joint_logit(a, b, backend=backend)], [a, b], [paddle.full([2], 3.0, dtype)])
        for grad in grads:
            np.testing.assert_allclose(grad.numpy(), [2.0, 2.0], rtol=1e-6)

    @pytest.fixture
    def sevens_apart(self, monkeypatch):
        """Paddle copies what ``backward()`` is given, to where it is."""
        monkeypatch.setattr(devices, "_is_cpu_only", lambda: False)
        monkeypatch.setattr(devices, "name", lambda tensor: "gpu:0" if float(tensor.flatten()[0]) == 7 else "cpu")

    def test_one_number_on_another_device(self, backend, sevens_apart, monkeypatch):
        copied, full = [], paddle.full
        factor = paddle.to_tensor(7.0)
        monkeypatch.setattr(paddle, "full", lambda shape, *rest: copied.append(shape) or full(shape, *rest))
        grad = self.gradient(sigmoid_focal_loss, factor, backend=backend)
        np.testing.assert_allclose(grad, 7 * closed_form(X, LABEL)[1], rtol=1e-5)
        assert copied == [[]]

    def test_many_on_another_device(self, backend, sevens_apart):
        message = (
            "the gradient of the result of sigmoid_focal_loss must be on the device of logit, cpu, but is on gpu:0"
        )
        with pytest.raises(OSError, match=message):
            self.gradient(sigmoid_focal_loss, paddle.full([4, 3], 7.0), reduction="none", backend=backend)


class TestElsewhere:
    """The current device is another one, and auto_cast is on."""

    COUNT = 200  # whose losses add up to more than float16 can tell

    @pytest.mark.parametrize("alpha", [0.25, ALPHA])
    @pytest.mark.parametrize("dtype", ["float16", "float32"])
    def test_sums_and_means(self, backend, dtype, alpha):
        values, label = np.tile([-60.0, 8.0, 60.0], (self.COUNT, 1)), np.arange(self.COUNT) % 4
        losses, slopes = closed_form(values, label, alpha)
        loss = SigmoidFocalLoss(alpha=alpha, loss_weight=20.0)
        for options, divisor in (
            ({"reduction": "sum"}, 1),
            ({"reduction": "mean"}, values.size),
            ({"avg_factor": paddle.to_tensor(1e5)}, 1e5),
        ):
            x = leaf(values, dtype)
            with on_another_device(), pytest.MonkeyPatch.context() as patch:
                patch.setattr(SigmoidFocalLoss, "_of_logits", _on(sigmoid_focal_loss, backend))
                result = loss(x, paddle.to_tensor(label, place=paddle.CPUPlace()), **options)
                (grad,) = paddle.grad([result], [x])
            assert result.dtype == paddle.float32
            assert float(result) == pytest.approx(20 * losses.sum() / divisor, rel=1e-5)
            expected = 20 * slopes / divisor
            np.testing.assert_allclose(grad.numpy(), expected, rtol=2e-3, atol=1e-7 * np.abs(expected).max() + 1e-7)

    def test_a_weight_and_each_loss(self, backend):
        weight, x = np.array([[1.0], [0.0], [3.0], [0.5]]), leaf(X)
        with on_another_device():
            result = sigmoid_focal_loss(
                x,
                paddle.to_tensor(LABEL, place=paddle.CPUPlace()),
                weight=paddle.to_tensor(weight, place=paddle.CPUPlace()),
                reduction="none",
                backend=backend,
            )
        np.testing.assert_allclose(result.numpy(), weight * closed_form(X, LABEL)[0], rtol=1e-5)

    def test_a_heatmap(self, backend):
        x, heatmap = leaf(X), paddle.to_tensor(np.eye(4, 3, dtype="float32"))
        loss = GaussianFocalLoss(normalizer="peaks")
        with on_another_device():
            result = loss(x, heatmap, reduction="sum")
        # With targets 0 and 1 alone, it is the sigmoid focal loss without balance, divided by the three peaks.
        assert float(result) == pytest.approx(2 * closed_form(X, LABEL, 0.5)[0].sum() / 3, rel=1e-5)

    def test_a_joint_logit(self, backend):
        a, b = leaf([[0.0, 0.0]]), leaf([[0.0], [0.0]])
        with on_another_device():
            result = joint_logit(a, b, backend=backend)
            grads = paddle.grad([result], [a, b])
        np.testing.assert_allclose(result.numpy(), np.full((2, 2), np.log(1 / 3)), rtol=1e-6)
        np.testing.assert_allclose([*grads[0].numpy()[0], *grads[1].numpy()[:, 0]], [4 / 3] * 4, rtol=1e-6)

    @pytest.mark.parametrize("mode", ["local", "ema"])
    def test_a_normalizer(self, mode):
        normalizer, count = ForegroundNormalizer(mode, momentum=0.5), paddle.to_tensor(80001)
        with on_another_device():
            divisor = normalizer(count)
        assert divisor.dtype == normalizer.average.dtype == paddle.float32
        assert float(divisor) == {"local": 80001, "ema": (100 + 80001) / 2}[mode]

    @pytest.mark.parametrize("name", ["sigmoid_focal_loss", "binary_focal_loss", "joint_logit"])
    def test_both_passes_are_at_home(self, backend, monkeypatch, name):
        places, at_home = [], devices._at_home
        monkeypatch.setattr(devices, "_at_home", lambda place: places.append(place) or at_home(place))
        x, label = leaf(X), paddle.to_tensor(LABEL)
        prob = leaf(np.full([4, 3], 0.5))
        call = {
            "binary_focal_loss": lambda: binary_focal_loss(prob, label, reduction="none", backend=backend),
            "sigmoid_focal_loss": lambda: sigmoid_focal_loss(x, label, reduction="none", backend=backend),
            "joint_logit": lambda: joint_logit(x, x, backend=backend),
        }[name]
        with on_another_device():
            result = call()
            forward = len(places)
            paddle.grad([result], [prob if name == "binary_focal_loss" else x])
        assert forward >= 1
        assert len(places) - forward == (2 if name == "binary_focal_loss" else 1)  # layers
        assert all(place.is_cpu_place() for place in places)


def _on(function, backend: str):
    return staticmethod(lambda *arguments, **options: function(*arguments, backend=backend, **options))


class TestAlphaOfEachClass:
    def loss(self, alpha, dtype: str = "float32") -> float:
        return float(sigmoid_focal_loss(leaf(X, dtype), paddle.to_tensor(LABEL), None, alpha))

    def test_copied_to_a_device_once(self, monkeypatch, apart):
        x, label, copied, to_tensor = leaf(X), paddle.to_tensor(LABEL), [], paddle.to_tensor
        monkeypatch.setattr(
            paddle, "to_tensor", lambda data, **options: copied.append(data) or to_tensor(data, **options)
        )
        alphas = (0.1, 0.2, 0.3), (0.1, 0.2, 0.4)
        for _ in range(2):
            for apart[:] in ([], [x, label]):
                for alpha in alphas:
                    loss = sigmoid_focal_loss(x, label, None, list(alpha), backend="composite")
                    assert float(loss) == pytest.approx(closed_form(X, LABEL, alpha)[0].sum(), rel=1e-5)
        assert copied == [*alphas, *alphas]

    def test_in_each_precision(self):
        for dtype, rel in (("float32", 1e-6), ("float64", 1e-12)):
            alpha = [1 / 3, 1 / 7, 1 / 9]
            assert self.loss(alpha, dtype) == pytest.approx(closed_form(X, LABEL, alpha)[0].sum(), rel=rel)
