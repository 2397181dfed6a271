"""The tile of a product with few columns: lanes run down its rows, for a full vector of them.

The rule: as in microkernel.py, each element is one chain of fused multiply-adds over a block of k.
"""

from functools import partial

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
        self.totals = [cgutils.alloca_once(builder, self.vector) for _ in range(NARROW)]
        for total in self.totals:
            builder.store(self.zero(), total)
        self.sum_squares()
        self.finish_tile(groups)

    def clamped(self, start, stride, count, size):
        """Return the addresses of `size` lines; those from `count` on are copies of the last."""
        numbers = (self.least(_WORD(i), self.builder.sub(count, _WORD(1))) for i in range(size))
        return [self.place(start, (number, stride)) for number in numbers]

    def sum_squares(self):
        builder, lanes = self.builder, _WORD(self.lanes)
        lines = self.clamped(self.a, self.a_row, self.rows, NARROW)
        columns = self.clamped(self.b, self.b_row, self.cols, self.lanes)
        few = builder.icmp_signed("<=", self.rows, _WORD(NARROW // 2))
        squares = builder.sdiv(self.place(self.kc, self.lanes - 1), lanes)
        with cgutils.for_range(builder, squares) as loop:
            wanted = builder.mul(loop.index, lanes)
            start = self.least(wanted, builder.sub(self.kc, lanes))  # the last overlaps
            square = [self.load(self.place(c, (start, self.bytes))) for c in columns]
            self.keep(self.transpose_square(square))
            steps = wanted, self.least(self.kc, self.place(start, self.lanes)), start
            with builder.if_else(few) as (half, whole):
                with half:
                    self.sum_steps(lines[: NARROW // 2], *steps)
                with whole:
                    self.sum_steps(lines, *steps)

    def keep(self, vectors, group=0):
        for i, vector in enumerate(vectors, group * self.lanes):
            self.store(vector, self.place(self.buffer, self.span(i)))

    def sum_steps(self, lines, first, last, start):
        """Emit the loop over first <= k < last; the square in the buffer is that from `start`."""
        builder = self.builder
        with cgutils.for_range(builder, last, first) as loop:
            at = builder.sub(loop.index, start), self.span(1)
            vector = self.load(self.place(self.buffer, at))
            for line, total in zip(lines, self.totals, strict=False):
                value = self.broadcast(self.element(self.place(line, (loop.index, self.a_col))))
                builder.store(self.multiply_add(value, vector, builder.load(total)), total)

    def finish_tile(self, groups):
        sums = [self.builder.load(total) for total in self.totals]
        for g in range(groups):
            square = sums[g * self.lanes :][: self.lanes]
            square += square[-1:] * (self.lanes - len(square))
            self.keep(self.transpose_square(square), g)
        with cgutils.for_range(self.builder, self.cols) as loop:
            line = self.place(self.c, (loop.index, self.c_line))
            for g in range(groups):
                at = self.place(self.buffer, self.span(g * self.lanes), (loop.index, self.span(1)))
                self.finish_line(at, line, g)

    def finish_line(self, at, line, group):
        mask = self.first_lanes(self.builder.sub(self.rows, _WORD(group * self.lanes)))
        place, bias = self.place(line, self.span(group)), self.place(self.bias, self.span(group))
        value = [self.load(at)]
        for code, there in ((ADD, place), (BIAS, bias)):
            value = self.when(code, value, partial(self.added, places=[(there, mask)]))
        self.store(*self.rectified(value), place, mask)


@intrinsic
def narrow_strip(typing, like, sizes, operands, code):
    """Compute a strip of C = B·Aᵀ over one block of k, in the float type of `like`.

    The arguments are those of `strip`, but rows <= NARROW and cols at most a vector's lanes;
    b (cols, kc) has adjacent k and lines b_row apart, and c (cols, rows) lines c_line apart. Where
    kc is less than a vector, enough of b lies before it: all its k are a vector's lanes or more.
    """

    def codegen(context, builder, signature, args):
        words = [x for pack in args[1:3] for x in cgutils.unpack_tuple(builder, pack)]
        _NarrowStrip(context, builder, like.dtype, 0, [*words, args[3]]).emit()
        return context.get_dummy_value()

    words = (types.UniTuple(types.intp, 3), types.UniTuple(types.intp, 8), types.intp)
    return types.void(like, *words), codegen
