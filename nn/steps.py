"""One training step, recorded once and replayed natively; and the proof that replaying it is right.

The rule: a step is trusted only after its second run was made twice, replayed and eagerly, with the
same bits. A layer that computes with NumPy would repeat old numbers: it is caught there, and named.
"""

import numpy as np

from .. import kernels
from ..kernels import arrays
from .inference import eval_mode
from .losses import Loss, check_model, make_loss, prepare_targets
from .sequential import tracing


class RecordedStep:
    """A function of no arguments, `run`, recorded on its first call and replayed on later ones.

    `state` lists every array that a step changes and the next one reads; `model` says what to
    guard.
    """

    def __init__(self, run, state, model):
        self._run, self._state, self._model = run, state, model
        self._recording = None
        self._trace = []
        self._proven = False

    def __call__(self, times=1):
        """Take `times` steps."""
        if times > 0 and self._recording is None:
            self._record()
            times -= 1
        if times > 0 and not self._proven:
            self._prove()
            times -= 1
        if times > 0:
            self._recording.replay(times)

    @property
    def recording(self):
        """The recording that later calls replay."""
        return self._recording

    def rehearse(self):
        """Record and prove, and put back what the two steps changed."""
        before = [array.copy() for array in self._state]
        self._record()
        self._prove()
        for array, old in zip(self._state, before, strict=True):
            array[...] = old

    def _record(self):
        with tracing() as trace, kernels.record() as recording:
            self._run()
        self._recording, self._trace = recording, trace
        guarded = [(p, p.value, p.grad) for p in self._model.parameters()]

        def unmoved():
            if any(p.value is not value or p.grad is not grad for p, value, grad in guarded):
                raise RuntimeError(
                    "step: the model's parameters have moved since it was recorded (by to() or a "
                    "new optimizer), make a new step"
                )

        recording.guard(unmoved)

    def _prove(self):
        """Take the second step by replay and again eagerly, and compare all bits."""
        before = [array.copy() for array in self._state]
        self._recording.replay()
        after = [array.copy() for array in self._state]
        replayed = [(layer, array.copy()) for layer, array in self._trace]
        for array, old in zip(self._state, before, strict=True):
            array[...] = old
        with tracing() as eager, kernels.not_recorded():
            self._run()
        names = self._differing(replayed, eager)
        same = all(same_bits(array, new) for array, new in zip(self._state, after, strict=True))
        if names or not same:
            culprit = names[0] if names else type(self._model).__name__
            raise RuntimeError(
                f"{culprit}: computes outside fonio.kernels, so it cannot be recorded"
            )
        self._proven = True

    def _differing(self, replayed, eager):
        pairs = zip(replayed, eager, strict=False)
        return [type(layer).__name__ for (layer, a), (_, b) in pairs if not same_bits(a, b)]


def same_bits(a, b):
    """Tell whether two arrays hold the same bits, NaN included."""
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def train_once(model, loss, optimizer, x, y, weights=None, class_weight=None, between=None):
    """Run forward, loss, backward, `between(gradients)` and optimizer; return (output, loss)."""
    output, backward = model.forward(x)
    if isinstance(loss, Loss):
        value, doutput = loss(output, y, weights, class_weight)
    else:
        value, doutput = loss(output, y)
    getattr(backward, "parameters_only", backward)(doutput)
    if between is not None:
        between(optimizer.grads)
    optimizer.step()
    return output, value


def step_state(model, optimizer):
    """Return every array that a training step of this model changes."""
    return [optimizer.values, optimizer.grads, *model.buffers(), *optimizer.state()]


def seed_masks(modules, seed):
    """Give each module that draws random numbers the seed, and a stream by its place."""
    drawing = [module for module in modules if hasattr(module, "stream")]
    for stream, module in enumerate(drawing):
        module.seed, module.stream = seed, stream


class Step:
    """A recorded training step for loops of one's own: `loss = step(x, y)`.

    The batch is copied in; its shape is that of the first call.
    """

    def __init__(self, model, loss, optimizer, batch_size):
        arrays.check_integer("step", "batch_size", batch_size, 1)
        self.model, self.loss, self.optimizer = model, make_loss(loss), optimizer
        check_model(self.loss, model)
        self.batch_size = int(batch_size)
        self.x = self.y = self._step = None
        self.value = arrays.zeros(model.anchor, 1, model.dtype)

    def __call__(self, x, y):
        """Take one step on the batch and return its loss."""
        if self._step is None:
            self._prepare(x, y)
        _copy_in("x", self.x, x)
        _copy_in("y", self.y, y)
        self._step()
        return float(self.value[0])

    def rehearse(self, x, y):
        """Record and prove the step on a batch, and leave the model as it was."""
        self._prepare(x, y)
        self._step.rehearse()

    @property
    def recording(self):
        """The recording of the step."""
        return self._step.recording

    def _prepare(self, x, y):
        x = np.asarray(arrays.on_host(x))
        if x.ndim != 2 or len(x) != self.batch_size:
            raise ValueError(f"step: x has shape {x.shape}, expected ({self.batch_size}, features)")
        x = np.array(x, self.model.dtype, order="C")
        width = output_width(self.model, x)
        y = prepare_targets(self.loss, y, width, self.model.dtype, "step").copy()
        anchor = self.model.anchor
        self.x, self.y = arrays.put(anchor, x), arrays.put(anchor, y)
        if len(self.y) != self.batch_size:
            raise ValueError(f"step: y has {len(self.y)} rows, expected {self.batch_size}")
        self.model.train()
        state = step_state(self.model, self.optimizer)
        self._step = RecordedStep(self._run, state, self.model)

    def _run(self):
        _, value = train_once(self.model, self.loss, self.optimizer, self.x, self.y)
        kernels.copy(value, out=self.value)


def _copy_in(name, batch, given):
    """Copy a batch in; one that lies on the model's device already never visits the host."""
    if arrays.is_foreign(given):
        given = arrays.check_array("step", name, given)
    if arrays.device_of(given) is None or arrays.device_of(batch) is None:
        given = np.asarray(arrays.on_host(given))
    if given.shape != batch.shape:
        if given.size != batch.size or given.ndim > batch.ndim + 1:
            raise ValueError(f"step: {name} has shape {given.shape}, expected {batch.shape}")
        given = given.reshape(batch.shape)
    batch[...] = given


def step(model, loss, optimizer, batch_size):
    """Return a callable (x, y) -> loss that takes one recorded training step.

    loss is a name or a function (output, target) -> loss, doutput; optimizer an Optimizer of the
    model's parameters. The first call records, the second proves, later ones replay natively.
    """
    return Step(model, loss, optimizer, batch_size)


def output_width(model, x):
    """Return how many outputs the model makes, from one or two rows in eval mode."""
    with eval_mode(model), kernels.not_recorded():
        output = model(arrays.put(model.anchor, np.ascontiguousarray(x[:2])))
    if output.ndim != 2:
        raise ValueError(f"fit: the model's output has shape {output.shape}, expected (N, outputs)")
    return output.shape[1]
