"""The engine of the matrix products: C = A·B for operands of any strides, by three ways.

The rule: each element of a result is summed in one order, fixed by k alone: chains of K_BLOCK fused
multiply-adds, added up one after the other. Tiles, layouts, batch sizes and threads change nothing
in it, so row i of a product depends on no other row, and all choices here are about speed only.
"""

from numba import types
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic, overload, register_jitable

from .arrays import scratch
from .compiling import InnerCompiler
from .loops import for_each_cell
from .microkernel import ADD, strip
from .narrow import NARROW, narrow_strip
from .packing import (
    PANEL,
    VECTOR,
    ceil_div,
    pack_columns,
    pack_rows,
    packed_size,
    packing_items,
    strided_kernel,
)
from .widths import HAS_MASKS

# a function that Python runs as it is, and njit code compiles: once, where it is inlined
shared = register_jitable(pipeline_class=InnerCompiler)

K_BLOCK = 1024
ROW_BLOCK = 64  # rows of a that one item multiplies, by PANEL of b; 128 leave two threads uneven
PACKED, SWAPPED = 16, 8  # bits of `code`: b is packed; a is given transposed
PACK_ROWS = 256 if VECTOR == 64 else 32  # rows of a from which on packing b pays


def _cost(c, a, b, bias, code):
    """About how many ns an item takes, at four multiply-adds of a vector a ns."""
    rows = min(ROW_BLOCK, max(a.shape))
    return rows * b.shape[0] * PANEL / VECTOR / 4


@strided_kernel(cost=lambda c, a, *_: VECTOR / c.itemsize * a.shape[1] * NARROW / 4)
def product_narrow(start, stop, c, a, b, bias, code):
    """C = A·Bᵀ for at most NARROW rows of b, by items of a vector's lanes of rows of a."""
    rows, k = a.shape
    lanes = VECTOR // c.itemsize
    for block in range(start, stop):
        i = block * lanes
        for k0 in range(0, k, K_BLOCK):
            kc = min(K_BLOCK, k - k0)
            todo = code if k0 + kc == k else code & ADD
            if k0 > 0:
                todo |= ADD
            at = a.ctypes.data + i * a.strides[0] + k0 * a.itemsize
            b_at = b.ctypes.data + k0 * b.strides[1]
            c_at = c.ctypes.data + i * c.strides[0]
            operands = (b_at, b.strides[0], b.strides[1], at, a.strides[0])
            narrow_strip(
                c,
                (c.shape[1], min(lanes, rows - i), kc),
                (*operands, c_at, c.strides[0], bias.ctypes.data),
                todo,
            )


def _product_kernel(padded, flipped):
    padded, flipped = int(padded), int(flipped)  # Numba knows the values of frozen integers only

    @strided_kernel(cost=_cost)
    def product(start, stop, c, a, b, bias, code):
        """C = A·B by items of ROW_BLOCK rows and one panel of columns; `flipped`: Cᵀ = A·B."""
        rows, columns = (c.shape[1], c.shape[0]) if flipped else c.shape
        k, item, line = b.shape[0], c.itemsize, c.strides[0]
        width = PANEL // item
        panels = (columns + width - 1) // width
        a_row, a_col = (a.strides[1], a.strides[0]) if code & SWAPPED else a.strides
        for block in range(start, stop):
            i, j = block // panels * ROW_BLOCK, block % panels * width
            m, n = min(ROW_BLOCK, rows - i), min(width, columns - j)
            a_at = a.ctypes.data + i * a_row
            b_at, b_row = b.ctypes.data + j * item, b.strides[0]
            if code & PACKED:
                b_at, b_row = b.ctypes.data + j * k * item, min(width, b.shape[1] - j) * item
            c_at = c.ctypes.data + (i * item + j * line if flipped else i * line + j * item)
            bias_at = bias.ctypes.data + (i if flipped else j) * item
            for k0 in range(0, max(k, 1), K_BLOCK):
                kc = min(K_BLOCK, k - k0)
                todo = code if k0 + kc == k else code & ADD
                if k0 > 0:
                    todo |= ADD
                a_k, b_k = a_at + k0 * a_col, b_at + k0 * b_row
                operands = (a_k, a_row, a_col, b_k, b_row, c_at, line, bias_at)
                strip(c, padded, flipped, (m, n, kc), operands, todo)

    return product


# of 16 registers none is left for a mask: there the inner loop over panels does without
FEW_REGISTERS = VECTOR < 64
product = _product_kernel(padded=not HAS_MASKS, flipped=False)
product_flipped = _product_kernel(padded=FEW_REGISTERS, flipped=True)
product_packed = _product_kernel(padded=True, flipped=False) if FEW_REGISTERS else product


def view(array):
    """Return the array; inside njit as one of any layout, lest all be compiled for each."""
    return array


@intrinsic
def _forget_layout(typing, array):
    def codegen(context, builder, signature, args):
        return impl_ret_borrowed(context, builder, signature.return_type, args[0])

    return types.Array(array.dtype, array.ndim, "A")(array), codegen


@overload(view)
def _view_in_njit(array):
    return lambda array: _forget_layout(array)


@shared
def _items(rows, columns, itemsize):
    return ceil_div(rows, ROW_BLOCK) * ceil_div(columns * itemsize, PANEL)


@shared
def adjacent(count, stride, itemsize):
    """Tell whether `count` elements `stride` bytes apart lie side by side."""
    return count <= 1 or stride == itemsize


@shared
def _multiply(c, a, b, bias, code):
    """C = A·B, or what `code` says; the columns of c are adjacent, all other strides are free.

    Three ways: straight; with b copied into panels, where its columns are not adjacent, or where
    its rows crowd the cache and many rows of a read them; or flipped, as Cᵀ = Bᵀ·Aᵀ with vectors
    down the columns of c, so that a is packed, not b.
    """
    (m, n), k, item = c.shape, b.shape[0], c.itemsize
    ready = adjacent(n, b.strides[1], item)
    if adjacent(k, a.strides[1], item) and _narrow_pays(m, n, k, ready, VECTOR // item):
        product_narrow(ceil_div(m, VECTOR // item), c, a, b.T, bias, code)
        return
    a_ready = adjacent(m, a.strides[0], item)
    if _flipping_pays((m, n, k), a_ready, ready, VECTOR // item):
        swapped = not adjacent(k, b.strides[0], item)
        code |= SWAPPED if swapped else 0
        if a_ready and not FEW_REGISTERS:
            panels = a.T
        else:
            panels, code = scratch(c, (k, packed_size(m, item))), code | PACKED
            if a_ready:
                pack_rows(packing_items(k, m, item), panels, a.T)
            else:
                pack_columns(packing_items(k, m, item), panels, a)
        product_flipped(_items(n, m, item), c, b if swapped else b.T, view(panels), bias, code)
        return
    swapped = not adjacent(k, a.strides[1], item) and adjacent(m, a.strides[0], item)
    code |= SWAPPED if swapped else 0
    left = a.T if swapped else a
    if ready and HAS_MASKS and not _packing_pays(m, n, k, b.strides[0], item):
        product(_items(m, n, item), c, left, b, bias, code)
        return
    panels = scratch(c, (k, packed_size(n, item)))
    if ready:
        pack_rows(packing_items(k, n, item), panels, b)
    else:
        pack_columns(packing_items(k, n, item), panels, b.T)
    product_packed(_items(m, n, item), c, left, view(panels), bias, code | PACKED)


@shared
def _packing_pays(m, n, k, line, item):
    """Tell whether packing b pays: many rows read it, and its lines crowd in few cache sets."""
    crowded = VECTOR < 64 or line % 1024 == 0 or k >= 256
    return m >= PACK_ROWS and n * item > PANEL and k >= 16 and crowded


@shared
def _narrow_pays(m, n, k, ready, lanes):
    """Tell whether lanes down the rows of c idle less than lanes along them, in cycles for a k.

    A square that is transposed costs about five multiply-adds for each of its k.
    """
    narrow = ceil_div(m, lanes) * ((NARROW if n > NARROW // 2 else NARROW // 2) + 5)
    straight = m * ceil_div(n, lanes) + (0 if ready else n * 8 // lanes)
    return HAS_MASKS and n <= NARROW and k >= lanes and narrow <= straight


@shared
def _flipping_pays(sizes, a_ready, b_ready, lanes):
    """Compare both ways, in cycles: a multiply-add of vectors is one, in a tile of one row two."""
    m, n, k = sizes
    straight = ceil_div(n, lanes) * m * k + (0 if b_ready else n * k * 8 // lanes)
    flipped = ceil_div(m, lanes) * (n + n % 4) * k + 2 * m * n
    return flipped + (0 if a_ready else m * k * 8 // lanes) < straight


@for_each_cell
def _copy(row, column, target, source):
    target[row, column] = source[row, column]


@shared
def multiply_into(c, a, b, bias, code):
    """Multiply into a c of any strides."""
    target, direct = c, adjacent(c.shape[1], c.strides[1], c.itemsize)
    if not direct and code == 0 and adjacent(c.shape[0], c.strides[0], c.itemsize):
        target, a, b, direct = c.T, b.T, a.T, True
    elif not direct:
        target = view(scratch(c, c.shape))
        if code & ADD:
            _copy(c.shape[0], target, c)
    _multiply(target, a, b, bias, code)
    if not direct:
        _copy(c.shape[0], c, target)
