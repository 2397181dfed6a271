"""Batch normalization over a batch that several processes share.

Forward, each process sends mean and Σ(x - mean)² of its rows, which all join in the order of ranks
as Chan, Golub & LeVeque 1979 do; backward, the sums Σ dy and Σ dy·(x - mean) are added up. The
formulas are those of kernels/batch_normalization.py.

The rule: each layer needs its sums before the next can go on, so that it takes a message forward
and one backward. What is sent is float64: a large mean does not blur.
"""

import math

import numpy as np

from ..kernels import arrays
from ..kernels.batch_gradients import (
    _apply_slope,
    _for_columns,
    _measure_gradients,
    is_far,
)
from ..kernels.batch_normalization import apply_line
from ..kernels.columns import (
    as_rows,
    chunk_scratch,
    join_chunks,
    length_of,
    measure_chunks,
    tiles_of,
)
from ..kernels.copies import contiguous
from ..kernels.launch import kernel


@kernel
def measure_part(start, stop, part, mean, total, sums, squares, x):
    """part[0], part[1] = mean and Σ(x - mean)² of each channel over this process's rows."""
    length, rows = np.uintp(x.shape[1]) // np.uintp(part.shape[1]), np.float64(x.shape[0])
    for i in range(np.uintp(start), np.uintp(stop)):
        left, right = i * length, (i + np.uintp(1)) * length
        count, centre, square = np.float64(0), np.float64(0), np.float64(0)
        if rows > 0:
            join_chunks(left, right, mean, total, sums, squares, x.shape[0])
            for column in range(left, right):
                away = np.float64(x[np.uintp(0), column]) + np.float64(mean[column]) - centre
                share = rows / (count + rows)
                centre += away * share
                square += np.float64(total[column]) + away * away * (count * share)
                count += rows
        part[0, i], part[1, i] = centre, square


@kernel
def join_parts(start, stop, mean, rstd, line, parts, counts, x, gamma, beta, eps):
    """Join the processes' parts to mean and rstd, and turn y into (x - shift)·slope + level."""
    length, kind = np.uintp(x.shape[1]) // np.uintp(len(mean)), mean.dtype.type
    for i in range(np.uintp(start), np.uintp(stop)):
        count, centre, square = np.float64(0), np.float64(0), np.float64(0)
        for rank in range(np.uintp(parts.shape[0])):
            size = counts[rank] * np.float64(length)
            if size > 0:
                away = parts[rank, 0, i] - centre
                share = size / (count + size)
                centre += away * share
                square += parts[rank, 1, i] + away * away * (count * share)
                count += size
        scale = np.float64(1) / math.sqrt(square / count + eps)
        mean[i], rstd[i] = kind(centre), kind(scale)
        if x.shape[0] > 0:
            slope = scale * np.float64(gamma[i])
            for column in range(i * length, (i + np.uintp(1)) * length):
                shift = np.float64(x[np.uintp(0), column])
                line[0, column], line[1, column] = x[np.uintp(0), column], kind(slope)
                line[2, column] = kind(np.float64(beta[i]) - (centre - shift) * slope)


@kernel
def sum_part(start, stop, own, whole, sums, products, lost, mean, rstd):
    """own = Σ dy, Σ dy·(x - mean) and, of far means, Σ (x - mean) over this process's rows."""
    length = np.uintp(sums.shape[1]) // np.uintp(own.shape[1])
    for i in range(np.uintp(start), np.uintp(stop)):
        total, product, away = np.float64(0), np.float64(0), np.float64(0)
        far = is_far(mean[i], rstd[i])
        for chunk in range(np.uintp(sums.shape[0])):
            for column in range(i * length, (i + np.uintp(1)) * length):
                total += sums[chunk, column]
                product += products[chunk, column]
                if far:
                    away += lost[chunk, column]
        own[0, i], own[1, i], own[2, i] = total, product, away
        for k in range(3):
            whole[k, i] = own[k, i]


@kernel
def end_shared_backward(start, stop, dgamma, dbeta, slope, own, whole, gamma, mean, rstd, count):
    """dγ and dβ of this process's rows; dx = slope[0]·dy + slope[1]·(x - mean) + slope[2]."""
    length, kind = np.uintp(slope.shape[1]) // np.uintp(len(gamma)), dgamma.dtype.type
    for i in range(np.uintp(start), np.uintp(stop)):
        away, scale = whole[2, i] / count, np.float64(rstd[i])
        a = np.float64(gamma[i]) * scale
        b = -a * scale * scale * (whole[1, i] - away * whole[0, i]) / count
        c = -a * whole[0, i] / count - b * away
        dgamma[i], dbeta[i] = kind((own[1, i] - away * own[0, i]) * scale), kind(own[0, i])
        for column in range(i * length, (i + np.uintp(1)) * length):
            slope[0, column], slope[1, column], slope[2, column] = kind(a), kind(b), kind(c)


def forward(layer, x, relu, shared):
    """Return (y, backward) of a BatchNorm1d in a batch that processes share."""
    exchange, batch = shared
    channels = layer.num_features
    count = batch * (x.shape[2] if x.ndim == 3 else 1)
    if count == 1:
        raise ValueError(
            f"{layer!r}: the batch has 1 row, expected at least 2 in training mode (of one row the "
            "mean is x and the deviation 0: nothing of x would be left)"
        )
    x, gamma = contiguous(x), layer._gamma(x)
    y = arrays.scratch(x, x.shape)
    mean, rstd = arrays.scratch(x, channels), arrays.scratch(x, channels)
    _normalize(y, mean, rstd, x, gamma, layer._beta(x), layer.eps, relu, shared)
    if layer.training and layer.track_running_stats:
        layer._update(mean, rstd, count)
    passed = y if relu else None

    def backward(dy, accumulate=False):
        def run(out):
            _differentiate(*out, contiguous(dy), x, gamma, mean, rstd, passed, exchange, count)

        return layer._differentiate(run, x, (layer.weight, layer.bias), accumulate)

    return y, backward


def _normalize(y, mean, rstd, x, gamma, beta, eps, relu, shared):
    exchange, batch = shared
    rows, channels = as_rows(x), len(mean)
    sums, squares = chunk_scratch(rows)
    wide, line = arrays.scratch(x, (2, rows.shape[1])), arrays.scratch(x, (3, rows.shape[1]))
    part, parts = np.empty((2, channels)), np.empty((exchange.size, 2, channels))
    measure_chunks(tiles_of(rows), sums, squares, rows)
    measure_part(channels, part, wide[0], wide[1], sums, squares, rows)
    exchange.gather(parts, part)
    counts = np.diff(exchange.parts(batch)).astype(np.float64)
    join_parts(channels, mean, rstd, line, parts, counts, rows, gamma, beta, float(eps))
    floor = x.dtype.type(0 if relu else -np.inf)
    apply_line(len(x), as_rows(y), length_of(x), rows, line, floor)


def _differentiate(dx, dgamma, dbeta, dy, x, gamma, mean, rstd, y, exchange, count):
    slopes, rows, results = as_rows(dy), as_rows(x), as_rows(dx)
    outputs, channels = None if y is None else as_rows(y), len(mean)
    sums, products = chunk_scratch(rows)
    lost, _ = chunk_scratch(rows)
    slope = arrays.scratch(x, (3, rows.shape[1]))
    own, whole = np.empty((3, channels)), np.empty((3, channels))
    centre, scale = _for_columns(x, mean, rstd)
    tiles = tiles_of(rows)
    _measure_gradients(tiles, sums, products, lost, slopes, rows, centre, scale, outputs)
    sum_part(channels, own, whole, sums, products, lost, mean, rstd)
    exchange.add_up(whole)
    ends = dgamma, dbeta, slope, own, whole, gamma, mean, rstd, float(count)
    end_shared_backward(channels, *ends)
    _apply_slope(len(x), results, length_of(x), slopes, rows, centre, slope, outputs)
