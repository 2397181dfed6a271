"""Divisive normalization: each feature less the mean of its neighbours, by their root mean square.

Ren et al. 2017, arXiv:1611.04520. With A and B the features within a reach of feature c,

    v = x - mean of x over A,   s = 1/√(σ² + mean of v² over B),   y = γ·v·s + β.

With both reaches as wide as the row and σ² = ε that is layer normalization. The derivatives are,
with g = γ·dy and sums over the neighbours k whose field holds c,

    dv = g·s - v·Σₖ gₖ·vₖ·sₖ³/|Bₖ|,   dx = dv - Σₖ dvₖ/|Aₖ|.

The rule: a field ends at the row's ends, and a mean is taken over the features that are there.
"""

import math

import numpy as np

from . import arrays
from .arrays import scratch
from .caching import jit
from .columns import add_columns
from .launch import kernel
from .loops import for_each
from .native import independent_loop
from .operations import operation
from .spread import my_range


def for_each_field(term, finish):
    """Make a kernel over rows: out[row, c] = Σ term(row, c, k, *args) over k within reach of c.

    finish(row, c, out, *args) then makes of the sum what is wanted.
    """
    term, finish = jit(term, inner=True), jit(finish, inner=True)

    def add_term(row, offset, column, out, reach, *args):
        out[row, column] += term(row, column, column + offset - reach, *args)

    def end_sum(row, column, out, *args):
        finish(row, column, out, *args)

    add = independent_loop(jit(add_term, inner=True), leading=2)
    end = independent_loop(jit(end_sum, inner=True), leading=1)

    def one_cell(start, stop, out, reach, *args):
        zero, columns, reach = np.uintp(0), np.uintp(out.shape[1]), np.uintp(reach)
        for row in range(np.uintp(start), np.uintp(stop)):
            for column in my_range(zero, columns):
                total = out.dtype.type(0)
                first = column - reach if column > reach else zero
                for k in range(first, min(columns, column + reach + np.uintp(1))):
                    total += term(row, column, k, *args)
                out[row, column] = total
                finish(row, column, out, *args)

    @kernel(
        cost=lambda out, reach, *_: (0.5 + 0.3 * reach) * out.shape[1], spread="cells",
        cuda=one_cell,
    )  # fmt: skip
    def sum_field(start, stop, out, reach, *args):
        zero, columns, reach = np.uintp(0), np.uintp(out.shape[1]), np.uintp(reach)
        for row in range(np.uintp(start), np.uintp(stop)):
            for column in range(zero, columns):
                out[row, column] = 0
            # one neighbour at a time, for all columns that have it
            for offset in range(zero, reach + reach + np.uintp(1)):
                left = max(reach, offset) - offset
                right = columns + reach - max(reach, offset)
                add(left, max(left, min(columns, right)), (row, offset), (out, reach, *args))
            end(zero, columns, (row,), (out, *args))

    sum_field.__name__ = finish.py_func.__name__
    return sum_field


@for_each
def _share_out(i, share, reach):
    n, k = len(share), np.intp(i)
    share[i] = share.dtype.type(1) / share.dtype.type(min(n, k + reach + 1) - max(0, k - reach))


def _distance(row, column, k, x, share):
    return x[row, column] - x[row, k]


def _centre(row, column, out, x, share):
    out[row, column] *= share[column]


def _square(row, column, k, y, away, gamma, beta, share, eps):
    return away[row, k] * away[row, k]


def _divide(row, column, out, y, away, gamma, beta, share, eps):
    scale = type(eps)(1) / math.sqrt(out[row, column] * share[column] + eps)
    out[row, column] = scale
    y[row, column] = away[row, column] * scale * gamma[column] + beta[column]


def _suppression(row, column, k, products, dy, away, scale, gamma, share):
    s = scale[row, k]
    return (gamma[k] * dy[row, k] * s) * (away[row, k] * s) * (s * share[k])


def _release(row, column, out, products, dy, away, scale, gamma, share):
    d, s = dy[row, column], scale[row, column]
    products[row, column] = d * (away[row, column] * s)
    out[row, column] = gamma[column] * d * s - away[row, column] * out[row, column]


def _share_of(row, column, k, slope, share):
    return slope[row, k] * share[k]


def _uncentre(row, column, out, slope, share):
    out[row, column] = slope[row, column] - out[row, column]


_centre_field = for_each_field(_distance, _centre)
_divide_field = for_each_field(_square, _divide)
_release_field = for_each_field(_suppression, _release)
_uncentre_field = for_each_field(_share_of, _uncentre)


def _check(operation, sizes, values):
    for name in ("summation", "suppression"):
        arrays.check_integer(operation, name, values[name], 1)
        if values[name] % 2 == 0:
            raise ValueError(f"{operation}: {name} is {values[name]}, expected an odd number")
    if "sigma" in values:
        arrays.check_at_least(operation, "sigma", values["sigma"], 0)


@operation("x (N, C), gamma (C), beta (C) -> y (N, C), away (N, C), scale (N, C)", check=_check)
def divisivenorm(y, away, scale, x, gamma, beta, summation=5, suppression=5, sigma=1.0):
    """Normalise each feature by its neighbours: y = γ·away·scale + β, scale = 1/√(σ² + v̄²).

    x (N, C); gamma, beta (C,) -> y like x; away like x: x less the mean of the `summation` features
    around; scale like x: v̄² is the mean of away² over the `suppression` features around

    Ren et al. 2017, arXiv:1611.04520. Both widths are odd.
    """
    columns, kind = x.shape[1], x.dtype.type
    share = scratch(x, columns)
    _share_out(columns, share, summation // 2)
    _centre_field(x.shape[0], away, min(summation // 2, columns), x, share)
    share = scratch(x, columns)
    _share_out(columns, share, suppression // 2)
    _divide_field(
        x.shape[0], scale, min(suppression // 2, columns), y, away, gamma, beta, share,
        kind(sigma * sigma),
    )  # fmt: skip


@operation(
    "dy (N, C), away (N, C), scale (N, C), gamma (C) -> dx (N, C), dgamma (C), dbeta (C)",
    check=_check,
)
def divisivenorm_backward(dx, dgamma, dbeta, dy, away, scale, gamma, summation=5, suppression=5):
    """Differentiate divisivenorm, from what it returned beside y.

    dy, away, scale (N, C); gamma (C,) -> dx like dy; dgamma, dbeta (C,)
    """
    columns = dy.shape[1]
    share, products, slope = scratch(dy, columns), scratch(dy, dy.shape), scratch(dy, dy.shape)
    _share_out(columns, share, suppression // 2)
    _release_field(
        dy.shape[0], slope, min(suppression // 2, columns), products, dy, away, scale, gamma, share
    )
    share = scratch(dy, columns)
    _share_out(columns, share, summation // 2)
    _uncentre_field(dy.shape[0], dx, min(summation // 2, columns), slope, share)
    add_columns(dgamma, products, False)
    add_columns(dbeta, dy, False)
