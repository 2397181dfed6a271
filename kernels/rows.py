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
from .native import independent_loop, new_vector
from .spread import join_max, join_sum, my_place, my_range, on_cuda

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
    one = new_vector(x, size + 3 * LANES)  # an allocation takes 25 ns
    top, total, rest = one[:LANES], one[LANES : 2 * LANES], one[2 * LANES : 3 * LANES]
    return one[3 * LANES :], top, total, rest


@jit(inner=True)
def rows_in(block, x):
    """Return the first row of a block of 16 and the end of its rows."""
    first = block * np.uintp(BLOCK)
    return first, min(np.uintp(x.shape[0]), first + np.uintp(BLOCK))


@jit(inner=True)
def softened(values, top, x, row, lane, column, step):
    """Return the exp(x - max) that `soften` left of a column of row + lane."""
    return values[column * np.uintp(step) + lane]


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
def soften_narrow(unit, x, row, last):
    """For 16 rows: values[16·column + lane] = exp(x - max), and what belongs to each lane."""
    values, top, total, rest = unit
    zero, lanes = np.uintp(0), np.uintp(BLOCK)
    _clear(top, total)
    for column in range(np.uintp(x.shape[1])):
        _load_loop(zero, lanes, (column, row, last - np.uintp(1)), (values, top, x))
    for column in range(np.uintp(x.shape[1])):
        _exp_loop(zero, lanes, (column * lanes,), (values, top, total))
    _finish_loop(zero, lanes, (), (total, rest))
    return unit


@jit(inner=True)
def soften_wide(unit, x, row, last):
    """For one row: values[column] = exp(x - max), and what belongs to it in lane 0."""
    values, top, total, rest = unit
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
    return unit


def both(make):
    """Make a kernel for narrow rows and one for wide ones: make(rows of a unit, its softener)."""
    narrow, wide = make(BLOCK, soften_narrow), make(1, soften_wide)
    narrow.use_on_device(wide)
    return narrow, wide


# On CUDA a warp has a row, its lanes every 32nd column, and keeps no values: exp is taken again.


@on_cuda(make_unit)
def _no_unit(x):
    return None


@on_cuda(softened)
def _soften_again(values, top, x, row, lane, column, step):
    return exp(x[row, column] - top[0])


@on_cuda(rows_in)
def _row_of_warp(block, x):
    row = block * np.uintp(BLOCK) + my_place()
    return row, min(np.uintp(x.shape[0]), row + np.uintp(1))


@on_cuda(soften_wide)
def _soften_by_warp(unit, x, row, last):
    top, total = x.dtype.type(-np.inf), x.dtype.type(0)
    for column in my_range(np.uintp(0), np.uintp(x.shape[1])):
        top = _larger(x[row, column], top)
    top = join_max(top)
    for column in my_range(np.uintp(0), np.uintp(x.shape[1])):
        total += exp(x[row, column] - top)
    total = join_sum(total)
    return None, (top,), (x.dtype.type(1) / total,), (log(total),)
