"""Batch normalisation: y = γ·x̂ + β with x̂ = (x - mean)·rstd, over the rows of each column.

Ioffe & Szegedy 2015, arXiv:1502.03167. With n rows, σ² = Σ(x - mean)²/n and rstd = 1/√(σ² + ε), the
derivatives are

    dβ = Σ dy,   dγ = Σ dy·x̂,   dx = γ·rstd·(dy - dβ/n - x̂·dγ/n).

Of x (N, C, L) each channel is L columns side by side, whose sums are then folded into one.

The rule: every sum is made of chunks of 64 rows in a fixed order, see columns.py; and y is taken
from the distances to the column's first row, which a large mean does not blur.
"""

import math

import numpy as np
from numba.extending import register_jitable

from .arrays import scratch
from .caching import jit
from .columns import (
    BLOCK,
    CACHED,
    as_rows,
    chunk_scratch,
    column_moments,
    column_sum,
    fold,
    join_chunks,
    measure_chunks,
    tile,
    tile_columns,
    tiles_of,
)
from .launch import kernel
from .loops import for_each
from .native import independent_loop
from .operations import operation
from .reductions import new_lanes
from .spread import leader, my_range
from .streaming import LARGE, end_stream, stream

__all__ = [
    "batchnorm",
    "batchnorm_backward",
    "batchnorm_inference",
    "column_moments",
    "column_sum",
    "update_running",
]


@jit(inner=True)
def _line_of(distance, total, count, gamma, beta, eps):
    """Return rstd, and slope and level of y = (x - shift)·slope + level."""
    rstd = type(eps)(1) / math.sqrt(total / count + eps)
    return rstd, rstd * gamma, beta - distance * (rstd * gamma)


@kernel(cost=lambda mean, rstd, line, sums, *_: 2.0 + len(sums))
def _end_forward(start, stop, mean, rstd, line, sums, squares, x, gamma, beta, eps):
    """Find mean and rstd, and turn y into (x - line[0])·line[1] + line[2]."""
    first, last, count = np.uintp(start), np.uintp(stop), type(eps)(x.shape[0])
    join_chunks(first, last, mean, rstd, sums, squares, x.shape[0])
    for i in range(first, last):
        shift = x[np.uintp(0), i] if x.shape[0] > 0 else type(eps)(0)
        distance = mean[i]
        rstd[i], slope, level = _line_of(distance, rstd[i], count, gamma[i], beta[i], eps)
        mean[i] = shift + distance
        line[0, i], line[1, i], line[2, i] = shift, slope, level


@kernel(
    cost=lambda mean, rstd, line, sums, *_: (2.0 + len(sums)) * line.shape[1] / len(mean),
    spread="warp",
)
def _end_channels(start, stop, mean, rstd, line, sums, squares, x, gamma, beta, eps):
    """As _end_forward does, for channels of several columns."""
    length, rows = np.uintp(x.shape[1]) // np.uintp(len(mean)), type(eps)(x.shape[0])
    lanes, top, count = new_lanes(x), np.uintp(0), type(eps)(x.shape[0] * length)
    centre, total = line[1], line[2]
    for i in range(np.uintp(start), np.uintp(stop)):
        left, right = i * length, (i + np.uintp(1)) * length
        join_chunks(left, right, centre, total, sums, squares, x.shape[0])
        shift = x[top, left] if x.shape[0] > 0 and length > 0 else type(eps)(0)
        for column in my_range(left, right):
            centre[column] += x[top, column] - shift if x.shape[0] > 0 else shift
        distance = fold(centre, left, right, lanes) / type(eps)(length)
        for column in my_range(left, right):
            away = centre[column] - distance
            total[column] += rows * (away * away)
        square = fold(total, left, right, lanes)
        scale, slope, level = _line_of(distance, square, count, gamma[i], beta[i], eps)
        if leader():
            rstd[i], mean[i] = scale, shift + distance
        for column in my_range(left, right):
            line[0, column], line[1, column], line[2, column] = shift, slope, level


def _for_each_value(value, cost):
    """Make `value(row, column, *args)` a kernel over rows: out[row, column] = that.

    Two rows at a time load what belongs to the column once (1.3 times as fast in the cache);
    beyond the cache the memory likes fewer streams (1.6 times).
    """
    value = jit(value, inner=True)

    def two_rows(row, column, out, *args):
        above, below = value(row, column, *args), value(row + np.uintp(1), column, *args)
        out[row, column], out[row + np.uintp(1), column] = above, below

    def one_row(row, column, out, *args):
        out[row, column] = value(row, column, *args)

    def part_of_row(row, left, i, buffer, *args):
        buffer[i] = value(row, left + i, *args)

    two = independent_loop(jit(two_rows, inner=True), leading=1)
    one = independent_loop(jit(one_row, inner=True), leading=1)
    part = independent_loop(jit(part_of_row, inner=True), leading=2)

    def one_cell(start, stop, out, *args):
        for row in range(np.uintp(start), np.uintp(stop)):
            for column in my_range(np.uintp(0), np.uintp(out.shape[1])):
                out[row, column] = value(row, column, *args)

    @kernel(cost=lambda out, *_: cost * out.shape[1], spread="cells", cuda=one_cell)
    def apply(start, stop, out, *args):
        zero, columns, block = np.uintp(0), np.uintp(out.shape[1]), np.uintp(BLOCK)
        first, last = np.uintp(start), np.uintp(stop)
        if out.size * out.itemsize >= LARGE:
            buffer = np.empty(BLOCK, out.dtype)
            for row in range(first, last):
                for left in range(zero, columns, block):
                    count = min(block, columns - left)
                    part(zero, count, (row, left), (buffer, *args))
                    stream(out, row, left, buffer, count)
            end_stream()
            return
        whole = first
        if out.size <= CACHED:
            whole = first + (last - first) // np.uintp(2) * np.uintp(2)
        for row in range(first, whole, np.uintp(2)):
            two(zero, columns, (row,), (out, *args))
        for row in range(whole, last):
            one(zero, columns, (row,), (out, *args))

    apply.__name__ = value.py_func.__name__
    return apply


def _value_of_line(row, column, x, line, floor):
    value = (x[row, column] - line[0, column]) * line[1, column] + line[2, column]
    return floor if value < floor else value


_apply_line = _for_each_value(_value_of_line, 0.2)


@operation("x (N, C, L?), gamma (C), beta (C) -> y (N, C, L?), mean (C), rstd (C)", in_place=("x",))
def batchnorm(y, mean, rstd, x, gamma, beta, eps=1e-5, relu=False):
    """Normalise each column over its rows: y = γ·(x - mean)·rstd + β, rstd = 1/√(σ² + ε).

    x (N, C) or (N, C, L); gamma, beta (C,) -> y like x; mean, rstd (C,)

    Of (N, C, L) each channel is normalised over N and L. With relu=True, y = max(0, that); the
    backward then wants y.
    """
    rows, epsilon = as_rows(x), x.dtype.type(eps)
    sums, squares = chunk_scratch(rows)
    line = scratch(x, (3, rows.shape[1]))
    floor = x.dtype.type(0 if relu else -np.inf)
    measure_chunks(tiles_of(rows), sums, squares, rows)
    end = _end_forward if x.ndim == 2 else _end_channels
    end(x.shape[1], mean, rstd, line, sums, squares, rows, gamma, beta, epsilon)
    _apply_line(x.shape[0], as_rows(y), rows, line, floor)


FAR = 64  # standard deviations from 0 beyond which a rounded mean would blur dγ


@jit(inner=True)
def _is_far(mean, rstd):
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
            far |= _is_far(mean[column], rstd[column])
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
    away = lost / count if _is_far(mean, rstd) else kind(0)  # else nobody has summed it
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


def _value_of_slope(row, column, dy, x, mean, slope, y):
    d = _passed(dy, y, row, column)
    return slope[0, column] * d + (
        slope[1, column] * (x[row, column] - mean[column]) + slope[2, column]
    )


_apply_slope = _for_each_value(_value_of_slope, 0.25)


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
    _apply_slope(x.shape[0], results, slopes, rows, centre, slope, outputs)


@for_each(cost=0.5)
def _running_line(column, line, gamma, beta, running_mean, running_var, eps):
    i = column // np.uintp(line.shape[1] // len(gamma))
    line[0, column], line[2, column] = running_mean[i], beta[i]
    line[1, column] = gamma[i] / math.sqrt(running_var[i] + eps)


@operation(
    "x (N, C, L?), gamma (C), beta (C), running_mean (C), running_var (C) -> y (N, C, L?)",
    in_place=("x",),
)
def batchnorm_inference(y, x, gamma, beta, running_mean, running_var, eps=1e-5, relu=False):
    """Normalise by the running statistics: y = γ·(x - running_mean)/√(running_var + ε) + β.

    x (N, C) or (N, C, L); the others (C,) -> y like x
    """
    rows = as_rows(x)
    line = scratch(x, (3, rows.shape[1]))
    floor = x.dtype.type(0 if relu else -np.inf)
    epsilon = x.dtype.type(eps)
    _running_line(rows.shape[1], line, gamma, beta, running_mean, running_var, epsilon)
    _apply_line(x.shape[0], as_rows(y), rows, line, floor)


@for_each(cost=2.0)
def _update_running(i, running_mean, running_var, mean, rstd, momentum, unbias, eps):
    m, one = momentum[0], type(eps)(1)
    var = (one / (rstd[i] * rstd[i]) - eps) * unbias
    running_mean[i] += m * (mean[i] - running_mean[i])
    running_var[i] += m * (var - running_var[i])


@operation("running_mean! (C), running_var! (C), mean (C), rstd (C)", scalars={"momentum": None})
def update_running(running_mean, running_var, mean, rstd, rows, momentum=0.1, eps=1e-5):
    """Move the running statistics by `momentum` towards those of a batch of `rows` rows, in place.

    As in PyTorch the running variance is unbiased: σ²·n/(n - 1), with σ² = 1/rstd² - ε.
    """
    unbias = mean.dtype.type(rows) / mean.dtype.type(max(rows - 1, 1))
    kind = mean.dtype.type
    _update_running(
        mean.size, running_mean, running_var, mean, rstd, momentum, kind(unbias), kind(eps)
    )
