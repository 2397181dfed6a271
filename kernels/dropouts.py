"""Relatives of dropout: by unit, by channel, and alpha dropout for SELU.

    unit     column c is dropped with the chance rates[c]
    spatial  whole channels of (N, C, ...); channel e = n·C + c takes the word of element e
    alpha    y = a·(x, or α' with the chance rate) + b, α' = -λα the least value of SELU,
             a = ((1 - rate)(1 + rate·α'²))^-½, b = -a·rate·α'

The rule: as in masks.py, a mask is drawn from (seed, stream, step, element), again in backward, and
rate is always the chance to drop.
"""

import math

import numpy as np
from numba.extending import overload, register_jitable

from . import arrays
from .arrays import scratch
from .caching import jit
from .drawing import LANES, check_key, check_rate, drawn, groups_of, least_kept
from .launch import kernel
from .loops import for_each
from .masks import drop_each, factor_of
from .native import independent_loop
from .operations import operation
from .random_numbers import GROUP, draw, halves

LEAST = -1.0507009873554805 * 1.6732632423543772  # -λα


@drawn(cost=0.6)
def _drop_affinely(words, x, at, threshold, scale, shift, dropped):
    """y = scale·x + shift where it keeps, else 0·x + dropped."""
    a, b, c, d = words
    x1, x2, x3, x4 = x
    least, zero = np.uint32(threshold), type(scale)(0)
    return (
        x1 * (zero if a < least else scale) + (dropped if a < least else shift),
        x2 * (zero if b < least else scale) + (dropped if b < least else shift),
        x3 * (zero if c < least else scale) + (dropped if c < least else shift),
        x4 * (zero if d < least else scale) + (dropped if d < least else shift),
    )


@register_jitable
def _alpha_scale(rate):
    return 1.0 / math.sqrt((1.0 - rate) * (1.0 + rate * LEAST * LEAST))


@operation("x (...) -> y (...)", in_place=("x",), scalars={"step": "int64"}, check=check_rate)
def alpha_dropout(y, x, rate=0.5, seed=0, step=0, stream=0):
    """y = a·(x, or α' with the chance `rate`) + b. Klambauer et al. 2017, arXiv:1706.02515.

    x (...); step a number or (1,) int64 -> y (...)

    Of x with mean 0 and variance 1, as SELU makes it, mean and variance stay so.
    """
    kind, a = x.dtype.type, _alpha_scale(rate)
    shift, dropped = -a * rate * LEAST, a * (1.0 - rate) * LEAST
    numbers = (least_kept(rate), kind(a), kind(shift), kind(dropped))
    _drop_affinely(groups_of(x.size), y, x, seed, step, stream, *numbers)


@operation("dy (...) -> dx (...)", in_place=("dy",), scalars={"step": "int64"}, check=check_rate)
def alpha_dropout_backward(dx, dy, rate=0.5, seed=0, step=0, stream=0):
    """dx = a·dy where alpha_dropout kept x, else 0.

    dy (...); step a number or (1,) int64 -> dx (...)
    """
    scale = dy.dtype.type(_alpha_scale(rate))
    drop_each(groups_of(dy.size), dx, dy, least_kept(rate), scale, seed, step, stream)


@for_each(cost=2.0)
def _spread_rates(i, limits, factors, rates, scales):
    """Repeat the rates, times 2³¹, and the factors of what is kept, so that any 64 lie in a row."""
    T = rates.dtype.type
    column = i % np.uintp(len(rates))
    limits[i] = rates[column] * T(2.0**31)
    if scales is None:
        factors[i] = T(1) / (T(1) - rates[column])
    else:
        factors[i] = scales[column]


@jit(inner=True)
def _column(i, limits, factors, columns):
    return i % np.uintp(columns)


@drawn(cost=0.7, place=_column)
def _drop_units(words, x, at, limits, factors, columns):
    a, b, c, d = words
    x1, x2, x3, x4 = x
    T, half, step = type(x1), np.uint32(1), np.uintp(LANES)
    j, k, m = at + step, at + step + step, at + step + step + step
    f1, f2, f3, f4 = factors[at], factors[j], factors[k], factors[m]
    return (
        x1 * (T(0) if T(a >> half) < limits[at] else f1),
        x2 * (T(0) if T(b >> half) < limits[j] else f2),
        x3 * (T(0) if T(c >> half) < limits[k] else f3),
        x4 * (T(0) if T(d >> half) < limits[m] else f4),
    )


@register_jitable
def _drop_by_rates(y, x, rates, scales, seed, step, stream):
    size = rates.size + GROUP
    limits, factors = scratch(x, size), scratch(x, size)
    _spread_rates(size if x.size > 0 else 0, limits, factors, rates, scales)
    flat_y, flat_x = y.reshape(-1), x.reshape(-1)
    _drop_units(groups_of(x.size), flat_y, flat_x, seed, step, stream, limits, factors, rates.size)


def _check_rates(operation, sizes, values):
    check_key(operation, values["seed"], values["stream"])
    rates = arrays.readable(values["rates"])
    wrong = [] if rates is None else np.flatnonzero(~((rates >= 0) & (rates < 1)))
    if len(wrong):
        raise ValueError(
            f"{operation}: rates has {rates[wrong[0]]} at {wrong[0]}, expected 0 <= rate < 1"
        )


@operation(
    "x (N, C), rates (C), scales? (C) -> y (N, C)",
    in_place=("x",),
    scalars={"step": "int64"},
    check=_check_rates,
)
def unit_dropout(y, x, rates, scales, seed=0, step=0, stream=0):
    """y = x/(1 - rates), or 0 with the chance rates[column]. Srivastava et al. 2014.

    x (N, C); rates, scales (C,); step a number or (1,) int64 -> y (N, C)

    With equal rates the mask is that of dropout. scales: the factors of what is kept, where they
    are not 1/(1 - rates).
    """
    _drop_by_rates(y, x, rates, scales, seed, step, stream)


@operation(
    "dy (N, C), rates (C), scales? (C) -> dx (N, C)",
    in_place=("dy",),
    scalars={"step": "int64"},
    check=_check_rates,
)
def unit_dropout_backward(dx, dy, rates, scales, seed=0, step=0, stream=0):
    """dx = dy/(1 - rates) where unit_dropout kept x, else 0.

    dy (N, C); rates, scales (C,); step a number or (1,) int64 -> dx (N, C)
    """
    _drop_by_rates(dx, dy, rates, scales, seed, step, stream)


def _multiply(i, y, x, factor):
    y[i] = x[i] * factor


_multiply_loop = independent_loop(jit(_multiply, inner=True))


def _plane_cost(y, x, planes, *_):
    return 20.0 + 0.8 * y.size / max(planes, 1)


@kernel(cost=_plane_cost, spread="cells", columns=lambda y, x, planes, *_: y.size // planes)
def _drop_planes(start, stop, y, x, planes, threshold, scale, seed, step, stream):
    """Counters, each with the words of four channels, sixteen apart."""
    words = (np.uint32(stream), *halves(step[0]), *halves(seed))
    count, least = np.uintp(planes), np.uint32(threshold)
    length, lanes = np.uintp(len(y)) // count, np.uintp(LANES)
    for counter in range(np.uintp(start), np.uintp(stop)):
        plane = counter // lanes * np.uintp(GROUP) + counter % lanes
        for word in draw(np.uint32(counter), *words):
            if plane < count:
                factor = type(scale)(0) if word < least else scale
                first = plane * length
                _multiply_loop(first, first + length, (), (y, x, factor))
            plane += lanes


@register_jitable
def _drop_channels(y, x, planes, rate, seed, step, stream, scale):
    least, factor = least_kept(rate), factor_of(x, rate, scale)
    if planes == x.size:
        drop_each(groups_of(planes), y, x, least, factor, seed, step, stream)
    else:
        counters = groups_of(planes) * LANES
        _drop_planes(counters, y, x, planes, least, factor, seed, step, stream)


@operation("x (...) -> y (...)", in_place=("x",), scalars={"step": "int64"}, check=check_rate)
def _spatial(y, x, planes, rate, seed, step, stream, scale):
    _drop_channels(y, x, planes, rate, seed, step, stream, scale)


@operation("dy (...) -> dx (...)", in_place=("dy",), scalars={"step": "int64"}, check=check_rate)
def _spatial_backward(dx, dy, planes, rate, seed, step, stream, scale):
    _drop_channels(dx, dy, planes, rate, seed, step, stream, scale)


_spatial.operation.name = "spatial_dropout"
_spatial_backward.operation.name = "spatial_dropout_backward"


def _planes(operation, name, x):
    """Return how many channels all samples have."""
    x = arrays.check_array(operation, name, x)
    if x.ndim < 2:
        raise ValueError(f"{operation}: {name} has shape {x.shape}, expected (N, C, ...)")
    return x.shape[0] * x.shape[1]


def spatial_dropout(x, rate=0.5, seed=0, step=0, stream=0, scale=None, out=None):
    """y = x/(1 - rate), or 0 for whole channels with the chance `rate`. Tompson et al. 2015.

    x (N, C, ...); step a number or (1,) int64 -> y (N, C, ...)

    arXiv:1411.4280. The mask is dropout_mask((N, C), ...); scale as in dropout.
    """
    planes = _planes("spatial_dropout", "x", x)
    return _spatial(x, planes, rate, seed, step, stream, scale, out)


def spatial_dropout_backward(dy, rate=0.5, seed=0, step=0, stream=0, scale=None, out=None):
    """dx = dy/(1 - rate) in the channels that spatial_dropout kept, else 0.

    dy (N, C, ...); step a number or (1,) int64 -> dx (N, C, ...)
    """
    planes = _planes("spatial_dropout_backward", "dy", dy)
    return _spatial_backward(dy, planes, rate, seed, step, stream, scale, out)


@overload(spatial_dropout)
def _spatial_in_njit(x, rate=0.5, seed=0, step=0, stream=0, scale=None, out=None):
    def call(x, rate=0.5, seed=0, step=0, stream=0, scale=None, out=None):
        planes = x.shape[0] * x.shape[1]
        return _spatial(x, planes, rate, seed, step, stream, scale, out)

    return call


@overload(spatial_dropout_backward)
def _spatial_backward_in_njit(dy, rate=0.5, seed=0, step=0, stream=0, scale=None, out=None):
    def call(dy, rate=0.5, seed=0, step=0, stream=0, scale=None, out=None):
        planes = dy.shape[0] * dy.shape[1]
        return _spatial_backward(dy, planes, rate, seed, step, stream, scale, out)

    return call
