"""The Numba type of a compiled net: what njit code may do with the handle that it is given.

Each thing it may do is an overloaded function (`_predict`, `_train`, `_refresh`); the call and the
methods of the handle resolve to them.

The rule: nothing here knows the handle's class, only its `native` parts, in the order of `fields`.
"""

import numpy as np
from numba import types
from numba.core import cgutils, errors
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, AttributeTemplate, infer_getattr
from numba.extending import (
    NativeValue,
    make_attribute_wrapper,
    models,
    overload,
    register_model,
    unbox,
)

from ..kernels import team


def numba_dtype(dtype):
    """Return Numba's type of a NumPy dtype."""
    return types.float64 if dtype == np.float64 else types.float32


class NetType(types.Callable):
    """The type of a handle: the precision, and what its targets look like."""

    def __init__(self, dtype, targets, ndim):
        self.dtype, self.targets, self.ndim = dtype, targets, ndim
        self._keys = {}
        super().__init__(f"CompiledNet({dtype}, {targets}, {ndim})")

    @property
    def fields(self):
        matrix = types.Array(self.dtype, 2, "C")
        table = types.Array(types.int64, 2, "C")
        fields = [("forward", table), ("refresh", table), ("x", matrix), ("y", matrix)]
        if self.targets is not None:
            fields += [
                ("step", table), ("batch", matrix),
                ("labels", types.Array(self.targets, self.ndim, "C")),
                ("loss", types.Array(self.dtype, 1, "C")),
            ]  # fmt: skip
        return fields

    def get_call_type(self, context, args, kws):
        function, found = _resolve(context, _predict, self, args, kws)
        self._keys[found.args] = function.get_impl_key(found)
        return _of_method(found)

    def get_call_signatures(self):
        return list(self._keys), False

    def get_impl_key(self, signature):
        return self._keys[signature.as_function().args]


@register_model(NetType)
class _Model(models.StructModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, kind.fields)


for _name in ("forward", "refresh", "x", "y", "step", "batch", "labels", "loss"):
    make_attribute_wrapper(NetType, _name, f"_{_name}")


@unbox(NetType)
def _unbox(kind, value, context):
    api, builder = context.pyapi, context.builder
    parts = api.object_getattr_string(value, "native")
    struct = cgutils.create_struct_proxy(kind)(context.context, builder)
    with builder.if_then(cgutils.is_not_null(builder, parts)):
        for place, (name, field) in enumerate(kind.fields):
            part = api.tuple_getitem(parts, place)  # borrowed
            setattr(struct, name, context.unbox(field, part).value)
        api.decref(parts)
    failed = cgutils.is_not_null(builder, api.err_occurred())
    return NativeValue(struct._getvalue(), is_error=failed)


def _put(target, source):
    """Copy a batch; a vector stands for a batch of one row."""


@overload(_put)
def _put_inside(target, source):
    wrong = "CompiledNet: x or out has another shape than the net was compiled for"

    def put_rows(target, source):
        if target.shape != source.shape:
            raise ValueError(wrong)
        for row in range(source.shape[0]):
            for i in range(source.shape[1]):
                target[row, i] = source[row, i]

    def put_vector(target, source):
        if target.shape[0] != 1 or target.shape[1] != len(source):
            raise ValueError(wrong)
        for i in range(len(source)):
            target[0, i] = source[i]

    def take_vector(target, source):
        if source.shape[0] != 1 or source.shape[1] != len(target):
            raise ValueError(wrong)
        for i in range(len(target)):
            target[i] = source[0, i]

    if not (isinstance(target, types.Array) and isinstance(source, types.Array)):
        raise errors.TypingError(
            "CompiledNet: x or out is no array, expected one or two dimensions"
        )
    if target.ndim == source.ndim == 2:
        return put_rows
    return put_vector if source.ndim == 1 else take_vector


def _put_labels(target, source):
    """Copy labels; a number stands for those of a batch of one row."""


@overload(_put_labels)
def _put_labels_inside(target, source):
    wrong = "CompiledNet: y has another shape than the net was compiled for"

    def put_number(target, source):
        if len(target) != 1:
            raise ValueError(wrong)
        target[0] = source

    def put_all(target, source):
        if len(target) != len(source):
            raise ValueError(wrong)
        for i in range(len(target)):
            target[i] = source[i]

    def put_rows(target, source):
        _put(target, source)

    if target.ndim == 2:
        return put_rows
    return put_all if isinstance(source, types.Array) else put_number


def _predict(net, x, out):
    """Fill out with the outputs for x, on the calling thread."""


@overload(_predict)
def _predict_inside(net, x, out):
    def predict(net, x, out):
        _put(net._x, x)
        team.replay_alone(net._forward, 1)
        _put(out, net._y)

    return predict


def _train(net, x, y):
    """Take one training step on a batch, on the calling thread; return its loss."""


@overload(_train)
def _train_inside(net, x, y):
    if net.targets is None:
        raise errors.TypingError("train: the net was compiled without loss and optimizer")

    def train(net, x, y):
        _put(net._batch, x)
        _put_labels(net._labels, y)
        team.replay_alone(net._step, 1)
        team.replay_alone(net._refresh, 1)
        return net._loss[0]

    return train


def _resolve(context, function, net, args, kws):
    """Return the type of an overloaded function, and the signature of its call on a handle."""
    kind = context.resolve_value_type(function)
    return kind, context.resolve_function_type(kind, (net, *args), kws)


def _of_method(found):
    """Return the signature without the handle, which the call brings along."""
    shown = found.pysig.replace(parameters=list(found.pysig.parameters.values())[1:])
    return found.replace(args=found.args[1:], recvr=found.args[0], pysig=shown)


def _refresh(net):
    """Read the weights anew."""


@overload(_refresh)
def _refresh_inside(net):
    def refresh(net):
        team.replay_alone(net._refresh, 1)

    return refresh


def _method(name, function):
    """Give handles a method of this name in njit code."""

    class Method(AbstractTemplate):
        key = f"CompiledNet.{name}"

        def generic(self, args, kws):
            return _of_method(_resolve(self.context, function, self.this, args, kws)[1])

    @lower_builtin(Method.key, NetType, types.VarArg(types.Any))
    def lower(context, builder, sig, args):
        kind, found = _resolve(context.typing_context, function, sig.args[0], sig.args[1:], {})
        return context.get_function(kind, found)(builder, args)

    return Method


_METHODS = {"train": _method("train", _train), "refresh": _method("refresh", _refresh)}


@infer_getattr
class _Methods(AttributeTemplate):
    key = NetType

    def resolve_train(self, net):
        return types.BoundFunction(_METHODS["train"], net)

    def resolve_refresh(self, net):
        return types.BoundFunction(_METHODS["refresh"], net)
