"""Rows of the table for the normalization of weights, power and divisive normalization."""

from functools import partial

import numpy as np

from .normalization import EPS, _double, _once, _row, _x
from .row_normalization import EMPTY, FLAT, ODD, tensors, torch_gradients
from .table import Workload, kernels, register

FIELDS, SIGMA = (5, 3), 0.7  # of divisive normalization
MOMENTUM = 0.1


def _unit(v, centred):
    """Return v̂, and 1/‖v‖, of each unit's weights."""
    (v,) = _double(v)
    away = v - v.mean(1, keepdims=True) if centred else v
    scale = 1 / np.linalg.norm(away, axis=1, keepdims=True)
    return away * scale, scale


def _weightnorm(centred, v, g):
    return _unit(v, centred)[0] * _double(g)[0][:, None]


def _weightnorm_backward(centred, dw, v, g):
    dw, g = _double(dw, g)
    v_hat, scale = _unit(v, centred)
    dg = (dw * v_hat).sum(1)
    inner = dw - v_hat * dg[:, None]
    if centred:
        inner -= dw.mean(1, keepdims=True)
    return g[:, None] * scale * inner, dg


def _weights(rng, size, dtype):
    return _x(rng, size, dtype), rng.uniform(0.5, 1.5, size[0]).astype(dtype)


def _weights_and_slope(rng, size, dtype):
    return rng.standard_normal(size).astype(dtype), *_weights(rng, size, dtype)


def _torch_weightnorm(centred, v, g):
    import torch

    v, g = tensors(v, g[:, None])
    if not centred:
        return partial(torch._weight_norm, v, g, 0)
    return partial(lambda v, g: torch._weight_norm(v - v.mean(1, keepdim=True), g, 0), v, g)


def _torch_weightnorm_backward(centred, dw, v, g):
    return torch_gradients(_torch_weightnorm(centred, v, g), dw)


def _power(x, gamma, beta, power, eps, momentum):
    x, gamma, beta, power = _double(x, gamma, beta, power)
    rstd = 1 / np.sqrt(power + eps)
    return gamma * x * rstd + beta, rstd, (x**2).mean(0) * rstd**2


def _power_inputs(rng, size, dtype):
    rows = (_row(rng, size, dtype) for _ in range(3))
    return _x(rng, size, dtype), *rows, EPS, MOMENTUM


def _power_backward(dy, x, gamma, rstd, square, drift, momentum):
    dy, x, gamma, rstd, drift = _double(dy, x, gamma, rstd, drift)
    x_hat = x * rstd
    return rstd * (gamma * dy - drift * x_hat), (dy * x_hat).sum(0), dy.sum(0)


def _power_backward_inputs(rng, size, dtype):
    rows = (_row(rng, size, dtype) for _ in range(4))
    dy = rng.standard_normal(size).astype(dtype)
    return dy, _x(rng, size, dtype), *rows, MOMENTUM


def _field(x, width):
    """Return the mean of each feature's field, which ends where the row does."""
    reach = width // 2
    fields = [x[:, max(0, c - reach) : c + reach + 1].mean(1) for c in range(x.shape[1])]
    return np.stack(fields, 1)


def _divisive(x, gamma, beta, summation, suppression, sigma):
    x, gamma, beta = _double(x, gamma, beta)
    away = x - _field(x, summation)
    scale = 1 / np.sqrt(sigma**2 + _field(away**2, suppression))
    return gamma * away * scale + beta, away, scale


def _divisive_inputs(rng, size, dtype):
    rows = (_row(rng, size, dtype) for _ in range(2))
    return _x(rng, size, dtype), *rows, *FIELDS, SIGMA


def _divisive_backward(dy, away, scale, gamma, summation, suppression):
    dy, away, scale, gamma = _double(dy, away, scale, gamma)
    places = np.arange(dy.shape[1])
    near = [np.abs(places[:, None] - places) <= width // 2 for width in (summation, suppression)]
    first, second = (n / n.sum(1, keepdims=True) for n in near)  # row c: the field of feature c
    g = gamma * dy
    slope = g * scale - away * ((g * away * scale**3) @ second)
    return slope - slope @ first, (dy * away * scale).sum(0), dy.sum(0)


def _divisive_backward_inputs(rng, size, dtype):
    x, gamma, beta, *numbers = _divisive_inputs(rng, size, dtype)
    _, away, scale = _divisive(x, gamma, beta, *numbers)
    dy = rng.standard_normal(size).astype(dtype)
    return dy, away.astype(dtype), scale.astype(dtype), gamma, *FIELDS


def _torch_field(x, width):
    from torch.nn.functional import avg_pool1d

    return avg_pool1d(x[:, None], width, 1, width // 2, count_include_pad=False)[:, 0]


def _torch_divisive(x, gamma, beta, summation, suppression, sigma):
    import torch

    def call(x, gamma, beta):
        away = x - _torch_field(x, summation)
        scale = torch.rsqrt(sigma**2 + _torch_field(away * away, suppression))
        return gamma * away * scale + beta

    return partial(call, *tensors(x, gamma, beta))


def _torch_divisive_backward(dy, away, scale, gamma, *fields):
    return torch_gradients(_torch_divisive(away, gamma, gamma, *fields, SIGMA), dy)


for _name, _centred in (("weightnorm", False), ("centered_weightnorm", True)):
    _sizes = [size for size in ODD if size[1] > _centred]  # one weight less its mean is nothing
    register(
        Workload(
            name=_name,
            group="normalization",
            call=getattr(kernels, _name),
            reference=partial(_weightnorm, _centred),
            inputs=_weights,
            sizes=FLAT,
            test_sizes=(*EMPTY, *_sizes),
            peers={"torch": partial(_torch_weightnorm, _centred)},
            flops=lambda *size: 3 * int(np.prod(size)),
            bytes=_once(2, rows=1),
            in_place=(0,),
        ),
        Workload(
            name=f"{_name}_backward",
            group="normalization",
            call=getattr(kernels, f"{_name}_backward"),
            reference=partial(_weightnorm_backward, _centred),
            inputs=_weights_and_slope,
            forward=getattr(kernels, _name),
            sizes=FLAT,
            test_sizes=(*EMPTY, *_sizes),
            peers={"torch": partial(_torch_weightnorm_backward, _centred)},
            flops=lambda *size: 8 * int(np.prod(size)),
            bytes=_once(3, rows=2),
        ),
    )

register(
    Workload(
        name="standardize",
        group="normalization",
        call=kernels.standardize,
        reference=lambda x, mean, deviation: (_double(x)[0] - mean) / deviation,
        inputs=lambda rng, size, dtype: (_x(rng, size, dtype), 3.0, 2.5),
        sizes=((64, 256), (1_000_000,)),
        test_sizes=((0,), (1,), (33, 5), (3, 17, 5)),
        flops=lambda *size: 2 * int(np.prod(size)),
        bytes=lambda size, itemsize: 2 * itemsize * int(np.prod(size)),
        in_place=(0,),
    ),
    Workload(
        name="powernorm",
        group="normalization",
        call=kernels.powernorm,
        reference=_power,
        inputs=_power_inputs,
        sizes=FLAT,
        test_sizes=ODD,
        flops=lambda *size: 6 * int(np.prod(size)),
        bytes=_once(2, columns=5),
        nan=False,
    ),
    Workload(
        name="powernorm_backward",
        group="normalization",
        call=kernels.powernorm_backward,
        reference=_power_backward,
        inputs=_power_backward_inputs,
        sizes=FLAT,
        test_sizes=ODD,
        flops=lambda *size: 6 * int(np.prod(size)),
        bytes=_once(3, columns=6),
        nan=False,
    ),
    Workload(
        name="divisivenorm",
        group="normalization",
        call=kernels.divisivenorm,
        reference=_divisive,
        inputs=_divisive_inputs,
        sizes=FLAT,
        test_sizes=ODD,
        peers={"torch": _torch_divisive},
        flops=lambda *size: 26 * int(np.prod(size)),
        bytes=_once(4),
    ),
    Workload(
        name="divisivenorm_backward",
        group="normalization",
        call=kernels.divisivenorm_backward,
        reference=_divisive_backward,
        inputs=_divisive_backward_inputs,
        sizes=FLAT,
        test_sizes=ODD,
        peers={"torch": _torch_divisive_backward},
        flops=lambda *size: 40 * int(np.prod(size)),
        bytes=_once(4),
    ),
)
