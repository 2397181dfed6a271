"""How the work inside one item is spread: not at all on the CPU, over a team of threads on CUDA.

A share whose loops run over `my_range` and whose sums pass through `join_sum` is one text for both
targets. On the CPU one thread does the item: `my_range` is `range`, and joining is nothing. On CUDA
the kernel's *spread* says who does it together, and retarget.py puts that team's functions in
place:

    item   one thread: as on the CPU
    grid   all threads of the grid share one item: loops are strided by the grid
    cells  a line of threads across the columns: each does its own
    warp   32 lanes, that join sums and maxima by shuffles, in one fixed order
    rows   16 warps for an item of 16 rows: each takes one of them
    block  512 threads, that join through shared memory: for the one item of a sum over a batch

The rule: what `my_range` hands out is written by its owner alone; what all hold after a join is
written by the `leader`.
"""

from numba import types
from numba.extending import intrinsic

SPREADS = ("item", "grid", "cells", "warp", "rows", "block")

my_range = range

CUDA_SIDES = {}  # jitted helpers that are written anew for CUDA: helper -> plain function


def on_cuda(helper):
    """Register a function that takes the place of a jitted helper on CUDA."""

    def register(function):
        CUDA_SIDES[helper] = function
        return function

    return register


def _same(typing, value):
    def codegen(context, builder, signature, args):
        return args[0]

    return value(value), codegen


@intrinsic
def join_sum(typing, value):
    """Return the sum of what the threads of the team hold."""
    return _same(typing, value)


@intrinsic
def join_max(typing, value):
    """Return the largest of what the threads of the team hold; a NaN may get lost."""
    return _same(typing, value)


@intrinsic
def my_place(typing):
    """Return which of an item's 16 warps this thread is of."""

    def codegen(context, builder, signature, args):
        return context.get_constant(types.uintp, 0)

    return types.uintp(), codegen


@intrinsic
def leader(typing):
    """Tell whether this thread speaks for its team."""

    def codegen(context, builder, signature, args):
        return context.get_constant(types.boolean, True)

    return types.boolean(), codegen
