"""Sums over a stretch of a row in 64 lanes, which stay in registers.

The rule: an element goes to the lane of its place in the stretch, and lanes are joined by halving;
so a sum depends on the stretch alone, not on the rows beside it, on threads, or on the width of the
machine's vectors.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .caching import jit, specialise
from .native import independent_loop
from .spread import join_sum, my_range, on_cuda
from .vectors import Emitter

LANES = 64
FEW = 16  # lanes of what is left of a stretch, one vector at most


def _new_lanes(count):
    @intrinsic
    def new_lanes(typing, like):
        """Return a pointer to `count` times 64 numbers on the stack, for the calling function.

        The compiler keeps them in registers where nothing indexes them by a number that varies.
        """

        def codegen(context, builder, signature, args):
            kind = ir.ArrayType(context.get_data_type(like.dtype), count * LANES)
            place = cgutils.alloca_once(builder, kind)
            place.align = 64
            return builder.bitcast(place, kind.element.as_pointer())

        return types.CPointer(like.dtype)(like), codegen

    return new_lanes


def _join(count):
    @intrinsic
    def join(typing, lanes, rest):
        """Return the sums of 64 lanes and of 16 more, joined by halving: one, or two of them."""
        kind = lanes.dtype
        result = kind if count == 1 else types.UniTuple(kind, count)

        def codegen(context, builder, signature, args):
            emitter = Emitter(context, builder, kind)
            sums = [_emit_join(emitter, *args, k * LANES) for k in range(count)]
            return sums[0] if count == 1 else context.make_tuple(builder, result, sums)

        return result(lanes, rest), codegen

    return join


def _emit_join(emitter, lanes, rest, first):
    """Halve 64 lanes to 16, add the other 16, and halve on."""
    builder, width = emitter.builder, emitter.lanes

    def load(pointer, count):
        places = (builder.gep(pointer, [ir.IntType(64)(first + k)]) for k in range(0, count, width))
        kind = emitter.vector.as_pointer()
        return [builder.load(builder.bitcast(place, kind), align=emitter.bytes) for place in places]

    def halve(parts):
        half = len(parts) // 2
        return [builder.fadd(parts[k], parts[half + k]) for k in range(half)]

    parts, others = load(lanes, LANES), load(rest, FEW)
    while len(parts) > len(others):
        parts = halve(parts)
    parts = [builder.fadd(*pair) for pair in zip(parts, others, strict=True)]
    while len(parts) > 1:
        parts = halve(parts)
    total = parts[0]
    while width > 1:
        width //= 2
        low, high = (list(range(start, start + width)) for start in (0, width))
        total = builder.fadd(*(emitter.shuffle(total, total, half) for half in (low, high)))
    return builder.extract_element(total, ir.IntType(32)(0))


def _add_one(first, lane, lanes, args):
    lanes[lane] += term(first + lane, *args)  # noqa: F821  (bound by lane_sums)


def _add_two(first, lane, lanes, args):
    a, b = term(first + lane, *args)  # noqa: F821
    lanes[lane] += a
    lanes[lane + np.uintp(LANES)] += b


def _sum(left, right, like, args):
    zero, many, few = np.uintp(0), np.uintp(LANES), np.uintp(FEW)
    most, whole = left + (right - left) // many * many, left + (right - left) // few * few
    lanes, rest = new_lanes(like), new_lanes(like)  # noqa: F821
    for start in range(zero, size, many):  # noqa: F821
        for lane in range(start, start + many):
            lanes[lane] = 0
        for lane in range(start, start + few):
            rest[lane] = 0
    for first in range(left, most, many):
        add(zero, many, (first,), (lanes, args))  # noqa: F821
    for first in range(most, whole, few):
        add_few(zero, few, (first,), (lanes, args))  # noqa: F821
    add_few(zero, right - whole, (whole,), (rest, args))  # noqa: F821
    return join(lanes, rest)  # noqa: F821


def _sum_one_by_warp(left, right, like, args):
    total = like.dtype.type(0)
    for i in my_range(left, right):
        total += term(i, *args)  # noqa: F821
    return join_sum(total)


def _sum_two_by_warp(left, right, like, args):
    one = two = like.dtype.type(0)
    for i in my_range(left, right):
        a, b = term(i, *args)  # noqa: F821
        one, two = one + a, two + b
    return join_sum(one), join_sum(two)


def lane_sums(term, count=1):
    """Make sums(left, right, like, args): Σ term(i, *args) over [left, right).

    With a count of 2 the term returns two numbers, and the sums are two. `like` is an array of
    the sums' type. On CUDA a lane of the warp takes every 32nd element.
    """
    add_to, by_warp = {1: (_add_one, _sum_one_by_warp), 2: (_add_two, _sum_two_by_warp)}[count]
    to_lanes = specialise(add_to, term, "to_lanes", term=jit(term, inner=True))
    names = {
        "add": independent_loop(jit(to_lanes, inner=True), leading=1),
        "add_few": independent_loop(jit(to_lanes, inner=True), leading=1, rolled=True),
        "new_lanes": _new_lanes(count),
        "join": _join(count),
        "size": np.uintp(count * LANES),
    }
    sums = jit(specialise(_sum, term, "sums_in_lanes", **names), inner=True)
    on_cuda(sums)(specialise(by_warp, term, "sums_by_warp", term=term))
    return sums
