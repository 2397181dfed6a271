"""Products of fragments that lie in registers, written out as LLVM code.

The rule: all loops are unrolled here; in Python they would cost 15 s to compile. Each intrinsic has
its model, as in `ptx`.
"""

import functools
from dataclasses import dataclass

import numpy as np
from llvmlite import ir
from numba.cuda import types

from .ptx import I64, emit_load, modelled, register_place


@dataclass(frozen=True)
class Fragment:
    """How a thread reads its share of an operand's tile in shared memory.

    `count` values of each of the lines, `line` elements apart, in vectors `step` elements apart.
    """

    count: int
    line: int
    step: int


class _Sums:
    """The sums of a product, out of the registers of a local array and back."""

    def __init__(self, context, builder, kind, home, count):
        places = [ir.Constant(I64, i) for i in range(count)]
        self._builder = builder
        self._cells = [register_place(context, builder, kind, home, i) for i in places]
        self._values = [builder.load(cell) for cell in self._cells]

    def add(self, column, row):
        """Emit sums[i, j] += column[i] row[j]."""
        pairs = [(x, y) for x in column for y in row]
        fma = self._builder.fma
        self._values = [fma(x, y, t) for (x, y), t in zip(pairs, self._values, strict=True)]

    def store(self):
        """Emit the stores."""
        for cell, value in zip(self._cells, self._values, strict=True):
            self._builder.store(value, cell)


@functools.cache
def multiply_block(depth, left, right):
    """Make multiply(sums, a, a_at, b, b_at): sums[i, j] += Σ_k a[k, i] b[k, j], k < depth.

    a and b lie in shared memory and are read as the Fragments `left` and `right` say, from the flat
    places a_at and b_at on. All is unrolled here, as LLVM code: in Python it costs 15 s to compile.
    """

    def places(fragment, size):
        """Return the distance from its start of each vector on each line, [k][vector]."""
        steps = [fragment.step * p for p in range(fragment.count * size // 16)]
        return [[k * fragment.line + step for step in steps] for k in range(depth)]

    def model(sums, a, a_at, b, b_at):
        total = sums.load(0, left.count * right.count).reshape(left.count, right.count)
        tiles = []
        for array, at, fragment in ((a, a_at, left), (b, b_at, right)):
            spots, width = places(fragment, array.itemsize), 16 // array.itemsize
            lines = [[array.load(at + i, width, aligned=True) for i in line] for line in spots]
            tiles.append(np.array(lines).reshape(depth, fragment.count))
        sums.store(0, (total + tiles[0].T @ tiles[1]).reshape(-1))

    @modelled(model)
    def multiply(typing, sums, a, a_at, b, b_at):
        def codegen(context, builder, signature, args):
            (local, a_kind, _, b_kind, _), (home, a, a_at, b, b_at) = signature.args, args
            size = local.dtype.bitwidth // 8

            def line(kind, array, at, starts):
                spots = [builder.add(at, ir.Constant(at.type, start)) for start in starts]
                lists = [
                    emit_load(context, builder, kind, array, spot, 16 // size) for spot in spots
                ]
                return sum(lists, [])

            def both(k):
                return line(a_kind, a, a_at, a_places[k]), line(b_kind, b, b_at, b_places[k])

            a_places, b_places = places(left, size), places(right, size)
            held = _Sums(context, builder, local, home, left.count * right.count)
            ahead = both(0)
            for k in range(depth):
                column, row = ahead
                if k + 1 < depth:  # loaded one step ahead
                    ahead = both(k + 1)
                held.add(column, row)
            held.store()
            return context.get_dummy_value()

        return types.void(sums, a, types.intp, b, types.intp), codegen

    return multiply


@functools.cache
def multiply_across(depth, count, line, right):
    """Make multiply(sums, a, a_at, b, b_at): sums[i, j] += Σ_k a[i, k] b[k, j], k < depth.

    a is read along k: `count` lines, `line` elements apart; b as multiply_block reads it. float32.
    """
    row = [right.step * p for p in range(right.count // 4)]

    def model(sums, a, a_at, b, b_at):
        total = sums.load(0, count * right.count).reshape(count, right.count)
        lefts, rights = [], []
        for i in range(count):
            for k in range(0, depth, 4):
                lefts.append(a.load(a_at + i * line + k, 4, aligned=True))
        for k in range(depth):
            for step in row:
                rights.append(b.load(b_at + k * right.line + step, 4, aligned=True))
        product = np.array(lefts).reshape(count, depth) @ np.array(rights).reshape(depth, -1)
        sums.store(0, (total + product).reshape(-1))

    @modelled(model)
    def multiply(typing, sums, a, a_at, b, b_at):
        def codegen(context, builder, signature, args):
            (local, a_kind, _, b_kind, _), (home, a, a_at, b, b_at) = signature.args, args

            def some(kind, array, at, step, size):
                place = builder.add(at, ir.Constant(at.type, step))
                return emit_load(context, builder, kind, array, place, size)

            def both(k, left):
                if k % 2 == 0:
                    left = [some(a_kind, a, a_at, i * line + k, 2) for i in range(count)]
                return left, sum((some(b_kind, b, b_at, k * right.line + s, 4) for s in row), [])

            held, left = _Sums(context, builder, local, home, count * right.count), []
            for k in range(depth):
                left, values = both(k, left)
                held.add([x[k % 2] for x in left], values)
            held.store()
            return context.get_dummy_value()

        return types.void(sums, a, types.intp, b, types.intp), codegen

    return multiply
