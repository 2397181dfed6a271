"""Activations whose parameter is trained: an array of one number, or of one for each channel.

    prelu           y = x where x > 0, else a·x      da = Σ dy·x where x <= 0
    learned_swish   y = x·σ(βx)                      dβ = Σ dy·x²·s·(1 - s),  s = σ(βx)

The rule: every column has its parameter beside it in a line, so that (N, C), (N, C, L) and one
number for all take the same loops; sums go over chunks of 64 rows in a fixed order (columns.py).
"""

import numpy as np
from numba import types
from numba.extending import register_jitable

from . import arrays
from .activations import swish
from .arrays import scratch
from .columns import _add_chunks, _fold_channels, as_rows
from .elementary import sigmoid
from .launch import kernel
from .loops import chunks_of, for_each_cell, sum_columns
from .operations import Operation, operation
from .rectifiers import leaky_relu
from .spread import my_range


class _Learned(Operation):
    """An operation f(x, p); on numbers, in njit and cuda.jit too, an elementwise one serves it."""

    on_numbers: Operation

    def call(self, *args, **kwargs):
        if args and arrays.is_number(args[0]):
            return self.on_numbers.call(*args, **kwargs)
        return super().call(*args, **kwargs)

    def resolve_scalar(self, context, full):
        """Return the signature of a call on numbers, or None where arrays are given."""
        numbers = isinstance(types.unliteral(full[1]), types.Number)
        return self.on_numbers.resolve_scalar(context, full) if numbers else None

    def lower_scalar(self, *args):
        return self.on_numbers.lower_scalar(*args)


def _check(operation, sizes, values):
    name, size, channels = list(values)[-1], sizes["P"], sizes["C"]
    if size not in (1, channels):
        raise ValueError(f"{operation}: {name} has shape ({size},), expected (1,) or ({channels},)")


def _learned(declaration, on_numbers):
    def decorate(run):
        made = _Learned(run, declaration, ("x",), {}, _check, False)
        made.on_numbers = on_numbers.operation
        return made.public

    return decorate


@kernel(cost=lambda line, values: 0.1 * len(line) / len(values), spread="warp")
def _lay_out(start, stop, line, values):
    """Lay each value out over as many columns as share it."""
    length = np.uintp(len(line)) // np.uintp(len(values))
    for i in range(np.uintp(start), np.uintp(stop)):
        value = values[i]
        for column in my_range(i * length, (i + np.uintp(1)) * length):
            line[column] = value


@register_jitable
def _line_of(rows, channels, values):
    """Return the parameter of each column."""
    if values.size != 1 and values.size != channels:  # only njit comes here unchecked
        raise ValueError("the parameter has neither one element nor one for each channel")
    if values.size == rows.shape[1]:
        return values
    line = scratch(rows, rows.shape[1])
    _lay_out(values.size, line, values)
    return line


@register_jitable
def _add_up(total, partial):
    """total = the sums of the columns' partial sums, over the columns that share a parameter."""
    columns = partial.shape[1]
    if total.size == columns:
        _add_chunks(columns, total, partial, False)
    else:
        wide = scratch(total, columns)
        _add_chunks(columns, wide, partial, False)
        _fold_channels(total.size, total, wide)


@for_each_cell(cost=0.3)
def _prelu(row, column, y, x, line):
    value = x[row, column]
    below = line[column] * value
    y[row, column] = value if value > 0 else below


@_learned("x (N, C, L?), slope (P) -> y (N, C, L?)", leaky_relu)
def prelu(y, x, slope):
    """y = x where x > 0, else slope·x. He et al. 2015, arXiv:1502.01852.

    x (N, C) or (N, C, L); slope (1,) or (C,) -> y like x
    """
    rows, results = as_rows(x), as_rows(y)
    _prelu(rows.shape[0], results, rows, _line_of(rows, x.shape[1], slope))


@sum_columns(cost=0.4)
def _prelu_backward(row, column, dx, dy, x, line):
    """Write dx, and return what the cell adds to dslope."""
    d, value = dy[row, column], x[row, column]
    below = line[column] * d
    dx[row, column] = d if value > 0 else below
    part = d * value
    return type(value)(0) if value > 0 else part


@operation(
    "dy (N, C, L?), x (N, C, L?), slope (P) -> dx (N, C, L?), dslope (P)",
    in_place=("dy",),
    check=_check,
)
def prelu_backward(dx, dslope, dy, x, slope):
    """dx = dy where x > 0, else slope·dy; dslope = Σ dy·x where x <= 0.

    dy, x (N, C) or (N, C, L); slope (1,) or (C,) -> dx like x; dslope like slope
    """
    rows = as_rows(x)
    partial = scratch(x, (chunks_of(rows.shape[0]), rows.shape[1]))
    line = _line_of(rows, x.shape[1], slope)
    _prelu_backward(partial.shape[0], partial, as_rows(dx), as_rows(dy), rows, line)
    _add_up(dslope, partial)


@for_each_cell(cost=0.5)
def _swish(row, column, y, x, line):
    y[row, column] = swish(x[row, column], line[column])


@_learned("x (N, C, L?), beta (P) -> y (N, C, L?)", swish)
def learned_swish(y, x, beta):
    """y = x·σ(βx), β an array. Ramachandran et al. 2017, arXiv:1710.05941.

    x (N, C) or (N, C, L); beta (1,) or (C,) -> y like x
    """
    rows, results = as_rows(x), as_rows(y)
    _swish(rows.shape[0], results, rows, _line_of(rows, x.shape[1], beta))


@sum_columns(cost=0.8)
def _swish_backward(row, column, dx, dy, x, line):
    """Write dx, and return what the cell adds to dbeta."""
    d, value, one = dy[row, column], x[row, column], dy.dtype.type(1)
    u = line[column] * value
    s = sigmoid(u)
    dx[row, column] = d * (s * (one + u * (one - s)))
    return d * (value * (value * (s * (one - s))))


@operation(
    "dy (N, C, L?), x (N, C, L?), beta (P) -> dx (N, C, L?), dbeta (P)",
    in_place=("dy",),
    check=_check,
)
def learned_swish_backward(dx, dbeta, dy, x, beta):
    """dx = dy·s·(1 + βx·(1 - s)) and dβ = Σ dy·x²·s·(1 - s), s = σ(βx).

    dy, x (N, C) or (N, C, L); beta (1,) or (C,) -> dx like x; dbeta like beta
    """
    rows = as_rows(x)
    partial = scratch(x, (chunks_of(rows.shape[0]), rows.shape[1]))
    line = _line_of(rows, x.shape[1], beta)
    _swish_backward(partial.shape[0], partial, as_rows(dx), as_rows(dy), rows, line)
    _add_up(dbeta, partial)
