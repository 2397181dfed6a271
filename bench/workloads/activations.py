"""Rows of the table for activations, forward and backward."""

from functools import partial

import numpy as np

from . import flops
from .table import Workload, kernels, register, special

SIZES = ((64, 256), (1_000_000,))
ODD = ((0,), (1,), (7,), (33, 5), (3, 0, 2), (3, 17, 5))
LAMBDA, ALPHA = 1.0507009873554805, 1.6732632423543772


def _normal_cdf(x):
    return 0.5 * (1 + special.erf(x / np.sqrt(2)))


def _tanh_argument(x):
    return np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)


def _mish_slope(x):
    """tanh u + x·(1 - tanh² u)·u', u = softplus x; the limit at infinity, where PyTorch has NaN."""
    u, near = np.logaddexp(x, 0), np.clip(x, -800, 800)
    return np.tanh(u) + near * special.expit(x) / np.cosh(np.minimum(u, 700)) ** 2


# name: (its numbers, if any; y; dy/dx), in float64
REFERENCES = {
    "relu": ((), lambda x: np.where(x <= 0, 0, x), lambda x: (x > 0) * 1.0),
    "leaky_relu": (
        (0.2,),
        lambda x, slope: np.where(x > 0, x, slope * x),
        lambda x, slope: np.where(x > 0, 1, slope),
    ),
    "relu6": ((), lambda x: np.clip(x, 0, 6), lambda x: ((x > 0) & (x < 6)) * 1.0),
    "elu": (
        (0.7,),
        lambda x, alpha: np.where(x <= 0, alpha * np.expm1(x), x),
        lambda x, alpha: np.where(x <= 0, alpha * np.exp(x), 1),
    ),
    "selu": (
        (),
        lambda x: LAMBDA * np.where(x <= 0, ALPHA * np.expm1(x), x),
        lambda x: LAMBDA * np.where(x <= 0, ALPHA * np.exp(x), 1),
    ),
    "gelu": (
        (),
        lambda x: x * _normal_cdf(x),
        lambda x: _normal_cdf(x) + x * np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi),
    ),
    "gelu_tanh": (
        (),
        lambda x: 0.5 * x * (1 + np.tanh(_tanh_argument(x))),
        lambda x: (
            0.5 * (1 + np.tanh(_tanh_argument(x)))
            + 0.5
            * x
            * (1 - np.tanh(_tanh_argument(x)) ** 2)
            * np.sqrt(2 / np.pi)
            * (1 + 3 * 0.044715 * x**2)
        ),
    ),
    "quick_gelu": (
        (),
        lambda x: x * special.expit(1.702 * x),
        lambda x: (
            special.expit(1.702 * x)
            + 1.702 * x * special.expit(1.702 * x) * special.expit(-1.702 * x)
        ),
    ),
    "silu": (
        (),
        lambda x: x * special.expit(x),
        lambda x: special.expit(x) + x * special.expit(x) * special.expit(-x),
    ),
    "sigmoid": ((), special.expit, lambda x: special.expit(x) * special.expit(-x)),
    "tanh": ((), np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "softplus": ((), lambda x: np.logaddexp(x, 0), special.expit),
    "threshold": (
        (0.5, -2.0),
        lambda x, least, value: np.where(x <= least, value, x),
        lambda x, least, value: (x > least) * 1.0,
    ),
    "hard_tanh": (
        (-0.75, 1.25),
        lambda x, low, high: np.clip(x, low, high),
        lambda x, low, high: ((x > low) & (x < high)) * 1.0,
    ),
    "hard_sigmoid": (
        (),
        lambda x: np.clip(x + 3, 0, 6) / 6,
        lambda x: (np.abs(x) < 3) / 6,
    ),
    "hard_swish": (
        (),
        lambda x: x * np.clip(x + 3, 0, 6) / 6,
        lambda x: np.select([x <= -3, x >= 3], [0, 1], x / 3 + 0.5),
    ),
    "celu": (
        (0.7,),
        lambda x, alpha: np.where(x <= 0, alpha * np.expm1(x / alpha), x),
        lambda x, alpha: np.where(x <= 0, np.exp(x / alpha), 1),
    ),
    "swish": (
        (1.5,),
        lambda x, beta: x * special.expit(beta * x),
        lambda x, beta: (
            special.expit(beta * x) + beta * x * special.expit(beta * x) * special.expit(-beta * x)
        ),
    ),
    "mish": ((), lambda x: x * np.tanh(np.logaddexp(x, 0)), _mish_slope),
    "softsign": ((), lambda x: x / (1 + np.abs(x)), lambda x: (1 + np.abs(x)) ** -2.0),
}
DROPS = {"relu", "relu6", "threshold", "hard_tanh", "hard_sigmoid", "hard_swish"}  # dy, a NaN too


def _torch_function(name):
    import torch
    from torch.nn import functional

    return (
        {
            "gelu_tanh": partial(functional.gelu, approximate="tanh"),
            "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
            "swish": lambda x, beta: x * torch.sigmoid(beta * x),
        }.get(name)
        or getattr(torch, name, None)
        or getattr(functional, name.replace("hard_", "hard"))
    )


def _torch(name, x, *numbers):
    import torch

    if name in ("gelu", "gelu_tanh"):
        approximate = "tanh" if name == "gelu_tanh" else "none"
        x = torch.from_numpy(x)
        y = torch.empty_like(x)
        return partial(torch.ops.aten.gelu.out, x, approximate=approximate, out=y)
    return partial(_torch_function(name), torch.from_numpy(x), *numbers)


def _numpy_gelu_tanh(x):
    y = np.empty_like(x)
    cubic, scale, half = (x.dtype.type(number) for number in (0.044715, np.sqrt(2 / np.pi), 0.5))

    def call():
        np.multiply(x, x, out=y)
        np.multiply(y, cubic, out=y)
        np.add(y, 1, out=y)
        np.multiply(y, x, out=y)
        np.multiply(y, scale, out=y)
        np.tanh(y, out=y)
        np.add(y, 1, out=y)
        np.multiply(y, x, out=y)
        np.multiply(y, half, out=y)

    return call


def _numpy(name):
    return {"numpy": NUMPY[name]} if name in NUMPY else {}


NUMPY = {"relu": lambda x: partial(np.maximum, x, 0, out=np.empty_like(x))}
NUMPY["gelu_tanh"] = _numpy_gelu_tanh  # NumPy has no erf, hence no exact GELU


def _torch_backward(name, dy, x, *numbers):
    import torch

    x, dy = torch.from_numpy(x).requires_grad_(), torch.from_numpy(dy)
    y = _torch_function(name)(x, *numbers)
    return lambda: torch.autograd.grad(y, x, dy, retain_graph=True)


def _normal(rng, size, dtype):
    return (3 * rng.standard_normal(size)).astype(dtype)


def _inputs(arrays, numbers):
    """Return inputs(rng, size, dtype): so many arrays, then the numbers."""

    def inputs(rng, size, dtype):
        return *(_normal(rng, size, dtype) for _ in range(arrays)), *numbers

    return inputs


def _register(name, numbers, value, slope):
    def reference(x, *numbers):
        return value(x.astype(np.float64), *numbers)

    def backward_reference(dy, x, *numbers):
        return dy.astype(np.float64) * slope(x.astype(np.float64), *numbers)

    forward, backward = getattr(kernels, name), getattr(kernels, f"{name}_backward")
    common = {"group": "activations", "sizes": SIZES, "test_sizes": ODD}
    if forward is None:  # an older fonio
        return
    if not forward.operation.formula.__module__.endswith("elementary"):  # which has its row
        register(
            Workload(
                name=name,
                call=forward,
                reference=reference,
                inputs=_inputs(1, numbers),
                peers={**_numpy(name), "torch": partial(_torch, name)},
                flops=flops.each(name),
                bytes=lambda size, itemsize: 2 * itemsize * int(np.prod(size)),
                in_place=(0,),
                **common,
            )
        )
    register(
        Workload(
            name=f"{name}_backward",
            call=backward,
            reference=backward_reference,
            inputs=_inputs(2, numbers),
            forward=forward,
            peers={"torch": partial(_torch_backward, name)},
            flops=flops.each(f"{name}_backward"),
            bytes=lambda size, itemsize: 3 * itemsize * int(np.prod(size)),
            in_place=(0, 1),
            nan=name not in DROPS,
            **common,
        )
    )


for _name, (_numbers, _value, _slope) in REFERENCES.items():
    _register(_name, _numbers, _value, _slope)
