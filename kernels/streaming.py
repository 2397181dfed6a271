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
from .native import independent_loop, new_vector
from .spread import my_range
from .vectors import Emitter

_WORD = ir.IntType(64)

# Four such arrays, the x, y, dy and dx of a layer, fill the largest cache of most machines. A plain
# store reads the line that it is about to overwrite, and throws out one that is still needed.
LARGE = 1 << 23  # bytes
SHARED = 48  # columns of a channel from which it has a loop of its own (128 columns: 0.8 the time)


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
    """Make `value(row, column, home, *args)` a kernel over rows: out[row, column] = that.

    kernel(rows, out, length, *args): `home` is where the numbers that belong to the column are
    found; with a length, as many columns side by side share theirs. What is large is streamed.
    """
    value = jit(value, inner=True)
    stored, streamed = _stored(value), _streamed(value)

    def one_cell(start, stop, out, length, *args):
        for row in range(np.uintp(start), np.uintp(stop)):
            for column in my_range(np.uintp(0), np.uintp(out.shape[1])):
                out[row, column] = value(row, column, column, *args)

    @kernel(cost=lambda out, *_: cost * out.shape[1], spread="cells", cuda=one_cell)
    def apply(start, stop, out, length, *args):
        if out.size * out.itemsize >= LARGE:
            buffer = new_vector(out, BLOCK)
            streamed(np.uintp(start), np.uintp(stop), out, length, buffer, args)
        else:
            stored(np.uintp(start), np.uintp(stop), out, length, args)

    apply.__name__ = value.py_func.__name__
    return apply


def _stored(value):
    """Two rows at a time load the numbers of a column once (1.3 times as fast in the cache).

    Beyond the cache the memory likes fewer streams (1.6 times).
    """

    def two_rows(row, column, out, *args):
        above = value(row, column, column, *args)
        below = value(row + np.uintp(1), column, column, *args)
        out[row, column], out[row + np.uintp(1), column] = above, below

    def one_row(row, column, out, *args):
        out[row, column] = value(row, column, column, *args)

    def one_channel(row, home, column, out, *args):
        out[row, column] = value(row, column, home, *args)

    two = independent_loop(jit(two_rows, inner=True), leading=1)
    one = independent_loop(jit(one_row, inner=True), leading=1)
    channel = independent_loop(jit(one_channel, inner=True), leading=2)

    @jit(inner=True)
    def store_rows(first, last, out, length, args):
        zero, columns, whole = np.uintp(0), np.uintp(out.shape[1]), first
        if length is not None and length >= SHARED:
            for row in range(first, last):
                for home in range(zero, columns, np.uintp(length)):
                    channel(home, home + np.uintp(length), (row, home), (out, *args))
            return
        if out.size <= CACHED:
            whole = first + (last - first) // np.uintp(2) * np.uintp(2)
        for row in range(first, whole, np.uintp(2)):
            two(zero, columns, (row,), (out, *args))
        for row in range(whole, last):
            one(zero, columns, (row,), (out, *args))

    return store_rows


def _streamed(value):
    """A row is made piece by piece in the cache, and each piece copied from there past it."""

    def part_of_row(row, left, i, buffer, *args):
        buffer[i] = value(row, left + i, left + i, *args)

    def part_of_channel(row, left, home, i, buffer, *args):
        buffer[i] = value(row, left + i, home, *args)

    part = independent_loop(jit(part_of_row, inner=True), leading=2)
    channel_part = independent_loop(jit(part_of_channel, inner=True), leading=3)

    @jit(inner=True)
    def stream_rows(first, last, out, length, buffer, args):
        zero, columns, block = np.uintp(0), np.uintp(out.shape[1]), np.uintp(BLOCK)
        for row in range(first, last):
            if length is None or length < SHARED:
                for left in range(zero, columns, block):
                    count = min(block, columns - left)
                    part(zero, count, (row, left), (buffer, *args))
                    stream(out, row, left, buffer, count)
            else:
                for home in range(zero, columns, np.uintp(length)):
                    end = home + np.uintp(length)
                    for left in range(home, end, block):
                        count = min(block, end - left)
                        channel_part(zero, count, (row, left, home), (buffer, *args))
                        stream(out, row, left, buffer, count)
        end_stream()

    return stream_rows
