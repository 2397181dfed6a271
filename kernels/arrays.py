"""Checks of arrays and numbers, and the wording of every error, so that all messages rhyme.

The rule: each check raises before anything is written, as `operation: argument has ..., expected
...`; ValueError for values and shapes, TypeError for kinds.
"""

import math

import numpy as np
from numba import types
from numba.extending import overload

from .device import DeviceArray, adopt, empty, from_host, is_foreign, phantom
from .recording import current

ARRAYS = (np.ndarray, DeviceArray)
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
LINE = 64  # bytes of a cache line


def is_number(value):
    """Tell whether `value` is a Python or NumPy number; booleans are not."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def is_array(value):
    """Tell whether `value` is an array of ours: a NumPy array, or a DeviceArray."""
    return isinstance(value, ARRAYS)


def check_array(operation, name, value):
    """Return `value` as a NumPy or device array; refuse what is no plain, aligned array."""
    if is_foreign(value):
        value = adopt(value)
    if not is_array(value) or isinstance(value, np.ma.MaskedArray):
        kind = type(value).__name__
        raise TypeError(f"{operation}: {name} is a {kind}, expected a NumPy array")
    if not value.flags.aligned:
        raise ValueError(f"{operation}: {name} is not aligned in memory, expected an aligned array")
    return value


def check_one_device(operation, named):
    """Refuse arrays of several devices; `named` are pairs (name, array or None)."""
    first = None
    for name, value in named:
        if not is_array(value):
            continue
        if first is None:
            first = name, value
        elif device_of(value) is not device_of(first[1]):
            raise ValueError(
                f"{operation}: {first[0]} {_place(first[1])} and {name} {_place(value)}, "
                "expected one device"
            )


def device_of(array):
    """Return the CUDA device of an array, None for NumPy's."""
    return array.device if isinstance(array, DeviceArray) else None


def _place(array):
    return "is on cuda" if isinstance(array, DeviceArray) else "is a NumPy array"


def new(like, shape, dtype):
    """Return a new array where `like` lives, its values not set; at a cache line if recorded."""
    device = device_of(like)
    if device is not None:
        return empty(device, shape, dtype)
    if current() is None:  # a call from Python ends sooner without
        return np.empty(shape, dtype)
    return _aligned(np.empty, shape, dtype)


def _aligned(make, shape, dtype):
    """Make an array that begins at a cache line: vectors astride two of them load at half speed.

    NumPy promises 16 bytes; with 64 the step of a small net takes 3 to 12 % less. Takes 2 us.
    """
    size = math.prod(shape) if isinstance(shape, tuple) else int(shape)
    size *= np.dtype(dtype).itemsize
    if size < LINE:
        return make(shape, dtype)
    memory = make(size + LINE, np.uint8)
    return np.ndarray(shape, dtype, memory, -memory.__array_interface__["data"][0] % LINE)


def readable(array):
    """Return an array that NumPy can read; None on CUDA while recording, when no one may wait."""
    if not isinstance(array, DeviceArray):
        return array
    return array.copy_to_host() if current() is None else None


def zeros(like, shape, dtype):
    """Return zeros where `like` lives."""
    return put(like, _aligned(np.zeros, shape, dtype))


def on_host(array):
    """Return an array as NumPy's; of a CUDA array, another library's too, a copy."""
    if is_foreign(array):
        array = adopt(array)
    return array.copy_to_host() if isinstance(array, DeviceArray) else array


def assign(target, source):
    """Copy the values of `source`, wherever it lives, into `target`, wherever that lives."""
    target[...] = source if isinstance(target, DeviceArray) else on_host(source)


def put(like, array):
    """Return a NumPy array where `like` lives: as it is, or a copy on the device."""
    device = device_of(like)
    return array if device is None else from_host(device, array)


def scratch(like, shape):
    """Return a new array of the dtype of `like`, where it lives; in run functions, and in njit."""
    return new(like, shape, like.dtype)


@overload(scratch)
def _scratch_in_njit(like, shape):
    def make(like, shape):
        return np.empty(shape, like.dtype)

    return make if isinstance(like, types.Array) else None


def check_float(operation, name, value, dtype=None, like=None):
    """Refuse arrays that are not float32 or float64, or not of the precision of the others."""
    if value.dtype not in FLOATS:
        raise TypeError(f"{operation}: {name} has dtype {value.dtype}, expected float32 or float64")
    if dtype is not None and value.dtype != dtype:
        raise TypeError(
            f"{operation}: {name} has dtype {value.dtype}, expected {dtype} as {like} has"
        )


def check_dtype(operation, name, value, dtype):
    """Refuse an array of another dtype."""
    if value.dtype != dtype:
        raise TypeError(f"{operation}: {name} has dtype {value.dtype}, expected {np.dtype(dtype)}")


def check_shape(operation, name, shape, expected):
    """Refuse a shape unlike the expected one, whose unknown sizes are given as letters."""
    if len(shape) != len(expected) or any(
        isinstance(want, int) and have != want for have, want in zip(shape, expected, strict=True)
    ):
        raise ValueError(f"{operation}: {name} has shape {shape}, expected {spell(expected)}")


def may_lack(dims):
    """Tell whether the last of these sizes may be missing: (N, C, L?)."""
    return bool(dims) and isinstance(dims[-1], str) and dims[-1].endswith("?")


def spell(shape):
    """Spell a shape whose sizes are numbers or letters, as Python spells a tuple."""
    if may_lack(shape):
        return f"{spell(shape[:-1])} or {spell((*shape[:-1], shape[-1][:-1]))}"
    inner = ", ".join(map(str, shape))
    return f"({inner},)" if len(shape) == 1 else f"({inner})"


def check_writable(operation, name, value):
    """Refuse a read-only array that would be written."""
    if not value.flags.writeable:
        raise ValueError(f"{operation}: {name} is read-only, expected a writable array")


def check_apart(operation, name, written, others, may_equal):
    """Refuse a written array that shares memory with another, unless it may be exactly that."""
    written = phantom(written)
    for other_name, other in others:
        other = phantom(other)
        allowed = may_equal is True or other_name in may_equal
        if not np.may_share_memory(written, other) or (allowed and _exactly(written, other)):
            continue
        if _share(written, other):
            wanted = f"exactly {other_name} or an array apart" if allowed else "a separate array"
            raise ValueError(
                f"{operation}: {name} overlaps {other_name} in memory, expected {wanted}"
            )


def _exactly(a, b):
    return a is b or (
        a.shape == b.shape
        and a.strides == b.strides
        and a.__array_interface__["data"][0] == b.__array_interface__["data"][0]
    )


def _share(a, b):
    try:
        return np.shares_memory(a, b, max_work=10_000)
    except np.exceptions.TooHardError:
        return True


def check_fraction(operation, name, value):
    """Refuse what is not in [0, 1)."""
    check_number(operation, name, value)
    if not 0 <= value < 1:
        raise ValueError(f"{operation}: {name} is {value}, expected 0 <= {name} < 1")


def check_number(operation, name, value):
    """Refuse what is no number."""
    if not is_number(value):
        raise TypeError(f"{operation}: {name} is a {type(value).__name__}, expected a number")


def check_at_least(operation, name, value, least, *, strictly=False):
    """Refuse a number below `least` (or equal to it, if strictly) and NaN."""
    check_number(operation, name, value)
    if not (value > least if strictly else value >= least):
        sign = ">" if strictly else ">="
        raise ValueError(f"{operation}: {name} is {value}, expected {name} {sign} {least}")


def check_integer(operation, name, value, least=None):
    """Refuse what is not a whole number, or lies below `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{operation}: {name} is a {type(value).__name__}, expected an integer")
    if least is not None and value < least:
        raise ValueError(f"{operation}: {name} is {value}, expected {name} >= {least}")


def check_known(operation, value, known, what="name"):
    """Refuse a name that is not among the known ones, and list them."""
    if value not in known:
        raise ValueError(f"{operation}: unknown {what} {value!r}, expected one of {sorted(known)}")
