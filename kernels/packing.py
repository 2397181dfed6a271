"""Copies of a matrix in panels: the columns of a strip lie together, to be read in order.

The rule: a panel is `PANEL` bytes wide, and the last one as many whole vectors as the columns need;
what fills it up is never stored. A packed matrix is an array (k, columns filled up) whose memory is
panel after panel.
"""

import numpy as np
from numba.extending import register_jitable

from .caching import jit
from .launch import kernel
from .microkernel import copy_lines, transpose_square
from .widths import TILE_VECTORS, vector_bytes

VECTOR = vector_bytes()
PANEL = TILE_VECTORS * VECTOR
BLOCK = 256  # of k: what one item of a packing kernel copies of a panel


@register_jitable
def ceil_div(a, b):
    """Return a / b, rounded up."""
    return (a + b - 1) // b


@register_jitable
def packed_size(columns, itemsize):
    """Return how many columns a packed matrix has: whole vectors."""
    return ceil_div(columns, VECTOR // itemsize) * (VECTOR // itemsize)


@register_jitable
def packing_items(k, columns, itemsize):
    """Return the size of the index space of a packing kernel."""
    return ceil_div(k, BLOCK) * ceil_div(columns * itemsize, PANEL)


def _cost(packed, source):
    return 0.2 * BLOCK * PANEL / packed.itemsize


@kernel(cost=_cost)
def pack_rows(start, stop, packed, source):
    """Pack source (k, columns), whose columns are adjacent."""
    k, columns = source.shape
    size, row = packed.itemsize, source.strides[0]
    width = PANEL // size
    panels = (columns + width - 1) // width
    for item in range(start, stop):
        j, first = item % panels * width, item // panels * BLOCK
        line = min(width, packed.shape[1] - j) * size
        target = packed.ctypes.data + j * k * size + first * line
        origin = source.ctypes.data + j * size + first * row
        lines = min(BLOCK, k - first)
        copy_lines(packed, lines, min(width, columns - j), target, line, origin, row)


@jit(inner=True)
def _squares(packed, to, line, source, column, first, last):
    item, lanes = packed.itemsize, VECTOR // packed.itemsize
    target, origin = packed.ctypes.data, source.ctypes.data + column * source.strides[0]
    rows = min(lanes, source.shape[0] - column)
    for k in range(first, last, lanes):
        k = min(k, source.shape[1] - lanes)  # the last square overlaps the one before
        place = target + (to + k * line) * item
        transpose_square(packed, place, line * item, origin + k * item, source.strides[0], rows)


@jit(inner=True)
def _elements(packed, to, line, source, column, first, last):
    flat = packed.reshape(packed.size)
    lanes, rows = np.uintp(VECTOR // packed.itemsize), np.uintp(source.shape[0] - column)
    for k in range(np.uintp(first), np.uintp(last)):
        place = np.uintp(to) + k * np.uintp(line)
        for q in range(lanes):  # what fills up is a copy of the last
            flat[place + q] = source[np.uintp(column) + min(q, rows - np.uintp(1)), k]


@kernel(cost=_cost)
def pack_columns(start, stop, packed, source):
    """Pack the transpose of source (columns, k), by squares of registers where its rows allow."""
    columns, k = source.shape
    width, lanes = PANEL // packed.itemsize, VECTOR // packed.itemsize
    panels = (columns + width - 1) // width
    by_squares = source.strides[1] == source.itemsize and k >= lanes
    for item in range(start, stop):
        j = item % panels * width
        first, last = item // panels * BLOCK, min(k, (item // panels + 1) * BLOCK)
        line = min(width, packed.shape[1] - j)
        for column in range(j, j + line, lanes):
            to = j * k + column - j
            if by_squares:
                _squares(packed, to, line, source, column, first, last)
            else:
                _elements(packed, to, line, source, column, first, last)
