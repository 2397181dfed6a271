"""A number for each cell of an array, and stores past the caches where it is too large for them.

The rule: a kernel that streams ends with `end_stream`, so that its results are in memory before the
launch counts as done.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .caching import jit
from .columns import BLOCK, CACHED
from .launch import kernel
from .native import independent_loop
from .spread import my_range
from .vectors import Emitter

_WORD = ir.IntType(64)

# Four such arrays, the x, y, dy and dx of a layer, fill the largest cache of most machines. A plain
# store reads the line that it is about to overwrite, and throws out one that is still needed.
LARGE = 1 << 23  # bytes


@intrinsic
def stream(typing, out, row, column, values, count):
    """out[row, column + i] = values[i] for i < count, past the caches; both C-contiguous."""

    def codegen(context, builder, signature, args):
        out, values = (
            cgutils.create_struct_proxy(signature.args[k])(context, builder, args[k])
            for k in (0, 3)
        )
        emitter = Emitter(context, builder, signature.args[0].dtype)
        size, columns = emitter.bytes, cgutils.unpack_tuple(builder, out.shape)[1]
        start = builder.add(builder.mul(args[1], columns), args[2])
        source = builder.ptrtoint(values.data, _WORD)
        target = emitter.place(builder.ptrtoint(out.data, _WORD), (start, size))
        _emit_copy(emitter, target, source, args[4])
        return context.get_dummy_value()

    return types.void(out, types.uintp, types.uintp, values, types.uintp), codegen


def _emit_copy(emitter, target, source, count):
    """Emit single stores up to the first whole vector in memory and after the last."""
    builder, size, width = emitter.builder, emitter.bytes, emitter.bytes * emitter.lanes
    scalar = ir.VectorType(emitter.float, 1)

    def stream(value, address):
        pointer = builder.inttoptr(address, value.type.as_pointer())
        store = builder.store(value, pointer, align=width)
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.IntType(32)(1)]))

    def copy(first, last, step, kind, store):
        with cgutils.for_range_slice(builder, first, last, _WORD(step)) as (i, _):
            value = emitter.load(emitter.place(source, (i, size)), kind)
            store(value, emitter.place(target, (i, size)))

    ahead = builder.and_(builder.sub(_WORD(0), target), _WORD(width - 1))
    ahead = builder.udiv(ahead, _WORD(size))
    ahead = builder.select(builder.icmp_unsigned("<", ahead, count), ahead, count)
    rest = builder.and_(builder.sub(count, ahead), _WORD(emitter.lanes - 1))
    whole = builder.sub(count, rest)
    copy(_WORD(0), ahead, 1, scalar, emitter.store)
    copy(ahead, whole, emitter.lanes, emitter.vector, stream)
    copy(whole, count, 1, scalar, emitter.store)


@intrinsic
def end_stream(typing):
    """Wait until what was streamed is in memory: only x86 orders it unlike other stores."""

    def codegen(context, builder, signature, args):
        if "x86" in builder.module.triple:
            shape = ir.FunctionType(ir.VoidType(), [])
            name = "llvm.x86.sse.sfence"
            builder.call(cgutils.get_or_insert_function(builder.module, shape, name), [])
        return context.get_dummy_value()

    return types.void(), codegen


def for_each_value(value, cost):
    """Make `value(row, column, *args)` a kernel over rows: out[row, column] = that.

    Two rows at a time load what belongs to the column once (1.3 times as fast in the cache);
    beyond the cache the memory likes fewer streams (1.6 times), and what is large is streamed.
    """
    value = jit(value, inner=True)

    def two_rows(row, column, out, *args):
        above, below = value(row, column, *args), value(row + np.uintp(1), column, *args)
        out[row, column], out[row + np.uintp(1), column] = above, below

    def one_row(row, column, out, *args):
        out[row, column] = value(row, column, *args)

    def part_of_row(row, left, i, buffer, *args):
        buffer[i] = value(row, left + i, *args)

    two = independent_loop(jit(two_rows, inner=True), leading=1)
    one = independent_loop(jit(one_row, inner=True), leading=1)
    part = independent_loop(jit(part_of_row, inner=True), leading=2)

    def one_cell(start, stop, out, *args):
        for row in range(np.uintp(start), np.uintp(stop)):
            for column in my_range(np.uintp(0), np.uintp(out.shape[1])):
                out[row, column] = value(row, column, *args)

    @kernel(cost=lambda out, *_: cost * out.shape[1], spread="cells", cuda=one_cell)
    def apply(start, stop, out, *args):
        zero, columns, block = np.uintp(0), np.uintp(out.shape[1]), np.uintp(BLOCK)
        first, last = np.uintp(start), np.uintp(stop)
        if out.size * out.itemsize >= LARGE:
            buffer = np.empty(BLOCK, out.dtype)
            for row in range(first, last):
                for left in range(zero, columns, block):
                    count = min(block, columns - left)
                    part(zero, count, (row, left), (buffer, *args))
                    stream(out, row, left, buffer, count)
            end_stream()
            return
        whole = first
        if out.size <= CACHED:
            whole = first + (last - first) // np.uintp(2) * np.uintp(2)
        for row in range(first, whole, np.uintp(2)):
            two(zero, columns, (row,), (out, *args))
        for row in range(whole, last):
            one(zero, columns, (row,), (out, *args))

    apply.__name__ = value.py_func.__name__
    return apply
