"""The anchors of RetinaNet, in the order in which the convolutions write their outputs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable

import paddle
from paddle import Tensor


@dataclass(frozen=True)
class AnchorGrid:
    """The anchors of maps of certain sizes: A kinds, each at T locations, those of one level after the other.

    Attributes:
        boxes: ``[M, 4]``, corners in pixels, by kind, then by location; M = A T.
        levels: how many of the locations are each level's.
        offset, scale: ``[M, 4]``, and
        factor: ``[4]``, what :meth:`encode` needs of the anchors.
    """

    boxes: Tensor
    levels: list[int]
    offset: Tensor
    scale: Tensor
    factor: Tensor

    def split(self, value: Tensor) -> list[Tensor]:
        """Of ``[N, M]``, ``[N, A, locations]`` of each level."""
        return value.reshape([len(value), -1, sum(self.levels)]).split(self.levels, axis=2)

    def encode(self, box: Tensor, anchor: Tensor | None = None) -> Tensor:
        """The deltas ``[..., 4]`` from anchors to boxes, as ppdet's ``bbox2delta`` defines them.

        Args:
            box: ``[..., 4]``, centres and sizes, see :func:`centred`.
            anchor: index of the anchor of each box; None: ``box`` is ``[..., M, 4]``.
        """
        offset, scale = (self.offset, self.scale) if anchor is None else (self.offset[anchor], self.scale[anchor])
        shift, ratio = ((box - offset) * scale).split(2, axis=-1)
        return paddle.concat([shift, paddle.log(ratio)], axis=-1) * self.factor


def centred(corners: Tensor) -> Tensor:
    """Boxes ``[n, 4]`` as the double of their centres, and their sizes."""
    low, high = corners.split(2, axis=1)
    return paddle.concat([low + high, high - low], axis=1)


class Anchors:
    """The anchors of feature maps, computed once for each combination of sizes and then kept.

    ppdet's generator orders the anchors of a level by location, then by kind. A convolution's output
    ``[N, A * C, H, W]`` has all locations of one kind together, and so have these anchors.

    Args:
        generator: ppdet's anchor generator. It waits for a GPU, so every new size does.
        weights: of the deltas: of both coordinates of the centre, and of the sizes.
        kept: the number of sizes that are kept, the latest ones.
    """

    def __init__(
        self,
        generator: Callable[[list[Tensor]], list[Tensor]],
        weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
        kept: int = 32,
    ) -> None:
        self._generator = generator
        self._weights = weights
        self._kept = kept
        self._by_size: OrderedDict[tuple, AnchorGrid] = OrderedDict()

    def __call__(self, outputs: Sequence[Tensor]) -> AnchorGrid:
        """The anchors of the outputs of each level."""
        size = (paddle.device.get_device(), *(tuple(output.shape[-2:]) for output in outputs))
        if size not in self._by_size:
            self._by_size[size] = self._compute(outputs)
        self._by_size.move_to_end(size)
        if len(self._by_size) > self._kept:
            self._by_size.popitem(last=False)
        return self._by_size[size]

    @paddle.no_grad()
    def _compute(self, outputs: Sequence[Tensor]) -> AnchorGrid:
        # The generator reads only the sizes; on the CPU, Paddle 2.6 cannot read those of half-precision tensors.
        maps = [paddle.empty([1, 1, *output.shape[-2:]], "float32") for output in outputs]
        levels = [output.shape[-2] * output.shape[-1] for output in outputs]
        generated = [one.reshape([count, -1, 4]) for one, count in zip(self._generator(maps), levels)]
        boxes = paddle.concat(generated).transpose([1, 0, 2]).reshape([-1, 4])
        weights = paddle.to_tensor(self._weights, dtype=boxes.dtype)
        centre, size = centred(boxes).split(2, axis=1)
        return AnchorGrid(
            boxes=boxes,
            levels=levels,
            offset=paddle.concat([centre, paddle.zeros_like(size)], axis=1),
            scale=paddle.concat([0.5 * weights[:2] / size, 1.0 / size], axis=1),
            factor=paddle.concat([paddle.ones_like(weights[2:]), weights[2:]]),
        )
