"""What Numba has no words for: native calls by address, atomics, loops without aliasing.

Each is an intrinsic of some lines; only the tiles of the matrix products write LLVM code besides.
"""

from llvmlite import ir
from llvmlite.ir import values
from numba import types
from numba.core import cgutils
from numba.core.callconv import excinfo_ptr_t
from numba.extending import intrinsic

_WORD = ir.IntType(64)
_POINTER = ir.IntType(8).as_pointer()
_ENTRY = ir.FunctionType(
    ir.IntType(32),
    [_POINTER.as_pointer(), excinfo_ptr_t.as_pointer(), _WORD, _WORD, _WORD, _POINTER],
)
OK, NONE = 0, -2  # Numba's two codes of success


def _data(context, builder, array_type, array):
    return cgutils.create_struct_proxy(array_type)(context, builder, array).data


def entry_module(context, description):
    """Write a kernel's entry: it rebuilds the arguments of the share from words, and calls it.

    It has the name of Numba's C wrapper and hands on the share's status as it is.
    """
    module, convention = context.create_module("entry"), context.call_conv
    kinds = description.argtypes
    shape = convention.get_function_type(description.restype, kinds)
    share = ir.Function(module, shape, description.llvm_func_name)
    entry = ir.Function(module, _ENTRY, description.llvm_cfunc_wrapper_name)
    builder = ir.IRBuilder(entry.append_basic_block("entry"))
    result, place, start, stop, words, _ = entry.args
    flat = [kind for star in kinds[2:] for kind in (star if _is_star(star) else (star,))]
    values = _unpack(context, builder, flat, words)
    if _is_star(kinds[-1]):
        tail = values[len(values) - len(kinds[-1]) :]
        values[len(values) - len(kinds[-1]) :] = [context.make_tuple(builder, kinds[-1], tail)]
    packer = convention._get_arg_packer(kinds)
    arguments = packer.as_arguments(builder, [start, stop, *values])
    builder.ret(builder.call(share, [result, place, *arguments]))
    return module


def _is_star(kind):
    """Tell whether a type is that of `*args`."""
    return isinstance(kind, types.StarArgTuple | types.StarArgUniTuple)


def _unpack(context, builder, kinds, words):
    """Rebuild a kernel's arguments, of the types `kinds`, from the words at an address."""
    offset, loaded = 0, []
    for kind in kinds:
        if isinstance(kind, types.NoneType):
            loaded.append(context.get_dummy_value())
        else:
            is_array = isinstance(kind, types.Array)
            llvm = context.get_value_type(kind) if is_array else context.get_data_type(kind)
            address = builder.add(words, _WORD(8 * offset))
            value = builder.load(builder.inttoptr(address, llvm.as_pointer()))
            if not is_array:  # a boolean lies in memory as a byte and in a register as a bit
                value = context.data_model_manager[kind].from_data(builder, value)
            loaded.append(value)
        offset += words_of(kind)
    return loaded


def words_of(kind):
    """Return how many 8-byte words an argument of Numba type `kind` takes."""
    if isinstance(kind, types.Array):
        return 5 + 2 * kind.ndim
    return 0 if isinstance(kind, types.NoneType) else 1


@intrinsic
def new_vector(typing, like, size):
    """Return a new vector of `size` elements of the type of the array `like`.

    It is np.empty without the function that Numba compiles around it (0.1 s).
    """
    kind = types.Array(like.dtype, 1, "C")

    def codegen(context, builder, signature, args):
        from numba.np.arrayobj import _empty_nd_impl  # not needed to import this package

        return _empty_nd_impl(context, builder, kind, [args[1]])._getvalue()

    return kind(like, types.intp), codegen


@intrinsic
def prefetch(typing, address):
    """Ask for the cache line of an address; nothing is read, so that any address will do."""

    def codegen(context, builder, signature, args):
        hints = [ir.IntType(32)(hint) for hint in (0, 2, 1)]  # to be read, second cache, data
        shape = ir.FunctionType(ir.VoidType(), [_POINTER, *[hint.type for hint in hints]])
        function = cgutils.get_or_insert_function(builder.module, shape, "llvm.prefetch.p0")
        builder.call(function, [builder.inttoptr(args[0], _POINTER), *hints])
        return context.get_dummy_value()

    return types.void(types.intp), codegen


@intrinsic
def call_entry(typing, address, start, stop, words):
    """Call the kernel entry at `address`; return its error code, 0 for none, and the error."""

    def codegen(context, builder, signature, args):
        entry = builder.inttoptr(args[0], _ENTRY.as_pointer())
        result = cgutils.alloca_once(builder, _POINTER)
        place = cgutils.alloca_once(builder, excinfo_ptr_t)
        null = ir.Constant(_POINTER, None)
        code = builder.sext(builder.call(entry, [result, place, *args[1:], null]), _WORD)
        good = builder.or_(
            builder.icmp_signed("==", code, _WORD(OK)), builder.icmp_signed("==", code, _WORD(NONE))
        )
        code = builder.select(good, _WORD(0), code)
        found = builder.ptrtoint(builder.load(place), _WORD)
        return context.make_tuple(builder, signature.return_type, [code, found])

    return types.UniTuple(types.int64, 2)(*[types.intp] * 4), codegen


@intrinsic
def raise_code(typing, code, place):
    """Leave the calling function as a kernel with this code and error left; code 0 goes on."""

    def codegen(context, builder, signature, args):
        convention = context.call_conv
        bad = builder.icmp_signed("!=", args[0], _WORD(0))
        with builder.if_then(bad, likely=False):
            pointer = builder.inttoptr(args[1], excinfo_ptr_t)
            builder.store(pointer, convention._get_excinfo_argument(builder.function))
            code = builder.trunc(args[0], ir.IntType(32))
            convention._return_errcode_raw(builder, code)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def atomic_load(typing, array, index):
    """Return array[index], ordered after every store that its writer had made."""

    def codegen(context, builder, signature, args):
        place = builder.gep(_data(context, builder, signature.args[0], args[0]), [args[1]])
        return builder.load_atomic(place, "acquire", 8)

    return types.int64(array, types.intp), codegen


@intrinsic
def atomic_store(typing, array, index, value):
    """Set array[index] = value, after every store made before."""

    def codegen(context, builder, signature, args):
        place = builder.gep(_data(context, builder, signature.args[0], args[0]), [args[1]])
        builder.store_atomic(args[2], place, "release", 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), codegen


@intrinsic
def atomic_add(typing, array, index, value):
    """Add to array[index] and return what it was."""

    def codegen(context, builder, signature, args):
        place = builder.gep(_data(context, builder, signature.args[0], args[0]), [args[1]])
        return builder.atomic_rmw("add", place, args[2], "seq_cst")

    return types.int64(array, types.intp, types.int64), codegen


@intrinsic
def atomic_exchange(typing, array, index, value):
    """Set array[index] = value and return what it was."""

    def codegen(context, builder, signature, args):
        place = builder.gep(_data(context, builder, signature.args[0], args[0]), [args[1]])
        return builder.atomic_rmw("xchg", place, args[2], "seq_cst")

    return types.int64(array, types.intp, types.int64), codegen


@intrinsic
def compare_and_swap(typing, array, index, old, new):
    """Set array[index] = new if it is `old`; return whether it was."""

    def codegen(context, builder, signature, args):
        place = builder.gep(_data(context, builder, signature.args[0], args[0]), [args[1]])
        pair = builder.cmpxchg(place, args[2], args[3], "seq_cst", "seq_cst")
        return builder.extract_value(pair, 1)

    return types.boolean(array, types.intp, types.int64, types.int64), codegen


thread_yield = types.ExternalFunction("sched_yield", types.int32())


class Metadata(values.MDValue):
    """Metadata that is distinct and may refer to itself (None), which llvmlite cannot spell."""

    def __init__(self, module, items):
        self.items = items
        super().__init__(module, [], name=str(len(module.metadata)))

    def descr(self, buffer):
        def spell(item):
            if isinstance(item, str):
                return f'!"{item}"'
            return (self if item is None else item).get_reference()

        buffer.append(f"distinct !{{ {', '.join(map(spell, self.items))} }}\n")


def independent_loop(body, leading=0, rolled=False):
    """Return an intrinsic `loop(start, stop, first, args)`: body(*first, i, *args) for each i.

    The compiler is told that no iteration writes what another touches, so that calls in place
    vectorise like others (5 arrays in place: 0.59 -> 0.17 ns an element). `first` is a tuple of
    `leading` indices. A loop of 16 rounds vectorises if `rolled`: else it is unrolled before.
    """

    @intrinsic
    def loop(typing, start, stop, first, args):
        inner = (*first.types, types.uintp, *args.types) if leading else (types.uintp, *args.types)
        _, _, folded, _ = body.get_call_template(inner, {})  # folded: *args are one tuple
        compiled = body.overloads[tuple(folded)]
        if compiled.signature.return_type != types.none:
            raise TypeError(f"{body.__name__}: the body of a loop returns None")

        def codegen(context, builder, signature, values):
            start, stop, first, args = values
            lead = [builder.extract_value(first, k) for k in range(leading)]
            rest = [builder.extract_value(args, k) for k in range(len(inner) - leading - 1)]
            if _is_star(folded[-1]):
                star = folded[-1]
                tail = rest[len(rest) - len(star) :]
                rest[len(rest) - len(star) :] = [context.make_tuple(builder, star, tail)]
            _emit_loop(context, builder, compiled, start, stop, lead, rest, rolled)
            return context.get_dummy_value()

        return types.void(types.uintp, types.uintp, first, args), codegen

    loop.fonio_loop = body.py_func  # for the same loop on CUDA
    return loop


def _emit_loop(context, builder, compiled, start, stop, lead, rest, rolled):
    module, function = builder.module, builder.function
    group = Metadata(module, [])
    accesses = Metadata(module, ["llvm.loop.parallel_accesses", group])
    kept = [Metadata(module, ["llvm.loop.unroll.disable"])] if rolled else []
    loop = Metadata(module, [None, accesses, *kept])
    before = builder.block
    head, inside, done = (function.append_basic_block(name) for name in ("head", "body", "done"))
    builder.branch(head)
    builder.position_at_end(head)
    i = builder.phi(start.type)
    i.add_incoming(start, before)
    builder.cbranch(builder.icmp_unsigned("<", i, stop), inside, done)
    builder.position_at_end(inside)
    call, status = _call_compiled(context, builder, compiled, [*lead, i, *rest])
    call.set_metadata("llvm.access.group", group)
    with builder.if_then(status.is_error, likely=False):
        context.call_conv.return_status_propagate(builder, status)
    i.add_incoming(builder.add(i, start.type(1), flags=["nuw"]), builder.block)
    back = builder.branch(head)
    back.set_metadata("llvm.loop", loop)
    builder.position_at_end(done)


def _call_compiled(context, builder, compiled, arguments):
    """Call a compiled function and hand out the call itself, which carries the access group."""
    description = compiled.fndesc
    function = context.declare_function(builder.module, description)
    context.active_code_library.add_linking_library(compiled.library)
    convention = context.call_conv
    flat = convention._get_arg_packer(description.argtypes).as_arguments(builder, arguments)
    shape = convention.get_function_type(description.restype, description.argtypes)
    result = cgutils.alloca_once(builder, shape.args[0].pointee)
    place = cgutils.alloca_once(builder, excinfo_ptr_t)
    call = builder.call(function, [result, place, *flat])
    return call, convention._get_return_status(builder, call, builder.load(place))
