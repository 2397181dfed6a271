"""Rows of the table for the relatives of dropout, and for Gaussian noise."""

import numpy as np

from . import flops
from .masks import KEY, ODD, SIZES, _elements, _inputs, _words
from .table import Workload, kernels, register

NOISE = (0.7, *KEY[1:])  # sd, seed, step, stream
# of a draw of N(0, 1): half of a logarithm, a root, a sine, a cosine and their scaling
GAUSSIAN = flops.ELEMENTARY["log"] // 2 + 14


def _normals(shape, seed, step, stream):
    """Box and Muller's draws, from two words whose elements lie sixteen apart."""
    count = _elements(shape)
    words = _words(-(-count // 64) * 64, seed, step, stream).reshape(-1, 2, 2, 16)
    a, b = (words[:, :, k].astype(np.int64) for k in range(2))
    r = np.sqrt(-2 * np.log((a // 2) / 2**31 + 2.0**-32))
    angle = np.pi / 2 * ((b % 2**30) / 2**30 - 0.5)
    ahead = np.where(b >= 2**31, -1, 1) * r * np.cos(angle)
    side, turned = r * np.sin(angle), (b // 2**30) % 2 == 1
    pairs = np.where(turned, side, ahead), np.where(turned, ahead, side)
    return np.stack(pairs, 2).reshape(-1)[:count].reshape(shape)


def _gaussian_noise(x, sd, *key):
    return x.astype(np.float64) + sd * _normals(x.shape, *key)


def _gaussian_dropout(x, rate, *key):
    return x.astype(np.float64) * (1 + np.sqrt(rate / (1 - rate)) * _normals(x.shape, *key))


def _noise_inputs(rng, size, dtype):
    return rng.standard_normal(size).astype(dtype), *NOISE


def _torch_noise(x, sd, *key):
    import torch

    x = torch.from_numpy(x)
    return lambda: torch.randn_like(x).mul_(sd).add_(x)


def _torch_gaussian(x, rate, *key):
    import torch

    x, sd = torch.from_numpy(x), (rate / (1 - rate)) ** 0.5
    return lambda: torch.normal(1.0, sd, x.shape).mul_(x)


def _row(name, reference, **others):
    """Build a row for an operation on one array of any shape."""
    backward = {}
    if name.endswith("_backward"):
        backward = {
            "forward": getattr(kernels, name.removesuffix("_backward")),
            "before": lambda dy, *key: (np.ones_like(dy), *key),
        }
    given = {
        "inputs": _inputs,
        "sizes": SIZES,
        "test_sizes": ODD,
        "bytes": lambda size, itemsize: 2 * itemsize * _elements(size),
        "in_place": (0,),
    }
    options = {**given, **backward, **others}
    call = getattr(kernels, name)
    return Workload(name=name, group="masks", call=call, reference=reference, **options)


def _each(count):
    return lambda *size: count * _elements(size)


register(
    _row(
        "gaussian_noise",
        _gaussian_noise,
        inputs=_noise_inputs,
        peers={"torch": _torch_noise},
        flops=_each(GAUSSIAN + 2),
    ),
    _row(
        "gaussian_dropout",
        _gaussian_dropout,
        peers={"torch": _torch_gaussian},
        flops=_each(GAUSSIAN + 3),
    ),
    _row("gaussian_dropout_backward", _gaussian_dropout, flops=_each(GAUSSIAN + 3)),
)
