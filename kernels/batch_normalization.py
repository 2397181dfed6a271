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

from .arrays import scratch
from .batch_gradients import batchnorm_backward
from .caching import jit
from .columns import (
    as_rows,
    chunk_scratch,
    column_moments,
    column_sum,
    fold,
    join_chunks,
    length_of,
    measure_chunks,
    tiles_of,
)
from .launch import kernel
from .loops import for_each
from .operations import operation
from .reductions import new_lanes
from .spread import leader, my_range
from .streaming import for_each_value

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


def _value_of_line(row, column, home, x, line, floor):
    value = (x[row, column] - line[0, home]) * line[1, home] + line[2, home]
    return floor if value < floor else value


apply_line = for_each_value(_value_of_line, 0.2)


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
    apply_line(x.shape[0], as_rows(y), length_of(x), rows, line, floor)


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
    apply_line(x.shape[0], as_rows(y), length_of(x), rows, line, floor)


@for_each(cost=2.0)
def _update_running(i, running_mean, running_var, mean, rstd, momentum, unbias, eps):
    m, one = momentum[0], type(eps)(1)
    var = (one / (rstd[i] * rstd[i]) - eps) * unbias
    running_mean[i] += m * (mean[i] - running_mean[i])
    running_var[i] += m * (var - running_var[i])


@operation("running_mean! (C), running_var! (C), mean (C), rstd (C)", scalars={"momentum": None})
def update_running(
    running_mean, running_var, mean, rstd, rows, momentum=0.1, eps=1e-5, unbiased=True
):
    """Move the running statistics by `momentum` towards those of a batch of `rows` rows, in place.

    As in PyTorch the running variance is unbiased: σ²·n/(n - 1), with σ² = 1/rstd² - ε; without
    `unbiased` it is σ².
    """
    kind = mean.dtype.type
    unbias = kind(rows) / kind(max(rows - 1, 1)) if unbiased else kind(1)
    _update_running(
        mean.size, running_mean, running_var, mean, rstd, momentum, kind(unbias), kind(eps)
    )
