"""Batch normalisation: y = γ·x̂ + β with x̂ = (x - mean)·rstd, over the rows of each column.

Ioffe & Szegedy 2015, arXiv:1502.03167. With n rows, σ² = Σ(x - mean)²/n and rstd = 1/√(σ² + ε), the
derivatives are

    dβ = Σ dy,   dγ = Σ dy·x̂,   dx = γ·rstd·(dy - dβ/n - x̂·dγ/n).

The rule: every sum is made of chunks of 64 rows in a fixed order, see columns.py; and y is taken
from the distances to the column's first row, which a large mean does not blur.
"""

import numpy as np

from .caching import jit
from .columns import column_moments, column_sum, join_chunks, measure_chunks, rows_of
from .launch import kernel
from .loops import chunks_of, for_each
from .native import independent_loop
from .operations import operation

__all__ = [
    "batchnorm",
    "batchnorm_backward",
    "batchnorm_inference",
    "column_moments",
    "column_sum",
    "update_running",
]

CACHED = 1 << 19  # elements of an array that stays in the cache while a layer is at work


@kernel(cost=lambda mean, rstd, line, sums, *_: 2.0 + len(sums))
def _end_forward(start, stop, mean, rstd, line, sums, squares, x, gamma, beta, eps):
    """Find mean and rstd, and turn y into (x - line[0])·line[1] + line[2]."""
    first, last, one, count = np.uintp(start), np.uintp(stop), type(eps)(1), type(eps)(x.shape[0])
    join_chunks(first, last, mean, rstd, sums, squares, x.shape[0])
    for i in range(first, last):
        shift = x[np.uintp(0), i] if x.shape[0] > 0 else type(eps)(0)
        distance = mean[i]
        scale = one / np.sqrt(rstd[i] / count + eps)
        rstd[i], mean[i] = scale, shift + distance
        scale *= gamma[i]
        line[0, i], line[1, i], line[2, i] = shift, scale, beta[i] - distance * scale


def _rows_together(make, cost):
    """Make a kernel over rows from make(count), a body that does `count` rows of a column.

    Two rows at a time load what belongs to the column once (1.3 times as fast in the cache);
    beyond the cache the memory likes fewer streams (1.6 times).
    """
    two = independent_loop(jit(make(2), inner=True), leading=1)
    one = independent_loop(jit(make(1), inner=True), leading=1)

    @kernel(cost=lambda *args: cost * args[0].shape[1])
    def apply(start, stop, *args):
        zero, columns, step = np.uintp(0), np.uintp(args[0].shape[1]), np.uintp(2)
        first, last = np.uintp(start), np.uintp(stop)
        whole = first
        if args[0].size <= CACHED:
            whole = first + (last - first) // step * step
        for row in range(first, whole, step):
            two(zero, columns, (row,), args)
        for row in range(whole, last):
            one(zero, columns, (row,), args)

    return apply


def _line_of(count):
    def line_rows(first, column, y, x, line, floor):
        shift, slope, level = line[0, column], line[1, column], line[2, column]
        for row in range(first, first + np.uintp(count)):
            value = (x[row, column] - shift) * slope + level
            y[row, column] = floor if value < floor else value

    return line_rows


_apply_line = _rows_together(_line_of, 0.2)


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
    measure_chunks(sums.shape[0], sums, squares, x)
    _end_forward(x.shape[1], mean, rstd, line, sums, squares, x, gamma, beta, x.dtype.type(eps))
    _apply_line(x.shape[0], y, x, line, floor)


@jit(inner=True)
def _passed(dy, y, row, column):
    """Return the part of dy that a ReLU after the normalisation let through; y is None without."""
    d = dy[row, column]
    if y is None:
        return d
    value = y[row, column]
    return type(d)(0) if value <= 0 else d


@kernel(cost=lambda sums, products, dy, *_: 12.0 * dy.shape[1])
def _measure_gradients(start, stop, sums, products, dy, x, mean, y):
    """For each chunk and column: Σ dy and Σ dy·(x - mean)."""
    columns, four = np.uintp(x.shape[1]), np.uintp(4)
    for chunk in range(np.uintp(start), np.uintp(stop)):
        first, whole, last = rows_of(chunk, x.shape[0])
        sums[chunk], products[chunk] = 0, 0
        for row in range(first, whole, four):
            for column in range(columns):
                total, product = sums[chunk, column], products[chunk, column]
                for k in range(four):
                    d = _passed(dy, y, row + k, column)
                    total += d
                    product += d * (x[row + k, column] - mean[column])
                sums[chunk, column], products[chunk, column] = total, product
        for row in range(whole, last):
            for column in range(columns):
                d = _passed(dy, y, row, column)
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


def _slope_of(count):
    def slope_rows(first, column, dx, dy, x, mean, slope, y):
        centre = mean[column]
        a, b, c = slope[0, column], slope[1, column], slope[2, column]
        for row in range(first, first + np.uintp(count)):
            d = _passed(dy, y, row, column)
            dx[row, column] = a * d + (b * (x[row, column] - centre) + c)

    return slope_rows


_apply_slope = _rows_together(_slope_of, 0.25)


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
    _measure_gradients(sums.shape[0], sums, products, dy, x, mean, y)
    count = x.dtype.type(x.shape[0])
    _end_backward(x.shape[1], dgamma, dbeta, slope, sums, products, gamma, rstd, count)
    _apply_slope(x.shape[0], dx, dy, x, mean, slope, y)


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
