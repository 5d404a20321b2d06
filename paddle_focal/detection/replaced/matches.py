"""What detectors share that match predictions with boxes."""

from __future__ import annotations

from typing import Any

import paddle


def in_float32(values: Any) -> Any:
    """The same tensors, in whatever lists and dictionaries, with half precision made float32."""
    if isinstance(values, dict):
        return {key: in_float32(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [in_float32(value) for value in values]
    is_half = paddle.is_tensor(values) and values.dtype in (paddle.float16, paddle.bfloat16)
    return values.astype("float32") if is_half else values
