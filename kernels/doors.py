"""The njit side of public operations: the same names, checked, serial on the calling thread.

The rule: the checks of arrays.py are made here too, as native code, and a call inside njit needs
`out` wherever the operation makes arrays: kernels in a loop should not allocate.
"""

from llvmlite import ir
from numba import typeof, types
from numba.core import cgutils, errors
from numba.core.imputils import impl_ret_borrowed, lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature

from . import arrays, cuda_doors

_WORD = ir.IntType(64)


def open_door(operation, public):
    """Let njit code call `public` as Python does."""

    class Door(AbstractTemplate):
        key = public

        def generic(self, args, kws):
            return _resolve(operation, self.context, args, kws)

    Door.__name__ = f"{operation.name}_door"
    infer_global(public, types.Function(Door))

    @lower_builtin(public, types.VarArg(types.Any))
    def lower(context, builder, signature, args):
        return _lower(operation, context, builder, signature, args)


def _resolve(operation, context, args, kws):
    """Return the signature of a call with these Numba types, after checking kinds."""
    try:
        bound = operation.signature.bind(*args, **kws)
    except TypeError as error:
        raise errors.TypingError(f"{operation.name}: {error}") from None
    names = list(operation.signature.parameters)
    full = [bound.arguments.get(name) for name in names]
    for i, parameter in enumerate(operation.signature.parameters.values()):
        if full[i] is None:
            full[i] = types.Omitted(parameter.default)
    scalar = getattr(operation, "resolve_scalar", None)
    if scalar is not None:
        found = scalar(context, full)
        if found is not None:
            return found
    cuda_doors.refuse_arrays(operation, context)
    result = _check_kinds(operation, full)
    _call_type(operation, context, full)
    return signature(result, *full).replace(pysig=operation.signature)


def _plain(kind):
    """Return the type that a given or left-out argument has inside."""
    if isinstance(kind, types.Omitted):
        return types.none if kind.value is None else typeof(kind.value)
    if isinstance(kind, types.Optional | types.Literal):
        return _plain(types.unliteral(kind))
    return kind


def _check_kinds(operation, full):
    """Refuse arrays of the wrong kind at compile time; return the type of the result."""
    name = operation.name
    dtype = None
    for argument, kind in zip(operation.inputs, full, strict=False):
        kind = _plain(kind)
        if kind is types.none and argument.optional:
            continue
        dtype = _check_array(operation, argument, kind, dtype)
    if not operation.outputs:
        return types.none
    out = full[len(operation.signature.parameters) - 1]
    if _plain(out) is types.none:
        raise errors.TypingError(f"{name}: inside njit the result needs out=")
    several = len(operation.outputs) > 1
    if several and not (isinstance(out, types.BaseTuple) and len(out) == len(operation.outputs)):
        names = ", ".join(argument.name for argument in operation.outputs)
        raise errors.TypingError(f"{name}: out is not a tuple of arrays ({names})")
    kinds = list(out) if several else [out]
    for argument, kind in zip(operation.outputs, kinds, strict=True):
        _check_array(operation, argument, kind, dtype, written=True)
    return out


def _check_array(operation, argument, kind, dtype, written=False):
    name, who = operation.name, argument.name
    if not isinstance(kind, types.Array):
        raise errors.TypingError(f"{name}: {who} is a {kind}, expected an array")
    least = len(argument.dims or ()) - arrays.may_lack(argument.dims)
    if argument.dims is not None and not least <= kind.ndim <= len(argument.dims):
        raise errors.TypingError(
            f"{name}: {who} has {kind.ndim} dimensions, expected {len(argument.dims)}"
        )
    if kind.layout != "C" and not operation.strided:
        raise errors.TypingError(
            f"{name}: {who} may not be C-contiguous; inside njit pass np.ascontiguousarray({who})"
        )
    if (written or argument.written) and not kind.mutable:
        raise errors.TypingError(f"{name}: {who} is read-only, expected a writable array")
    if argument.dtype is not None:
        if str(kind.dtype) != str(argument.dtype):
            raise errors.TypingError(
                f"{name}: {who} has dtype {kind.dtype}, expected {argument.dtype}"
            )
        return dtype
    if kind.dtype not in (types.float32, types.float64) or dtype not in (None, kind.dtype):
        raise errors.TypingError(
            f"{name}: {who} has dtype {kind.dtype}, expected {dtype or 'float32 or float64'}"
        )
    return kind.dtype


def _inner_kinds(operation, full):
    """Return the types that the run function is called with: outputs, arrays, numbers."""
    kinds = [_plain(kind) for kind in full]
    if operation.outputs:
        out = kinds.pop()
        outputs = list(out) if len(operation.outputs) > 1 else [out]
    else:
        outputs = []
    floats = (
        kind.dtype
        for kind, a in zip(kinds, operation.inputs, strict=False)
        if a.dtype is None and kind is not types.none
    )
    dtype = next(floats, None)
    names = list(operation.signature.parameters)
    inner = []
    for kind, argument in zip(
        (*outputs, *kinds[: len(operation.inputs)]),
        (*operation.outputs, *operation.inputs),
        strict=True,
    ):
        inner.append(_inner_array(operation, argument, kind))
    for name, kind in zip(
        names[len(operation.inputs) :], kinds[len(operation.inputs) :], strict=False
    ):
        if name in operation.scalars and not isinstance(kind, types.Array):
            wanted = operation.scalars[name]
            kind = types.Array(getattr(types, str(wanted)) if wanted else dtype, 1, "C")
        inner.append(kind)
    return tuple(inner)


def _inner_array(operation, argument, kind):
    if kind is types.none:
        return kind
    if argument.dims is None:
        return types.Array(kind.dtype, 1, "C")
    return types.Array(kind.dtype, kind.ndim, kind.layout)


def _call_type(operation, context, full):
    return types.Dispatcher(operation.jitted).get_call_type(
        context, _inner_kinds(operation, full), {}
    )


def _lower(operation, context, builder, signature, args):
    scalar = getattr(operation, "lower_scalar", None)
    if scalar is not None and isinstance(signature.return_type, types.Float):
        return scalar(context, builder, signature, args)
    full = list(signature.args)
    values = [_value(context, builder, kind, arg) for kind, arg in zip(full, args, strict=True)]
    kinds = [_plain(kind) for kind in full]
    result = None
    outputs, output_kinds = [], []
    if operation.outputs:
        result, kind = values.pop(), kinds.pop()
        several = len(operation.outputs) > 1
        outputs = cgutils.unpack_tuple(builder, result) if several else [result]
        output_kinds = list(kind) if several else [kind]
    count = len(operation.inputs)
    arguments = (*operation.outputs, *operation.inputs)
    array_values = [*outputs, *values[:count]]
    array_kinds = [*output_kinds, *kinds[:count]]
    checker = _Checker(operation, context, builder)
    checker.check(arguments, array_values, array_kinds, len(outputs))
    inner = _inner_kinds(operation, full)
    ready = [
        _flat(context, builder, kind, value)
        if argument.dims is None and kind is not types.none
        else value
        for argument, value, kind in zip(arguments, array_values, array_kinds, strict=True)
    ]
    for value, kind, wanted in zip(
        values[count:], kinds[count:], inner[len(arguments) :], strict=True
    ):
        if isinstance(wanted, types.Array) and not isinstance(kind, types.Array):
            value = _one_element(context, builder, kind, value, wanted)
        ready.append(value)
    call_type = _call_type(operation, context.typing_context, full)
    function = context.get_function(types.Dispatcher(operation.jitted), call_type)
    function(builder, ready)
    if result is None:
        return context.get_dummy_value()
    return impl_ret_borrowed(context, builder, signature.return_type, result)


def _value(context, builder, kind, value):
    if isinstance(kind, types.Omitted):
        plain = _plain(kind)
        if plain is types.none:
            return context.get_dummy_value()
        return context.get_constant_generic(builder, plain, kind.value)
    plain = _plain(kind)
    return value if plain == kind else context.cast(builder, value, kind, plain)


def _struct(context, builder, kind, value=None):
    return cgutils.create_struct_proxy(kind)(context, builder, value)


def _flat(context, builder, kind, value):
    """Return the one-dimensional array over the same contiguous memory."""
    old = _struct(context, builder, kind, value)
    new_kind = types.Array(kind.dtype, 1, "C")
    new = _struct(context, builder, new_kind)
    new.meminfo, new.parent, new.data = old.meminfo, old.parent, old.data
    new.nitems, new.itemsize = old.nitems, old.itemsize
    new.shape = cgutils.pack_array(builder, [old.nitems])
    new.strides = cgutils.pack_array(builder, [old.itemsize])
    return new._getvalue()


def _one_element(context, builder, kind, value, wanted):
    """Return a one-element array on the stack that holds the number."""
    cast = context.cast(builder, value, kind, wanted.dtype)
    place = cgutils.alloca_once_value(builder, cast)
    new = _struct(context, builder, wanted)
    size = _WORD(context.get_abi_sizeof(context.get_data_type(wanted.dtype)))
    new.data, new.nitems, new.itemsize = place, _WORD(1), size
    new.meminfo = cgutils.get_null_value(new.meminfo.type)
    new.parent = cgutils.get_null_value(new.parent.type)
    new.shape = cgutils.pack_array(builder, [_WORD(1)])
    new.strides = cgutils.pack_array(builder, [size])
    return new._getvalue()


class _Checker:
    """Emits the checks of sizes and of overlap."""

    def __init__(self, operation, context, builder):
        self.operation, self.context, self.builder = operation, context, builder

    def check(self, arguments, values, kinds, outputs):
        known = {}
        order = [*range(outputs, len(arguments)), *range(outputs)]  # outputs follow the inputs
        present = [i for i in order if kinds[i] is not types.none]
        structs = {i: _struct(self.context, self.builder, kinds[i], values[i]) for i in present}
        for i in present:
            self._check_sizes(arguments[i], structs[i], kinds[i], known)
        for i in present:
            if i < outputs or arguments[i].written:
                for j in present:
                    if j != i and not (i > j and (j < outputs or arguments[j].written)):
                        self._check_apart(arguments, structs, kinds, i, j, outputs)

    def _check_sizes(self, argument, struct, kind, known):
        shape = cgutils.unpack_tuple(self.builder, struct.shape)
        dims = (argument.dims or ())[: kind.ndim]
        if argument.dims is None or arrays.may_lack(argument.dims):
            dims = dims or [("...", axis) for axis in range(kind.ndim)]
            if known.setdefault("ndim", kind.ndim) != kind.ndim:
                raise errors.TypingError(
                    f"{self.operation.name}: {argument.name} has {kind.ndim} dimensions, "
                    f"expected {known['ndim']}"
                )
        for axis, dim in enumerate(dims):
            size = _WORD(dim) if isinstance(dim, int) else known.setdefault(dim, shape[axis])
            if size is shape[axis]:
                continue
            bad = self.builder.icmp_signed("!=", size, shape[axis])
            self._refuse(
                bad,
                f"{argument.name} has a shape unlike the others, expected "
                f"({', '.join(map(str, argument.dims or ('...',)))})",
            )

    def _check_apart(self, arguments, structs, kinds, i, j, outputs):
        builder = self.builder
        a, b = self._bounds(structs[i], kinds[i]), self._bounds(structs[j], kinds[j])
        bad = builder.and_(
            builder.icmp_unsigned("<", a[0], b[1]), builder.icmp_unsigned("<", b[0], a[1])
        )
        allowed = self.operation.in_place
        if j >= outputs and (allowed is True or arguments[j].name in allowed):
            same = builder.and_(
                builder.icmp_unsigned("==", a[0], b[0]), builder.icmp_unsigned("==", a[1], b[1])
            )
            bad = builder.and_(bad, builder.not_(same))
        self._refuse(bad, f"{arguments[i].name} overlaps {arguments[j].name} in memory")

    def _bounds(self, struct, kind):
        """Return the first byte of an array and the one after its last; equal where it is empty."""
        builder = self.builder
        low = high = builder.ptrtoint(struct.data, _WORD)
        shape = cgutils.unpack_tuple(builder, struct.shape)
        for size, stride in zip(shape, cgutils.unpack_tuple(builder, struct.strides), strict=True):
            reach = builder.mul(builder.sub(size, _WORD(1)), stride)
            back = builder.icmp_signed("<", reach, _WORD(0))
            low = builder.add(low, builder.select(back, reach, _WORD(0)))
            high = builder.add(high, builder.select(back, _WORD(0), reach))
        empty = builder.icmp_signed("==", struct.nitems, _WORD(0))
        return low, builder.select(empty, low, builder.add(high, struct.itemsize))

    def _refuse(self, bad, message):
        with self.builder.if_then(bad, likely=False):
            self.context.call_conv.return_user_exc(
                self.builder, ValueError, (f"{self.operation.name}: {message}",)
            )
