"""compile: a net as an argument of njit code, called there with no Python in between.

    net = nn.compile(model, batch=1)

    @njit
    def act(net, observation, out):
        net(observation, out)

The handle holds a recording of the model in eval mode (and of a training step), and arrays that a
call copies its batch to and from. Its type tells the precision alone, so that any model, and new
weights, run in the same machine code.

The rule: a handle owns its scratch, so a thread needs one of its own (`net.copies(n)`).
"""

import copy

import numpy as np
from numba import types
from numba.core import cgutils, errors
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, AttributeTemplate, infer_getattr
from numba.core.typing.typeof import Purpose
from numba.extending import (
    NativeValue,
    make_attribute_wrapper,
    models,
    overload,
    register_model,
    typeof_impl,
    unbox,
)

from .. import kernels
from ..kernels import arrays, team
from .layers import Linear
from .losses import Loss, check_model, make_loss
from .module import Module
from .steps import Step, eval_mode

FEW = 16  # rows; with fewer, turning the weights costs more than the product


class _Turned:
    """Stands for a weight in a forward pass: a copy laid out (in, out), seen as (out, in)."""

    trainable = False

    def __init__(self, copy):
        self.value = copy.T


def with_turned_weights(model):
    """Return a twin of the model that shares its arrays, but for turned weights; and [(W.T, copy)].

    A product wants a weight turned; of few rows that costs two thirds of the time.
    """
    shared = [*model.parameters(), *model.buffers()]
    twin = copy.deepcopy(model, {id(each): each for each in shared})
    turned = []
    for layer in twin.modules():
        if type(layer) is Linear:
            weight = layer.weight.value
            pair = (weight.T, np.empty(weight.shape[::-1], weight.dtype))
            layer.weight = _Turned(pair[1])
            turned.append(pair)
    return twin, turned


class CompiledNet:
    """A model for njit code: `net(x, out)`, and with a loss and an optimizer `net.train(x, y)`.

    x (batch, in), or (in,) where batch is 1; out (batch, out) or (out,); both of any precision. y
    as the loss takes it: labels (batch,), or (batch, out) numbers. `train` returns the loss.

    The weights are the model's. Where a handle of few rows is used in one njit call while another
    one trains the model, `net.refresh()` there reads them anew.
    """

    def __init__(self, model, batch, loss, optimizer):
        if not isinstance(model, Module):
            raise TypeError(f"compile: model is a {type(model).__name__}, expected a Module")
        arrays.check_integer("compile", "batch", batch, 1)
        width = getattr(model, "in_features", None)
        if width is None:
            raise ValueError("compile: the model's input width is unknown, expected a Linear first")
        if (loss is None) != (optimizer is None):
            raise ValueError("compile: loss and optimizer belong together, expected both or none")
        if model.device != "cpu":
            raise ValueError("compile: the model is on cuda, expected the CPU (nn.device_function)")
        self.model, self.batch = model, int(batch)
        self.x = np.zeros((self.batch, width), model.dtype)
        self._loss, self._optimizer = loss, optimizer
        self._record_forward()
        self._step = None
        if loss is not None:
            self._record_step()

    def _record_forward(self):
        reader, turned = self.model, []
        if self.batch <= FEW:
            reader, turned = with_turned_weights(self.model)
        with kernels.record() as self._refresh:
            for weight, place in turned:
                kernels.copy(weight, out=place)
        with eval_mode(reader), kernels.record() as recording:
            self.y = reader(self.x)
        if self.y.ndim != 2:
            raise ValueError(
                f"compile: the model's output has shape {self.y.shape}, expected (batch, outputs)"
            )
        _guard(recording, self.model)
        self._forward, self._forward_table = recording, recording.native_table

    def _record_step(self):
        """Record a training step on a batch of zeros; what it changed is put back."""
        loss = make_loss(self._loss)
        check_model(loss, self.model)
        labels = isinstance(loss, Loss) and loss.classes
        targets = np.zeros(self.batch, np.int64) if labels else np.zeros_like(self.y)
        self._step = Step(self.model, loss, self._optimizer, self.batch)
        self._step.rehearse(self.x, targets)

    def __call__(self, x, out=None):
        """Return the outputs for a batch, from Python."""
        x = np.asarray(x)
        flat = x.ndim == 1 and self.batch == 1
        if x.size != self.x.size or x.shape != (self.x.shape[1:] if flat else self.x.shape):
            raise ValueError(f"compile: x has shape {x.shape}, expected {self.x.shape}")
        self.x[...] = x
        self.refresh()
        self._forward.replay()
        found = self.y[0] if flat else self.y
        if out is None:
            return found.copy()
        out[...] = found
        return out

    def answer(self, x):
        """Return the outputs for a batch of the right shape, in an array that the next call uses.

        The weights are as they were at the last `refresh` or call.
        """
        self.x[...] = x
        team.replay_alone(self._forward_table, 1)
        return self.y

    def train(self, x, y):
        """Take one training step on a batch, from Python; return its loss."""
        if self._step is None:
            raise ValueError("train: the net was compiled without loss and optimizer")
        return self._step(np.reshape(x, self.x.shape), y)

    def refresh(self):
        """Read the weights anew; done wherever a call from Python hands the net to njit code."""
        self._refresh.replay()

    def copies(self, count):
        """Return a tuple of `count` handles of the same weights, each with scratch of its own."""
        arrays.check_integer("copies", "count", count, 1)
        if self._step is not None:
            raise ValueError(
                "copies: this net trains, and two threads that train one model undo each other's "
                "work, expected a net compiled without an optimizer (or a model for each thread)"
            )
        return tuple(CompiledNet(self.model, self.batch, None, None) for _ in range(count))

    @property
    def native(self):
        """What njit code is given: tables and arrays."""
        self.refresh()
        parts = (self._forward.native_table, self._refresh.native_table, self.x, self.y)
        if self._step is None:
            return parts
        step = self._step
        return (*parts, step.recording.native_table, step.x, step.y, step.value)

    @property
    def kind(self):
        """The Numba type of this handle."""
        labels = None if self._step is None else types.int64
        if self._step is not None and self._step.y.ndim == 2:
            labels = numba_dtype(self._step.y.dtype)
        return NetType(
            numba_dtype(self.x.dtype), labels, 0 if self._step is None else self._step.y.ndim
        )

    def __repr__(self):
        trains = "" if self._step is None else ", trains"
        return (
            f"<CompiledNet of {self.x.shape[1]} -> {self.y.shape[1]}, batch {self.batch}{trains}>"
        )


def compile(model, batch=1, loss=None, optimizer=None):  # noqa: A001
    """Return a handle of a model that njit functions take as an argument: see CompiledNet.

    loss, optimizer: a name or function, and an Optimizer of the model's parameters, for `train`.
    The weights are the model's own: what trains them is seen by the handle at once.
    """
    return CompiledNet(model, batch, loss, optimizer)


def _guard(recording, model):
    held = [(parameter, parameter.value) for parameter in model.parameters()]

    def unmoved():
        if any(parameter.value is not value for parameter, value in held):
            raise RuntimeError(
                "compile: the model's parameters have moved since (by to(), fit or an optimizer), "
                "compile it again"
            )

    recording.guard(unmoved)


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


@typeof_impl.register(CompiledNet)
def _typeof(value, context):
    if context.purpose is Purpose.constant:
        raise errors.NumbaTypeError(
            "CompiledNet: a global or closure variable would leave dead addresses in a cached "
            "function, pass the net as an argument"
        )
    return value.kind


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
