"""Every CUDA intrinsic and piece of inline assembly, each with the Python model that emulates it.

The rule: what is written here in LLVM or PTX stands beside a function that does the same with NumPy
arrays, so that a kernel runs in an emulator, and a port to another compiler touches this file only.
Imported only where numba-cuda is installed.

An `index` is flat for a C-contiguous array, or a pair (i, j) for a matrix of any strides; vectors
then lie along the last axis unless an axis is named. Registers are local arrays.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from llvmlite import ir
from numba.cuda import cgutils, types
from numba.cuda.core.errors import RequireLiteralValue
from numba.cuda.extending import intrinsic

_F32, _I32, _I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_BYTES = ir.IntType(8).as_pointer()


@dataclass(frozen=True)
class Model:
    """What an intrinsic does, in Python.

    kind: "plain": function(*args); "memory": function(context, *args), where the context offers
    async_copy, commit and wait; "collective": function(context, the arguments of 32 lanes).
    """

    function: Callable
    kind: str


MODELS = {}


def modelled(model, kind="plain"):
    """Make an intrinsic of a typing function and register what it does in Python."""

    def register(function):
        made = intrinsic(function)
        MODELS[made] = Model(model, kind)
        return made

    return register


def _words(count):
    return [ir.Constant(_I32, i) for i in range(count)]


def _index_type(index):
    """Return the type that an index is taken as: one word, or one for each axis."""
    return (
        types.intp if isinstance(index, types.Integer) else types.UniTuple(types.intp, len(index))
    )


def _pointer(context, builder, kind, array, index, adjacent=None):
    """Emit the address of an element, and the LLVM type of the elements.

    `adjacent`: the axis whose elements lie side by side: no multiplication by its stride.
    """
    parts = context.make_array(kind)(context, builder, array)
    if isinstance(index.type, ir.IntType):
        return builder.gep(parts.data, [index]), parts.data.type.pointee
    steps = cgutils.unpack_tuple(builder, parts.strides)
    if adjacent is not None:
        steps[adjacent] = ir.Constant(_I64, kind.dtype.bitwidth // 8)
    places = cgutils.unpack_tuple(builder, index)
    offset = functools.reduce(builder.add, map(builder.mul, places, steps))
    # no detour through integers: it would hide from the compiler that the memory is global
    place = builder.gep(builder.bitcast(parts.data, _BYTES), [offset])
    return builder.bitcast(place, parts.data.type), parts.data.type.pointee


def _vector_pointer(context, builder, kind, array, index, count, adjacent=None):
    pointer, element = _pointer(context, builder, kind, array, index, adjacent)
    space = getattr(pointer.type, "addrspace", 0)
    vector = ir.VectorType(element, count)
    return builder.bitcast(pointer, vector.as_pointer(space)), vector


def _load(context, builder, kind, array, index, count, adjacent=None):
    """Emit one load of `count` elements, aligned as a whole."""
    pointer, _ = _vector_pointer(context, builder, kind, array, index, count, adjacent)
    vector = builder.load(pointer, align=count * kind.dtype.bitwidth // 8)
    return [builder.extract_element(vector, i) for i in _words(count)]


def _store(context, builder, kind, array, index, values):
    pointer, vector = _vector_pointer(context, builder, kind, array, index, len(values))
    value = ir.Constant(vector, ir.Undefined)
    for i, part in zip(_words(len(values)), values, strict=True):
        value = builder.insert_element(value, part, i)
    builder.store(value, pointer, align=len(values) * kind.dtype.bitwidth // 8)
    return context.get_dummy_value()


def _register(context, builder, kind, array, at):
    """Emit the address of a register: local arrays become registers where all places are known."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [at])


def _run(array, index, count, axis=1):
    """Return (array, place) of `count` adjacent elements: what a vector of that length touches."""
    if not isinstance(index, tuple):
        return array, index
    first, length = index[axis], array.shape[axis]
    if count > 1 and array.strides[axis] != array.itemsize or not 0 <= first <= length - count:
        raise IndexError(f"no vector of {count} along axis {axis} at {index} of {array.shape}")
    return array[(*index[:axis], slice(first, first + count), *index[axis + 1 :])], 0


@modelled(lambda number, divisor: divmod(int(number), divisor))
def split(typing, number, divisor):
    """(number // divisor, number % divisor) of 32-bit numbers that are not negative.

    The compiler does not know that threads are counted from 0; signs would cost registers.
    """

    def codegen(context, builder, signature, args):
        number, divisor = (builder.trunc(word, _I32) for word in args)
        pair = builder.udiv(number, divisor), builder.urem(number, divisor)
        words = [builder.zext(word, _I64) for word in pair]
        return context.make_tuple(builder, signature.return_type, words)

    return types.UniTuple(types.intp, 2)(types.intp, types.intp), codegen


def _make_load(count):
    def model(array, index):
        line, place = _run(array, index, count)
        return tuple(line.load(place, count, aligned=True))

    @modelled(model)
    def load(typing, array, index):
        def codegen(context, builder, signature, args):
            values = _load(context, builder, signature.args[0], *args, count)
            return context.make_tuple(builder, signature.return_type, values)

        return types.UniTuple(array.dtype, count)(array, _index_type(index)), codegen

    return load


load4 = _make_load(4)  # four float32, as one access of 16 bytes
load2 = _make_load(2)  # two float64 in 16 bytes, or two float32 in 8


def _model_store(array, index, *values):
    line, place = _run(array, index, len(values))
    line.store(place, values, aligned=True)


@modelled(_model_store)
def store4(typing, array, index, x, y, z, w):
    """array[index : index + 4] = x, y, z, w by one access, of 16 bytes for float32."""

    def codegen(context, builder, signature, args):
        return _store(context, builder, signature.args[0], *args[:2], args[2:])

    return types.void(array, _index_type(index), *[array.dtype] * 4), codegen


@modelled(_model_store)
def store2(typing, array, index, x, y):
    """array[index : index + 2] = x, y by one access."""

    def codegen(context, builder, signature, args):
        return _store(context, builder, signature.args[0], *args[:2], args[2:])

    return types.void(array, _index_type(index), *[array.dtype] * 2), codegen


def _literal(value):
    """Return the value of an argument that must be a constant."""
    if not isinstance(value, types.IntegerLiteral):
        raise RequireLiteralValue("the last argument must be a constant")
    return value.literal_value


def _model_load_vector(registers, at, array, index, count, axis):
    line, place = _run(array, index, count, axis)
    registers.store(at, line.load(place, count, aligned=True))


@modelled(_model_load_vector)
def load_vector(typing, registers, at, array, index, count, axis):
    """registers[at : at + count] = array[index : index + count] along `axis`, by one load."""
    adjacent = _literal(axis) if _literal(count) > 1 else None

    def codegen(context, builder, signature, args):
        (local, _, kind, *_), (home, at, array, index, *_) = signature.args, args
        values = _load(context, builder, kind, array, index, count.literal_value, adjacent)
        for i, value in enumerate(values):
            place = builder.add(at, ir.Constant(at.type, i))
            builder.store(value, _register(context, builder, local, home, place))
        return context.get_dummy_value()

    return types.void(registers, types.intp, array, _index_type(index), count, axis), codegen


def _model_store_vector(array, index, registers, at, count):
    line, place = _run(array, index, count)
    line.store(place, registers.load(at, count), aligned=True)


@modelled(_model_store_vector)
def store_vector(typing, array, index, registers, at, count):
    """array[index : index + count] = registers[at : at + count] by one store."""
    _literal(count)

    def codegen(context, builder, signature, args):
        kind, _, local, _, count = signature.args
        array, index, home, at, _ = args
        places = [builder.add(at, ir.Constant(at.type, i)) for i in range(count.literal_value)]
        values = [builder.load(_register(context, builder, local, home, at)) for at in places]
        return _store(context, builder, kind, array, index, values)

    return types.void(array, _index_type(index), registers, types.intp, count), codegen


@dataclass(frozen=True)
class Fragment:
    """How a thread reads its share of an operand's tile in shared memory.

    `count` values of each of the lines, `line` elements apart, in vectors `step` elements apart.
    """

    count: int
    line: int
    step: int


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
                lists = [_load(context, builder, kind, array, spot, 16 // size) for spot in spots]
                return sum(lists, [])

            def both(k):
                return line(a_kind, a, a_at, a_places[k]), line(b_kind, b, b_at, b_places[k])

            a_places, b_places = places(left, size), places(right, size)
            cells = [ir.Constant(_I64, i) for i in range(left.count * right.count)]
            cells = [_register(context, builder, local, home, i) for i in cells]
            total = [builder.load(cell) for cell in cells]
            ahead = both(0)
            for k in range(depth):
                column, row = ahead
                if k + 1 < depth:  # loaded one step ahead
                    ahead = both(k + 1)
                pairs = [(x, y) for x in column for y in row]
                total = [builder.fma(x, y, t) for (x, y), t in zip(pairs, total, strict=True)]
            for cell, value in zip(cells, total, strict=True):
                builder.store(value, cell)
            return context.get_dummy_value()

        return types.void(sums, a, types.intp, b, types.intp), codegen

    return multiply


# ---- tensor cores and asynchronous copies (sm_80 on) ----
# Tiles and fragments are words (uint32): a float32, or two bfloat16, the lower one first.


def _assembly(builder, result, args, text, constraints):
    """Emit PTX that touches memory; convergent: never moved under another condition."""
    kind = ir.FunctionType(result, [arg.type for arg in args])
    code = ir.InlineAsm(kind, text, f"{constraints},~{{memory}}".lstrip(","), side_effect=True)
    builder.call(code, args).attributes.add("convergent")


def _computation(builder, result, args, text, constraints):
    """Emit PTX that only computes."""
    kind = ir.FunctionType(result, [arg.type for arg in args])
    call = builder.call(ir.InlineAsm(kind, text, constraints), args)
    call.attributes.add("convergent")
    return call


def _in_space(builder, pointer, space, word):
    """Emit the address of a pointer in one space: 3 is shared memory, 1 global."""
    if getattr(pointer.type, "addrspace", 0) != space:
        pointer = builder.addrspacecast(pointer, ir.PointerType(pointer.type.pointee, space))
    return builder.ptrtoint(pointer, word)


def _model_copy_async(context, tile, at, source, index, valid, count, axis):
    if valid:
        line, place = _run(source, index, count, axis)
        context.async_copy(tile, at, line, place, count)
    else:
        context.async_copy(tile, at, source[0:1, 0:1], 0, count, 0)


@modelled(_model_copy_async, "memory")
def copy_async(typing, tile, at, source, index, valid, count, axis):
    """Begin tile[at : at + count] = source[index : ...] along `axis`, or zeros if not `valid`.

    count: 4 or 1 words. The data are there after wait_copies, for other threads after a barrier.
    """
    size, adjacent = 4 * _literal(count), _literal(axis) if _literal(count) > 1 else None
    where = "cg" if size == 16 else "ca"  # only 16 bytes can pass by the first cache

    def codegen(context, builder, signature, args):
        target, _ = _pointer(context, builder, signature.args[0], *args[:2])
        origin, _ = _pointer(context, builder, signature.args[2], *args[2:4], adjacent)
        bytes_read = builder.select(args[4], _I32(size), _I32(0))
        places = _in_space(builder, target, 3, _I32), _in_space(builder, origin, 1, _I64)
        text = f"cp.async.{where}.shared.global [$0], [$1], {size}, $2;"
        _assembly(builder, ir.VoidType(), [*places, bytes_read], text, "r,l,r")
        return context.get_dummy_value()

    words = types.intp, source, _index_type(index), types.boolean, count, axis
    return types.void(tile, *words), codegen


@modelled(lambda context: context.commit(), "memory")
def commit_copies(typing):
    """Make a group of the copies that this thread began since the last one."""

    def codegen(context, builder, signature, args):
        _assembly(builder, ir.VoidType(), [], "cp.async.commit_group;", "")
        return context.get_dummy_value()

    return types.void(), codegen


@modelled(lambda context, count: context.wait(count), "memory")
def wait_copies(typing, count):
    """Wait until at most `count` groups, a constant, are under way."""
    text = f"cp.async.wait_group {_literal(count)};"

    def codegen(context, builder, signature, args):
        _assembly(builder, ir.VoidType(), [], text, "")
        return context.get_dummy_value()

    return types.void(count), codegen


def _model_load_matrices(context, lanes):
    transposed = lanes[0][4]
    rows = [tile.load(index, 4, aligned=True) for _, _, tile, index, _ in lanes]
    halves = np.array(rows, np.uint32).view(np.uint16).reshape(4, 8, 8)  # [matrix][row][element]
    if transposed:
        halves = halves.transpose(0, 2, 1)
    words = np.ascontiguousarray(halves).view(np.uint32).reshape(4, 32)
    for lane, (registers, at, *_) in enumerate(lanes):
        registers.store(at, words[:, lane])
    return [None] * 32


@modelled(_model_load_matrices, "collective")
def load_matrices(typing, registers, at, tile, index, transposed):
    """Load four matrices of 8 x 8 halves (8 x 4 words): lane 8 i + r gives row r of matrix i.

    Lane 4 g + t gets word t of row g of each in registers[at : at + 4]; `transposed`, a constant:
    halves 2 t and 2 t + 1 of column g.
    """
    form = ".trans" if _literal(transposed) else ""
    outs = ", ".join(f"${i}" for i in range(4))
    text = f"ldmatrix.sync.aligned.m8n8.x4{form}.shared.b16 {{{outs}}}, [$4];"

    def codegen(context, builder, signature, args):
        pointer, _ = _pointer(context, builder, signature.args[2], *args[2:4])
        place = _in_space(builder, pointer, 3, _I32)
        kind = ir.FunctionType(ir.LiteralStructType([_I32] * 4), [_I32])
        code = ir.InlineAsm(kind, text, "=r,=r,=r,=r,r,~{memory}", side_effect=True)
        words = builder.call(code, [place])
        words.attributes.add("convergent")
        for i in range(4):
            spot = builder.add(args[1], ir.Constant(args[1].type, i))
            cell = _register(context, builder, signature.args[0], args[0], spot)
            builder.store(builder.extract_value(words, i), cell)
        return context.get_dummy_value()

    return types.void(registers, types.intp, tile, types.intp, transposed), codegen


def bfloat16_bits(values):
    """Return the bits of the nearest bfloat16 of each float32, ties to even."""
    bits = np.asarray(values, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(values), 0x7FFF, rounded).astype(np.uint32)


def tf32_bits(values):
    """Return the bits of each float32 rounded to 10 bits of fraction, ties away from zero."""
    bits = np.asarray(values, np.float32).view(np.uint32)
    return np.where(np.isfinite(values), bits + 0x1000 & 0xFFFFE000, bits).astype(np.uint32)


def _model_pack(low, high):
    low, high = bfloat16_bits(np.array([low, high], np.float32))
    return int(low | high << 16)


@modelled(_model_pack)
def pack_bf16(typing, low, high):
    """Two float32 as a word of two bfloat16, to the nearest, ties to even."""

    def codegen(context, builder, signature, args):
        return _computation(builder, _I32, args, "cvt.rn.bf16x2.f32 $0, $2, $1;", "=r,f,f")

    return types.uint32(types.float32, types.float32), codegen


@modelled(lambda x: int(tf32_bits(np.float32(x))))
def round_tf32(typing, x):
    """A float32 as the bits of the nearest tf32, ties away from zero."""

    def codegen(context, builder, signature, args):
        return _computation(builder, _I32, args, "cvt.rna.tf32.f32 $0, $1;", "=r,f")

    return types.uint32(types.float32), codegen


_MMA = {
    "bf16": "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
    "tf32": "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32",
}


def _halves(words, precision):
    """Return the floats that fragments hold, along a last axis: two of a word, or one."""
    if precision == "tf32":
        return tf32_bits(words.view(np.float32)).view(np.float32)[..., None]
    return (np.stack([words, words >> 16], -1) << 16).view(np.float32)


@functools.cache
def multiply_warp(precision, down, across):
    """Make multiply(sums, a, b): C += A·B for the fragments that a warp's registers hold.

    precision: "bf16" (16 of k) or "tf32" (8 of k, rounded here). a: 4 words for each of `down`
    blocks of 16 rows; b: 2 for each of `across` blocks of 8 columns; sums: 4 for each pair, rows
    first. Lane 4 g + t holds of each block: a: rows g, g + 8 at word t, then at word t + 4;
    b: column g at words t, t + 4; sums: row g, columns 2 t, 2 t + 1, then row g + 8.
    """

    def model(context, lanes):
        def words(which, count, parts):
            values = [lane[which].load(0, count) for lane in lanes]
            return np.array(values).reshape(8, 4, count // parts, parts)

        a = _halves(words(1, 4 * down, 4).reshape(8, 4, down, 2, 2), precision)
        b = _halves(words(2, 2 * across, 2), precision)  # [g, t, block, word, half]
        left = a.transpose(2, 4, 0, 3, 1, 5).reshape(16 * down, -1)
        right = b.transpose(3, 1, 4, 2, 0).reshape(-1, 8 * across)
        step = (left @ right).reshape(down, 2, 8, across, 4, 2).transpose(2, 4, 0, 3, 1, 5)
        for lane, add in zip(lanes, step.reshape(32, -1), strict=True):
            lane[0].store(0, lane[0].load(0, add.size) + add)
        return [None] * 32

    outs, parts = (", ".join(f"${i}" for i in r) for r in (range(4), range(4, 8)))
    rest = ", ".join(f"${i}" for i in range(10, 14))
    text = f"{_MMA[precision]} {{{outs}}}, {{{parts}}}, {{$8, $9}}, {{{rest}}};"
    constraints = ",".join(["=f"] * 4 + ["r"] * 6 + ["f"] * 4)

    @modelled(model, "collective")
    def multiply(typing, sums, a, b):
        def codegen(context, builder, signature, args):
            def cells(which, count):
                kind, array = signature.args[which], args[which]
                return [
                    _register(context, builder, kind, array, ir.Constant(_I64, i))
                    for i in range(count)
                ]

            def rounded(word):
                if precision == "bf16":
                    return word
                value = [builder.bitcast(word, _F32)]
                return _computation(builder, _I32, value, "cvt.rna.tf32.f32 $0, $1;", "=r,f")

            left, right = (
                [rounded(builder.load(cell)) for cell in cells(which, count)]
                for which, count in ((1, 4 * down), (2, 2 * across))
            )
            homes = cells(0, 4 * down * across)
            result = ir.LiteralStructType([_F32] * 4)
            for pair in range(down * across):
                i, j = divmod(pair, across)
                four = homes[4 * pair : 4 * pair + 4]
                words = left[4 * i : 4 * i + 4] + right[2 * j : 2 * j + 2]
                inputs = words + [builder.load(home) for home in four]
                done = _computation(builder, result, inputs, text, constraints)
                for part, home in enumerate(four):
                    builder.store(builder.extract_value(done, part), home)
            return context.get_dummy_value()

        return types.void(sums, a, b), codegen

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
                return _load(context, builder, kind, array, place, size)

            def both(k, left):
                if k % 2 == 0:
                    left = [some(a_kind, a, a_at, i * line + k, 2) for i in range(count)]
                return left, sum((some(b_kind, b, b_at, k * right.line + s, 4) for s in row), [])

            cells = [ir.Constant(_I64, i) for i in range(count * right.count)]
            cells = [_register(context, builder, local, home, i) for i in cells]
            total, left = [builder.load(cell) for cell in cells], []
            for k in range(depth):
                left, values = both(k, left)
                pairs = [(x[k % 2], y) for x in left for y in values]
                total = [builder.fma(x, y, t) for (x, y), t in zip(pairs, total, strict=True)]
            for cell, value in zip(cells, total, strict=True):
                builder.store(value, cell)
            return context.get_dummy_value()

        return types.void(sums, a, types.intp, b, types.intp), codegen

    return multiply


@modelled(lambda context: context.threadIdx.x, "memory")
def read_thread(typing):
    """threadIdx.x, read anew: what is worked out from it is not kept in registers from before.

    The compiler moves what all rounds of a loop share in front of it, where it waits in registers.
    """

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(_I32, [])
        return builder.zext(builder.asm(kind, "mov.u32 $0, %tid.x;", "=r", [], True), _I64)

    return types.intp(), codegen
