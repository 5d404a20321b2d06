"""What Paddle 2.6, and PaddleDetection on it, cannot do, as marks of the tests that need it."""

from __future__ import annotations

import paddle
import pytest

IS_PADDLE_2 = paddle.__version__ < "3"


def _needs_paddle_3(reason: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(IS_PADDLE_2, reason=reason)


needs_empty_tensors = _needs_paddle_3("Paddle 2.6 can neither add up nor differentiate empty tensors")
needs_keywords_in_traces = _needs_paddle_3("the bytecode tracer of Paddle 2.6 loses keyword-only arguments")
needs_boxless_retina_head = _needs_paddle_3("RetinaHead, for comparison, fails without boxes on Paddle 2.6")
