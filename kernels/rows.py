"""Rows in vectors, for softmax and its relatives: exp(x - max) and its sum, row by row.

A *unit* is what is done at once: sixteen narrow rows side by side, each in a lane of 16-vectors, or
one wide row in vectors of 64 lanes, padded with -inf, whose lanes are joined by halving.

The rule: a row's sum is taken in one order, fixed by its number of columns alone, whatever the
batch and the threads; so row i of a result does not depend on the other rows.
"""

import numpy as np
from numba.extending import register_jitable

from .caching import jit
from .elementary import exp, log
from .native import independent_loop

BLOCK = 16  # rows of an item of the index space, and of a narrow unit
LANES = 64  # lanes of a wide row
HALVES = tuple(np.uintp(LANES >> k) for k in range(1, 7))
NARROW = 32  # columns up to which rows lie side by side


@register_jitable
def blocks_of(rows):
    """Return how many blocks of 16 rows there are."""
    return (rows + BLOCK - 1) // BLOCK


@jit(inner=True)
def make_unit(x):
    """Return the scratch of a unit: its values, and of each lane the maximum, 1/Σ and log Σ."""
    size = (x.shape[1] + LANES) * (BLOCK if x.shape[1] <= NARROW else 1)
    lanes = np.empty((3, LANES), x.dtype)
    return np.empty(size, x.dtype), lanes[0], lanes[1], lanes[2]


@jit(inner=True)
def rows_in(block, x):
    """Return the first row of a block of 16 and the end of its rows."""
    first = block * np.uintp(BLOCK)
    return first, min(np.uintp(x.shape[0]), first + np.uintp(BLOCK))


@jit(inner=True)
def _larger(a, b):
    return a if a > b else b  # a NaN comes back through exp


def _load_column(column, row, last, lane, values, top, x):
    value = x[min(row + lane, last), column]
    values[column * np.uintp(BLOCK) + lane] = value
    top[lane] = _larger(value, top[lane])


def _keep_larger(first, lane, values, top):
    top[lane] = _larger(values[first + lane], top[lane])


def _add_exp(first, lane, values, top, total):
    value = exp(values[first + lane] - top[lane])
    values[first + lane] = value
    total[lane] += value


_load_loop = independent_loop(jit(_load_column, inner=True), leading=3)
_larger_loop = independent_loop(jit(_keep_larger, inner=True), leading=1)


def _finish(lane, total, rest):
    rest[lane] = log(total[lane])
    total[lane] = type(total[lane])(1) / total[lane]


_finish_loop = independent_loop(jit(_finish, inner=True))
_exp_loop = independent_loop(jit(_add_exp, inner=True), leading=1)


@jit(inner=True)
def _clear(top, total):
    for lane in range(np.uintp(LANES)):
        top[lane], total[lane] = -np.inf, 0


@jit(inner=True)
def soften_narrow(values, top, total, rest, x, row, last):
    """For 16 rows: values[16·column + lane] = exp(x - max), and what belongs to each lane."""
    zero, lanes = np.uintp(0), np.uintp(BLOCK)
    _clear(top, total)
    for column in range(np.uintp(x.shape[1])):
        _load_loop(zero, lanes, (column, row, last - np.uintp(1)), (values, top, x))
    for column in range(np.uintp(x.shape[1])):
        _exp_loop(zero, lanes, (column * lanes,), (values, top, total))
    _finish_loop(zero, lanes, (), (total, rest))


@jit(inner=True)
def soften_wide(values, top, total, rest, x, row, last):
    """For one row: values[column] = exp(x - max), and what belongs to it in lane 0."""
    columns, zero, lanes = np.uintp(x.shape[1]), np.uintp(0), np.uintp(LANES)
    _clear(top, total)
    for column in range(columns):
        values[column] = x[row, column]
    for column in range(columns, (columns + lanes - np.uintp(1)) // lanes * lanes):
        values[column] = -np.inf
    for first in range(zero, columns, lanes):
        _larger_loop(zero, lanes, (first,), (values, top))
    for half in HALVES:
        for lane in range(half):
            top[lane] = _larger(top[lane], top[lane + half])
    for lane in range(lanes):
        top[lane] = top[zero]
    for first in range(zero, columns, lanes):
        _exp_loop(zero, lanes, (first,), (values, top, total))
    for half in HALVES:
        for lane in range(half):
            total[lane] += total[lane + half]
    _finish_loop(zero, zero + np.uintp(1), (), (total, rest))


def both(make):
    """Make a kernel for narrow rows and one for wide ones: make(rows of a unit, its softener)."""
    return make(BLOCK, soften_narrow), make(1, soften_wide)
