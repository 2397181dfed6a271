"""The loop skeletons on CUDA: how a share's items and inner loops are spread over threads.

One class for each spread of spread.py: the entry that a launch runs, the team's `my_range` and
joins, and the shape of the launch.

The rule: the bits of a result do not depend on the grid: threads share out items and columns, never
the order of a sum.
"""

import numpy as np
from numba import cuda

from . import ptx
from .retarget import convert, device_function, retarget
from .rows import BLOCK
from .spread import my_range

ALL = 0xFFFFFFFF  # the lanes that take part in a shuffle: all
THREADS = 256  # of a block
WARPS = 4  # of a block whose warps each have an item


def _items(size, *args):
    first, step = np.uintp(cuda.grid(1)), np.uintp(cuda.gridsize(1))
    for i in range(first, np.uintp(size), step):
        share(i, i + np.uintp(1), *args)  # noqa: F821  (bound by entry)


def _whole(size, *args):
    share(np.uintp(0), np.uintp(size), *args)  # noqa: F821


def _lines(size, *args):
    first = np.uintp(cuda.blockIdx.y * cuda.blockDim.y + cuda.threadIdx.y)
    step = np.uintp(cuda.gridDim.y * cuda.blockDim.y)
    for i in range(first, np.uintp(size), step):
        share(i, i + np.uintp(1), *args)  # noqa: F821


def _warps(size, *args):
    first = np.uintp(cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y)
    step = np.uintp(cuda.gridDim.x * cuda.blockDim.y)
    for i in range(first, np.uintp(size), step):  # the same for all lanes: they meet in shuffles
        share(i, i + np.uintp(1), *args)  # noqa: F821


def _blocks(size, *args):
    for i in range(np.uintp(cuda.blockIdx.x), np.uintp(size), np.uintp(cuda.gridDim.x)):
        share(i, i + np.uintp(1), *args)  # noqa: F821


def _alone(start, stop):
    return range(start, stop)


def _by_grid(start, stop):
    return range(start + np.uintp(cuda.grid(1)), stop, np.uintp(cuda.gridsize(1)))


def _by_line(start, stop):
    first = np.uintp(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    return range(start + first, stop, np.uintp(cuda.gridDim.x * cuda.blockDim.x))


def _by_lane(start, stop):
    return range(start + np.uintp(cuda.threadIdx.x), stop, np.uintp(32))


def _by_thread(start, stop):
    first = np.uintp(cuda.threadIdx.y * 32 + cuda.threadIdx.x)
    return range(start + first, stop, np.uintp(32 * BLOCK))


def _itself(value):
    return value


def _always():
    return True


def _warp_sum(value):
    value += cuda.shfl_xor_sync(ALL, value, 16)
    value += cuda.shfl_xor_sync(ALL, value, 8)
    value += cuda.shfl_xor_sync(ALL, value, 4)
    value += cuda.shfl_xor_sync(ALL, value, 2)
    return value + cuda.shfl_xor_sync(ALL, value, 1)


def _warp_max(value):
    value = max(value, cuda.shfl_xor_sync(ALL, value, 16))
    value = max(value, cuda.shfl_xor_sync(ALL, value, 8))
    value = max(value, cuda.shfl_xor_sync(ALL, value, 4))
    value = max(value, cuda.shfl_xor_sync(ALL, value, 2))
    return max(value, cuda.shfl_xor_sync(ALL, value, 1))


_sum_lanes, _max_lanes = device_function(_warp_sum), device_function(_warp_max)


def _block_sum(value):
    value = _sum_lanes(value)
    sums = cuda.shared.array(BLOCK, type(value))
    if cuda.threadIdx.x == 0:
        sums[cuda.threadIdx.y] = value
    cuda.syncthreads()
    value = sums[cuda.threadIdx.x % BLOCK]
    cuda.syncthreads()  # the next join writes there
    value += cuda.shfl_xor_sync(ALL, value, 8)
    value += cuda.shfl_xor_sync(ALL, value, 4)
    value += cuda.shfl_xor_sync(ALL, value, 2)
    return value + cuda.shfl_xor_sync(ALL, value, 1)


def _block_max(value):
    value = _max_lanes(value)
    tops = cuda.shared.array(BLOCK, type(value))
    if cuda.threadIdx.x == 0:
        tops[cuda.threadIdx.y] = value
    cuda.syncthreads()
    value = _max_lanes(tops[cuda.threadIdx.x % BLOCK])
    cuda.syncthreads()
    return value


def _warp_of_block():
    return np.uintp(cuda.threadIdx.y)


def _first_lane():
    return cuda.threadIdx.x == 0


def _first_thread():
    return cuda.threadIdx.x == 0 and cuda.threadIdx.y == 0


JOINS = (_warp_sum, _warp_max, _first_lane)
BLOCK_JOINS = (_block_sum, _block_max, _first_thread)


class Team:
    """The CUDA side of one spread."""

    def __init__(self, entry, ranges, shape, joins=(_itself, _itself, _always)):
        self._entry, self.shape, self.known = entry, shape, {}
        self.my_range = device_function(ranges)
        self.join_sum, self.join_max, self.leader = map(device_function, joins)
        self.my_place = device_function(_warp_of_block)

    def entry(self, name, share, **names):
        """Return the kernel of a share, as plain Python: entry(size, *args)."""
        names = {name: convert(value, self) for name, value in names.items()}
        body = device_function(retarget(share, self, **names))
        entry = retarget(self._entry, self, share=body)
        entry.__name__ = entry.__qualname__ = name
        return entry


def blocks(wanted, device, each=16):
    """Return how many blocks: what is wanted, up to `each` for a multiprocessor."""
    return max(1, min(wanted, each * device.multiprocessors))


def _of_items(device, size, columns):
    return blocks(-(-size // 128), device), 128


def _of_grid(device, size, columns):
    return blocks(-(-size // THREADS), device, 8), THREADS


def _of_lines(device, size, columns):
    width = next((w for w in (16, 32, 64, 128) if columns <= w), THREADS)
    height = THREADS // width
    across = max(1, -(-columns // width))
    down = min(blocks(-(-size // height), device, max(1, 32 // across)), 65535)
    return (across, down), (width, height)


def _of_warps(device, size, columns):
    return blocks(-(-size // WARPS), device), (32, WARPS)


def _of_blocks(device, size, columns):
    return blocks(size, device), (32, BLOCK)


TEAMS = {
    "item": Team(_items, _alone, _of_items),
    "grid": Team(_whole, _by_grid, _of_grid),
    "cells": Team(_lines, _by_line, _of_lines),
    "warp": Team(_warps, _by_lane, _of_warps, JOINS),
    "rows": Team(_blocks, _by_lane, _of_blocks, JOINS),
    "block": Team(_blocks, _by_thread, _of_blocks, BLOCK_JOINS),
}


def wide_1(start, stop, out, x, *numbers):
    """Apply a formula of one array, four elements to a 128-bit access."""
    four, last = np.uintp(4), np.uintp(stop)
    for i in my_range(np.uintp(start), last // four):
        a, b, c, d = ptx.load4(x, i * four)
        ptx.store4(
            out,
            i * four,
            formula(a, *numbers),  # noqa: F821
            formula(b, *numbers),  # noqa: F821
            formula(c, *numbers),  # noqa: F821
            formula(d, *numbers),  # noqa: F821
        )
    for i in my_range(last // four * four, last):
        out[i] = formula(x[i], *numbers)  # noqa: F821


def wide_2(start, stop, out, x1, x2, *numbers):
    """Apply a formula of two arrays, four elements to a 128-bit access."""
    four, last = np.uintp(4), np.uintp(stop)
    for i in my_range(np.uintp(start), last // four):
        a1, b1, c1, d1 = ptx.load4(x1, i * four)
        a2, b2, c2, d2 = ptx.load4(x2, i * four)
        ptx.store4(
            out,
            i * four,
            formula(a1, a2, *numbers),  # noqa: F821
            formula(b1, b2, *numbers),  # noqa: F821
            formula(c1, c2, *numbers),  # noqa: F821
            formula(d1, d2, *numbers),  # noqa: F821
        )
    for i in my_range(last // four * four, last):
        out[i] = formula(x1[i], x2[i], *numbers)  # noqa: F821


WIDE = {1: wide_1, 2: wide_2}
