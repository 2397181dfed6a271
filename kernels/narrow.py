"""The tile of a product with few columns: lanes run down its rows, for a full vector of them.

The rule: as in microkernel.py, each element is one chain of fused multiply-adds over a block of k.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .microkernel import ADD, BIAS, Strip

NARROW = 10  # columns at most: as many classes as digits
_WORD = ir.IntType(64)


class _NarrowStrip(Strip):
    """C[cols, rows] = B[cols, k] A[rows, k]ᵀ for at most NARROW rows, and B with adjacent k.

    A square of B is transposed on the stack and multiplied at once, so B is read where it lies.
    """

    def emit(self):
        builder, groups = self.builder, -(-NARROW // self.lanes)
        buffer = ir.ArrayType(self.vector, groups * self.lanes)
        self.buffer = builder.ptrtoint(cgutils.alloca_once(builder, buffer), _WORD)
        few = builder.icmp_signed("<=", self.rows, _WORD(NARROW // 2))
        for rows, condition in ((NARROW // 2, few), (NARROW, builder.not_(few))):
            with builder.if_then(condition):
                tiles = builder.sdiv(self.place(self.cols, self.lanes - 1), _WORD(self.lanes))
                with cgutils.for_range(builder, tiles) as loop:
                    first = builder.mul(loop.index, _WORD(self.lanes))
                    count = self.least(builder.sub(self.cols, first), _WORD(self.lanes))
                    self.finish_tile(self.tile_sums(rows, first, count), first, count)

    def tile_sums(self, rows, first, count):
        """Emit the loops over k and return the sums, one vector a row; rows too many are copies."""
        builder = self.builder
        sums = [cgutils.alloca_once(builder, self.vector) for _ in range(rows)]
        for place in sums:
            builder.store(self.zero(), place)
        last_row, last = builder.sub(self.rows, _WORD(1)), builder.sub(count, _WORD(1))
        lines = [
            self.place(self.a, (self.least(_WORD(r), last_row), self.a_row)) for r in range(rows)
        ]
        origin = self.place(self.b, (first, self.b_row))
        columns = [
            self.place(origin, (self.least(_WORD(i), last), self.b_row)) for i in range(self.lanes)
        ]
        squares = builder.sdiv(self.place(self.kc, self.lanes - 1), _WORD(self.lanes))
        with cgutils.for_range(builder, squares) as loop:
            wanted = builder.mul(loop.index, _WORD(self.lanes))
            start = self.least(wanted, builder.sub(self.kc, _WORD(self.lanes)))  # the last overlaps
            square = [self.load(self.place(c, (start, self.bytes))) for c in columns]
            for i, vector in enumerate(self.transpose_square(square)):
                self.store(vector, self.place(self.buffer, self.span(i)))
            steps = builder.sub(self.least(self.kc, self.place(start, self.lanes)), wanted)
            with cgutils.for_range(builder, steps) as step:
                self.one_step(sums, lines, self.place(wanted, step.index), start)
        return [builder.load(place) for place in sums]

    def one_step(self, sums, lines, k, start):
        builder = self.builder
        at = (builder.sub(k, start), self.span(1))
        vector = self.load(self.place(self.buffer, at))
        for place, line in zip(sums, lines, strict=True):
            value = self.element(self.place(line, (k, self.a_col)))
            total = self.multiply_add(self.broadcast(value), vector, builder.load(place))
            builder.store(total, place)

    def finish_tile(self, sums, first, count):
        groups = [sums[i : i + self.lanes] for i in range(0, len(sums), self.lanes)]
        for g, group in enumerate(groups):
            full = group + group[-1:] * (self.lanes - len(group))
            for i, vector in enumerate(self.transpose_square(full)):
                self.store(vector, self.place(self.buffer, self.span(g * self.lanes + i)))
        with cgutils.for_range(self.builder, count) as loop:
            line = self.place(self.c, (first, self.c_line), (loop.index, self.c_line))
            for g in range(len(groups)):
                at = self.place(self.buffer, self.span(g * self.lanes), (loop.index, self.span(1)))
                self.finish_line(at, line, g)

    def finish_line(self, at, line, group):
        mask = self.first_lanes(self.builder.sub(self.rows, _WORD(group * self.lanes)))
        place, bias = self.place(line, self.span(group)), self.place(self.bias, self.span(group))
        add = lambda where: lambda old: [self.builder.fadd(self.load(where, mask=mask), *old)]  # noqa: E731
        value = self.when(ADD, [self.load(at)], add(place))
        value = self.when(BIAS, value, add(bias))
        self.store(self.rectify(*value), place, mask)


@intrinsic
def narrow_strip(typing, like, sizes, operands, code):
    """Compute a strip of C = B·Aᵀ over one block of k, in the float type of `like`.

    The arguments are those of `strip`, but rows <= NARROW, b (cols, kc) has adjacent k and lines
    b_row apart, and c (cols, rows) lines c_line apart. Where kc is less than a vector, as much
    lies before it: the whole of b must have at least a vector's lanes of k.
    """

    def codegen(context, builder, signature, args):
        words = [x for pack in args[1:3] for x in cgutils.unpack_tuple(builder, pack)]
        _NarrowStrip(context, builder, like.dtype, 0, [*words, args[3]]).emit()
        return context.get_dummy_value()

    words = (types.UniTuple(types.intp, 3), types.UniTuple(types.intp, 8), types.intp)
    return types.void(like, *words), codegen
