"""Rows of the table for sums, products and copies of arrays."""

from functools import partial

import numpy as np

from .table import Workload, kernels, register

SIZES = ((65536,), (1 << 24,))
TEST_SIZES = ((0,), (1,), (3, 5), (67,), (2, 3, 11))


def _normal(count):
    def inputs(rng, size, dtype):
        return tuple(rng.standard_normal(size).astype(dtype) for _ in range(count))

    return inputs


def _torch(name):
    def build(*arrays):
        import torch

        tensors = [torch.from_numpy(a) for a in arrays]
        if name == "copy":
            return partial(torch.empty_like(tensors[0]).copy_, tensors[0])
        return partial(getattr(torch, name), *tensors, out=torch.empty_like(tensors[0]))

    return build


def _numpy(function):
    def build(*arrays):
        return partial(function, *arrays, out=np.empty_like(arrays[0]))

    return build


def _row(name, count, reference):
    return Workload(
        name=name,
        group="arithmetic",
        call=getattr(kernels, name),
        reference=reference,
        inputs=_normal(count),
        sizes=SIZES,
        test_sizes=TEST_SIZES,
        peers={"numpy": _numpy(reference), "torch": _torch(name)},
        flops=(lambda n: 0) if name == "copy" else (lambda n: n),
        bytes=lambda size, itemsize: (count + 1) * size[0] * itemsize,
        in_place=tuple(range(count)),
    )


register(_row("add", 2, np.add), _row("multiply", 2, np.multiply), _row("copy", 1, np.positive))
