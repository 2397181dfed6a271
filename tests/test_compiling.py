"""References are counted where arrays are made, and nowhere else."""

import numpy as np
import pytest
from numba import njit
from numba.core.runtime import _nrt_python, rtsys

from fonio.kernels.caching import jit
from fonio.kernels.launch import kernel


@jit(inner=True)
def _tail(x, first):
    return x[first:]


@jit(inner=True)
def _middle(x, *bounds):
    part = x[bounds[0] : bounds[1]]
    return part[part.size // 2]


@kernel
def _borrowing(start, stop, y, x):
    for i in range(start, stop):
        y[i : i + 1] = _middle(x.T, *(i, i + 1))


@kernel
def _making(start, stop, y, x):
    for i in range(start, stop):
        mine, pair = np.full(3, x[i]), (_tail(x, i), x)
        chosen = x[np.array([i, i])]
        y[i] = mine[0] + pair[0][0] + chosen[1]


@pytest.mark.parametrize(("loop", "counts", "times"), [(_borrowing, False, 1), (_making, True, 3)])
def test_all_that_is_made_is_freed_and_what_is_borrowed_is_not_counted(loop, counts, times):
    @njit
    def use(n):
        total = 0.0
        for _ in range(n):
            x, y = np.arange(4.0), np.empty(4)
            loop(4, y, x[:])
            total += y.sum() + x.sum()
        return total

    x, y = np.arange(4.0), np.empty(4)
    loop(4, y, x)
    assert y.tolist() == (times * x).tolist()
    assert ("NRT_" in loop.assembly(y, x)) is counts
    _nrt_python.memsys_enable_stats()
    try:
        before = rtsys.get_allocation_stats()
        assert use(10) == 10 * (times + 1) * 6.0
        after = rtsys.get_allocation_stats()
    finally:
        _nrt_python.memsys_disable_stats()
    assert after.alloc - before.alloc == after.free - before.free > 0
