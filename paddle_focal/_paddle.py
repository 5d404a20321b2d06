"""Imports Paddle before the rest of the package does, or says what is missing.

The package has imported Python's zlib by then, because Paddle 2.6 exports the functions of its own copy of zlib: where
Python's zlib is a shared library and is loaded after Paddle, it calls Paddle's functions and crashes.
"""

import warnings

from paddle_focal import _interrupt

try:
    with _interrupt.at_once(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Paddle's warning that ccache, which would speed up compiling, is missing
        import paddle
except ModuleNotFoundError as error:
    if error.name != "paddle":
        raise
    raise ImportError(
        f"paddle_focal needs Paddle ({error}), which does not come along, because the choice is yours: "
        "`pip install paddlepaddle` for the CPU, or the paddlepaddle-gpu that fits your CUDA."
    ) from error

if not hasattr(paddle, "base"):  # the module has this name from Paddle 2.6 on
    raise ImportError(f"paddle_focal needs Paddle 2.6 or later, but this is {paddle.__version__}.")
