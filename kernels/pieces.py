"""Activations that change the width: the largest of some pieces, both signs, one half as a gate.

    maxout   y_c = max_j x_(c·k+j), j < k       (N, C·k) -> (N, C)
    crelu    y = (max(x, 0), max(-x, 0))        (N, C) -> (N, 2C)
    glu      y = a·σ(b), x = (a, b)             (N, 2C) -> (N, C)

The rule: a cell of the narrow array is computed alone; NaN comes out.
"""

import functools

import numpy as np
from numba.extending import overload

from . import arrays
from .caching import jit
from .elementary import sigmoid
from .loops import for_each_cell
from .operations import operation

FEW = (
    8  # pieces up to which each number has a kernel of its own: with vectors, 4 to 10 times as fast
)


def _settle(operation, sizes, values, letter, size, name):
    """Settle a size that follows from another one; the array `name`, if it is given, must fit."""
    if sizes.setdefault(letter, size) != size:
        arrays.check_shape(operation, name, values[name].shape, (sizes["N"], size))


def _check_pieces(operation, sizes, values):
    pieces, width = values["pieces"], sizes["W"]
    arrays.check_integer(operation, "pieces", pieces, 1)
    if width % pieces:
        raise ValueError(
            f"{operation}: pieces is {pieces}, expected a divisor of {width}, the columns of x"
        )
    _settle(operation, sizes, values, "C", width // pieces, "dy")


def _put_largest(row, column, y, x, pieces):
    first = column * np.uintp(pieces)
    best = x[row, first]
    for k in range(np.uintp(1), np.uintp(pieces)):
        value = x[row, first + k]
        best = value if (value > best) | (value != value) else best
    y[row, column] = best


# the narrow array first: its columns are those of the loop
def _put_where_largest(row, column, dy, dx, x, pieces):
    first, zero, one = column * np.uintp(pieces), dy.dtype.type(0), dy.dtype.type(1)
    d, best = dy[row, column], x[row, first]
    winner = place = zero  # floats, as a vector has them beside the values
    for k in range(np.uintp(1), np.uintp(pieces)):
        value, place = x[row, first + k], place + one
        wins = (value > best) | ((value != value) & (best == best))
        best, winner = (value if wins else best), (place if wins else winner)
    place = zero
    for k in range(np.uintp(pieces)):
        dx[row, first + k] = d if place == winner else zero
        place += one


_put_any_largest = for_each_cell(_put_largest, cost=3.0)
_put_where_any_largest = for_each_cell(_put_where_largest, cost=10.0)
_largest, _where_largest = jit(_put_largest, inner=True), jit(_put_where_largest, inner=True)


@functools.cache
def _maxout_of(pieces):
    @for_each_cell(cost=0.1 * pieces)
    def _maxout(row, column, y, x):
        _largest(row, column, y, x, pieces)

    return _maxout


@functools.cache
def _maxout_backward_of(pieces):
    @for_each_cell(cost=0.3 * pieces)
    def _maxout_backward(row, column, dy, dx, x):
        _where_largest(row, column, dy, dx, x, pieces)

    return _maxout_backward


def _run_maxout(y, x, pieces):
    if pieces <= FEW:
        _maxout_of(pieces)(x.shape[0], y, x)
    else:
        _put_any_largest(x.shape[0], y, x, pieces)


@overload(_run_maxout)
def _run_maxout_in_njit(y, x, pieces):
    return lambda y, x, pieces: _put_any_largest(x.shape[0], y, x, pieces)


def _run_maxout_backward(dy, dx, x, pieces):
    if pieces <= FEW:
        _maxout_backward_of(pieces)(x.shape[0], dy, dx, x)
    else:
        _put_where_any_largest(x.shape[0], dy, dx, x, pieces)


@overload(_run_maxout_backward)
def _run_maxout_backward_in_njit(dy, dx, x, pieces):
    return lambda dy, dx, x, pieces: _put_where_any_largest(x.shape[0], dy, dx, x, pieces)


@operation("x (N, W) -> y (N, C)", check=_check_pieces)
def maxout(y, x, pieces):
    """y = the largest of each `pieces` columns side by side. Goodfellow et al. 2013.

    x (N, C·pieces) -> y (N, C)

    arXiv:1302.4389. After a linear layer any convex function of its input can be approximated: with
    two pieces relu is max(x, 0) and |x| is max(x, -x).
    """
    if pieces < 1 or y.shape[1] * pieces != x.shape[1]:  # only njit comes here unchecked
        raise ValueError("maxout: x has another number of columns than pieces times those of out")
    _run_maxout(y, x, int(pieces))


@operation("dy (N, C), x (N, W) -> dx (N, W)", check=_check_pieces)
def maxout_backward(dx, dy, x, pieces):
    """dx = dy at the first of the largest pieces (the first NaN, if any), else 0.

    dy (N, C), x (N, C·pieces) -> dx (N, C·pieces)
    """
    if pieces < 1 or dy.shape[1] * pieces != x.shape[1]:
        raise ValueError("maxout_backward: x has another number of columns than pieces times dy's")
    _run_maxout_backward(dy, dx, x, int(pieces))


def _check_doubled(operation, sizes, values):
    _settle(operation, sizes, values, "W", 2 * sizes["C"], "dy")


@for_each_cell(cost=0.4)
def _crelu(row, column, x, y):
    value, zero = x[row, column], x.dtype.type(0)
    y[row, column] = zero if value <= 0 else value
    y[row, column + np.uintp(x.shape[1])] = zero if value >= 0 else -value


@operation("x (N, C) -> y (N, W)", check=_check_doubled)
def crelu(y, x):
    """y = max(x, 0) beside max(-x, 0). Shang et al. 2016, arXiv:1603.05201.

    x (N, C) -> y (N, 2C)

    Nothing is lost: y has the norm of x, and dx that of the part of dy that passes.
    """
    if y.shape[1] != 2 * x.shape[1]:
        raise ValueError("crelu: out has another number of columns than twice those of x")
    _crelu(x.shape[0], x, y)


@for_each_cell(cost=0.5)
def _crelu_backward(row, column, dx, dy, x):
    value, zero = x[row, column], x.dtype.type(0)
    up, down = dy[row, column], dy[row, column + np.uintp(x.shape[1])]
    dx[row, column] = (zero if value <= 0 else up) - (zero if value >= 0 else down)


@operation("dy (N, W), x (N, C) -> dx (N, C)", check=_check_doubled)
def crelu_backward(dx, dy, x):
    """dx = dy's left half where x > 0, minus its right half where x < 0, 0 at 0.

    dy (N, 2C), x (N, C) -> dx (N, C)
    """
    if dy.shape[1] != 2 * x.shape[1]:
        raise ValueError("crelu_backward: dy has another number of columns than twice those of x")
    _crelu_backward(x.shape[0], dx, dy, x)


def _check_halved(operation, sizes, values):
    width = sizes["W"]
    if width % 2:
        raise ValueError(f"{operation}: x has {width} columns, expected an even number")
    _settle(operation, sizes, values, "C", width // 2, "dy")


@for_each_cell(cost=0.6)
def _glu(row, column, y, x):
    gate = x[row, column + np.uintp(y.shape[1])]
    y[row, column] = x[row, column] * sigmoid(gate)


@operation("x (N, W) -> y (N, C)", check=_check_halved)
def glu(y, x):
    """y = a·σ(b), the left half gated by the right one. Dauphin et al. 2016, arXiv:1612.08083.

    x (N, 2C) -> y (N, C)
    """
    if 2 * y.shape[1] != x.shape[1]:
        raise ValueError("glu: x has another number of columns than twice those of out")
    _glu(x.shape[0], y, x)


@for_each_cell(cost=0.8)
def _glu_backward(row, column, dy, dx, x):
    right = column + np.uintp(dy.shape[1])
    d, value, s = dy[row, column], x[row, column], sigmoid(x[row, right])
    dx[row, column] = d * s
    dx[row, right] = d * (value * (s * (dy.dtype.type(1) - s)))


@operation("dy (N, C), x (N, W) -> dx (N, W)", check=_check_halved)
def glu_backward(dx, dy, x):
    """dx = dy·s beside dy·a·s·(1 - s), s = σ(b).

    dy (N, C), x (N, 2C) -> dx (N, 2C)
    """
    if 2 * dy.shape[1] != x.shape[1]:
        raise ValueError("glu_backward: x has another number of columns than twice those of dy")
    _glu_backward(x.shape[0], dy, dx, x)
