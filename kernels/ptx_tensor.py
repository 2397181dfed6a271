"""Asynchronous copies and tensor cores, of sm_80 on, in inline assembly.

Tiles and fragments are words (uint32): a float32, or two bfloat16, the lower one first.

The rule: assembly that touches memory or needs the whole warp is convergent, so that the compiler
never moves it under another condition. Models as in `ptx`.
"""

import functools

import numpy as np
from llvmlite import ir
from numba.cuda import types

from .ptx import (
    F32,
    I32,
    I64,
    index_type,
    literal,
    modelled,
    pointer_to,
    register_place,
    stretch,
)


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
        line, place = stretch(source, index, count, axis)
        context.async_copy(tile, at, line, place, count)
    else:
        context.async_copy(tile, at, source[0:1, 0:1], 0, count, 0)


@modelled(_model_copy_async, "memory")
def copy_async(typing, tile, at, source, index, valid, count, axis):
    """Begin tile[at : at + count] = source[index : ...] along `axis`, or zeros if not `valid`.

    count: 4 or 1 words. The data are there after wait_copies, for other threads after a barrier.
    """
    size, adjacent = 4 * literal(count), literal(axis) if literal(count) > 1 else None
    where = "cg" if size == 16 else "ca"  # only 16 bytes can pass by the first cache

    def codegen(context, builder, signature, args):
        target, _ = pointer_to(context, builder, signature.args[0], *args[:2])
        origin, _ = pointer_to(context, builder, signature.args[2], *args[2:4], adjacent)
        bytes_read = builder.select(args[4], I32(size), I32(0))
        places = _in_space(builder, target, 3, I32), _in_space(builder, origin, 1, I64)
        text = f"cp.async.{where}.shared.global [$0], [$1], {size}, $2;"
        _assembly(builder, ir.VoidType(), [*places, bytes_read], text, "r,l,r")
        return context.get_dummy_value()

    words = types.intp, source, index_type(index), types.boolean, count, axis
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
    text = f"cp.async.wait_group {literal(count)};"

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
    form = ".trans" if literal(transposed) else ""
    outs = ", ".join(f"${i}" for i in range(4))
    text = f"ldmatrix.sync.aligned.m8n8.x4{form}.shared.b16 {{{outs}}}, [$4];"

    def codegen(context, builder, signature, args):
        pointer, _ = pointer_to(context, builder, signature.args[2], *args[2:4])
        place = _in_space(builder, pointer, 3, I32)
        kind = ir.FunctionType(ir.LiteralStructType([I32] * 4), [I32])
        code = ir.InlineAsm(kind, text, "=r,=r,=r,=r,r,~{memory}", side_effect=True)
        words = builder.call(code, [place])
        words.attributes.add("convergent")
        for i in range(4):
            spot = builder.add(args[1], ir.Constant(args[1].type, i))
            cell = register_place(context, builder, signature.args[0], args[0], spot)
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
        return _computation(builder, I32, args, "cvt.rn.bf16x2.f32 $0, $2, $1;", "=r,f,f")

    return types.uint32(types.float32, types.float32), codegen


@modelled(lambda x: int(tf32_bits(np.float32(x))))
def round_tf32(typing, x):
    """A float32 as the bits of the nearest tf32, ties away from zero."""

    def codegen(context, builder, signature, args):
        return _computation(builder, I32, args, "cvt.rna.tf32.f32 $0, $1;", "=r,f")

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
                    register_place(context, builder, kind, array, ir.Constant(I64, i))
                    for i in range(count)
                ]

            def rounded(word):
                if precision == "bf16":
                    return word
                value = [builder.bitcast(word, F32)]
                return _computation(builder, I32, value, "cvt.rna.tf32.f32 $0, $1;", "=r,f")

            left, right = (
                [rounded(builder.load(cell)) for cell in cells(which, count)]
                for which, count in ((1, 4 * down), (2, 2 * across))
            )
            homes = cells(0, 4 * down * across)
            result = ir.LiteralStructType([F32] * 4)
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
