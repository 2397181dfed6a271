"""The backward of batch normalisation; the formulas are those of batch_normalization.py.

The rule: the mean that the forward left was rounded; where it is large, what rounding took away is
found anew, as Σ dy·(x - mean) would carry it into dγ.
"""

import numpy as np
from numba.extending import register_jitable

from .arrays import scratch
from .caching import jit
from .columns import (
    BLOCK,
    CACHED,
    as_rows,
    chunk_scratch,
    fold,
    length_of,
    tile,
    tile_columns,
    tiles_of,
)
from .launch import kernel
from .loops import for_each
from .operations import operation
from .reductions import new_lanes
from .spread import leader, my_range
from .streaming import for_each_value

FAR = 64  # standard deviations from 0 beyond which a rounded mean would blur dγ


@jit(inner=True)
def is_far(mean, rstd):
    """Tell whether a mean is so large that what its rounding took away counts."""
    return abs(mean) * rstd > type(mean)(FAR)


@jit(inner=True)
def _passed(dy, y, row, column):
    """Return the part of dy that a ReLU after the normalisation let through; y is None without."""
    d = dy[row, column]
    if y is None:
        return d
    value = y[row, column]
    return type(d)(0) if value <= 0 else d


@kernel(
    cost=lambda sums, products, lost, dy, *_: 12.0 * min(BLOCK, dy.shape[1]),
    spread="cells",
    columns=tile_columns,
)
def _measure_gradients(start, stop, sums, products, lost, dy, x, mean, rstd, y):
    """For each tile's columns: Σ dy, Σ dy·(x - mean); of far ones also Σ (x - mean)."""
    four = np.uintp(4)
    for item in range(np.uintp(start), np.uintp(stop)):
        chunk, first, whole, last, left, right = tile(item, x)
        for column in my_range(left, right):
            sums[chunk, column], products[chunk, column] = 0, 0
        grouped = whole if x.size <= CACHED else first
        for row in range(first, grouped, four):
            for column in my_range(left, right):
                total, product = sums[chunk, column], products[chunk, column]
                for k in range(four):
                    d = _passed(dy, y, row + k, column)
                    total += d
                    product += d * (x[row + k, column] - mean[column])
                sums[chunk, column], products[chunk, column] = total, product
        for row in range(grouped, last):
            for column in my_range(left, right):
                d = _passed(dy, y, row, column)
                sums[chunk, column] += d
                products[chunk, column] += d * (x[row, column] - mean[column])
        far = False
        for column in my_range(left, right):
            far |= is_far(mean[column], rstd[column])
        if far:
            for column in my_range(left, right):
                lost[chunk, column] = 0
            for row in range(first, last):
                for column in my_range(left, right):
                    lost[chunk, column] += x[row, column] - mean[column]


@jit(inner=True)
def _add_chunks(first, last, totals, sums, products, lost):
    """totals[0], [1], [2] = Σ over chunks of sums, products, lost."""
    for k in range(3):
        for i in my_range(first, last):
            totals[k, i] = 0
    for chunk in range(np.uintp(sums.shape[0])):
        for i in my_range(first, last):
            totals[0, i] += sums[chunk, i]
            totals[1, i] += products[chunk, i]
            totals[2, i] += lost[chunk, i]


@jit(inner=True)
def _slope_of(total, product, lost, gamma, mean, rstd, count):
    """Return dγ and the three numbers of dx = a·dy + (b·(x - mean) + c)."""
    kind = type(gamma)
    away = lost / count if is_far(mean, rstd) else kind(0)  # else nobody has summed it
    dgamma = (product - away * total) * rstd
    a = gamma * rstd
    b = -a * rstd * dgamma / count
    return dgamma, a, b, -a * total / count - b * away


@kernel(cost=lambda dgamma, dbeta, slope, sums, *_: 1.0 + len(sums))
def _end_backward(
    start, stop, dgamma, dbeta, slope, sums, products, lost, gamma, mean, rstd, count
):
    """Sum up dγ and dβ, and turn dx into slope[0]·dy + slope[1]·(x - mean) + slope[2]."""
    first, last = np.uintp(start), np.uintp(stop)
    _add_chunks(first, last, slope, sums, products, lost)
    for i in range(first, last):
        total = slope[0, i]
        dgamma[i], slope[0, i], slope[1, i], slope[2, i] = _slope_of(
            total, slope[1, i], slope[2, i], gamma[i], mean[i], rstd[i], count
        )
        dbeta[i] = total


@kernel(
    cost=lambda dgamma, dbeta, slope, sums, *_: (1.0 + len(sums)) * slope.shape[1] / len(dgamma),
    spread="warp",
)
def _end_channels_backward(
    start, stop, dgamma, dbeta, slope, sums, products, lost, gamma, mean, rstd, count
):
    """As _end_backward does, for channels of several columns."""
    length, lanes = np.uintp(slope.shape[1]) // np.uintp(len(gamma)), new_lanes(slope)
    for i in range(np.uintp(start), np.uintp(stop)):
        left, right = i * length, (i + np.uintp(1)) * length
        _add_chunks(left, right, slope, sums, products, lost)
        total = fold(slope[0], left, right, lanes)
        product = fold(slope[1], left, right, lanes)
        away = fold(slope[2], left, right, lanes)
        scale, a, b, c = _slope_of(total, product, away, gamma[i], mean[i], rstd[i], count)
        if leader():
            dgamma[i], dbeta[i] = scale, total
        for column in my_range(left, right):
            slope[0, column], slope[1, column], slope[2, column] = a, b, c


def _value_of_slope(row, column, home, dy, x, mean, slope, y):
    d = _passed(dy, y, row, column)
    return slope[0, home] * d + (slope[1, home] * (x[row, column] - mean[home]) + slope[2, home])


_apply_slope = for_each_value(_value_of_slope, 0.25)


@for_each(cost=0.5)
def _repeat(column, wide, mean, rstd):
    channel = column // np.uintp(wide.shape[1] // len(mean))
    wide[0, column], wide[1, column] = mean[channel], rstd[channel]


@register_jitable
def _for_columns(x, mean, rstd):
    """Return mean and rstd of each column, which are those of its channel."""
    if x.ndim == 2:
        return mean, rstd
    wide = scratch(x, (2, x.shape[1] * x.shape[2]))
    _repeat(wide.shape[1], wide, mean, rstd)
    return wide[0], wide[1]


@operation(
    "dy (N, C, L?), x (N, C, L?), gamma (C), mean (C), rstd (C), y? (N, C, L?)"
    " -> dx (N, C, L?), dgamma (C), dbeta (C)",
    in_place=("dy",),
)
def batchnorm_backward(dx, dgamma, dbeta, dy, x, gamma, mean, rstd, y=None):
    """Differentiate batchnorm: dx = γ·rstd·(dy - dβ/n - x̂·dγ/n), dγ = Σ dy·x̂, dβ = Σ dy.

    dy, x (N, C) or (N, C, L); gamma, mean, rstd (C,) -> dx like x; dgamma, dbeta (C,)

    Give y where the forward had relu=True: dy counts only where y > 0. The mean is that of x: what
    rounding took from it is found anew, as it would cost dγ digits where it is large.
    """
    slopes, rows, results = as_rows(dy), as_rows(x), as_rows(dx)
    outputs = None if y is None else as_rows(y)
    sums, products = chunk_scratch(rows)
    lost, _ = chunk_scratch(rows)
    slope = scratch(x, (3, rows.shape[1]))
    centre, scale = _for_columns(x, mean, rstd)
    _measure_gradients(tiles_of(rows), sums, products, lost, slopes, rows, centre, scale, outputs)
    count = x.dtype.type(x.size // max(1, x.shape[1]))
    end = _end_backward if x.ndim == 2 else _end_channels_backward
    end(x.shape[1], dgamma, dbeta, slope, sums, products, lost, gamma, mean, rstd, count)
    _apply_slope(x.shape[0], results, length_of(x), slopes, rows, centre, slope, outputs)
