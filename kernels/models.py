"""What the intrinsics that both targets share do, in Python: for the emulator of CUDA kernels.

The rule: a model gives the bits that the compiled intrinsic gives, but for fused multiply-adds.
"""

import numpy as np

_INTEGERS = {np.float32: np.int32, np.float64: np.int64}


def _kind(x):
    return np.float32 if type(x) is np.float32 else np.float64


def _wrapped(integer, kind):
    """Return the low bits of an integer as a signed one of this type."""
    return np.array([int(integer) & 0xFFFFFFFFFFFFFFFF], np.uint64).view(np.int64).astype(kind)[0]


def _cast(value, kind):
    if isinstance(value, tuple):
        return tuple(kind(item) for item in value)
    if isinstance(value, int | np.integer):
        return _wrapped(value, _INTEGERS[kind])
    return kind(value)


def _choose(x, single, double):
    kind = _kind(x)
    return _cast(single if kind is np.float32 else double, kind)


def _bits(x):
    kind = _kind(x)
    return kind(x).view(_INTEGERS[kind])


def _from_bits(integer, like):
    kind = _kind(like)
    return _wrapped(integer, _INTEGERS[kind]).view(kind)


def _narrow(integer, like):
    return _wrapped(integer, _INTEGERS[_kind(like)])


def _polynomial(x, coefficients):
    kind = _kind(x)
    total = kind(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total * kind(x) + kind(coefficient)
    return total


def _fused(x, y, z):
    return x * y + z


SHARED = {
    "choose": _choose,
    "bits": _bits,
    "from_bits": _from_bits,
    "narrow": _narrow,
    "polynomial": _polynomial,
    "fused": _fused,
}
