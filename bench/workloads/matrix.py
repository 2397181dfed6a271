"""Rows of the table for matrix products: matmul, and a linear layer forward and backward."""

from functools import partial
from math import prod

import numpy as np

from .table import Workload, kernels, register

MLP = (
    (64, 784, 256),
    (128, 784, 512),
    (256, 1024, 1024),
    (32, 64, 64),
    (100, 32, 32),
    (64, 256, 10),
)
ODD = (
    (0, 3, 4),
    (3, 0, 4),
    (3, 4, 0),
    (1, 1, 1),
    (1, 17, 5),
    (7, 9, 50),
    (33, 40, 17),
    (65, 530, 49),
    (31, 50, 10),
    (64, 37, 3),
)


def _double(*arrays):
    return tuple(np.asarray(array, np.float64) for array in arrays)


def _normal(rng, dtype, *shapes):
    return tuple(rng.standard_normal(shape).astype(dtype) for shape in shapes)


def _matmul_reference(a, b):
    a, b = _double(a, b)
    return np.einsum("mk,kn->mn", a, b)


def _matmul_inputs(rng, size, dtype):
    m, k, n = size
    return _normal(rng, dtype, (m, k), (k, n))


def _linear_reference(x, weight, bias, activation):
    x, weight, bias = _double(x, weight, bias)
    return np.maximum(np.einsum("ni,oi->no", x, weight) + bias, 0)


def _linear_inputs(rng, size, dtype):
    n, i, o = size
    return (*_normal(rng, dtype, (n, i), (o, i), (o,)), "relu")


def _backward_inputs(rng, size, dtype, wanted="dy x weight"):
    n, i, o = size
    shapes = {"dy": (n, o), "x": (n, i), "weight": (o, i)}
    return _normal(rng, dtype, *(shapes[name] for name in wanted.split()))


def _backward_reference(dy, x, weight):
    dy, x, weight = _double(dy, x, weight)
    return np.einsum("no,oi->ni", dy, weight), np.einsum("no,ni->oi", dy, x), dy.sum(0)


def _numpy(function):
    return lambda *inputs: partial(function, *inputs)


def _numpy_product(operands=lambda *inputs: inputs):
    """NumPy's product of operands(*inputs), into an array that exists."""

    def build(*inputs):
        a, b = operands(*inputs)
        return partial(np.matmul, a, b, out=np.empty((a.shape[0], b.shape[1]), a.dtype))

    return build


def _torch_product(operands=lambda *inputs: inputs):
    """Build PyTorch's product of operands(*inputs), into a tensor that exists."""

    def build(*inputs):
        import torch

        a, b = operands(*map(torch.from_numpy, inputs))
        return partial(torch.mm, a, b, out=torch.empty((a.shape[0], b.shape[1]), dtype=a.dtype))

    return build


def _turned(dy, x):
    return dy.T, x


def _torch(function):
    def build(*inputs):
        import torch

        tensors = (torch.from_numpy(x) if isinstance(x, np.ndarray) else x for x in inputs)
        return partial(function, *tensors)

    return build


def _torch_linear(x, weight, bias, activation):
    import torch

    return torch.relu(torch.nn.functional.linear(x, weight, bias))


def _traffic(*shapes):
    """Return bytes(size, itemsize): every array of these axes is read or written once."""
    return lambda size, itemsize: itemsize * sum(prod(size[i] for i in axes) for axes in shapes)


def _product(m, k, n):
    return 2 * m * k * n


_ONCE = _traffic((0, 1), (1, 2), (0, 2))

register(
    Workload(
        name="matmul",
        group="matrix",
        call=kernels.matmul,
        reference=_matmul_reference,
        inputs=_matmul_inputs,
        sizes=((128, 784, 512), (512, 512, 512), (1024, 1024, 1024)),
        test_sizes=ODD,
        peers={"numpy": _numpy_product(), "torch": _torch_product()},
        flops=_product,
        bytes=_ONCE,
    ),
    Workload(
        name="linear",
        group="matrix",
        call=kernels.linear,
        reference=_linear_reference,
        inputs=_linear_inputs,
        sizes=MLP,
        test_sizes=ODD,
        peers={
            "numpy": _numpy(lambda x, weight, bias, _: np.maximum(x @ weight.T + bias, 0)),
            "torch": _torch(_torch_linear),
        },
        flops=_product,
        bytes=_ONCE,
    ),
    Workload(
        name="linear_backward",
        group="matrix",
        call=kernels.linear_backward,
        reference=_backward_reference,
        inputs=_backward_inputs,
        forward=kernels.linear,
        sizes=MLP,
        test_sizes=ODD,
        peers={
            "numpy": _numpy(lambda dy, x, weight: (dy @ weight, dy.T @ x, dy.sum(0))),
            "torch": _torch(lambda dy, x, weight: (dy @ weight, dy.T @ x, dy.sum(0))),
        },
        flops=lambda n, i, o: 2 * _product(n, i, o) + n * o,
        bytes=_traffic((0, 2), (0, 1), (0, 1), (1, 2), (1, 2), (2,)),
    ),
    Workload(
        name="linear_backward_input",
        group="matrix",
        call=kernels.linear_backward_input,
        reference=lambda dy, weight: np.einsum("no,oi->ni", *_double(dy, weight)),
        inputs=partial(_backward_inputs, wanted="dy weight"),
        forward=lambda x, weight: kernels.linear(x, weight),
        before=lambda dy, weight: (np.ones((len(dy), weight.shape[1])), weight),
        sizes=MLP,
        test_sizes=ODD,
        peers={"numpy": _numpy_product(), "torch": _torch_product()},
        flops=_product,
        bytes=_ONCE,
    ),
    Workload(
        name="linear_backward_weight",
        group="matrix",
        call=kernels.linear_backward_weight,
        reference=lambda dy, x: np.einsum("no,ni->oi", *_double(dy, x)),
        inputs=partial(_backward_inputs, wanted="dy x"),
        forward=lambda weight, x: kernels.linear(x, weight),
        before=lambda dy, x: (np.ones((dy.shape[1], x.shape[1])), x),
        sizes=MLP,
        test_sizes=ODD,
        peers={"numpy": _numpy_product(_turned), "torch": _torch_product(_turned)},
        flops=_product,
        bytes=_ONCE,
    ),
    Workload(
        name="linear_backward_bias",
        group="matrix",
        call=kernels.linear_backward_bias,
        reference=lambda dy: _double(dy)[0].sum(0),
        inputs=partial(_backward_inputs, wanted="dy"),
        forward=lambda bias, dy: kernels.linear(
            np.ones((len(dy), 1)), np.ones((len(bias), 1)), bias
        ),
        before=lambda dy: (np.ones(dy.shape[1]), dy),
        sizes=MLP,
        test_sizes=ODD,
        peers={
            "numpy": _numpy(lambda dy: dy.sum(0)),
            "torch": _torch(lambda dy: dy.sum(0)),
        },
        flops=lambda n, i, o: n * o,
        bytes=_traffic((0, 2), (2,)),
    ),
)
