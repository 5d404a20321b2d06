"""The operators that Paddle runs, as its own profiler sees them."""

from __future__ import annotations

from collections import Counter
from typing import Callable

from paddle.base import core

#: The end of a gradient's way: it is put down with its tensor, or handed to the layer before.
_END = "GradNodeAccumulation"


def operators(call: Callable[[], object]) -> Counter[str]:
    """How often each operator is run by a call; in a backward pass, each node of the graph."""
    options = core.ProfilerOptions()
    options.trace_switch = 1  # the host
    profiler = core._Profiler.create(options, [])
    profiler.prepare()
    profiler.start()
    call()
    found: Counter[str] = Counter()
    result = profiler.stop()  # to which the nodes belong
    nodes = list(result.get_data().values())
    while nodes:
        node = nodes.pop()
        nodes += node.children_node
        if node.type == core.TracerEventType.Operator and not node.name.endswith(_END):
            found[node.name.removesuffix(" dygraph")] += 1
    return found
