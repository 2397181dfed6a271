"""Rows of the table for batch normalization and the sums over columns that it is made of."""

from functools import partial

import numpy as np

from fonio import kernels

from .table import Workload, register

SIZES = ((4096, 512), (100, 32), (128, 256))
ODD = ((3, 1), (5, 7), (64, 16), (65, 17), (130, 33))
ODD_OR_EMPTY = ((0, 3), (3, 0), (1, 1), *ODD)
EPS = 1e-5


def _double(*arrays):
    return tuple(np.asarray(array, np.float64) for array in arrays)


def _x(rng, size, dtype):
    return (rng.standard_normal(size) * 2 + 3).astype(dtype)


def _row(rng, size, dtype):
    return rng.uniform(0.5, 1.5, size[1]).astype(dtype)


def _moments(x):
    (x,) = _double(x)
    return x.mean(0), ((x - x.mean(0)) ** 2).mean(0)


def _forward(x, gamma, beta, eps):
    x, gamma, beta = _double(x, gamma, beta)
    mean, var = _moments(x)
    rstd = 1 / np.sqrt(var + eps)
    return gamma * (x - mean) * rstd + beta, mean, rstd


def _backward(dy, x, gamma, mean, rstd):
    dy, x, gamma, mean, rstd = _double(dy, x, gamma, mean, rstd)
    x_hat = (x - mean) * rstd
    dgamma, dbeta = (dy * x_hat).sum(0), dy.sum(0)
    return gamma * rstd * (dy - dbeta / len(x) - x_hat * dgamma / len(x)), dgamma, dbeta


def _inference(x, gamma, beta, mean, var, eps):
    x, gamma, beta, mean, var = _double(x, gamma, beta, mean, var)
    return gamma * (x - mean) / np.sqrt(var + eps) + beta


def _update(running_mean, running_var, mean, rstd, rows, momentum, eps):
    old_mean, old_var, mean, rstd = _double(running_mean, running_var, mean, rstd)
    var = (1 / rstd**2 - eps) * rows / (rows - 1)
    return old_mean + momentum * (mean - old_mean), old_var + momentum * (var - old_var)


def _forward_inputs(rng, size, dtype):
    return _x(rng, size, dtype), _row(rng, size, dtype), _row(rng, size, dtype), EPS


def _backward_inputs(rng, size, dtype):
    x, gamma, beta, _ = _forward_inputs(rng, size, dtype)
    _, mean, rstd = _forward(x, gamma, beta, EPS)
    return rng.standard_normal(size).astype(dtype), x, gamma, mean.astype(dtype), rstd.astype(dtype)


def _inference_inputs(rng, size, dtype):
    rows = (_row(rng, size, dtype) for _ in range(4))
    return _x(rng, size, dtype), *rows, EPS


def _update_inputs(rng, size, dtype):
    return *(_row(rng, size, dtype) for _ in range(4)), max(2, size[0]), 0.1, EPS


def _batchnorm_of(x, gamma, mean, rstd):
    """The forward whose gradients the backward returns; β shifts the loss alone."""
    return kernels.batchnorm(x, gamma, np.zeros_like(gamma), EPS)[0]


def _torch_forward(x, gamma, beta, eps):
    import torch

    x, gamma, beta = map(torch.from_numpy, (x, gamma, beta))
    return partial(torch.nn.functional.batch_norm, x, None, None, gamma, beta, True, 0.1, eps)


def _torch_backward(dy, x, gamma, mean, rstd):
    import torch

    dy, x, gamma, mean, rstd = map(torch.from_numpy, (dy, x, gamma, mean, rstd))
    wanted = [True, True, True]
    return lambda: torch.ops.aten.native_batch_norm_backward(
        dy, x, gamma, None, None, mean, rstd, True, EPS, wanted
    )


def _torch_inference(x, gamma, beta, mean, var, eps):
    import torch

    x, gamma, beta, mean, var = map(torch.from_numpy, (x, gamma, beta, mean, var))
    return partial(torch.nn.functional.batch_norm, x, mean, var, gamma, beta, False, 0.1, eps)


def _once(arrays):
    return lambda size, itemsize: arrays * itemsize * size[0] * size[1]


register(
    Workload(
        name="column_sum",
        group="normalization",
        call=kernels.column_sum,
        reference=lambda x: _double(x)[0].sum(0),
        inputs=lambda rng, size, dtype: (_x(rng, size, dtype),),
        sizes=SIZES,
        test_sizes=ODD_OR_EMPTY,
        peers={"numpy": lambda x: partial(x.sum, 0)},
        bytes=_once(1),
    ),
    Workload(
        name="column_moments",
        group="normalization",
        call=kernels.column_moments,
        reference=_moments,
        inputs=lambda rng, size, dtype: (_x(rng, size, dtype),),
        sizes=SIZES,
        test_sizes=((1, 1), *ODD),
        peers={"numpy": lambda x: lambda: (x.mean(0), x.var(0))},
        bytes=_once(1),
    ),
    Workload(
        name="batchnorm",
        group="normalization",
        call=kernels.batchnorm,
        reference=_forward,
        inputs=_forward_inputs,
        sizes=SIZES,
        test_sizes=ODD,
        peers={"torch": _torch_forward},
        bytes=_once(2),
    ),
    Workload(
        name="batchnorm_backward",
        group="normalization",
        call=kernels.batchnorm_backward,
        reference=_backward,
        inputs=_backward_inputs,
        forward=_batchnorm_of,
        sizes=SIZES,
        test_sizes=ODD,
        peers={"torch": _torch_backward},
        bytes=_once(3),
    ),
    Workload(
        name="batchnorm_inference",
        group="normalization",
        call=kernels.batchnorm_inference,
        reference=_inference,
        inputs=_inference_inputs,
        sizes=SIZES,
        test_sizes=ODD_OR_EMPTY,
        peers={"torch": _torch_inference},
        bytes=_once(2),
        in_place=(0,),
    ),
    Workload(
        name="update_running",
        group="normalization",
        call=kernels.update_running,
        reference=_update,
        inputs=_update_inputs,
        sizes=((100, 32),),
        test_sizes=ODD,
        bytes=lambda size, itemsize: 6 * itemsize * size[1],
        out_argument=False,
        nan=False,
    ),
)
