"""Rows of the table for random numbers: Philox, dropout, its masks, shuffling."""

from functools import partial

import numpy as np

from . import flops
from .table import Workload, kernels, register

SIZES = ((64, 256), (1_000_000,))
ODD = ((0,), (1,), (7,), (64,), (65,), (33, 5), (3, 17, 5), (5, 200))
KEY = (0.3, 2**40 + 3, 7, 2)  # rate, seed, step, stream
LOW = 0xFFFFFFFF


def _philox(counter, key):
    """Philox4x32-10 in NumPy's 64-bit integers, on the last axis."""
    c = [counter[..., i].astype(np.uint64) for i in range(4)]
    k = [np.uint64(key[0]), np.uint64(key[1])]
    low, shift = np.uint64(LOW), np.uint64(32)
    for _ in range(10):
        p0, p1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(p1 >> shift) ^ c[1] ^ k[0], p1 & low, (p0 >> shift) ^ c[3] ^ k[1], p0 & low]
        k = [(k[0] + np.uint64(0x9E3779B9)) & low, (k[1] + np.uint64(0xBB67AE85)) & low]
    return np.stack(c, -1).astype(np.uint32)


def _words(count, seed, step, stream):
    """The word of each element, as random_numbers.py lays them out."""
    e = np.arange(count)
    counter = np.zeros((count, 4), np.uint32)
    counter[:, 0], counter[:, 1] = 16 * (e // 64) + e % 16, stream
    counter[:, 2], counter[:, 3] = step & LOW, step >> 32
    return _philox(counter, (seed & LOW, seed >> 32))[e, e // 16 % 4]


def _mask(shape, rate, seed, step, stream):
    words = _words(int(np.prod(shape)), seed, step, stream)
    return (words >= round(rate * 2**32)).reshape(shape)


def _dropout(x, rate, seed, step, stream):
    return x.astype(np.float64) * _mask(x.shape, rate, seed, step, stream) / (1 - rate)


def _inputs(rng, size, dtype):
    return rng.standard_normal(size).astype(dtype), *KEY


def _counters(rng, size, dtype):
    counter = rng.integers(0, 2**32, (*size, 4), np.uint32)
    return counter, rng.integers(0, 2**32, 2, np.uint32)


def _shuffled(order, seed, step):
    """Fisher and Yates, with the integers of Python."""
    for i in range(len(order) - 1, 0, -1):
        counter = np.array([i & LOW, i >> 32, (step & LOW) ^ LOW, step >> 32], np.uint32)
        high, low = map(int, _philox(counter, (seed & LOW, seed >> 32))[:2])
        j = ((high << 32) + low) * (i + 1) >> 64
        order[i], order[j] = order[j], order[i]
    return order


def _order(rng, size, dtype):
    return rng.permutation(int(np.prod(size))), 11, 5


def _torch_dropout(x, rate, *key):
    import torch

    x = torch.from_numpy(x)
    return lambda: torch.nn.functional.dropout(x, rate)


def _numpy_shuffle(order, *key):
    return partial(np.random.default_rng(0).shuffle, order)


def _elements(size):
    return int(np.prod(size))


register(
    Workload(
        name="philox",
        group="masks",
        call=kernels.philox,
        reference=_philox,
        inputs=_counters,
        sizes=((100_000,),),
        test_sizes=((0,), (1,), (17,), (3, 5)),
        bytes=lambda size, itemsize: 32 * _elements(size),
        out_argument=False,
        nan=False,
    ),
    Workload(
        name="dropout",
        group="masks",
        call=kernels.dropout,
        reference=_dropout,
        inputs=_inputs,
        sizes=SIZES,
        test_sizes=ODD,
        peers={"torch": _torch_dropout},
        flops=flops.each("dropout"),
        bytes=lambda size, itemsize: 2 * itemsize * _elements(size),
        in_place=(0,),
    ),
    Workload(
        name="dropout_backward",
        group="masks",
        call=kernels.dropout_backward,
        reference=_dropout,
        inputs=_inputs,
        forward=kernels.dropout,
        before=lambda dy, *key: (np.ones_like(dy), *key),
        sizes=SIZES,
        test_sizes=ODD,
        flops=flops.each("dropout"),
        bytes=lambda size, itemsize: 2 * itemsize * _elements(size),
        in_place=(0,),
    ),
    Workload(
        name="dropout_mask",
        group="masks",
        call=kernels.dropout_mask,
        reference=_mask,
        inputs=lambda rng, size, dtype: (size, *KEY),
        sizes=SIZES,
        test_sizes=ODD,
        bytes=lambda size, itemsize: _elements(size),
        out_argument=False,  # it has one, of booleans, which the tests of outputs cannot mark
        nan=False,
    ),
    Workload(
        name="shuffle",
        group="masks",
        call=kernels.shuffle,
        reference=_shuffled,
        inputs=_order,
        sizes=((60_000,),),
        test_sizes=((0,), (1,), (2,), (100,)),
        peers={"numpy": _numpy_shuffle},
        checkable=lambda size: _elements(size) <= 1000,  # Python, an element at a time
        bytes=lambda size, itemsize: 16 * _elements(size),
        out_argument=False,
        nan=False,
    ),
)
