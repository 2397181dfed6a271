"""What a loss does with its samples: their weights, and sums whose order is fixed.

The rule: a sum runs over chunks of 64 in order, so that its bits depend on its length alone, and a
long one keeps its precision.
"""

import numpy as np
from numba.core import errors

from .caching import jit, specialise
from .launch import kernel
from .native import independent_loop, new_vector
from .spread import join_sum, leader, my_range, on_cuda

LANES = 64

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


@on_cuda(add_up)
def _add_up_on_device(values):
    total = values.dtype.type(0)
    for i in my_range(np.uintp(0), np.uintp(len(values))):
        total += values[i]
    return join_sum(total)


@jit(inner=True)
def new_lanes(like):
    """Return the scratch of a lane_sum."""
    return new_vector(like, LANES)


@on_cuda(new_lanes)
def _no_lanes(like):
    return None


def _add_to_lane(first, lane, lanes, args):
    lanes[lane] += term(first + lane, *args)  # noqa: F821  (bound by lane_sum)


def _sum_lanes(first, last, lanes, args):
    step = np.uintp(LANES)
    whole = first + (last - first) // step * step
    lanes[:] = 0
    for place in range(first, whole, step):
        add(np.uintp(0), step, (place,), (lanes, args))  # noqa: F821
    add(np.uintp(0), last - whole, (whole,), (lanes, args))  # noqa: F821
    total = lanes.dtype.type(0)
    for lane in range(min(step, last - first)):
        total += lanes[lane]
    return total


def _sum_strided(first, last, lanes, args):
    total = args[0].dtype.type(0)
    for i in my_range(first, last):
        total += term(i, *args)  # noqa: F821
    return join_sum(total)


def lane_sum(term):
    """Make total(first, last, lanes, args): Σ term(i, *args) over [first, last).

    64 lanes side by side, then the lanes in order; on CUDA a lane of the warp takes every 32nd.
    """
    inner = jit(term, inner=True)
    to_lane = specialise(_add_to_lane, term, "to_lane", term=inner)
    add = independent_loop(jit(to_lane, inner=True), leading=1)
    total = jit(specialise(_sum_lanes, term, "sum_lanes", add=add), inner=True)
    on_cuda(total)(specialise(_sum_strided, term, "sum_strided", term=term))
    return total


@kernel(spread="block")
def weigh_samples(start, stop, scale, sample_weight, size, width, mean):
    """For a mean, scale[0] = 1/(width·Σ sample_weight), or 1/size without weights; else 1."""
    one = scale.dtype.type(1)
    whole = scale.dtype.type(size)
    if sample_weight is not None:
        whole = add_up(sample_weight) * scale.dtype.type(width)
    if leader():
        scale[0] = one / whole if mean else one


@kernel(spread="block")
def sum_losses(start, stop, loss, losses, scale):
    """loss[0] = scale[0]·Σ losses."""
    total = add_up(losses)
    if leader():
        loss[0] = total * scale[0]


def reduction_in_njit(name, reduction):
    """Return which reduction a call inside njit names; it must be a literal."""
    value = getattr(reduction, "literal_value", getattr(reduction, "value", reduction))
    if value not in REDUCTIONS:
        raise errors.TypingError(
            f"{name}: inside njit reduction is one of {sorted(REDUCTIONS)}, spelt out"
        )
    return value
