"""The loop skeletons: each turns a body for one element, row or cell into a kernel.

The rule: iterations are independent. A body writes nothing that another iteration reads, so that
the compiler may vectorise calls in place like others, and chunks may run in any order on any
thread.
"""

import functools

import numpy as np
from numba.extending import register_jitable

from .caching import jit, specialise
from .launch import Kernel
from .native import independent_loop
from .spread import my_range

CHUNK = 64  # rows that sum_columns adds up in one partial sum


def _each(start, stop, *args):
    # unsigned: no wrap-around check, so the loop vectorises (10x on ReLU)
    loop(np.uintp(start), np.uintp(stop), (), args)  # noqa: F821  (bound by specialise)


def _each_row(start, stop, *args):
    for row in range(np.uintp(start), np.uintp(stop)):
        body(row, *args)  # noqa: F821


def _each_cell(start, stop, *args):
    columns = np.uintp(args[0].shape[1])
    for row in range(np.uintp(start), np.uintp(stop)):
        loop(np.uintp(0), columns, (row,), args)  # noqa: F821


def _sum_chunks_on_device(start, stop, partial, *args):
    columns, rows = np.uintp(partial.shape[1]), args[0].shape[0]
    for chunk in range(np.uintp(start), np.uintp(stop)):
        first = chunk * np.uintp(CHUNK)
        last = min(np.uintp(rows), first + np.uintp(CHUNK))
        for column in my_range(np.uintp(0), columns):
            total = partial.dtype.type(0)
            for row in range(first, last):
                total += body(row, column, *args)  # noqa: F821
            partial[chunk, column] = total


def _sum_chunks(start, stop, partial, *args):
    columns, rows = np.uintp(partial.shape[1]), args[0].shape[0]
    for chunk in range(np.uintp(start), np.uintp(stop)):
        first = np.uintp(chunk * np.uintp(CHUNK))
        last = np.uintp(min(rows, first + np.uintp(CHUNK)))
        whole = first + (last - first) // np.uintp(4) * np.uintp(4)
        for column in range(columns):
            partial[chunk, column] = 0
        for row in range(first, whole, np.uintp(4)):
            four(np.uintp(0), columns, (chunk, row), (partial, *args))  # noqa: F821
        for row in range(whole, last):
            one(np.uintp(0), columns, (chunk, row), (partial, *args))  # noqa: F821


def _add_one(chunk, row, column, partial, *args):
    partial[chunk, column] += body(row, column, *args)  # noqa: F821


def _add_four(chunk, row, column, partial, *args):
    # four rows to a load and a store of the sum, in the order that one by one would take
    total = partial[chunk, column]
    total += body(row, column, *args)  # noqa: F821
    total += body(row + np.uintp(1), column, *args)  # noqa: F821
    total += body(row + np.uintp(2), column, *args)  # noqa: F821
    total += body(row + np.uintp(3), column, *args)  # noqa: F821
    partial[chunk, column] = total


def for_each(body=None, *, cost=0.3, identity=()):
    """Make `body(i, *args)` a kernel over elements. `cost` is ns an element, or f(*args)."""
    if body is None:
        return functools.partial(for_each, cost=cost, identity=identity)

    def share():
        loop = independent_loop(jit(body, inner=True, identity=identity))
        return specialise(_each, body, "each", identity, loop=loop)

    return _kernel(body, share, cost, identity, "grid")


def for_each_row(body=None, *, cost=1.0, identity=(), spread="item"):
    """Make `body(row, *args)` a kernel over rows of args[0]. `cost` is ns an element of a row.

    On CUDA one thread does a row, or with another `spread` those that share its loops over
    `my_range` (spread.py).
    """
    if body is None:
        return functools.partial(for_each_row, cost=cost, identity=identity, spread=spread)

    def share():
        return specialise(
            _each_row, body, "each_row", identity, body=jit(body, inner=True, identity=identity)
        )

    return _kernel(body, share, _columns_cost(cost), identity, spread)


def for_each_cell(body=None, *, cost=0.3, identity=()):
    """Make `body(row, column, *args)` a kernel over rows of args[0]; columns are the inner loop."""
    if body is None:
        return functools.partial(for_each_cell, cost=cost, identity=identity)

    def share():
        loop = independent_loop(jit(body, inner=True, identity=identity), leading=1)
        return specialise(_each_cell, body, "each_cell", identity, loop=loop)

    return _kernel(body, share, _columns_cost(cost), identity, "cells")


def sum_columns(body=None, *, cost=0.3, identity=()):
    """Make `body(row, column, *args)`, which returns a number, a kernel over chunks of 64 rows.

    kernel(chunks, partial, *args) sets partial[chunk, column] to the chunk's sum, in the order of
    rows; `chunks_of(rows)` tells how many there are. Variance wants two passes: never E[x²] -
    E[x]².
    """
    if body is None:
        return functools.partial(sum_columns, cost=cost, identity=identity)

    def share():
        jitted = jit(body, inner=True, identity=identity)
        loops = {}
        for name, template in (("one", _add_one), ("four", _add_four)):
            add = specialise(template, body, f"sum_{name}", identity, body=jitted)
            loops[name] = independent_loop(jit(add, inner=True, identity=identity), leading=2)
        return specialise(_sum_chunks, body, "sum_columns", identity, **loops)

    def device_share():
        return specialise(_sum_chunks_on_device, body, "sum_columns", identity, body=body)

    chunk_cost = _columns_cost(cost * CHUNK)
    return _kernel(body, share, chunk_cost, identity, "cells", device_share)


@register_jitable
def chunks_of(rows):
    """Return how many chunks of 64 rows there are: at least one, so that an empty sum is 0."""
    return max(1, (rows + CHUNK - 1) // CHUNK)


def _columns_cost(each):
    return lambda *args: each * args[0].shape[-1]


def _kernel(body, share, cost, identity, spread="item", device_share=None):
    each = cost if callable(cost) else lambda *args: cost
    return Kernel(body, share, each, identity, spread, make_device_share=device_share)
