"""Sums and moments of columns, over chunks of 64 rows.

The rule: chunks are summed and joined in a fixed order, and moments are taken over the distances
from the column's first row, so that columns with mean 1e6 and standard deviation 1 come right in
float32. Each chunk is read once from memory: its squares are taken about its own mean, and chunks
are joined as Chan, Golub & LeVeque 1979 do: Σ(x - mean)² = Σₖ [Mₖ + nₖ·(meanₖ - mean)²].
"""

import numpy as np
from numba.extending import register_jitable

from .caching import jit
from .launch import kernel
from .loops import CHUNK, chunks_of, sum_columns
from .operations import operation


@sum_columns
def _sum(row, column, x):
    return x[row, column]


@jit(inner=True)
def rows_of(chunk, rows):
    """Return a chunk's first row, the end of its groups of four rows, and its end."""
    first = chunk * np.uintp(CHUNK)
    last = min(np.uintp(rows), first + np.uintp(CHUNK))
    return first, first + (last - first) // np.uintp(4) * np.uintp(4), last


@kernel(cost=lambda sums, squares, x: 10.0 * x.shape[1])
def measure_chunks(start, stop, sums, squares, x):
    """For each chunk and column: Σ distances, then Σ (distance - their mean)²."""
    columns, top, four = np.uintp(x.shape[1]), np.uintp(0), np.uintp(4)
    for chunk in range(np.uintp(start), np.uintp(stop)):
        first, whole, last = rows_of(chunk, x.shape[0])
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
def join_chunks(first, last, mean, var, sums, squares, rows):
    """Join the chunks of some columns, in order, to the mean distance and Σ(x - mean)²."""
    kind = mean.dtype.type
    for column in range(first, last):
        mean[column], var[column] = 0, 0
    for chunk in range(np.uintp(sums.shape[0])):
        start, _, stop = rows_of(chunk, rows)
        one, before, size = kind(1), kind(start), kind(stop - start)
        share = size / (before + size)
        for column in range(first, last):
            away = sums[chunk, column] * (one / size) - mean[column]
            mean[column] += away * share
            var[column] += squares[chunk, column] + (away * away) * (before * share)


@kernel(cost=lambda mean, var, sums, *_: 1.0 * len(sums))
def _end_moments(start, stop, mean, var, sums, squares, x):
    first, last, kind = np.uintp(start), np.uintp(stop), x.dtype.type
    join_chunks(first, last, mean, var, sums, squares, x.shape[0])
    for i in range(first, last):
        var[i] /= kind(x.shape[0])
        if x.shape[0] > 0:
            mean[i] += x[np.uintp(0), i]


@operation("x (N, C) -> y (C)")
def column_sum(y, x):
    """Sum each column, in a fixed order.

    x (N, C) -> y (C,)
    """
    add_columns(y, x, False)


@register_jitable
def add_columns(total, x, accumulate):
    """total[column] = Σ over rows of x[row, column], or add it there with `accumulate`."""
    partial = np.empty((chunks_of(x.shape[0]), x.shape[1]), x.dtype)
    _sum(partial.shape[0], partial, x)
    _add_chunks(x.shape[1], total, partial, accumulate)


@kernel(cost=lambda total, partial, accumulate: 0.2 * len(partial))
def _add_chunks(start, stop, total, partial, accumulate):
    """total[column] = Σ over chunks of partial[chunk, column], in order."""
    if not accumulate:
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
    measure_chunks(sums.shape[0], sums, squares, x)
    _end_moments(x.shape[1], mean, var, sums, squares, x)
