"""Segments of rows, each normalised by its own mean and spread; and the derivatives.

An array (N, C) or (N, C, L) is seen as S segments of `width` numbers: a whole row (layer, RMS), a
group of channels, one channel (instance), or the weights of one unit. Of each segment

    y = γ·x̂ + β,   x̂ = (x - mean)·rstd,   rstd = 1/√(Σ(x - mean)²/n + ε)

where n is the width, or 1 where the norm is meant; `mean` is None where none is taken away. With
g = γ·dy the derivatives are

    dx = rstd·(g - Σg/width - x̂·Σ(g·x̂)/n),   dγ = Σ dy·x̂,   dβ = Σ dy.

γ and β have a number for each channel. A segment holds `channels` of them, of `length` numbers
each, and `groups` segments make a row of channels.

The rule: a segment's numbers depend on nothing beside it. Moments are taken over the distances from
its first number, and the mean that backward is given was rounded: what that took away is found
anew; so rows with mean 1e6 and standard deviation 1 come right in float32.
"""

import math

import numpy as np
from numba.extending import register_jitable

from .caching import jit
from .lanes import lane_sums
from .launch import kernel
from .native import independent_loop
from .spread import leader

NEAR = 512  # numbers of two segments that stay in the nearest cache, with all that goes with them


def near_or_far(near, far, cost):
    """Make run(size, width, *args): a kernel that goes one segment ahead, where two are near.

    `width` counts the numbers of a segment that are read.

    What is to know of a segment takes its time (sums joined, a root, a division), in which little
    else is done: going ahead takes 3 to 30 % less, but a third more where the cache is too small.
    On CUDA a warp has one segment.
    """
    ahead, alone = kernel(near, cost=cost, spread="warp"), kernel(far, cost=cost, spread="warp")
    ahead.use_on_device(alone)

    @register_jitable
    def run(size, width, *args):
        if width <= NEAR:
            ahead(size, *args)
        else:
            alone(size, *args)

    return run


@jit(inner=True)
def one_more(first, last):
    """Return the rounds of a loop that goes one ahead: one more than segments, if there are any."""
    return range(first, last + np.uintp(last > first))


def _distance(i, x, segment, shift):
    return x[segment, i] - shift


def _square(i, x, segment, shift, distance):
    away = (x[segment, i] - shift) - distance
    return away * away


sum_distances, _sum_squares = lane_sums(_distance), lane_sums(_square)


@jit(inner=True)
def measure(segment, x, mean, count, eps):
    """Return the segment's first number, the mean distance from there, and rstd."""
    zero, columns, kind = np.uintp(0), np.uintp(x.shape[1]), type(eps)
    shift = distance = kind(0)
    if mean is not None:
        if columns > zero:
            shift = x[segment, zero]
        distance = sum_distances(zero, columns, x, (x, segment, shift)) * (kind(1) / kind(columns))
    square = _sum_squares(zero, columns, x, (x, segment, shift, distance))
    return shift, distance, kind(1) / math.sqrt(square * (kind(1) / count) + eps)


@jit(inner=True)
def _level(beta, channel, away):
    if beta is None:
        return -away
    return beta[channel] - away


def _write_column(segment, first, i, y, x, gamma, beta, shift, distance, scale):
    slope = gamma[first + i] * scale
    y[segment, i] = (x[segment, i] - shift) * slope + _level(beta, first + i, distance * slope)


def _write_channel(segment, i, y, x, shift, slope, level):
    y[segment, i] = (x[segment, i] - shift) * slope + level


_write_columns = independent_loop(jit(_write_column, inner=True), leading=2)
_write_channels = independent_loop(jit(_write_channel, inner=True), leading=1)


@jit(inner=True)
def _write(segment, moments, y, mean, rstd, x, gamma, beta, groups, channels, length):
    shift, distance, scale = moments
    if leader():
        rstd[segment] = scale
        if mean is not None:
            mean[segment] = shift + distance
    first, size = segment % np.uintp(groups) * np.uintp(channels), np.uintp(length)
    if length == 1:
        numbers = (y, x, gamma, beta, shift, distance, scale)
        _write_columns(np.uintp(0), np.uintp(channels), (segment, first), numbers)
    else:
        for k in range(np.uintp(channels)):
            slope = gamma[first + k] * scale
            level = _level(beta, first + k, distance * slope)
            here = k * size
            _write_channels(here, here + size, (segment,), (y, x, shift, slope, level))


def normalize_segments(
    start, stop, y, mean, rstd, x, gamma, beta, groups, channels, length, count, eps
):
    """y, mean and rstd of each segment."""
    for k in range(np.uintp(start), np.uintp(stop)):
        moments = measure(k, x, mean, count, eps)
        _write(k, moments, y, mean, rstd, x, gamma, beta, groups, channels, length)


def normalize_near_segments(
    start, stop, y, mean, rstd, x, gamma, beta, groups, channels, length, count, eps
):
    """As normalize_segments, one ahead: while moments are found the segment before is written."""
    first, last, one, zero = np.uintp(start), np.uintp(stop), np.uintp(1), type(eps)(0)
    here = zero, zero, zero
    for k in one_more(first, last):
        after = measure(min(k, last - one), x, mean, count, eps)
        if k > first:
            _write(k - one, here, y, mean, rstd, x, gamma, beta, groups, channels, length)
        here = after


normalize = near_or_far(
    normalize_near_segments,
    normalize_segments,
    cost=lambda y, mean, rstd, x, *_: 0.3 * x.shape[1] + 20.0,
)
