"""Rows of the table for averages of weights."""

from functools import partial

import numpy as np

from .table import Workload, kernels, register


def _inputs(rng, size, dtype):
    average, p = (rng.standard_normal(size).astype(dtype) for _ in range(2))
    return average, p, 0.01


def _lerp(average, p, weight):
    return average.astype(np.float64) * (1 - weight) + weight * p.astype(np.float64)


def _torch_lerp(average, p, weight):
    import torch

    average, p = torch.from_numpy(average), torch.from_numpy(p)
    return partial(average.lerp_, p, weight)


register(
    Workload(
        name="lerp",
        group="averaging",
        call=kernels.lerp,
        reference=_lerp,
        inputs=_inputs,
        sizes=((235_146,),),
        test_sizes=((0,), (1,), (7,), (65,), (33, 5)),
        peers={"torch": _torch_lerp},
        flops=lambda *size: 3 * int(np.prod(size)),
        bytes=lambda size, itemsize: 3 * itemsize * int(np.prod(size)),
        out_argument=False,
    ),
)
