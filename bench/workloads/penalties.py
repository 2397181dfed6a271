"""Rows of the table for the gradients of penalties, and for the bound on norms."""

import numpy as np

from . import flops
from .table import Workload, kernels, register


def _double(*arrays):
    return tuple(np.asarray(array, np.float64) for array in arrays)


def _elastic_net(g, w, l1, l2):
    g, w = _double(g, w)
    return g + l1 * np.sign(w) + l2 * w


def _lengths(w):
    return np.linalg.norm(w, axis=1, keepdims=True)


def _group_lasso(g, w, strength):
    g, w = _double(g, w)
    lengths = _lengths(w)
    return g + strength * np.divide(w, lengths, out=np.zeros_like(w), where=lengths > 0)


def _max_norm(w, limit):
    (w,) = _double(w)
    return w * np.minimum(1, limit / np.maximum(_lengths(w), 1e-300))


def _row(name, reference, arrays, *numbers):
    return Workload(
        name=name,
        group="penalties",
        call=getattr(kernels, name),
        reference=reference,
        inputs=lambda rng, size, dtype: (
            *(rng.standard_normal(size).astype(dtype) for _ in range(arrays)),
            *numbers,
        ),
        sizes=((64, 70), (256, 784)),
        test_sizes=((0, 3), (1, 1), (3, 0), (7, 65), (33, 5)),
        flops=flops.each(name),
        bytes=lambda size, itemsize: (arrays + 1) * itemsize * int(np.prod(size)),
        out_argument=False,
    )


register(
    _row("add_elastic_net", _elastic_net, 2, 0.01, 0.1),
    _row("add_group_lasso", _group_lasso, 2, 0.1),
    _row("max_norm", _max_norm, 1, 2.0),
)
