"""Softmax of rows and its logarithm, forward and backward.

    y = exp(x - m)/Σ exp(x - m),   log y = x - m - log Σ exp(x - m),   m = max x

The rule: a row's result does not depend on the other rows.
"""

import numpy as np

from .elementary import exp
from .launch import kernel
from .operations import operation
from .rows import NARROW, blocks_of, both, make_unit, rows_in, softened
from .spread import join_sum, my_range


def _make_softmax(step, soften):
    @kernel(cost=lambda y, x: 20.0 * x.shape[1] + 100.0, spread="rows")
    def softmax_rows(start, stop, y, x):
        unit = make_unit(x)
        for block in range(np.uintp(start), np.uintp(stop)):
            first, last = rows_in(block, x)
            for row in range(first, last, np.uintp(step)):
                values, top, total, rest = soften(unit, x, row, last)
                for lane in range(min(last - row, np.uintp(step))):
                    factor = total[lane]
                    for column in my_range(np.uintp(0), np.uintp(x.shape[1])):
                        value = softened(values, top, x, row, lane, column, step)
                        y[row + lane, column] = value * factor

    return softmax_rows


def _make_log_softmax(step, soften):
    @kernel(cost=lambda y, x: 20.0 * x.shape[1] + 100.0, spread="rows")
    def log_softmax_rows(start, stop, y, x):
        unit = make_unit(x)
        for block in range(np.uintp(start), np.uintp(stop)):
            first, last = rows_in(block, x)
            for row in range(first, last, np.uintp(step)):
                values, top, total, rest = soften(unit, x, row, last)
                for lane in range(min(last - row, np.uintp(step))):
                    most, logarithm = top[lane], rest[lane]
                    for column in my_range(np.uintp(0), np.uintp(x.shape[1])):
                        y[row + lane, column] = (x[row + lane, column] - most) - logarithm

    return log_softmax_rows


_softmax_narrow, _softmax_wide = both(_make_softmax)
_log_softmax_narrow, _log_softmax_wide = both(_make_log_softmax)


@operation("x (N, C) -> y (N, C)", in_place=("x",))
def softmax(y, x):
    """y = exp(x)/Σ exp(x), over each row, without overflow.

    x (N, C) -> y (N, C)
    """
    if x.shape[1] <= NARROW:
        _softmax_narrow(blocks_of(x.shape[0]), y, x)
    else:
        _softmax_wide(blocks_of(x.shape[0]), y, x)


@operation("x (N, C) -> y (N, C)", in_place=("x",))
def log_softmax(y, x):
    """y = x - log Σ exp(x), over each row, without overflow.

    x (N, C) -> y (N, C)
    """
    if x.shape[1] <= NARROW:
        _log_softmax_narrow(blocks_of(x.shape[0]), y, x)
    else:
        _log_softmax_wide(blocks_of(x.shape[0]), y, x)


@kernel(cost=lambda dx, dy, y: 1.5 * y.shape[1], spread="warp")
def _softmax_backward(start, stop, dx, dy, y):
    for row in range(np.uintp(start), np.uintp(stop)):
        total = y.dtype.type(0)
        for column in my_range(np.uintp(0), np.uintp(y.shape[1])):
            total += dy[row, column] * y[row, column]
        total = join_sum(total)
        for column in my_range(np.uintp(0), np.uintp(y.shape[1])):
            dx[row, column] = y[row, column] * (dy[row, column] - total)


@operation("dy (N, C), y (N, C) -> dx (N, C)", in_place=("dy", "y"))
def softmax_backward(dx, dy, y):
    """dx = y·(dy - Σ dy·y), over each row.

    dy, y (N, C) -> dx (N, C)
    """
    _softmax_backward(y.shape[0], dx, dy, y)


@kernel(cost=lambda dx, dy, y: 1.5 * y.shape[1], spread="warp")
def _log_softmax_backward(start, stop, dx, dy, y):
    for row in range(np.uintp(start), np.uintp(stop)):
        total = y.dtype.type(0)
        for column in my_range(np.uintp(0), np.uintp(y.shape[1])):
            total += dy[row, column]
        total = join_sum(total)
        for column in my_range(np.uintp(0), np.uintp(y.shape[1])):
            dx[row, column] = dy[row, column] - exp(y[row, column]) * total


@operation("dy (N, C), y (N, C) -> dx (N, C)", in_place=("dy", "y"))
def log_softmax_backward(dx, dy, y):
    """dx = dy - exp(y)·Σ dy, over each row.

    dy, y (N, C) -> dx (N, C)
    """
    _log_softmax_backward(y.shape[0], dx, dy, y)
