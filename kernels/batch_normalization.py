"""Batch normalisation: y = γ·x̂ + β with x̂ = (x - mean)·rstd, over the rows of each column.

Ioffe & Szegedy 2015, arXiv:1502.03167. With n rows, σ² = Σ(x - mean)²/n and rstd = 1/√(σ² + ε), the
derivatives are

    dβ = Σ dy,   dγ = Σ dy·x̂,   dx = γ·rstd·(dy - dβ/n - x̂·dγ/n).

The rule: every sum runs over chunks of 64 rows in a fixed order, and over the distances from the
column's first row, so that columns with mean 1e6 and standard deviation 1 come right in float32.
Each chunk is read once from memory: its squares are taken about its own mean, and chunks are joined
as Chan, Golub & LeVeque 1979 do: Σ(x - mean)² = Σₖ [Mₖ + nₖ·(meanₖ - mean)²].
"""

import numpy as np

from .caching import jit
from .launch import kernel
from .loops import CHUNK, chunks_of, for_each, for_each_cell, sum_columns
from .operations import operation


@sum_columns
def _sum(row, column, x):
    return x[row, column]


@jit(inner=True)
def _rows_of(chunk, rows):
    """Return a chunk's first row, the end of its groups of four rows, and its end."""
    first = chunk * np.uintp(CHUNK)
    last = min(np.uintp(rows), first + np.uintp(CHUNK))
    return first, first + (last - first) // np.uintp(4) * np.uintp(4), last


@kernel(cost=lambda sums, squares, x: 10.0 * x.shape[1])
def _measure_chunks(start, stop, sums, squares, x):
    """For each chunk and column: Σ distances, then Σ (distance - their mean)² while cached."""
    columns, top, four = np.uintp(x.shape[1]), np.uintp(0), np.uintp(4)
    for chunk in range(np.uintp(start), np.uintp(stop)):
        first, whole, last = _rows_of(chunk, x.shape[0])
        sums[chunk], squares[chunk] = 0, 0
        for row in range(first, whole, four):  # four rows to a load and a store of the sum
            for column in range(columns):
                total = sums[chunk, column]
                for k in range(four):
                    total += x[row + k, column] - x[top, column]
                sums[chunk, column] = total
        for row in range(whole, last):
            for column in range(columns):
                sums[chunk, column] += x[row, column] - x[top, column]
        scale = x.dtype.type(1) / x.dtype.type(last - first)
        for row in range(first, whole, four):
            for column in range(columns):
                centre, total = sums[chunk, column] * scale, squares[chunk, column]
                for k in range(four):
                    away = (x[row + k, column] - x[top, column]) - centre
                    total += away * away
                squares[chunk, column] = total
        for row in range(whole, last):
            for column in range(columns):
                away = (x[row, column] - x[top, column]) - sums[chunk, column] * scale
                squares[chunk, column] += away * away


@jit(inner=True)
def _join_chunks(first, last, mean, var, sums, squares, rows):
    """Join the chunks of some columns, in order, to the mean distance and Σ(x - mean)²."""
    kind = mean.dtype.type
    for column in range(first, last):
        mean[column], var[column] = 0, 0
    for chunk in range(np.uintp(sums.shape[0])):
        start, _, stop = _rows_of(chunk, rows)
        one, before, size = kind(1), kind(start), kind(stop - start)
        share = size / (before + size)
        for column in range(first, last):
            away = sums[chunk, column] * (one / size) - mean[column]
            mean[column] += away * share
            var[column] += squares[chunk, column] + (away * away) * (before * share)


@kernel(cost=lambda mean, var, sums, *_: 1.0 * len(sums))
def _end_moments(start, stop, mean, var, sums, squares, x):
    first, last, kind = np.uintp(start), np.uintp(stop), x.dtype.type
    _join_chunks(first, last, mean, var, sums, squares, x.shape[0])
    for i in range(first, last):
        var[i] /= kind(x.shape[0])
        if x.shape[0] > 0:
            mean[i] += x[np.uintp(0), i]


@kernel(cost=lambda mean, rstd, line, sums, *_: 2.0 + len(sums))
def _end_forward(start, stop, mean, rstd, line, sums, squares, x, gamma, beta, eps):
    """Find mean and rstd, and turn y into (x - line[0])·line[1] + line[2]."""
    first, last, one, count = np.uintp(start), np.uintp(stop), type(eps)(1), type(eps)(x.shape[0])
    _join_chunks(first, last, mean, rstd, sums, squares, x.shape[0])
    for i in range(first, last):
        shift = x[np.uintp(0), i] if x.shape[0] > 0 else type(eps)(0)
        distance = mean[i]
        scale = one / np.sqrt(rstd[i] / count + eps)
        rstd[i], mean[i] = scale, shift + distance
        scale *= gamma[i]
        line[0, i], line[1, i], line[2, i] = shift, scale, beta[i] - distance * scale


@for_each_cell(cost=0.2)
def _apply_line(row, column, y, x, line, floor):
    value = (x[row, column] - line[0, column]) * line[1, column] + line[2, column]
    y[row, column] = floor if value < floor else value


@operation("x (N, C) -> y (C)")
def column_sum(y, x):
    """Sum each column, in a fixed order.

    x (N, C) -> y (C,)
    """
    partial = np.empty((chunks_of(x.shape[0]), x.shape[1]), x.dtype)
    _sum(partial.shape[0], partial, x)
    _add_chunks(x.shape[1], y, partial)


@kernel(cost=lambda total, partial: 0.2 * len(partial))
def _add_chunks(start, stop, total, partial):
    """total[column] = Σ over chunks of partial[chunk, column], in order."""
    total[start:stop] = 0
    for chunk in range(np.uintp(partial.shape[0])):
        for column in range(np.uintp(start), np.uintp(stop)):
            total[column] += partial[chunk, column]


@operation("x (N, C) -> mean (C), var (C)")
def column_moments(mean, var, x):
    """Return each column's mean and biased variance, Σ(x - mean)²/n.

    x (N, C) -> mean (C,), var (C,)
    """
    sums = np.empty((chunks_of(x.shape[0]), x.shape[1]), x.dtype)
    squares = np.empty((chunks_of(x.shape[0]), x.shape[1]), x.dtype)
    _measure_chunks(sums.shape[0], sums, squares, x)
    _end_moments(x.shape[1], mean, var, sums, squares, x)


@operation("x (N, C), gamma (C), beta (C) -> y (N, C), mean (C), rstd (C)", in_place=("x",))
def batchnorm(y, mean, rstd, x, gamma, beta, eps=1e-5, relu=False):
    """Normalise each column over its rows: y = γ·(x - mean)·rstd + β, rstd = 1/√(σ² + ε).

    x (N, C); gamma, beta (C,) -> y (N, C); mean, rstd (C,)

    With relu=True, y = max(0, that); the backward then wants y.
    """
    sums = np.empty((chunks_of(x.shape[0]), x.shape[1]), x.dtype)
    squares = np.empty((chunks_of(x.shape[0]), x.shape[1]), x.dtype)
    line = np.empty((3, x.shape[1]), x.dtype)
    floor = x.dtype.type(0 if relu else -np.inf)
    _measure_chunks(sums.shape[0], sums, squares, x)
    _end_forward(x.shape[1], mean, rstd, line, sums, squares, x, gamma, beta, x.dtype.type(eps))
    _apply_line(x.shape[0], y, x, line, floor)


@jit(inner=True)
def _passed(d, y, floor):
    """Return the part of dy that a ReLU after the normalisation lets through; floor = -inf: all."""
    return type(floor)(0) if y <= floor else d


@kernel(cost=lambda sums, products, dy, *_: 12.0 * dy.shape[1])
def _measure_gradients(start, stop, sums, products, dy, x, mean, y, floor):
    """For each chunk and column: Σ dy and Σ dy·(x - mean)."""
    columns, four = np.uintp(x.shape[1]), np.uintp(4)
    for chunk in range(np.uintp(start), np.uintp(stop)):
        first, whole, last = _rows_of(chunk, x.shape[0])
        sums[chunk], products[chunk] = 0, 0
        for row in range(first, whole, four):
            for column in range(columns):
                total, product = sums[chunk, column], products[chunk, column]
                for k in range(four):
                    d = _passed(dy[row + k, column], y[row + k, column], floor)
                    total += d
                    product += d * (x[row + k, column] - mean[column])
                sums[chunk, column], products[chunk, column] = total, product
        for row in range(whole, last):
            for column in range(columns):
                d = _passed(dy[row, column], y[row, column], floor)
                sums[chunk, column] += d
                products[chunk, column] += d * (x[row, column] - mean[column])


@kernel(cost=lambda dgamma, dbeta, slope, sums, *_: 1.0 + len(sums))
def _end_backward(start, stop, dgamma, dbeta, slope, sums, products, gamma, rstd, count):
    """Sum up dγ and dβ, and turn dx into slope[0]·dy + slope[1]·(x - mean) + slope[2]."""
    first, last = np.uintp(start), np.uintp(stop)
    for i in range(first, last):
        dgamma[i], dbeta[i] = 0, 0
    for chunk in range(np.uintp(sums.shape[0])):
        for i in range(first, last):
            dgamma[i] += products[chunk, i]
            dbeta[i] += sums[chunk, i]
    for i in range(first, last):
        dgamma[i] *= rstd[i]
        scale = gamma[i] * rstd[i]
        slope[0, i] = scale
        slope[1, i] = -scale * rstd[i] * dgamma[i] / count
        slope[2, i] = -scale * dbeta[i] / count


@for_each_cell(cost=0.25)
def _apply_slope(row, column, dx, dy, x, mean, slope, y, floor):
    d = _passed(dy[row, column], y[row, column], floor)
    away = x[row, column] - mean[column]
    dx[row, column] = slope[0, column] * d + (slope[1, column] * away + slope[2, column])


@operation(
    "dy (N, C), x (N, C), gamma (C), mean (C), rstd (C), y? (N, C)"
    " -> dx (N, C), dgamma (C), dbeta (C)",
    in_place=("dy",),
)
def batchnorm_backward(dx, dgamma, dbeta, dy, x, gamma, mean, rstd, y=None):
    """Differentiate batchnorm: dx = γ·rstd·(dy - dβ/n - x̂·dγ/n), dγ = Σ dy·x̂, dβ = Σ dy.

    dy, x (N, C); gamma, mean, rstd (C,) -> dx (N, C); dgamma, dbeta (C,)

    Give y where the forward had relu=True: dy counts only where y > 0.
    """
    sums = np.empty((chunks_of(x.shape[0]), x.shape[1]), x.dtype)
    products = np.empty((chunks_of(x.shape[0]), x.shape[1]), x.dtype)
    slope = np.empty((3, x.shape[1]), x.dtype)
    floor = x.dtype.type(-np.inf if y is None else 0)
    passed = x if y is None else y  # x <= -inf stops nothing
    _measure_gradients(sums.shape[0], sums, products, dy, x, mean, passed, floor)
    count = x.dtype.type(x.shape[0])
    _end_backward(x.shape[1], dgamma, dbeta, slope, sums, products, gamma, rstd, count)
    _apply_slope(x.shape[0], dx, dy, x, mean, slope, passed, floor)


@for_each(cost=2.0)
def _running_line(i, line, gamma, beta, running_mean, running_var, eps):
    line[0, i], line[2, i] = running_mean[i], beta[i]
    line[1, i] = gamma[i] / np.sqrt(running_var[i] + eps)


@operation(
    "x (N, C), gamma (C), beta (C), running_mean (C), running_var (C) -> y (N, C)",
    in_place=("x",),
)
def batchnorm_inference(y, x, gamma, beta, running_mean, running_var, eps=1e-5, relu=False):
    """Normalise by the running statistics: y = γ·(x - running_mean)/√(running_var + ε) + β.

    x (N, C); the others (C,) -> y (N, C)
    """
    line = np.empty((3, x.shape[1]), x.dtype)
    floor = x.dtype.type(0 if relu else -np.inf)
    _running_line(x.shape[1], line, gamma, beta, running_mean, running_var, x.dtype.type(eps))
    _apply_line(x.shape[0], y, x, line, floor)


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
