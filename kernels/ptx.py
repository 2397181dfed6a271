"""CUDA intrinsics and inline assembly, each with the Python model that emulates it: the base.

Here are vectors that move between memory and registers; `ptx_products` multiplies in registers,
`ptx_tensor` copies asynchronously and uses tensor cores.

The rule: what these files write in LLVM or PTX stands beside a function that does the same with
NumPy arrays, so that a kernel runs in an emulator; a port to another compiler touches them only.
Imported only where numba-cuda is installed.

An `index` is flat for a C-contiguous array, or a pair (i, j) for a matrix of any strides; vectors
then lie along the last axis unless an axis is named. Registers are local arrays.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

from llvmlite import ir
from numba.cuda import cgutils, types
from numba.cuda.core.errors import RequireLiteralValue
from numba.cuda.extending import intrinsic

F32, I32, I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
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
    return [ir.Constant(I32, i) for i in range(count)]


def index_type(index):
    """Return the type that an index is taken as: one word, or one for each axis."""
    return (
        types.intp if isinstance(index, types.Integer) else types.UniTuple(types.intp, len(index))
    )


def pointer_to(context, builder, kind, array, index, adjacent=None):
    """Emit the address of an element, and the LLVM type of the elements.

    `adjacent`: the axis whose elements lie side by side: no multiplication by its stride.
    """
    parts = context.make_array(kind)(context, builder, array)
    if isinstance(index.type, ir.IntType):
        return builder.gep(parts.data, [index]), parts.data.type.pointee
    steps = cgutils.unpack_tuple(builder, parts.strides)
    if adjacent is not None:
        steps[adjacent] = ir.Constant(I64, kind.dtype.bitwidth // 8)
    places = cgutils.unpack_tuple(builder, index)
    offset = functools.reduce(builder.add, map(builder.mul, places, steps))
    # no detour through integers: it would hide from the compiler that the memory is global
    place = builder.gep(builder.bitcast(parts.data, _BYTES), [offset])
    return builder.bitcast(place, parts.data.type), parts.data.type.pointee


def _vector_pointer(context, builder, kind, array, index, count, adjacent=None):
    pointer, element = pointer_to(context, builder, kind, array, index, adjacent)
    space = getattr(pointer.type, "addrspace", 0)
    vector = ir.VectorType(element, count)
    return builder.bitcast(pointer, vector.as_pointer(space)), vector


def emit_load(context, builder, kind, array, index, count, adjacent=None):
    """Emit one load of `count` elements, aligned as a whole."""
    pointer, _ = _vector_pointer(context, builder, kind, array, index, count, adjacent)
    vector = builder.load(pointer, align=count * kind.dtype.bitwidth // 8)
    return [builder.extract_element(vector, i) for i in _words(count)]


def emit_store(context, builder, kind, array, index, values):
    """Emit one store of all values, aligned as a whole."""
    pointer, vector = _vector_pointer(context, builder, kind, array, index, len(values))
    value = ir.Constant(vector, ir.Undefined)
    for i, part in zip(_words(len(values)), values, strict=True):
        value = builder.insert_element(value, part, i)
    builder.store(value, pointer, align=len(values) * kind.dtype.bitwidth // 8)
    return context.get_dummy_value()


def register_place(context, builder, kind, array, at):
    """Emit the address of a register: local arrays become registers where all places are known."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [at])


def stretch(array, index, count, axis=1):
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
        number, divisor = (builder.trunc(word, I32) for word in args)
        pair = builder.udiv(number, divisor), builder.urem(number, divisor)
        words = [builder.zext(word, I64) for word in pair]
        return context.make_tuple(builder, signature.return_type, words)

    return types.UniTuple(types.intp, 2)(types.intp, types.intp), codegen


def _make_load(count):
    def model(array, index):
        line, place = stretch(array, index, count)
        return tuple(line.load(place, count, aligned=True))

    @modelled(model)
    def load(typing, array, index):
        def codegen(context, builder, signature, args):
            values = emit_load(context, builder, signature.args[0], *args, count)
            return context.make_tuple(builder, signature.return_type, values)

        return types.UniTuple(array.dtype, count)(array, index_type(index)), codegen

    return load


load4 = _make_load(4)  # four float32, as one access of 16 bytes
load2 = _make_load(2)  # two float64 in 16 bytes, or two float32 in 8


def _model_store(array, index, *values):
    line, place = stretch(array, index, len(values))
    line.store(place, values, aligned=True)


@modelled(_model_store)
def store4(typing, array, index, x, y, z, w):
    """array[index : index + 4] = x, y, z, w by one access, of 16 bytes for float32."""

    def codegen(context, builder, signature, args):
        return emit_store(context, builder, signature.args[0], *args[:2], args[2:])

    return types.void(array, index_type(index), *[array.dtype] * 4), codegen


@modelled(_model_store)
def store2(typing, array, index, x, y):
    """array[index : index + 2] = x, y by one access."""

    def codegen(context, builder, signature, args):
        return emit_store(context, builder, signature.args[0], *args[:2], args[2:])

    return types.void(array, index_type(index), *[array.dtype] * 2), codegen


def literal(value):
    """Return the value of an argument that must be a constant."""
    if not isinstance(value, types.IntegerLiteral):
        raise RequireLiteralValue("the last argument must be a constant")
    return value.literal_value


def _model_load_vector(registers, at, array, index, count, axis):
    line, place = stretch(array, index, count, axis)
    registers.store(at, line.load(place, count, aligned=True))


@modelled(_model_load_vector)
def load_vector(typing, registers, at, array, index, count, axis):
    """registers[at : at + count] = array[index : index + count] along `axis`, by one load."""
    adjacent = literal(axis) if literal(count) > 1 else None

    def codegen(context, builder, signature, args):
        (local, _, kind, *_), (home, at, array, index, *_) = signature.args, args
        values = emit_load(context, builder, kind, array, index, count.literal_value, adjacent)
        for i, value in enumerate(values):
            place = builder.add(at, ir.Constant(at.type, i))
            builder.store(value, register_place(context, builder, local, home, place))
        return context.get_dummy_value()

    return types.void(registers, types.intp, array, index_type(index), count, axis), codegen


def _model_store_vector(array, index, registers, at, count):
    line, place = stretch(array, index, count)
    line.store(place, registers.load(at, count), aligned=True)


@modelled(_model_store_vector)
def store_vector(typing, array, index, registers, at, count):
    """array[index : index + count] = registers[at : at + count] by one store."""
    literal(count)

    def codegen(context, builder, signature, args):
        kind, _, local, _, count = signature.args
        array, index, home, at, _ = args
        places = [builder.add(at, ir.Constant(at.type, i)) for i in range(count.literal_value)]
        values = [builder.load(register_place(context, builder, local, home, at)) for at in places]
        return emit_store(context, builder, kind, array, index, values)

    return types.void(array, index_type(index), registers, types.intp, count), codegen


@modelled(lambda context: context.threadIdx.x, "memory")
def read_thread(typing):
    """threadIdx.x, read anew: what is worked out from it is not kept in registers from before.

    The compiler moves what all rounds of a loop share in front of it, where it waits in registers.
    """

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(I32, [])
        return builder.zext(builder.asm(kind, "mov.u32 $0, %tid.x;", "=r", [], True), I64)

    return types.intp(), codegen
