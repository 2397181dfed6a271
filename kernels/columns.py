"""Sums and moments of columns, over chunks of 64 rows.

The rule: chunks are summed and joined in a fixed order, and moments are taken over the distances
from the column's first row, so that columns with mean 1e6 and standard deviation 1 come right in
float32. Each chunk is read once from memory: its squares are taken about its own mean, and chunks
are joined as Chan, Golub & LeVeque 1979 do: Σ(x - mean)² = Σₖ [Mₖ + nₖ·(meanₖ - mean)²].
"""

import numpy as np
from numba.extending import register_jitable

from .arrays import scratch
from .caching import jit
from .launch import kernel
from .loops import CHUNK, chunks_of, sum_columns
from .operations import operation
from .reductions import lane_sum, new_lanes
from .spread import leader, my_range

BLOCK = 512  # columns that go together: 64 rows of them stay in the second cache for another pass
CACHED = 1 << 19  # elements of an array that stays in the cache while a layer is at work


@sum_columns
def _sum(row, column, x):
    return x[row, column]


@register_jitable
def length_of(x):
    """Return L of x (N, C, L), None of x (N, C)."""
    if x.ndim == 2:
        return None
    return x.shape[2]


@register_jitable
def as_rows(x):
    """Return x (N, C, L) as N rows of C·L columns, and x (N, C) as it is."""
    if x.ndim == 2:
        return x
    return x.reshape(x.shape[0], x.shape[1] * x.shape[2])


def _itself(i, values):
    return values[i]


_fold = lane_sum(_itself)


@jit(inner=True)
def fold(values, left, right, lanes):
    """Sum values[left:right]: 64 lanes side by side, then the lanes in order."""
    return _fold(left, right, lanes, (values,))


@register_jitable
def tiles_of(x):
    """Return how many tiles of 64 rows and 512 columns there are."""
    return chunks_of(x.shape[0]) * max(1, (x.shape[1] + BLOCK - 1) // BLOCK)


@jit(inner=True)
def tile(item, x):
    """Return a tile's chunk; its first row, the end of its groups of four, its end; its columns."""
    block = np.uintp(BLOCK)
    across = max(np.uintp(1), (np.uintp(x.shape[1]) + block - np.uintp(1)) // block)
    chunk, left = item // across, item % across * block
    first, last = rows_of(chunk, x.shape[0])
    whole = first + (last - first) // np.uintp(4) * np.uintp(4)
    return chunk, first, whole, last, left, min(np.uintp(x.shape[1]), left + block)


@jit(inner=True)
def rows_of(chunk, rows):
    """Return a chunk's first row and its end."""
    first = chunk * np.uintp(CHUNK)
    return first, min(np.uintp(rows), first + np.uintp(CHUNK))


def tile_columns(*args):
    """Return how many columns a tile has, from a kernel's arguments."""
    return min(BLOCK, args[0].shape[1])


@kernel(
    cost=lambda sums, squares, x: 10.0 * min(BLOCK, x.shape[1]),
    spread="cells",
    columns=tile_columns,
)
def measure_chunks(start, stop, sums, squares, x):
    """For each tile's columns: Σ distances, then Σ (distance - their mean)²."""
    top, four = np.uintp(0), np.uintp(4)
    for item in range(np.uintp(start), np.uintp(stop)):
        chunk, first, whole, last, left, right = tile(item, x)
        for column in my_range(left, right):
            sums[chunk, column], squares[chunk, column] = 0, 0
        # four rows to a load and a store of the sum; but memory likes one stream (1.8 times)
        grouped = whole if x.size <= CACHED else first
        for row in range(first, grouped, four):
            for column in my_range(left, right):
                total = sums[chunk, column]
                for k in range(four):
                    total += x[row + k, column] - x[top, column]
                sums[chunk, column] = total
        for row in range(grouped, last):
            for column in my_range(left, right):
                sums[chunk, column] += x[row, column] - x[top, column]
        scale = x.dtype.type(1) / x.dtype.type(last - first)
        for row in range(first, whole, four):
            for column in my_range(left, right):
                centre, total = sums[chunk, column] * scale, squares[chunk, column]
                for k in range(four):
                    away = (x[row + k, column] - x[top, column]) - centre
                    total += away * away
                squares[chunk, column] = total
        for row in range(whole, last):
            for column in my_range(left, right):
                away = (x[row, column] - x[top, column]) - sums[chunk, column] * scale
                squares[chunk, column] += away * away


@jit(inner=True)
def join_chunks(first, last, mean, var, sums, squares, rows):
    """Join the chunks of some columns, in order, to the mean distance and Σ(x - mean)²."""
    kind = mean.dtype.type
    for column in my_range(first, last):
        mean[column], var[column] = 0, 0
    for chunk in range(np.uintp(sums.shape[0])):
        start, stop = rows_of(chunk, rows)
        one, before, size = kind(1), kind(start), kind(stop - start)
        share = size / (before + size)
        for column in my_range(first, last):
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


@operation("x (N, C, L?) -> y (C)")
def column_sum(y, x):
    """Sum each column, in a fixed order; of (N, C, L) each channel, over N and L.

    x (N, C) or (N, C, L) -> y (C,)
    """
    if x.ndim == 2:
        add_columns(y, x, False)
    else:
        wide = scratch(x, x.shape[1] * x.shape[2])
        add_columns(wide, as_rows(x), False)
        _fold_channels(y.size, y, wide)


@register_jitable
def add_columns(total, x, accumulate):
    """total[column] = Σ over rows of x[row, column], or add it there with `accumulate`."""
    partial = scratch(x, (chunks_of(x.shape[0]), x.shape[1]))
    _sum(partial.shape[0], partial, x)
    _add_chunks(x.shape[1], total, partial, accumulate)


@kernel(cost=lambda total, partial, accumulate: 0.2 * len(partial))
def _add_chunks(start, stop, total, partial, accumulate):
    """total[column] = Σ over chunks of partial[chunk, column], in order."""
    if not accumulate:
        for column in range(np.uintp(start), np.uintp(stop)):
            total[column] = 0
    for chunk in range(np.uintp(partial.shape[0])):
        for column in range(np.uintp(start), np.uintp(stop)):
            total[column] += partial[chunk, column]


@kernel(cost=lambda y, wide: 0.3 * len(wide) / len(y), spread="warp")
def _fold_channels(start, stop, y, wide):
    length, lanes = np.uintp(len(wide)) // np.uintp(len(y)), new_lanes(wide)
    for i in range(np.uintp(start), np.uintp(stop)):
        total = fold(wide, i * length, (i + np.uintp(1)) * length, lanes)
        if leader():
            y[i] = total


@register_jitable
def chunk_scratch(x):
    """Return two arrays of a number for each chunk and column."""
    shape = chunks_of(x.shape[0]), x.shape[1]
    return scratch(x, shape), scratch(x, shape)


@operation("x (N, C) -> mean (C), var (C)")
def column_moments(mean, var, x):
    """Return each column's mean and biased variance, Σ(x - mean)²/n.

    x (N, C) -> mean (C,), var (C,)
    """
    sums, squares = chunk_scratch(x)
    measure_chunks(tiles_of(x), sums, squares, x)
    _end_moments(x.shape[1], mean, var, sums, squares, x)
