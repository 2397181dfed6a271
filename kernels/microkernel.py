"""The register tile of the CPU matmul, as LLVM vector code, and the transpose of a square of them.

The rule: each element of a result is one chain of fused multiply-adds over a block of k, whatever
the tile, so that tiles of any size give the same bits; no load or store touches memory outside the
operands.
Addresses and strides are in bytes.
"""

from itertools import product

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .widths import TILE_ROWS, TILE_VECTORS, vector_bytes

ADD, BIAS, RELU = 1, 2, 4  # what a tile does besides storing its sums: bits of `code`

_NAMES = (
    *("rows", "cols", "kc", "a", "a_row", "a_col"),
    *("b", "b_row", "c", "c_line", "bias", "code"),
)
_I1, _I32, _WORD = ir.IntType(1), ir.IntType(32), ir.IntType(64)


class _Emitter:
    """Writes vector code for one float type: thin words over an IRBuilder."""

    def __init__(self, context, builder, kind):
        self.builder, self.float = builder, context.get_value_type(kind)
        self.bytes = kind.bitwidth // 8
        self.lanes = vector_bytes() // self.bytes
        self.vector = ir.VectorType(self.float, self.lanes)

    def place(self, address, *terms):
        """Return address plus the terms, each a Python number or a pair of factors."""
        for term in terms:
            if isinstance(term, tuple):
                count, stride = (_WORD(x) if isinstance(x, int) else x for x in term)
                term = self.builder.mul(count, stride)
            address = self.builder.add(address, _WORD(term) if isinstance(term, int) else term)
        return address

    def zero(self, kind=None):
        kind = kind or self.vector
        return ir.Constant(kind, [0.0] * kind.count)

    def broadcast(self, scalar, kind=None):
        kind = kind or self.vector
        undefined = ir.Constant(kind, ir.Undefined)
        one = self.builder.insert_element(undefined, scalar, _I32(0))
        index = ir.Constant(ir.VectorType(_I32, kind.count), [0] * kind.count)
        return self.builder.shuffle_vector(one, undefined, index)

    def load(self, address, kind=None, mask=None):
        kind = kind or self.vector
        pointer = self.builder.inttoptr(address, kind.as_pointer())
        if mask is None:
            return self.builder.load(pointer, align=self.bytes)
        return self._masked("load", kind, kind, [pointer, _I32(self.bytes), mask, self.zero(kind)])

    def store(self, value, address, mask=None):
        pointer = self.builder.inttoptr(address, value.type.as_pointer())
        if mask is None:
            self.builder.store(value, pointer, align=self.bytes)
        else:
            parts = [value, pointer, _I32(self.bytes), mask]
            self._masked("store", value.type, ir.VoidType(), parts)

    def _masked(self, verb, kind, result, parts):
        name = f"llvm.masked.{verb}.v{kind.count}f{8 * self.bytes}.p0"
        return self._call(name, result, parts)

    def _call(self, name, result, parts):
        shape = ir.FunctionType(result, [part.type for part in parts])
        function = cgutils.get_or_insert_function(self.builder.module, shape, name)
        return self.builder.call(function, parts)

    def multiply_add(self, a, b, c):
        """Return a·b + c, rounded once where the machine can."""
        return self._call(f"llvm.fmuladd.v{a.type.count}f{8 * self.bytes}", a.type, [a, b, c])

    def first_lanes(self, count):
        """Return the mask of the lanes before `count`."""
        kind = ir.VectorType(_I32, self.lanes)
        count = self.broadcast(self.builder.trunc(count, _I32), kind)
        return self.builder.icmp_signed("<", ir.Constant(kind, list(range(self.lanes))), count)

    def shuffle(self, a, b, index):
        return self.builder.shuffle_vector(
            a, b, ir.Constant(ir.VectorType(_I32, len(index)), index)
        )

    def transpose(self, rows):
        """Return the vectors that read the given ones lane by lane: rows[0][0], rows[1][0], ...

        Doubling the period with each stage, as a perfect shuffle of cards does.
        """
        if len(rows) == 1:
            return rows
        n = self.lanes
        low = [lane // 2 + n * (lane % 2) for lane in range(n)]
        halves = low, [n // 2 + lane for lane in low]
        pairs = zip(self.transpose(rows[::2]), self.transpose(rows[1::2]), strict=True)
        return [self.shuffle(even, odd, half) for even, odd in pairs for half in halves]


class _Strip(_Emitter):
    """C[rows, cols] = A[rows, k] B[k, cols], with cols at most TILE_VECTORS vectors."""

    def __init__(self, context, builder, kind, padded, args):
        super().__init__(context, builder, kind)
        self.padded = padded
        names = _NAMES
        self.__dict__.update(zip(names, args, strict=True))

    def emit(self):
        for vectors, condition in self.widths():
            with self.builder.if_then(condition):
                for row, rows in self.each_row((TILE_ROWS, 2, 1)):
                    self.finish(self.sums(row, rows, vectors), row)

    def widths(self):
        """Yield each number of vectors with the condition that the columns need as many."""
        builder = self.builder
        for vectors in range(1, TILE_VECTORS + 1):
            full = _WORD((vectors - 1) * self.lanes)
            large = builder.icmp_signed(">", self.cols, full)
            small = builder.icmp_signed("<=", self.cols, _WORD(vectors * self.lanes))
            yield vectors, builder.and_(large, small)

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
        last = builder.sub(self.cols, _WORD((vectors - 1) * self.lanes))
        self.masks = [None] * (vectors - 1) + [self.first_lanes(last)]
        starts = [_WORD(0), self.place(self.a, (row, self.a_row)), self.b]
        starts += [self.zero()] * (rows * vectors)
        before = builder.block
        loop, done = (function.append_basic_block(name) for name in ("k", "sums"))
        builder.cbranch(builder.icmp_signed(">", self.kc, _WORD(0)), loop, done)
        builder.position_at_end(loop)
        old = [builder.phi(start.type) for start in starts]
        new = self.one_k(old, rows, vectors)
        builder.cbranch(builder.icmp_signed("<", new[0], self.kc), loop, done)
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
        c = self.place(self.c, (row, self.c_line))
        places = [
            (self.place(c, (r, self.c_line), self.span(v)), self.masks[v])
            for r, v in product(range(len(sums)), range(len(self.masks)))
        ]
        values = self.when(ADD, sum(sums, []), lambda old: self.added(old, places))
        values = self.when(BIAS | RELU, values, self.epilogue)
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
        return [self.rectify(value) for value in biased]

    def rectify(self, value):
        """Emit ReLU where `code` asks for it; NaN stays."""
        builder, zero = self.builder, self.zero(value.type)
        wanted = self.broadcast(self.flag(RELU), ir.VectorType(_I1, value.type.count))
        negative = builder.fcmp_ordered("<=", value, zero)
        return builder.select(builder.and_(negative, wanted), zero, value)

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


class _FlippedStrip(_Strip):
    """The same for a C whose rows are adjacent in memory: each tile is transposed on the stack."""

    def emit(self):
        buffer = ir.ArrayType(self.vector, TILE_ROWS * TILE_VECTORS)
        buffer = self.builder.ptrtoint(cgutils.alloca_once(self.builder, buffer), _WORD)
        for row, rows in self.each_row((TILE_ROWS, 1)):
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
            self.store(self.rectify(*value), place)


@intrinsic(prefer_literal=True)
def strip(typing, like, padded, flipped, sizes, operands, code):
    """Compute a strip of C = A·B over one block of k, in the float type of the array `like`.

    sizes = rows, cols, kc; operands = a, a_row, a_col, b, b_row, c, c_line, bias: a (rows, kc) of
    any strides; b (kc, cols) with adjacent columns, filled up to whole vectors if `padded`; c (rows,
    cols) with adjacent columns and lines c_line apart or, if `flipped`, with adjacent rows.
    """
    form = _FlippedStrip if flipped.literal_value else _Strip

    def codegen(context, builder, signature, args):
        words = [x for pack in args[3:5] for x in cgutils.unpack_tuple(builder, pack)]
        form(context, builder, like.dtype, padded.literal_value, [*words, args[5]]).emit()
        return context.get_dummy_value()

    words = (types.UniTuple(types.intp, 3), types.UniTuple(types.intp, 8), types.intp)
    return types.void(like, padded, flipped, *words), codegen


@intrinsic
def transpose_square(typing, like, target, target_row, source, source_row, rows):
    """target[j, i] = source[min(i, rows - 1), j] for as many i and j as a vector has lanes."""

    def codegen(context, builder, signature, args):
        _, target, target_row, source, source_row, rows = args
        emitter = _Emitter(context, builder, like.dtype)
        last, lines = builder.sub(rows, _WORD(1)), []
        for i in map(_WORD, range(emitter.lanes)):
            row = builder.select(builder.icmp_signed("<", i, last), i, last)
            lines.append(emitter.load(emitter.place(source, (row, source_row))))
        for i, line in enumerate(emitter.transpose(lines)):
            emitter.store(line, emitter.place(target, (i, target_row)))
        return context.get_dummy_value()

    return types.void(like, *[types.intp] * 5), codegen
