"""The anchors of RetinaNet, in the order in which the convolutions write their outputs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable

import paddle
from paddle import Tensor


@dataclass(frozen=True)
class Level:
    """One level of the pyramid, as a part of the anchors.

    Attributes:
        anchors: which of the M anchors of an image are this level's.
        locations: H * W.
    """

    anchors: slice
    locations: int


class Anchors:
    """The anchors of feature maps, computed once for each combination of sizes and then kept.

    ppdet's generator orders the anchors of a level by location, then by kind. A convolution's output
    ``[N, A * C, H, W]`` has all locations of one kind together, and so have these anchors: kind, then location.

    Args:
        generator: ppdet's anchor generator. It waits for a GPU, so every new size does.
        kept: the number of sizes that are kept, the latest ones.
    """

    def __init__(self, generator: Callable[[list[Tensor]], list[Tensor]], kept: int = 32) -> None:
        self._generator = generator
        self._kept = kept
        self._by_size: OrderedDict[tuple, tuple[Tensor, list[Level]]] = OrderedDict()

    def __call__(self, outputs: Sequence[Tensor]) -> tuple[Tensor, list[Level]]:
        """The anchors ``[M, 4]`` of all levels as corners in pixels, and which of them belong to each level."""
        size = (paddle.device.get_device(), *(tuple(output.shape[-2:]) for output in outputs))
        if size not in self._by_size:
            self._by_size[size] = self._compute(outputs)
        self._by_size.move_to_end(size)
        if len(self._by_size) > self._kept:
            self._by_size.popitem(last=False)
        return self._by_size[size]

    @paddle.no_grad()
    def _compute(self, outputs: Sequence[Tensor]) -> tuple[Tensor, list[Level]]:
        anchors, levels, start = [], [], 0
        # The generator reads only the sizes; on the CPU, Paddle 2.6 cannot read those of half-precision tensors.
        maps = [paddle.empty([1, 1, *output.shape[-2:]], "float32") for output in outputs]
        for output, level_anchors in zip(outputs, self._generator(maps)):
            locations = output.shape[-2] * output.shape[-1]
            anchors.append(level_anchors.reshape([locations, -1, 4]).transpose([1, 0, 2]).reshape([-1, 4]))
            levels.append(Level(slice(start, start + len(level_anchors)), locations))
            start += len(level_anchors)
        return paddle.concat(anchors), levels
