"""Rows of the table for batch normalization and the sums over columns that it is made of.

A size is (N, C) or (N, C, L); the references take sums over all axes but that of the channels.
"""

from functools import partial

import numpy as np

from . import flops
from .table import Workload, kernels, register

COLUMNS = ((4096, 512), (100, 32), (128, 256))
SIZES = (*COLUMNS, (64, 64, 128))  # the last is (N, C, L)
ODD_COLUMNS = ((3, 1), (5, 7), (64, 16), (65, 17), (130, 33), (3, 600))
ODD = (*ODD_COLUMNS, (1, 3, 5), (4, 3, 1), (65, 2, 3), (3, 2, 130), (2, 1, 600))
EMPTY = ((0, 3), (3, 0), (1, 1), (0, 3, 2))
EPS = 1e-5


def _double(*arrays):
    return tuple(np.asarray(array, np.float64) for array in arrays)


def _x(rng, size, dtype):
    return (rng.standard_normal(size) * 2 + 3).astype(dtype)


def _row(rng, size, dtype):
    return rng.uniform(0.5, 1.5, size[1]).astype(dtype)


def _like(x, *rows):
    """Return rows of a number for each channel, to go with x (N, C) or (N, C, L)."""
    return tuple(row.reshape(-1, *[1] * (x.ndim - 2)) for row in _double(*rows))


def _sum(x):
    """Return the sum of each channel, over all other axes."""
    return x.sum((0, *range(2, x.ndim)))


def _moments(x):
    (x,) = _double(x)
    count = x.size / x.shape[1]
    mean = _sum(x) / count
    return mean, _sum((x - _like(x, mean)[0]) ** 2) / count


def _forward(x, gamma, beta, eps):
    mean, var = _moments(x)
    rstd = 1 / np.sqrt(var + eps)
    gamma, beta, centre, scale = _like(x, gamma, beta, mean, rstd)
    return gamma * (x.astype(np.float64) - centre) * scale + beta, mean, rstd


def _backward(dy, x, gamma, mean, rstd):
    dy, x, rstd = _double(dy, x, rstd)
    gamma, mean, scale = _like(x, gamma, mean, rstd)
    x_hat, count = (x - mean) * scale, x.size / x.shape[1]
    dgamma, dbeta = _sum(dy * x_hat), _sum(dy)
    mean_of_dy, mean_of_product = _like(x, dbeta / count, dgamma / count)
    return gamma * scale * (dy - mean_of_dy - x_hat * mean_of_product), dgamma, dbeta


def _inference(x, gamma, beta, mean, var, eps):
    gamma, beta, mean, var = _like(x, gamma, beta, mean, var)
    return gamma * (x.astype(np.float64) - mean) / np.sqrt(var + eps) + beta


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


def _once(arrays, columns=0, rows=0):
    """Traffic of so many whole arrays, lines of columns and lines of rows."""

    def traffic(size, itemsize):
        return itemsize * (arrays * int(np.prod(size)) + columns * size[1] + rows * size[0])

    return traffic


register(
    Workload(
        name="column_sum",
        group="normalization",
        call=kernels.column_sum,
        reference=lambda x: _sum(_double(x)[0]),
        inputs=lambda rng, size, dtype: (_x(rng, size, dtype),),
        sizes=SIZES,
        test_sizes=(*EMPTY, *ODD),
        peers={"numpy": lambda x: partial(x.sum, (0, *range(2, x.ndim)))},
        flops=flops.each("column_sum"),
        bytes=_once(1),
    ),
    Workload(
        name="column_moments",
        group="normalization",
        call=kernels.column_moments,
        reference=_moments,
        inputs=lambda rng, size, dtype: (_x(rng, size, dtype),),
        sizes=COLUMNS,
        test_sizes=((1, 1), *ODD_COLUMNS),
        peers={"numpy": lambda x: lambda: (x.mean(0), x.var(0))},
        flops=flops.each("column_moments"),
        bytes=_once(1),
    ),
    Workload(
        name="batchnorm",
        group="normalization",
        call=kernels.batchnorm,
        reference=_forward,
        inputs=_forward_inputs,
        sizes=(*SIZES, (1024, 512)),
        test_sizes=ODD,
        peers={"torch": _torch_forward},
        flops=flops.each("batchnorm"),
        bytes=_once(2),
    ),
    Workload(
        name="batchnorm_backward",
        group="normalization",
        call=kernels.batchnorm_backward,
        reference=_backward,
        inputs=_backward_inputs,
        forward=_batchnorm_of,
        sizes=(*SIZES, (1024, 512)),
        test_sizes=ODD,
        peers={"torch": _torch_backward},
        flops=flops.each("batchnorm_backward"),
        bytes=_once(3),
    ),
    Workload(
        name="batchnorm_inference",
        group="normalization",
        call=kernels.batchnorm_inference,
        reference=_inference,
        inputs=_inference_inputs,
        sizes=SIZES,
        test_sizes=(*EMPTY, *ODD),
        peers={"torch": _torch_inference},
        flops=flops.each("batchnorm_inference"),
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
        flops=lambda *size: 8 * size[1],
        bytes=lambda size, itemsize: 6 * itemsize * size[1],
        out_argument=False,
        nan=False,
    ),
)
