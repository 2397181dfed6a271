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

from .batch_gradients import is_far
from .caching import jit
from .columns import rows_of
from .lanes import lane_sums
from .launch import kernel
from .native import independent_loop
from .spread import leader, my_range


def _distance(i, x, segment, shift):
    return x[segment, i] - shift


def _square(i, x, segment, shift, distance):
    away = (x[segment, i] - shift) - distance
    return away * away


_sum_distances, _sum_squares = lane_sums(_distance), lane_sums(_square)


@jit(inner=True)
def _measure(segment, x, mean, count, eps):
    """Return the segment's first number, the mean distance from there, and rstd."""
    zero, columns, kind = np.uintp(0), np.uintp(x.shape[1]), type(eps)
    shift = distance = kind(0)
    if mean is not None:
        if columns > zero:
            shift = x[segment, zero]
        distance = _sum_distances(zero, columns, x, (x, segment, shift)) * (kind(1) / kind(columns))
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


@kernel(cost=lambda y, mean, rstd, x, *_: 0.3 * x.shape[1] + 20.0, spread="warp")
def normalize_segments(
    start, stop, y, mean, rstd, x, gamma, beta, groups, channels, length, count, eps
):
    """y, mean and rstd of each segment."""
    zero, size = np.uintp(0), np.uintp(length)
    for segment in range(np.uintp(start), np.uintp(stop)):
        shift, distance, scale = _measure(segment, x, mean, count, eps)
        if leader():
            rstd[segment] = scale
            if mean is not None:
                mean[segment] = shift + distance
        first = segment % np.uintp(groups) * np.uintp(channels)
        if length == 1:
            numbers = (y, x, gamma, beta, shift, distance, scale)
            _write_columns(zero, np.uintp(channels), (segment, first), numbers)
        else:
            for k in range(np.uintp(channels)):
                slope = gamma[first + k] * scale
                level = _level(beta, first + k, distance * slope)
                here = k * size
                _write_channels(here, here + size, (segment,), (y, x, shift, slope, level))


@jit(inner=True)
def _lost(left, right, x, row, mean, centre, scale):
    """Return the mean of x - centre, which is not 0 where a large mean was rounded."""
    if mean is not None and is_far(centre, scale):
        return _sum_distances(left, right, x, (x, row, centre)) / type(scale)(right - left)
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
def _numbers_of(row, left, right, groups, dy, x, gamma, mean, rstd):
    """Return the centre of a row's group, and its slopes."""
    k = row * groups + left // (right - left)
    scale = rstd[k]
    centre = type(scale)(0)
    if mean is not None:
        centre = mean[k]
    width = type(scale)(right - left)
    total, product = _sum_columns(left, right, x, (dy, x, gamma, row, mean, centre))
    away = _lost(left, right, x, row, mean, centre, scale)
    return centre, _slopes(total, product, away, width, width, scale)


def _turn_column(chunk, row, column, sums, products, dx, dy, x, gamma, numbers):
    centre, (a, b, c, s) = numbers
    d, away = dy[row, column], x[row, column] - centre
    dx[row, column] = a * (gamma[column] * d) + (b * away + c)
    products[chunk, column] += d * (away * a + s)
    if sums is not None:
        sums[chunk, column] += d


_turn_columns = independent_loop(jit(_turn_column, inner=True), leading=2)


@kernel(cost=lambda dx, *_: 16.0 * dx.shape[1] + 3000.0, spread="warp")
def differentiate_rows(start, stop, dx, sums, products, dy, x, gamma, mean, rstd, groups):
    """Chunks of 64 rows, whose channels have one number each: dx, and columns' Σ dy and Σ dy·x̂."""
    parts, columns = np.uintp(groups), np.uintp(x.shape[1])
    width = max(np.uintp(1), columns // parts)
    for chunk in range(np.uintp(start), np.uintp(stop)):
        first, last = rows_of(chunk, x.shape[0])
        for left in range(np.uintp(0), columns, width):  # the owners of columns are those below
            for column in my_range(left, left + width):
                products[chunk, column] = 0
                if sums is not None:
                    sums[chunk, column] = 0
        for row in range(first, last):
            for left in range(np.uintp(0), columns, width):
                right = left + width
                numbers = _numbers_of(row, left, right, parts, dy, x, gamma, mean, rstd)
                place = (sums, products, dx, dy, x, gamma, numbers)
                _turn_columns(left, right, (chunk, row), place)


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


@kernel(cost=lambda dx, *_: 0.3 * dx.shape[1] + 40.0, spread="warp")
def differentiate_segments(
    start, stop, dx, sums, products, dy, x, gamma, mean, rstd, groups, length
):
    """dx of segments, and of each of their channels Σ dy and Σ dy·x̂."""
    zero, size, columns = np.uintp(0), np.uintp(length), np.uintp(x.shape[1])
    channels, width = np.uintp(products.shape[1]), x.dtype.type(x.shape[1])
    for segment in range(np.uintp(start), np.uintp(stop)):
        first = segment % np.uintp(groups) * channels
        centre, scale = mean[segment], rstd[segment]
        total = product = type(scale)(0)
        for k in range(channels):
            d, p = _sum_channel(k * size, k * size + size, x, (dy, x, segment, centre))
            if leader():
                sums[segment, k], products[segment, k] = d, p
            total += gamma[first + k] * d
            product += gamma[first + k] * p
        away = _lost(zero, columns, x, segment, mean, centre, scale)
        a, b, c, _ = _slopes(total, product, away, width, width, scale)
        for k in range(channels):
            slope = a * gamma[first + k]
            numbers = (dx, dy, x, centre, slope, b, c)
            _turn_channels(k * size, k * size + size, (segment,), numbers)
            if leader():
                products[segment, k] = (products[segment, k] - away * sums[segment, k]) * scale


@kernel(cost=lambda dv, *_: 0.3 * dv.shape[1] + 40.0, spread="warp")
def differentiate_units(start, stop, dv, dg, dw, v, g, mean):
    """dv and dg of units whose weights have the norm g; mean: scratch, or None without one."""
    zero, columns, one = np.uintp(0), np.uintp(v.shape[1]), v.dtype.type(1)
    width = v.dtype.type(v.shape[1])
    for unit in range(np.uintp(start), np.uintp(stop)):
        centre = total = away = v.dtype.type(0)
        if mean is None:
            square, product = _sum_unit(zero, columns, v, (dw, v, unit))
            scale = one / math.sqrt(square)
        else:
            shift, distance, scale = _measure(unit, v, mean, one, v.dtype.type(0))
            centre = shift + distance
            total, product = _sum_channel(zero, columns, v, (dw, v, unit, centre))
            away = _lost(zero, columns, v, unit, mean, centre, scale)
        a, b, c, _ = _slopes(total, product, away, width, one, scale)
        slope = a * g[unit]
        numbers = (dv, dw, v, centre, slope, g[unit] * b, g[unit] * c)
        _turn_channels(zero, columns, (unit,), numbers)
        if leader():
            dg[unit] = (product - away * total) * scale
