"""Python models of the CUDA intrinsics that kernels call, and of what a thread knows of itself.

Four kinds: what a thread looks up (`OWN`), plain functions (`PLAIN`), collectives of a warp and
barriers of a block (`COLLECTIVE`). A collective takes the 32 lanes' arguments (None for a lane that
takes no part) and returns 32 results. The mask is the first argument where there is one.
"""

import functools
import math
from collections import namedtuple

import numpy as np
from numba import cuda

from tests.cuda.arrays import Watched, dtype_of

Dim3 = namedtuple("Dim3", "x y z")
ALL_LANES = 0xFFFFFFFF


class Context:
    """What a model of an intrinsic is given first: checked access to runs of elements."""

    def __init__(self, position):
        self.position = position

    def error(self, text):
        """Make the error to raise, with kernel, block and thread."""
        return self.position.error(text)

    @staticmethod
    def load(array, start, count=1, *, step=1, aligned=False):
        """Return `count` elements from flat index `start`; `aligned` to their size together."""
        return array.load(start, count, step, aligned)

    @staticmethod
    def store(array, start, values, *, aligned=False):
        """Write elements from flat index `start` on."""
        array.store(start, values, aligned)


class Thread(Context):
    """One thread: its indices, its arrays, and the copies that it has not waited for."""

    warpsize = 32

    def __init__(self, block, number):
        super().__init__(block.position)
        self.block, self.number = block, number
        self.threadIdx = Dim3(*block.position.coordinates(number))
        self.blockIdx, self.blockDim, self.gridDim = block.index, block.size, block.grid
        self.laneid = number % 32
        self.copies, self.groups = [], []

    def grid(self, axes):
        """Return the thread's place in the grid, along one axis or several."""
        places = [
            b * n + t for b, n, t in zip(self.blockIdx, self.blockDim, self.threadIdx, strict=True)
        ]
        return places[0] if axes == 1 else tuple(places[:axes])

    def gridsize(self, axes):
        """Return how many threads the grid has, along one axis or several."""
        sizes = [g * n for g, n in zip(self.gridDim, self.blockDim, strict=True)]
        return sizes[0] if axes == 1 else tuple(sizes[:axes])

    def shared_array(self, site, shape, dtype, alignment=None):
        """Return the block's array of this place in the source."""
        return self.block.shared(site, shape, dtype_of(dtype))

    def local_array(self, site, shape, dtype, alignment=None):
        """Return new memory of this thread alone."""
        return Watched.new(f"local array {site[-1]}", shape, dtype_of(dtype), self.position, False)

    def async_copy(self, target, start, source, source_start, count, valid=None):
        """Begin a cp.async: data arrive at `wait`; elements from `valid` on arrive as zeros."""
        valid = count if valid is None else min(int(valid), count)
        if count * target.itemsize not in (4, 8, 16):
            raise self.error(f"cp.async of {count * target.itemsize} bytes, expected 4, 8 or 16")
        target.span(start, count, 1, True, "cp.async")
        source.span(source_start, valid, 1, valid == count, "cp.async")
        for cell in target.run(start, count):
            target.cells.write(cell)
            target.cells.pending[cell] = self.number
        self.copies.append((target, int(start), source, int(source_start), count, valid))

    def commit(self):
        """Make a group of the copies begun since the last one."""
        self.groups.append(self.copies)
        self.copies = []

    def wait(self, count):
        """Wait until at most `count` groups are on their way."""
        while len(self.groups) > int(count):
            for copy in self.groups.pop(0):
                self._deliver(*copy)

    @staticmethod
    def _deliver(target, start, source, source_start, count, valid):
        values = np.zeros(count, target.dtype)
        values[:valid] = source.load(source_start, valid).view(target.dtype)
        for cell in target.run(start, count):
            target.cells.pending.pop(cell, None)
        target.store(start, values)


# ---- plain functions ----


def _precise(function, fallback):
    """Compute in the precision of the arguments; what Python refuses is NaN or infinite."""

    @functools.wraps(function)
    def call(*values):
        try:
            result = function(*values)
        except (OverflowError, ValueError):
            result = fallback(*values) if fallback else math.nan
        if not isinstance(result, float):
            return result
        single = any(isinstance(v, np.float32) for v in values)
        double = any(isinstance(v, np.float64) for v in values)
        return np.float32(result) if single and not double else result

    return call


_OTHER_NAMES = {"pow": "power", "fabs": "abs", "atan2": "arctan2", "erf": "", "erfc": ""}


def _math():
    names = [name for name in dir(math) if callable(getattr(math, name)) and name[0] != "_"]
    return {
        getattr(math, name): _precise(
            getattr(math, name), getattr(np, _OTHER_NAMES.get(name, name) or "-", None)
        )
        for name in names
    }


def _bits(value):
    """Return an integer's bits and their number: 64 for what Python counts without a width."""
    width = 8 * value.dtype.itemsize if isinstance(value, np.generic) else 32
    value = int(value)
    width = 64 if not -(1 << 31) <= value < (1 << 32) else width
    return value & ((1 << width) - 1), width


def _leading_zeros(value):
    bits, width = _bits(value)
    return width - bits.bit_length()


def _first_set(value):
    bits, _ = _bits(value)
    return (bits & -bits).bit_length()


def _reversed(value):
    bits, width = _bits(value)
    return int(f"{bits:0{width}b}"[::-1], 2)


def _multiply_add(a, b, c):
    """Round once, as the machine does: exact in double for float32, by longdouble else."""
    if all(isinstance(v, np.float32) for v in (a, b, c)):
        return np.float32(np.float64(a) * np.float64(b) + np.float64(c))
    return np.float64(np.longdouble(a) * np.longdouble(b) + np.longdouble(c))


def _atomic(change):
    def call(array, index, *values):
        return array.update(index, lambda old: change(old, *values))

    return call


def _nothing(*_):
    """Order memory: the emulated one is always in order."""


def plain():
    """Return {intrinsic: Python function} of what needs nothing but its arguments."""
    atomic = {
        "add": lambda old, v: old + v,
        "sub": lambda old, v: old - v,
        "max": lambda old, v: max(old, v),
        "min": lambda old, v: min(old, v),
        "and_": lambda old, v: old & v,
        "or_": lambda old, v: old | v,
        "xor": lambda old, v: old ^ v,
        "exch": lambda old, v: v,
        "cas": lambda old, expected, v: v if old == expected else old,
    }
    return {
        cuda.popc: lambda v: _bits(v)[0].bit_count(),
        cuda.clz: _leading_zeros,
        cuda.ffs: _first_set,
        cuda.brev: _reversed,
        cuda.fma: _multiply_add,
        cuda.selp: lambda condition, a, b: a if condition else b,
        cuda.threadfence: _nothing,
        cuda.threadfence_block: _nothing,
        cuda.threadfence_system: _nothing,
        cuda.nanosleep: _nothing,
        **{getattr(cuda.atomic, name): _atomic(change) for name, change in atomic.items()},
        **_math(),
    }


# ---- collectives ----


def _shuffle(source_of):
    def call(context, lanes):
        results = []
        for lane, arguments in enumerate(lanes):
            if arguments is None:
                results.append(None)
                continue
            source = source_of(lane, int(arguments[2]))
            source = source if 0 <= source < 32 else lane
            if lanes[source] is None:
                raise context.error(f"lane {lane} asks lane {source}, which takes no part")
            results.append(lanes[source][1])
        return results

    return call


def _vote(combine):
    def call(context, lanes):
        votes = [bool(a is not None and a[1]) for a in lanes]
        present = [a is not None for a in lanes]
        return [combine(votes, present)] * 32

    return call


def _match(context, lanes):
    return [
        a and sum(1 << i for i, b in enumerate(lanes) if b is not None and b[1] == a[1])
        for a in lanes
    ]


def _ballot(votes, present):
    return sum(1 << lane for lane, vote in enumerate(votes) if vote)


def _all(votes, present):
    return all(vote for vote, here in zip(votes, present, strict=True) if here)


def warp_collectives():
    """Return {intrinsic: model} of what the lanes of a warp do together, the mask first."""
    return {
        cuda.shfl_sync: _shuffle(lambda lane, source: source % 32),
        cuda.shfl_up_sync: _shuffle(lambda lane, delta: lane - delta),
        cuda.shfl_down_sync: _shuffle(lambda lane, delta: lane + delta),
        cuda.shfl_xor_sync: _shuffle(lambda lane, mask: lane ^ mask),
        cuda.ballot_sync: _vote(_ballot),
        cuda.all_sync: _vote(_all),
        cuda.any_sync: _vote(lambda votes, present: any(votes)),
        cuda.match_any_sync: _match,
        cuda.syncwarp: lambda context, lanes: [None] * 32,
    }


def block_barriers():
    """Return {intrinsic: the result from the list of all threads' arguments}."""
    return {
        cuda.syncthreads: lambda arguments: None,
        cuda.syncthreads_count: lambda arguments: sum(bool(a[0]) for a in arguments),
        cuda.syncthreads_and: lambda arguments: int(all(a[0] for a in arguments)),
        cuda.syncthreads_or: lambda arguments: int(any(a[0] for a in arguments)),
    }


# What a thread looks up in itself, and the methods that make arrays for a place in the source.
OWN = {
    cuda.threadIdx: "threadIdx",
    cuda.blockIdx: "blockIdx",
    cuda.blockDim: "blockDim",
    cuda.gridDim: "gridDim",
    cuda.laneid: "laneid",
    cuda.grid: "grid",
    cuda.gridsize: "gridsize",
}
ARRAYS = {cuda.shared.array: "shared_array", cuda.local.array: "local_array"}
