"""What older Paddles, and PaddleDetection on them, cannot do, as marks of the tests that need it."""

from __future__ import annotations

import paddle
import pytest

IS_PADDLE_2 = paddle.__version__ < "3"


def _needs_paddle_3(reason: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(IS_PADDLE_2, reason=reason)


needs_empty_tensors = _needs_paddle_3("Paddle 2.6 can neither add up nor differentiate empty tensors")
needs_keywords_in_traces = _needs_paddle_3("the bytecode tracer of Paddle 2.6 loses keyword-only arguments")
#: Paddle up to 3.0 takes float32 numbers up to 1e-8 apart as equal.
COMPARES_EXACTLY = not bool(paddle.to_tensor(1e-9) == 0.0)


def _joins_nothing() -> bool:
    try:
        paddle.concat([paddle.zeros([0, 4])] * 2)
    except ValueError:
        return False
    return True


needs_boxless_retina_head = pytest.mark.skipif(
    not _joins_nothing(), reason="RetinaHead, for comparison, fails without boxes on Paddle up to 3.0"
)
