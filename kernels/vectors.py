"""Vector code for LLVM, in words: loads, stores, broadcasts, shuffles.

The rule: addresses are integers, in bytes, and nothing outside a mask is read or written.
"""

from llvmlite import ir
from numba.core import cgutils

from .native import Metadata
from .widths import vector_bytes

_I32, _WORD = ir.IntType(32), ir.IntType(64)


class Emitter:
    """Writes vector code for one float type: thin words over an IRBuilder."""

    def __init__(self, context, builder, kind):
        self.builder, self.float = builder, context.get_value_type(kind)
        self.bytes = kind.bitwidth // 8
        self.lanes = vector_bytes() // self.bytes
        self.vector = ir.VectorType(self.float, self.lanes)

    def keep_rolled(self, back):
        """Tell the compiler not to unroll the loop that this branch closes: its body is large."""
        no_unrolling = Metadata(self.builder.module, ["llvm.loop.unroll.disable"])
        back.set_metadata("llvm.loop", Metadata(self.builder.module, [None, no_unrolling]))

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

    def element(self, address):
        return self.builder.load(
            self.builder.inttoptr(address, self.float.as_pointer()), align=self.bytes
        )

    def least(self, a, b):
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)

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

    def transpose_square(self, rows):
        """Return the transpose of as many vectors as one has lanes, each shuffle one instruction.

        First squares within 16 bytes, by interleaving there; then those squares are exchanged.
        """
        near, lanes = 16 // self.bytes, range(self.lanes)
        low = [lane // near * near + lane % near // 2 + self.lanes * (lane % 2) for lane in lanes]
        halves = low, [near // 2 + lane for lane in low]
        groups = [self._interleave(rows[i : i + near], halves) for i in lanes[::near]]
        columns = [self._part(list(column)) for column in zip(*groups, strict=True)]
        return [vector for line in zip(*columns, strict=True) for vector in line]

    def _interleave(self, rows, halves):
        if len(rows) == 1:
            return rows
        even, odd = (self._interleave(rows[i::2], halves) for i in (0, 1))
        return [self.shuffle(a, b, half) for a, b in zip(even, odd, strict=True) for half in halves]

    def _part(self, vectors):
        """Return vectors that read the given ones by units of 16 bytes: the even units, the odd."""
        if len(vectors) == 1:
            return vectors
        near = 16 // self.bytes
        pairs, sides = list(zip(vectors[::2], vectors[1::2], strict=True)), []
        for side in (0, 1):
            index = [i for i in range(2 * self.lanes) if i // near % 2 == side]
            sides.append(self._part([self.shuffle(a, b, index) for a, b in pairs]))
        return [vector for pair in zip(*sides, strict=True) for vector in pair]
