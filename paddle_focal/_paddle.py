"""Imports Paddle before anything else of the package does, or says what is missing.

zlib comes before it, because Paddle 2.6 exports the functions of a zlib of its own: where Python's is a shared library
and is loaded later, it calls those and crashes.
"""

import warnings
import zlib  # noqa: F401

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ccache, which compiling would be faster with
        import paddle
except ModuleNotFoundError as error:
    if error.name != "paddle":
        raise
    raise ImportError(
        f"paddle_focal needs Paddle ({error}), which does not come along, because the choice is yours: "
        "`pip install paddlepaddle` for the CPU, or the paddlepaddle-gpu that fits your CUDA."
    ) from error

if not hasattr(paddle, "base"):  # which it is called from 2.6 on
    raise ImportError(f"paddle_focal needs Paddle 2.6 or later, but this is {paddle.__version__}.")
