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
from numba.core import errors
from numba.core.typing.typeof import Purpose
from numba.extending import typeof_impl

from .. import kernels
from ..kernels import arrays, team
from .layers import Linear
from .losses import Loss, check_model, make_loss
from .module import Module
from .net_type import NetType, numba_dtype
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


@typeof_impl.register(CompiledNet)
def _typeof(value, context):
    if context.purpose is Purpose.constant:
        raise errors.NumbaTypeError(
            "CompiledNet: a global or closure variable would leave dead addresses in a cached "
            "function, pass the net as an argument"
        )
    return value.kind
