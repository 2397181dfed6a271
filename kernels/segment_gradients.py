"""The derivatives of segments that were normalised; the formulas are those of segments.py.

The rule: the mean that the forward left was rounded; where it is large, what rounding took away is
found anew, as Σ dy·(x - mean) would carry it into dγ.
"""

import math

import numpy as np

from .batch_gradients import is_far
from .caching import jit
from .columns import rows_of
from .lanes import lane_sums
from .launch import kernel
from .native import independent_loop
from .segments import measure, near_or_far, one_more, sum_distances
from .spread import leader, my_range


@jit(inner=True)
def _lost(left, right, x, row, mean, centre, scale):
    """Return the mean of x - centre, which is not 0 where a large mean was rounded."""
    if mean is not None and is_far(centre, scale):
        return sum_distances(left, right, x, (x, row, centre)) / type(scale)(right - left)
    return type(scale)(0)


@jit(inner=True)
def _slopes(total, product, away, width, count, scale):
    """Return a, b, c of dx = a·g + (b·(x - centre) + c), and s of x̂ = (x - centre)·a + s.

    total = Σg, product = Σg·(x - centre), and `away` is how far the centre is from the mean.
    """
    x_hat = (product - away * total) * scale
    b = -(x_hat / count) * scale * scale
    return scale, b, -scale * total / width - b * away, -away * scale


def _column_terms(i, dy, x, gamma, row, mean, centre):
    g = gamma[i] * dy[row, i]
    away = x[row, i] - centre
    if mean is None:
        return type(g)(0), g * away
    return g, g * away


_sum_columns = lane_sums(_column_terms, 2)


@jit(inner=True)
def _numbers_of(k, width, groups, dy, x, gamma, mean, rstd):
    """Return the centre of a row's group, and its slopes."""
    row, left = k // groups, k % groups * width
    right, scale = left + width, rstd[k]
    centre = type(scale)(0)
    if mean is not None:
        centre = mean[k]
    count = type(scale)(width)
    total, product = _sum_columns(left, right, x, (dy, x, gamma, row, mean, centre))
    away = _lost(left, right, x, row, mean, centre, scale)
    return centre, *_slopes(total, product, away, count, count, scale)


def _turn_column(chunk, row, column, sums, products, dx, dy, x, gamma, numbers):
    centre, a, b, c, s = numbers
    d, away = dy[row, column], x[row, column] - centre
    dx[row, column] = a * (gamma[column] * d) + (b * away + c)
    products[chunk, column] += d * (away * a + s)
    if sums is not None:
        sums[chunk, column] += d


_turn_columns = independent_loop(jit(_turn_column, inner=True), leading=2)


@jit(inner=True)
def _turn_group(k, numbers, chunk, width, groups, sums, products, dx, dy, x, gamma):
    row, left = k // groups, k % groups * width
    place = (sums, products, dx, dy, x, gamma, numbers)
    _turn_columns(left, left + width, (chunk, row), place)


@jit(inner=True)
def _begin_chunk(chunk, sums, products, x, groups):
    """Clear a chunk's sums; return how wide a group is, the chunk's first group and its end."""
    columns = np.uintp(x.shape[1])
    width = max(np.uintp(1), columns // groups)
    first, last = rows_of(chunk, x.shape[0])
    for left in range(np.uintp(0), columns, width):  # on CUDA each column's owner is below's
        for column in my_range(left, left + width):
            products[chunk, column] = 0
            if sums is not None:
                sums[chunk, column] = 0
    return width, first * groups, last * groups


def differentiate_rows(start, stop, dx, sums, products, dy, x, gamma, mean, rstd, groups):
    """Chunks of 64 rows, whose channels have one number each: dx, and columns' Σ dy and Σ dy·x̂."""
    parts = np.uintp(groups)
    for chunk in range(np.uintp(start), np.uintp(stop)):
        width, first, last = _begin_chunk(chunk, sums, products, x, parts)
        for k in range(first, last):
            numbers = _numbers_of(k, width, parts, dy, x, gamma, mean, rstd)
            _turn_group(k, numbers, chunk, width, parts, sums, products, dx, dy, x, gamma)


def differentiate_near_rows(start, stop, dx, sums, products, dy, x, gamma, mean, rstd, groups):
    """As differentiate_rows, one group ahead."""
    parts, one, zero = np.uintp(groups), np.uintp(1), x.dtype.type(0)
    here = zero, zero, zero, zero, zero
    for chunk in range(np.uintp(start), np.uintp(stop)):
        width, first, last = _begin_chunk(chunk, sums, products, x, parts)
        for k in one_more(first, last):
            after = _numbers_of(min(k, last - one), width, parts, dy, x, gamma, mean, rstd)
            if k > first:
                _turn_group(k - one, here, chunk, width, parts, sums, products, dx, dy, x, gamma)
            here = after


differentiate_in_rows = near_or_far(
    differentiate_near_rows,
    differentiate_rows,
    cost=lambda dx, *_: 16.0 * dx.shape[1] + 3000.0,
)


@kernel(cost=lambda dgamma, dbeta, sums, products: 0.3 * len(products))
def end_products(start, stop, dgamma, dbeta, sums, products):
    """Sum the chunks up to dγ and dβ, in order."""
    for column in range(np.uintp(start), np.uintp(stop)):
        dgamma[column] = 0
        if sums is not None:
            dbeta[column] = 0
    for chunk in range(np.uintp(products.shape[0])):
        for column in range(np.uintp(start), np.uintp(stop)):
            dgamma[column] += products[chunk, column]
            if sums is not None:
                dbeta[column] += sums[chunk, column]


def _channel_terms(i, dy, x, segment, centre):
    return dy[segment, i], dy[segment, i] * (x[segment, i] - centre)


def _unit_terms(i, dy, x, segment):
    return x[segment, i] * x[segment, i], dy[segment, i] * x[segment, i]


_sum_channel, _sum_unit = lane_sums(_channel_terms, 2), lane_sums(_unit_terms, 2)


def _turn_channel(segment, i, dx, dy, x, centre, slope, b, c):
    dx[segment, i] = slope * dy[segment, i] + (b * (x[segment, i] - centre) + c)


_turn_channels = independent_loop(jit(_turn_channel, inner=True), leading=1)


@jit(inner=True)
def _numbers_of_segment(segment, sums, products, dy, x, gamma, mean, rstd, groups, length):
    """Put Σ dy and Σ dy·(x - centre) of each channel; return the centre and the slopes."""
    size, channels = np.uintp(length), np.uintp(products.shape[1])
    first, width = segment % np.uintp(groups) * channels, x.dtype.type(x.shape[1])
    centre, scale = mean[segment], rstd[segment]
    total = product = type(scale)(0)
    for k in range(channels):
        d, p = _sum_channel(k * size, k * size + size, x, (dy, x, segment, centre))
        if leader():
            sums[segment, k], products[segment, k] = d, p
        total += gamma[first + k] * d
        product += gamma[first + k] * p
    away = _lost(np.uintp(0), np.uintp(x.shape[1]), x, segment, mean, centre, scale)
    return centre, *_slopes(total, product, away, width, width, scale)


@jit(inner=True)
def _turn_segment(segment, numbers, dx, sums, products, dy, x, gamma, groups, length):
    """Set dx, and make of the products of each channel Σ dy·x̂."""
    centre, a, b, c, s = numbers
    size, channels = np.uintp(length), np.uintp(products.shape[1])
    first = segment % np.uintp(groups) * channels
    for k in range(channels):
        place = (dx, dy, x, centre, a * gamma[first + k], b, c)
        _turn_channels(k * size, k * size + size, (segment,), place)
        if leader():
            products[segment, k] = products[segment, k] * a + s * sums[segment, k]


@kernel(cost=lambda dx, *_: 0.3 * dx.shape[1] + 40.0, spread="warp")
def differentiate_segments(
    start, stop, dx, sums, products, dy, x, gamma, mean, rstd, groups, length
):
    """dx of segments, and of each of their channels Σ dy and Σ dy·x̂."""
    for k in range(np.uintp(start), np.uintp(stop)):
        numbers = _numbers_of_segment(k, sums, products, dy, x, gamma, mean, rstd, groups, length)
        _turn_segment(k, numbers, dx, sums, products, dy, x, gamma, groups, length)


@jit(inner=True)
def _numbers_of_unit(unit, dw, v, mean):
    """Return the centre of a unit's weights, a, b and c of dv, and dg."""
    zero, columns, one = np.uintp(0), np.uintp(v.shape[1]), v.dtype.type(1)
    centre = total = away = v.dtype.type(0)
    if mean is None:
        square, product = _sum_unit(zero, columns, v, (dw, v, unit))
        scale = one / math.sqrt(square)
    else:
        shift, distance, scale = measure(unit, v, mean, one, v.dtype.type(0))
        centre = shift + distance
        total, product = _sum_channel(zero, columns, v, (dw, v, unit, centre))
        away = _lost(zero, columns, v, unit, mean, centre, scale)
    a, b, c, _ = _slopes(total, product, away, v.dtype.type(v.shape[1]), one, scale)
    return centre, a, b, c, (product - away * total) * scale


@jit(inner=True)
def _turn_unit(unit, numbers, dv, dg, dw, v, g):
    centre, a, b, c, slope = numbers
    if leader():
        dg[unit] = slope
    place = (dv, dw, v, centre, a * g[unit], g[unit] * b, g[unit] * c)
    _turn_channels(np.uintp(0), np.uintp(v.shape[1]), (unit,), place)


def differentiate_units(start, stop, dv, dg, dw, v, g, mean):
    """dv and dg of units whose weights have the norm g; mean: scratch, or None without one."""
    for k in range(np.uintp(start), np.uintp(stop)):
        _turn_unit(k, _numbers_of_unit(k, dw, v, mean), dv, dg, dw, v, g)


def differentiate_near_units(start, stop, dv, dg, dw, v, g, mean):
    """As differentiate_units, one unit ahead."""
    first, last, one, zero = np.uintp(start), np.uintp(stop), np.uintp(1), v.dtype.type(0)
    here = zero, zero, zero, zero, zero
    for k in one_more(first, last):
        after = _numbers_of_unit(min(k, last - one), dw, v, mean)
        if k > first:
            _turn_unit(k - one, here, dv, dg, dw, v, g)
        here = after


differentiate_in_units = near_or_far(
    differentiate_near_units,
    differentiate_units,
    cost=lambda dv, *_: 0.3 * dv.shape[1] + 40.0,
)
