"""The register tile of the CPU matmul, as LLVM vector code, and the transpose of a square of them.

The rule: each element of a result is one chain of fused multiply-adds over a block of k, whatever
the tile, so that tiles of any size give the same bits; no load or store touches memory outside the
operands.
Addresses and strides are in bytes.
"""

import math

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .vectors import Emitter
from .widths import TILE_ROWS, TILE_VECTORS

ADD, BIAS, RELU = 1, 2, 4  # what a tile does besides storing its sums: bits of `code`

_NAMES = (
    *("rows", "cols", "kc", "a", "a_row", "a_col"),
    *("b", "b_row", "c", "c_line", "bias", "code"),
)
_I1, _WORD = ir.IntType(1), ir.IntType(64)


class Strip(Emitter):
    """C[rows, cols] = A[rows, k] B[k, cols], with cols at most TILE_VECTORS vectors."""

    def __init__(self, context, builder, kind, padded, args):
        super().__init__(context, builder, kind)
        self.padded = padded
        names = _NAMES
        self.__dict__.update(zip(names, args, strict=True))

    def emit(self):
        for vectors, condition in self.widths():
            with self.builder.if_then(condition):
                for row, rows in self.each_row((8, 4, 2, 1)[-TILE_ROWS.bit_length() :]):
                    self.finish(self.sums(row, rows, vectors), row)

    def widths(self):
        """Yield each number of vectors with the condition that the columns need as many."""
        builder = self.builder
        for vectors in range(1, TILE_VECTORS + 1):
            full = _WORD((vectors - 1) * self.lanes)
            large = builder.icmp_signed(">", self.cols, full)
            small = builder.icmp_signed("<=", self.cols, _WORD(vectors * self.lanes))
            yield vectors, builder.and_(large, small)

    def edges(self, vectors):
        """Return a mask for each vector: None where it is whole."""
        last = self.builder.sub(self.cols, _WORD((vectors - 1) * self.lanes))
        return [None] * (vectors - 1) + [self.first_lanes(last)]

    def each_row(self, sizes):
        """Yield (row, rows) inside a loop over whole tiles of each size in turn, largest first."""
        builder, done = self.builder, _WORD(0)
        for rows in sizes:
            count = builder.sdiv(builder.sub(self.rows, done), _WORD(rows))
            with cgutils.for_range(builder, count) as loop:
                yield self.place(done, (loop.index, rows)), rows
            done = self.place(done, (count, rows))

    def sums(self, row, rows, vectors):
        """Emit the loop over k and return its sums as [row][vector]."""
        builder, function = self.builder, self.builder.function
        self.masks = self.edges(vectors)
        starts = [_WORD(0), self.place(self.a, (row, self.a_row)), self.b]
        starts += [self.zero()] * (rows * vectors)
        before = builder.block
        loop, done = (function.append_basic_block(name) for name in ("k", "sums"))
        builder.cbranch(builder.icmp_signed(">", self.kc, _WORD(0)), loop, done)
        builder.position_at_end(loop)
        old = [builder.phi(start.type) for start in starts]
        new = self.one_k(old, rows, vectors)
        back = builder.cbranch(builder.icmp_signed("<", new[0], self.kc), loop, done)
        self.keep_rolled(back)
        builder.position_at_end(done)
        final = [builder.phi(start.type) for start in starts]
        for phi, start, again in zip(old + final, starts * 2, new * 2, strict=True):
            phi.add_incoming(start, before)
            phi.add_incoming(again, loop)
        return [final[3 + r * vectors :][:vectors] for r in range(rows)]

    def one_k(self, old, rows, vectors):
        """Emit one step of k: from (k, address in a, address in b, *sums) to the next."""
        k, a, b = old[:3]
        step = [self.place(k, 1), self.place(a, self.a_col), self.place(b, self.b_row)]
        edge = [None if self.padded else mask for mask in self.masks]
        line = [self.load(self.place(b, self.span(v)), mask=edge[v]) for v in range(vectors)]
        for r in range(rows):
            pointer = self.builder.inttoptr(self.place(a, (r, self.a_row)), self.float.as_pointer())
            value = self.broadcast(self.builder.load(pointer, align=self.bytes))
            sums = old[3 + r * vectors :][:vectors]
            step += [self.multiply_add(value, x, s) for x, s in zip(line, sums, strict=True)]
        return step

    def span(self, vectors):
        return vectors * self.lanes * self.bytes

    def finish(self, sums, row):
        """Emit C = sums, plus what was there, plus bias, through ReLU, as `code` says."""
        builder, places, line = self.builder, [], self.place(self.c, (row, self.c_line))
        for _ in sums:
            places += [(self.place(line, self.span(v)), m) for v, m in enumerate(self.masks)]
            line = builder.add(line, self.c_line)
        values = self.when(ADD, sum(sums, []), lambda old: self.added(old, places))
        values = self.when(BIAS | RELU, values, self.epilogue)
        if self.bytes * self.lanes == 64:
            self.store_all(values, places)
            return
        full = _WORD(self.span(len(self.masks)) // self.bytes)
        with builder.if_else(builder.icmp_signed("==", self.cols, full)) as (whole, edge):
            with whole:  # masked stores are slow where vectors have 32 bytes
                self.store_all(values, [(place, None) for place, _ in places])
            with edge:
                self.store_all(values, places)

    def store_all(self, values, places):
        for value, (place, mask) in zip(values, places, strict=True):
            self.store(value, place, mask)

    def added(self, values, places):
        there = (self.load(place, mask=mask) for place, mask in places)
        return [self.builder.fadd(old, new) for old, new in zip(there, values, strict=True)]

    def epilogue(self, values):
        wanted = self.broadcast(self.flag(BIAS), ir.VectorType(_I1, self.lanes))
        masks = [wanted if m is None else self.builder.and_(m, wanted) for m in self.masks]
        line = [self.load(self.place(self.bias, self.span(v)), mask=m) for v, m in enumerate(masks)]
        biased = [self.builder.fadd(x, line[i % len(line)]) for i, x in enumerate(values)]
        return self.rectified(biased)

    def rectified(self, values):
        """Emit ReLU where `code` asks for it, else the maximum with -∞; NaN stays."""
        builder, (low, zero) = self.builder, (ir.Constant(self.float, x) for x in (-math.inf, 0.0))
        floor = self.broadcast(builder.select(self.flag(RELU), zero, low), values[0].type)
        return [builder.select(builder.fcmp_ordered("<=", x, floor), floor, x) for x in values]

    def flag(self, bits):
        return self.builder.icmp_signed("!=", self.builder.and_(self.code, _WORD(bits)), _WORD(0))

    def when(self, bits, values, change):
        """Return values, or change(values) where `code` has one of these bits."""
        builder = self.builder
        condition, before = self.flag(bits), builder.block
        with builder.if_then(condition):
            changed, inside = change(values), builder.block
        merged = [builder.phi(value.type) for value in values]
        for phi, old, new in zip(merged, values, changed, strict=True):
            phi.add_incoming(old, before)
            phi.add_incoming(new, inside)
        return merged


class _FlippedStrip(Strip):
    """The same for a C whose rows are adjacent in memory: each tile is transposed on the stack."""

    def emit(self):
        buffer = ir.ArrayType(self.vector, TILE_ROWS * TILE_VECTORS)
        buffer = self.builder.ptrtoint(cgutils.alloca_once(self.builder, buffer), _WORD)
        for row, rows in self.each_row(sorted({TILE_ROWS, 4, 1}, reverse=True)):
            for vectors, condition in self.widths():
                with self.builder.if_then(condition):
                    sums = self.sums(row, rows, vectors)
                    parts = (
                        part
                        for v in range(vectors)
                        for part in self.transpose([s[v] for s in sums])
                    )
                    for i, part in enumerate(parts):
                        self.store(part, self.place(buffer, self.span(i)))
            self.finish_columns(buffer, row, rows)

    def finish_columns(self, buffer, row, rows):
        builder, kind = self.builder, ir.VectorType(self.float, rows)
        c, bias = self.place(self.c, (row, self.bytes)), self.place(self.bias, (row, self.bytes))
        with cgutils.for_range(builder, self.cols) as loop:
            value = [self.load(self.place(buffer, (loop.index, rows * self.bytes)), kind)]
            place = self.place(c, (loop.index, self.c_line))
            value = self.when(ADD, value, lambda old: [builder.fadd(self.load(place, kind), *old)])
            value = self.when(BIAS, value, lambda old: [builder.fadd(*old, self.load(bias, kind))])
            self.store(*self.rectified(value), place)


@intrinsic(prefer_literal=True)
def strip(typing, like, padded, flipped, sizes, operands, code):
    """Compute a strip of C = A·B over one block of k, in the float type of the array `like`.

    sizes = rows, cols, kc; operands = a, a_row, a_col, b, b_row, c, c_line, bias: a (rows, kc) of
    any strides; b (kc, cols) with adjacent columns, filled up to whole vectors if `padded`;
    c (rows, cols) with adjacent columns and lines c_line apart or, if `flipped`, adjacent rows.
    """
    form = _FlippedStrip if flipped.literal_value else Strip

    def codegen(context, builder, signature, args):
        words = [x for pack in args[3:5] for x in cgutils.unpack_tuple(builder, pack)]
        form(context, builder, like.dtype, padded.literal_value, [*words, args[5]]).emit()
        return context.get_dummy_value()

    words = (types.UniTuple(types.intp, 3), types.UniTuple(types.intp, 8), types.intp)
    return types.void(like, padded, flipped, *words), codegen


@intrinsic
def copy_lines(typing, like, count, columns, target, target_row, source, source_row):
    """Copy `count` lines of at most TILE_VECTORS vectors, whose columns are adjacent."""

    def codegen(context, builder, signature, args):
        _, count, columns, target, target_row, source, source_row = args
        emitter = Strip(context, builder, like.dtype, 0, [None, columns, *[None] * 10])
        for vectors, condition in emitter.widths():
            with builder.if_then(condition):
                masks = emitter.edges(vectors)
                with cgutils.for_range(builder, count) as loop:
                    for v, mask in enumerate(masks):
                        span, i = emitter.span(v), loop.index
                        value = emitter.load(
                            emitter.place(source, (i, source_row), span), mask=mask
                        )
                        emitter.store(value, emitter.place(target, (i, target_row), span))
        return context.get_dummy_value()

    return types.void(like, *[types.intp] * 6), codegen


class _Transposition(Emitter):
    """target[k, j] = source[j, k] for a group of columns of the target, a vector's lanes each."""

    def emit(self, sizes, operands, by_squares):
        builder, lanes = self.builder, _WORD(self.lanes)
        columns, self.first, self.last = sizes
        self.target, self.line, source, row, self.step = operands
        groups = builder.sdiv(self.place(columns, self.lanes - 1), lanes)
        with cgutils.for_range(builder, groups) as group:
            last = builder.sub(columns, _WORD(1))  # what fills up is a copy of the last
            self.column = builder.mul(group.index, lanes)
            numbers = (self.place(self.column, i) for i in range(self.lanes))
            starts = [self.place(source, (self.least(j, last), row)) for j in numbers]
            with builder.if_else(by_squares) as (squares, elements):
                with squares:
                    self.squares(starts)
                with elements:
                    self.elements(starts)

    def to(self, k):
        return self.place(self.target, (k, self.line), (self.column, self.bytes))

    def squares(self, starts):
        with cgutils.for_range_slice(
            self.builder, self.first, self.last, _WORD(self.lanes), _WORD
        ) as (index, _):
            k = self.least(index, self.builder.sub(self.last, _WORD(self.lanes)))
            square = [self.load(self.place(start, (k, self.bytes))) for start in starts]
            for i, line in enumerate(self.transpose_square(square)):
                self.store(line, self.place(self.to(k), (self.line, i)))

    def elements(self, starts):
        with cgutils.for_range(self.builder, self.last, self.first) as loop:
            line = ir.Constant(self.vector, ir.Undefined)
            for i, start in enumerate(starts):
                value = self.element(self.place(start, (loop.index, self.step)))
                line = self.builder.insert_element(line, value, ir.IntType(32)(i))
            self.store(line, self.to(loop.index))


@intrinsic
def transpose_lines(typing, like, sizes, operands, by_squares):
    """target[k, j] = source[j, k] for first <= k < last, columns filled up to whole vectors.

    sizes = columns, first, last; operands = target, line, source, row, step: the lines of target
    are `line` bytes apart, the rows of source `row`, and its elements `step`. `by_squares`: they
    are adjacent, and last is at least a vector's lanes; lines before the first may be written anew.
    """

    def codegen(context, builder, signature, args):
        sizes, operands = (cgutils.unpack_tuple(builder, pack) for pack in args[1:3])
        _Transposition(context, builder, like.dtype).emit(sizes, operands, args[3])
        return context.get_dummy_value()

    words = types.UniTuple(types.intp, 3), types.UniTuple(types.intp, 5), types.boolean
    return types.void(like, *words), codegen
