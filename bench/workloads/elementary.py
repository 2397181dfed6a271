"""Rows of the table for elementary functions; their last digits are tests/test_elementary.py's."""

from functools import partial

import numpy as np

from . import flops
from .table import Workload, kernels, register, special

SIZES = ((64, 256), (1_000_000,))
ODD = ((0,), (1,), (7,), (33, 5), (3, 0, 2), (3, 17, 5))

# name: (in float64; smallest argument drawn)
REFERENCES = {
    "exp": (np.exp, -np.inf),
    "exp2": (np.exp2, -np.inf),
    "expm1": (np.expm1, -np.inf),
    "log": (np.log, 0.0),
    "log1p": (np.log1p, -1.0),
    "tanh": (np.tanh, -np.inf),
    "sigmoid": (special.expit, -np.inf),
    "softplus": (lambda x: np.logaddexp(x, 0), -np.inf),
    "erf": (special.erf, -np.inf),
    "erfc": (special.erfc, -np.inf),
}


def _numpy(name, x):
    y = np.empty_like(x)
    return lambda: getattr(np, name)(x, out=y)


def _numpy_sigmoid(x):
    y = np.empty_like(x)

    def call():
        np.negative(x, out=y)
        np.exp(y, out=y)
        np.add(y, 1, out=y)
        np.reciprocal(y, out=y)

    return call


def _torch(name, x):
    import torch

    x = torch.from_numpy(x)
    if name == "softplus":
        return lambda: torch.nn.functional.softplus(x)
    y = torch.empty_like(x)
    return lambda: getattr(torch, name)(x, out=y)


def _row(name, value, smallest):
    def inputs(rng, size, dtype):
        x = (3 * rng.standard_normal(size)).astype(dtype)
        return (np.where(x < smallest, -x, x),)

    def reference(x):
        return value(x.astype(np.float64))

    peers = {"numpy": partial(_numpy, name)} if hasattr(np, name) else {}
    if name == "sigmoid":
        peers = {"numpy": _numpy_sigmoid}
    return Workload(
        name=name,
        group="elementary",
        call=getattr(kernels, name),
        reference=reference,
        inputs=inputs,
        sizes=SIZES,
        test_sizes=ODD,
        peers={**peers, "torch": partial(_torch, name)},
        tolerance={"float32": 5e-7, "float64": 2e-15},
        flops=flops.each(name),
        bytes=lambda size, itemsize: 2 * itemsize * int(np.prod(size)),
        in_place=(0,),
    )


register(*(_row(name, *row) for name, row in REFERENCES.items()))
