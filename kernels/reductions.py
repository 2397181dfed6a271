"""What a loss does with its samples: their weights, and sums whose order is fixed.

The rule: a sum runs over chunks of 64 in order, so that its bits depend on its length alone, and a
long one keeps its precision.
"""

import numpy as np
from numba.core import errors

from .caching import jit
from .launch import kernel

REDUCTIONS = ("mean", "sum", "none")


@jit(inner=True)
def at(weights, i, one):
    """Return weights[i], or one where there are no weights."""
    if weights is None:
        return one
    return weights[i]


@jit(inner=True)
def add_up(values):
    """Sum a vector by chunks of 64, so that a long one keeps its precision."""
    total = values.dtype.type(0)
    for first in range(np.uintp(0), np.uintp(len(values)), np.uintp(64)):
        part = values.dtype.type(0)
        for i in range(first, min(np.uintp(len(values)), first + np.uintp(64))):
            part += values[i]
        total += part
    return total


@kernel
def weigh_samples(start, stop, scale, sample_weight, size, width, mean):
    """For a mean, scale[0] = 1/(width·Σ sample_weight), or 1/size without weights; else 1."""
    one = scale.dtype.type(1)
    whole = scale.dtype.type(size)
    if sample_weight is not None:
        whole = add_up(sample_weight) * scale.dtype.type(width)
    scale[0] = one / whole if mean else one


@kernel
def sum_losses(start, stop, loss, losses, scale):
    """loss[0] = scale[0]·Σ losses."""
    loss[0] = add_up(losses) * scale[0]


def reduction_in_njit(name, reduction):
    """Return which reduction a call inside njit names; it must be a literal."""
    value = getattr(reduction, "literal_value", getattr(reduction, "value", reduction))
    if value not in REDUCTIONS:
        raise errors.TypingError(
            f"{name}: inside njit reduction is one of {sorted(REDUCTIONS)}, spelt out"
        )
    return value
