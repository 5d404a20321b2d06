"""``csrc/focal.h`` in Python: its functions, numbers and structs.

Imports nothing but the standard library, so that it can be loaded by its path where Paddle is missing.
"""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path

REMEDY = "build it with `python -m paddle_focal.build`"
#: What the passes return.
OK, INVALID_LABEL, FAILED = range(3)
#: Number formats.
FORMATS = {name: number for number, name in enumerate(("float16", "bfloat16", "float32", "float64", "int32", "int64"))}
#: FocalArray; and the parts of FocalLossParams: logit, label and score, two scales, weight, and the numbers after them.
ARRAY = struct.Struct("Pq")
ARRAYS, SCALES, WEIGHT, NUMBERS = (struct.Struct(layout) for layout in ("PqPqPq", "dPqdPq", "Pq3q", "4q3d2q"))
#: FocalAssignment and FocalAssigned.
ASSIGNMENT, ASSIGNED = struct.Struct("PPPqP2q3d3q"), struct.Struct("4P")

_POINTER = ctypes.c_void_p
_PAIR = (_POINTER, _POINTER, ctypes.c_int64, ctypes.c_int64, ctypes.c_double)
#: By function, the types of its result and of its arguments. Structs travel as bytes.
_FUNCTIONS = {
    "focal_forward": (ctypes.c_int, (ctypes.c_char_p, _POINTER, _POINTER)),
    "focal_backward": (ctypes.c_int, (ctypes.c_char_p, ctypes.c_char_p, _POINTER)),
    "focal_multiply": (ctypes.c_int, (_POINTER, ctypes.c_int64, ctypes.c_int64, ctypes.c_double)),
    "focal_joint_forward": (ctypes.c_int, (*_PAIR, _POINTER)),
    "focal_joint_backward": (ctypes.c_int, (*_PAIR, _POINTER, _POINTER, _POINTER)),
    "focal_count_ones": (ctypes.c_int64, (ctypes.c_char_p, ctypes.c_int64)),
    "focal_assign": (ctypes.c_int, (ctypes.c_char_p, ctypes.c_char_p)),
    "focal_gpu_kernel": (ctypes.c_char_p, (ctypes.c_int64,)),
    "focal_gpu_workspace": (ctypes.c_int64, (ctypes.c_char_p,)),
    "focal_gpu_forward": (ctypes.c_int, (ctypes.c_char_p, ctypes.c_char_p, _POINTER, _POINTER, _POINTER)),
    "focal_gpu_backward": (ctypes.c_int, (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, _POINTER, _POINTER)),
    "focal_gpu_assign": (ctypes.c_int, (*(ctypes.c_char_p,) * 3, _POINTER)),
    "focal_allocate": (_POINTER, (ctypes.c_int64,)),
    "focal_release": (None, (_POINTER, ctypes.c_int64)),
    "focal_use_openmp": (None, (_POINTER,) * 4),
    "focal_max_threads": (ctypes.c_int, ()),
    "focal_instruction_set": (ctypes.c_char_p, ()),
    "focal_error": (ctypes.c_char_p, ()),
    "focal_fingerprint": (ctypes.c_char_p, ()),
}


class UnavailableError(RuntimeError):
    """The native library cannot serve; the message says why and what to do."""


def load(path: Path) -> ctypes.CDLL:
    """The library of a file, with its functions declared.

    Raises:
        UnavailableError: it cannot be loaded.
    """
    try:
        loaded = ctypes.CDLL(str(path))
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise UnavailableError(f"the native library cannot be loaded ({error}): {REMEDY}") from error
    return loaded


def kernel_names(loaded: ctypes.CDLL) -> list[str]:
    """The kernels for GPUs, in the order in which the library takes them."""
    names = []
    while name := loaded.focal_gpu_kernel(len(names)):
        names.append(name.decode())
    return names
