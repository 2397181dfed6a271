"""Matrix products: matmul, and a linear layer forward and backward.

    y = x·Wᵀ + b        dx = dy·W        dW = dyᵀ·x        db = Σ_rows dy

The rule: whatever the strides, the batch and the threads, each element is summed in the same order
(products.py), and nothing is copied that can be read where it lies.
"""

import numpy as np
from numba import types
from numba.extending import overload

from . import cuda_products
from .arrays import check_known
from .columns import add_columns
from .loops import for_each
from .microkernel import ADD, BIAS, RELU
from .operations import operation
from .products import adjacent, multiply_into, shared, view

_PRECISION = {"precision": None}  # on CUDA


def _check_precision(operation, sizes, values):
    cuda_products.check_precision(operation, values["precision"])


@operation(
    "a (M, K), b (K, N) -> c (M, N)", strided=True, check=_check_precision, options=_PRECISION
)
def matmul(c, a, b):
    """C = A·B, for arrays of any strides: transposed and strided views are welcome.

    a (M, K); b (K, N) -> c (M, N)

    precision: on CUDA "tf32" and "bf16" round float32 inputs for the tensor cores (about 3 and 2
    digits; sums stay float32); else, and always on the CPU, float32 is multiplied as float32.
    """
    multiply_into(view(c), view(a), view(b), view(np.empty(1, c.dtype)), 0)


def _check_linear(operation, sizes, values):
    _check_precision(operation, sizes, values)
    name = values["activation"]
    if name is not None and name != "relu":
        from .activations import ACTIVATIONS

        check_known(operation, name, ACTIVATIONS, "activation")


@operation(
    "x (N, I), weight (O, I), bias? (O) -> y (N, O)",
    strided=True,
    check=_check_linear,
    options=_PRECISION,
)
def linear(y, x, weight, bias, activation=None):
    """y = f(x·Wᵀ + b), with f one of the activations by name, or none; precision as in matmul.

    x (N, I); weight (O, I); bias (O,) -> y (N, O)

    The bias and ReLU are applied while sums are in registers; other activations pass over y once
    more, in the cache (0.4 % at 128 x 784 x 512). Inside njit the activation is None or "relu".
    """
    code = _relu_code(activation)
    if bias is None:
        line = view(np.empty(1, y.dtype))
    else:
        line, code = view(np.empty(bias.size, y.dtype)), code | BIAS
        if adjacent(bias.size, bias.strides[0], bias.itemsize):
            line = view(bias)
        else:
            _copy_line(bias.size, line, bias)
    multiply_into(view(y), view(x), view(weight).T, line, code)
    _activate(y, activation)


@for_each
def _copy_line(i, target, source):
    target[i] = source[i]


@shared
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
    multiply_into(view(dx), view(dy), view(weight), view(np.empty(1, dx.dtype)), 0)


@operation("dy (N, O), x (N, I) -> dweight (O, I)", strided=True)
def linear_backward_weight(dweight, dy, x, accumulate=False):
    """dW = dyᵀ·x, the gradient of `linear` for its weight; `accumulate` adds it to `out`.

    dy (N, O); x (N, I) -> dweight (O, I)
    """
    nothing = view(np.empty(1, dweight.dtype))
    code = ADD if accumulate else 0
    multiply_into(view(dweight), view(dy).T, view(x), nothing, code)


@operation("dy (N, O) -> dbias (O)")
def linear_backward_bias(dbias, dy, accumulate=False):
    """db = Σ_rows dy, the gradient of `linear` for its bias; `accumulate` adds it to `out`.

    dy (N, O) -> dbias (O,)
    """
    add_columns(dbias, dy, accumulate)


@operation(
    "dy (N, O), x (N, I), weight (O, I) -> dx (N, I), dweight (O, I), dbias (O)", strided=True
)
def linear_backward(dx, dweight, dbias, dy, x, weight):
    """dx = dy·W, dW = dyᵀ·x and db = Σ_rows dy: the gradients of `linear`.

    dy (N, O); x (N, I); weight (O, I) -> dx (N, I), dweight (O, I), dbias (O,)
    """
    nothing = view(np.empty(1, dx.dtype))
    multiply_into(view(dx), view(dy), view(weight), nothing, 0)
    multiply_into(view(dweight), view(dy).T, view(x), nothing, 0)
    add_columns(dbias, dy, False)


matmul.operation.on_device(cuda_products.matmul)
linear.operation.on_device(cuda_products.linear)
linear_backward_input.operation.on_device(cuda_products.linear_backward_input)
linear_backward_weight.operation.on_device(cuda_products.linear_backward_weight)
linear_backward.operation.on_device(cuda_products.linear_backward)
