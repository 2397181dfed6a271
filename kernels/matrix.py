"""Matrix products: matmul, and a linear layer forward and backward.

    y = x·Wᵀ + b        dx = dy·W        dW = dyᵀ·x        db = Σ_rows dy

The rule: each element of a result is summed in one order, fixed by k alone: chains of K_BLOCK fused
multiply-adds, added up one after the other. Tiles, layouts, batch sizes and threads change nothing
in it, so row i of a product depends on no other row, and all choices here are about speed only.
"""

import numpy as np
from numba import types
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic, overload, register_jitable

from .arrays import check_known
from .launch import kernel
from .loops import chunks_of, for_each, for_each_cell, sum_columns
from .microkernel import ADD, BIAS, RELU, strip
from .operations import operation
from .packing import (
    PANEL,
    VECTOR,
    ceil_div,
    pack_columns,
    pack_rows,
    packed_size,
    packing_items,
)
from .widths import HAS_MASKS

K_BLOCK = 512
ROW_BLOCK = 128  # rows of a and columns of b that one item multiplies: 128 x PANEL
PACKED, SWAPPED = 16, 8  # bits of `code`: b is packed; a is given transposed
PACK_ROWS = 256 if VECTOR == 64 else 32  # rows of a from which on packing b pays


def _cost(c, a, b, bias, code):
    """About how many ns an item takes, at four multiply-adds of a vector a ns."""
    rows = min(ROW_BLOCK, max(a.shape))
    return rows * b.shape[0] * PANEL / VECTOR / 4


def _product_kernel(padded, flipped):
    padded, flipped = int(padded), int(flipped)  # Numba knows the values of frozen integers only

    @kernel(cost=_cost)
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


product = _product_kernel(padded=not HAS_MASKS, flipped=False)
product_flipped = _product_kernel(padded=not HAS_MASKS, flipped=True)
product_packed = _product_kernel(padded=True, flipped=False) if VECTOR == 32 else product


def _view(array):
    """Return the array; inside njit as one of any layout, lest all be compiled for each."""
    return array


@intrinsic
def _forget_layout(typing, array):
    def codegen(context, builder, signature, args):
        return impl_ret_borrowed(context, builder, signature.return_type, args[0])

    return types.Array(array.dtype, array.ndim, "A")(array), codegen


@overload(_view)
def _view_in_njit(array):
    return lambda array: _forget_layout(array)


@register_jitable
def _items(rows, columns, itemsize):
    return ceil_div(rows, ROW_BLOCK) * ceil_div(columns * itemsize, PANEL)


@register_jitable
def _adjacent(count, stride, itemsize):
    """Tell whether `count` elements `stride` bytes apart lie side by side."""
    return count <= 1 or stride == itemsize


@register_jitable
def multiply(c, a, b, bias, code):
    """C = A·B, or what `code` says; the columns of c are adjacent, all other strides are free.

    Three ways: straight; with b copied into panels, where its rows are not adjacent, or are far
    apart and read by many rows of a; or flipped, as Cᵀ = Bᵀ·Aᵀ with vectors down the columns of c, so
    that a is packed, not b.
    """
    (m, n), k, item = c.shape, b.shape[0], c.itemsize
    ready = _adjacent(n, b.strides[1], item)
    a_ready = HAS_MASKS and _adjacent(m, a.strides[0], item)
    if not ready and _flipping_pays(m, n, k, a_ready, VECTOR // item):
        swapped = not _adjacent(k, b.strides[0], item)
        code |= SWAPPED if swapped else 0
        if a_ready:
            panels = a.T
        else:
            panels, code = np.empty((k, packed_size(m, item)), c.dtype), code | PACKED
            pack_columns(packing_items(k, m, item), panels, a)
        product_flipped(_items(n, m, item), c, b if swapped else b.T, _view(panels), bias, code)
        return
    swapped = not _adjacent(k, a.strides[1], item) and _adjacent(m, a.strides[0], item)
    code |= SWAPPED if swapped else 0
    left = a.T if swapped else a
    if ready and HAS_MASKS and not _packing_pays(m, n, k, item):
        product(_items(m, n, item), c, left, b, bias, code)
        return
    panels = np.empty((k, packed_size(n, item)), c.dtype)
    if ready:
        pack_rows(packing_items(k, n, item), panels, b)
    else:
        pack_columns(packing_items(k, n, item), panels, b.T)
    product_packed(_items(m, n, item), c, left, _view(panels), bias, code | PACKED)


@register_jitable
def _packing_pays(m, n, k, item):
    return m >= PACK_ROWS and n * item > PANEL and k >= 16


@register_jitable
def _flipping_pays(m, n, k, ready, lanes):
    """Compare both ways for a b that is not ready, in cycles: a multiply-add of vectors is one."""
    straight = ceil_div(n, lanes) * m * k + k * n * 4 // 5
    flipped = ceil_div(m, lanes) * n * k + m * n * 2 + (0 if ready else k * m * 4 // 5)
    return flipped < straight


@for_each_cell
def _copy(row, column, target, source):
    target[row, column] = source[row, column]


@register_jitable
def _multiply_into(c, a, b, bias, code):
    """Multiply into a c of any strides."""
    target = c
    adjacent = _adjacent(c.shape[1], c.strides[1], c.itemsize)
    if not adjacent and code == 0 and _adjacent(c.shape[0], c.strides[0], c.itemsize):
        target, a, b, adjacent = c.T, b.T, a.T, True
    elif not adjacent:
        target = _view(np.empty(c.shape, c.dtype))
        if code & ADD:
            _copy(c.shape[0], target, c)
    multiply(target, a, b, bias, code)
    if not adjacent:
        _copy(c.shape[0], c, target)


@operation("a (M, K), b (K, N) -> c (M, N)", strided=True)
def matmul(c, a, b):
    """C = A·B, for arrays of any strides: transposed and strided views are welcome.

    a (M, K); b (K, N) -> c (M, N)
    """
    _multiply_into(_view(c), _view(a), _view(b), _view(np.empty(1, c.dtype)), 0)


def _check_activation(operation, sizes, values):
    name = values["activation"]
    if name is not None and name != "relu":
        from .activations import ACTIVATIONS

        check_known(operation, name, ACTIVATIONS, "activation")


@operation("x (N, I), weight (O, I), bias? (O) -> y (N, O)", strided=True, check=_check_activation)
def linear(y, x, weight, bias, activation=None):
    """y = f(x·Wᵀ + b), with f one of the activations by name, or none.

    x (N, I); weight (O, I); bias (O,) -> y (N, O)

    The bias and ReLU are applied while sums are in registers; other activations pass over y once
    more, in the cache (0.4 % at 128 x 784 x 512). Inside njit the activation is None or "relu".
    """
    code = _relu_code(activation)
    if bias is None:
        line = _view(np.empty(1, y.dtype))
    else:
        line, code = _view(np.empty(bias.size, y.dtype)), code | BIAS
        if _adjacent(bias.size, bias.strides[0], bias.itemsize):
            line = _view(bias)
        else:
            _copy_line(bias.size, line, bias)
    _multiply_into(_view(y), _view(x), _view(weight).T, line, code)
    _activate(y, activation)


@for_each
def _copy_line(i, target, source):
    target[i] = source[i]


@register_jitable
def _relu_code(activation):
    if activation is None:
        return 0
    return RELU if activation == "relu" else 0


def _activate(y, activation):
    if activation is not None and activation != "relu":
        from .activations import ACTIVATIONS

        ACTIVATIONS[activation].forward(y, out=y)


@overload(_activate)
def _activate_in_njit(y, activation):
    def nothing(y, activation):
        pass

    def refuse(y, activation):
        if activation != "relu":
            raise ValueError("linear: inside njit activation is None or 'relu'")

    return nothing if isinstance(activation, types.NoneType) else refuse


@operation("dy (N, O), weight (O, I) -> dx (N, I)", strided=True)
def linear_backward_input(dx, dy, weight):
    """dx = dy·W, the gradient of `linear` for its input.

    dy (N, O); weight (O, I) -> dx (N, I)
    """
    _multiply_into(_view(dx), _view(dy), _view(weight), _view(np.empty(1, dx.dtype)), 0)


@operation("dy (N, O), x (N, I) -> dweight (O, I)", strided=True)
def linear_backward_weight(dweight, dy, x, accumulate=False):
    """dW = dyᵀ·x, the gradient of `linear` for its weight; `accumulate` adds it to `out`.

    dy (N, O); x (N, I) -> dweight (O, I)
    """
    nothing = _view(np.empty(1, dweight.dtype))
    code = ADD if accumulate else 0
    _multiply_into(_view(dweight), _view(dy).T, _view(x), nothing, code)


@operation("dy (N, O) -> dbias (O)")
def linear_backward_bias(dbias, dy, accumulate=False):
    """db = Σ_rows dy, the gradient of `linear` for its bias; `accumulate` adds it to `out`.

    dy (N, O) -> dbias (O,)
    """
    chunks = chunks_of(dy.shape[0])
    if chunks == 1 and not accumulate:
        _sum_rows(1, dbias.reshape((1, dbias.size)), dy)
    else:
        partial = np.empty((chunks, dbias.size), dbias.dtype)
        _sum_rows(chunks, partial, dy)
        _add_partial(1, dbias, partial, accumulate)


@sum_columns
def _sum_rows(row, column, dy):
    return dy[row, column]


@kernel
def _add_partial(start, stop, total, partial, accumulate):
    """Add up the partial sums of all chunks, in order."""
    columns = np.uintp(total.size)
    if not accumulate:
        total[:] = 0
    for chunk in range(np.uintp(partial.shape[0])):
        for column in range(columns):
            total[column] += partial[chunk, column]


@operation(
    "dy (N, O), x (N, I), weight (O, I) -> dx (N, I), dweight (O, I), dbias (O)", strided=True
)
def linear_backward(dx, dweight, dbias, dy, x, weight):
    """dx = dy·W, dW = dyᵀ·x and db = Σ_rows dy: the gradients of `linear`.

    dy (N, O); x (N, I); weight (O, I) -> dx (N, I), dweight (O, I), dbias (O,)
    """
    nothing = _view(np.empty(1, dx.dtype))
    _multiply_into(_view(dx), _view(dy), _view(weight), nothing, 0)
    _multiply_into(_view(dweight), _view(dy).T, _view(x), nothing, 0)
    partial = np.empty((chunks_of(dy.shape[0]), dbias.size), dbias.dtype)
    _sum_rows(partial.shape[0], partial, dy)
    _add_partial(1, dbias, partial, False)
