"""Numba's calling convention for CUDA kernels: arguments as the words that a launch passes.

The rule: nothing here needs a GPU, so that tests compare it with what Numba itself passes.
"""

import ctypes
import inspect

import numpy as np
from numba import types

from .device import DeviceArray

_C_TYPES = {
    "float32": ctypes.c_float,
    "float64": ctypes.c_double,
    **{
        f"{sign}int{bits}": getattr(ctypes, f"c_{sign}int{bits}")
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
}


def flatten(kinds, args):
    """Return the words and numbers that a compiled kernel takes for these arguments."""
    flat = []
    for kind, arg in zip(kinds, args, strict=True):
        if isinstance(arg, DeviceArray):
            layout = arg.layout
            flat += (0, 0, layout.size, layout.itemsize, arg.pointer)
            flat += layout.shape
            flat += layout.strides
        elif arg is None:
            flat.append(0)
        elif isinstance(arg, bool | np.bool_):
            flat.append(bool(arg))
        else:
            flat.append(_C_TYPES[kind.name](arg.item() if isinstance(arg, np.generic) else arg))
    return flat


def signature_of(function, kinds):
    """Return the signature of a kernel: that of (size, *args) where it takes any number of them."""
    if function.__code__.co_flags & inspect.CO_VARARGS:
        return types.int64, types.StarArgTuple.from_types(tuple(kinds))
    return tuple(kinds)
