"""Copies of a matrix in panels: the columns of a strip lie together, to be read in order.

The rule: a panel is `PANEL` bytes wide, and the last one as many whole vectors as the columns need;
what fills it up is never stored. A packed matrix is an array (k, columns filled up) whose memory is
panel after panel.
"""

from numba import types
from numba.extending import register_jitable

from .launch import Kernel
from .microkernel import copy_lines, transpose_lines
from .widths import TILE_VECTORS, vector_bytes

VECTOR = vector_bytes()
PANEL = TILE_VECTORS * VECTOR
BLOCK = 256  # of k: what one item of a packing kernel copies of a panel


class _StridedKernel(Kernel):
    """A kernel that is compiled once for arrays of any strides: its tiles read strides anyhow."""

    def _compile(self, kinds):
        return super()._compile(
            tuple(k.copy(layout="A") if isinstance(k, types.Array) else k for k in kinds)
        )


def strided_kernel(cost):
    """Make a share a kernel that is compiled once for arrays of any strides."""
    return lambda share: _StridedKernel(share, lambda: share, cost)


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


@strided_kernel(cost=_cost)
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


@strided_kernel(cost=_cost)
def pack_columns(start, stop, packed, source):
    """Pack the transpose of source (columns, k), by squares of registers where its rows allow."""
    columns, k = source.shape
    size, (row, step) = packed.itemsize, source.strides
    width, lanes = PANEL // size, VECTOR // size
    panels = (columns + width - 1) // width
    by_squares = step == size and k >= lanes
    for item in range(start, stop):
        j, first = item % panels * width, item // panels * BLOCK
        line = min(width, packed.shape[1] - j) * size
        operands = (
            packed.ctypes.data + j * k * size,
            line,
            source.ctypes.data + j * row,
            row,
            step,
        )
        sizes = (min(width, columns - j), first, min(k, first + BLOCK))
        transpose_lines(packed, sizes, operands, by_squares)
