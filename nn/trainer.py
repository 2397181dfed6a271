"""The arrays of a fit and its recorded steps: one for each batch shape.

The rule: whatever changes from step to step (the batch's place, rates, counters, sums) lies in
arrays that recorded kernels advance.
"""

import contextlib
import time

import numpy as np

from .. import kernels
from ..kernels import arrays
from ..kernels.recording import PIECE_SECONDS
from .callbacks import Callback
from .losses import Loss
from .normalization import BatchNorm1d
from .replay import advance, gather_items, gather_rows, tally_hits, tally_loss
from .schedules import take_rate
from .sequential import observing
from .steps import RecordedStep, seed_masks, step_state, train_once


class Trainer:
    """A running fit, as callbacks see it."""

    def __init__(self, model, loss, optimizer, data, options):
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.stepper = optimizer
        self.epochs, self.seed = options["epochs"], int(options["seed"])
        self.clips = options["clip_norm"], options["clip_value"]
        self.shuffle, self.sampler = options["shuffle"], options["sampler"]
        self.callbacks, self.augment = options["callbacks"], options["augment"]
        self.validation, self.history = options["validation"], None
        self.anchor = model.anchor
        self.x, self.y, self.weights = map(self._put, data)
        self.class_weight = self._put(options["class_weight"])
        self.rows, self.epoch = len(self.x), 0
        self._sizes = options["batch_size"]
        self.order = self._put(np.arange(self.rows))
        self.cursor, self.hits, self.taken = (
            arrays.zeros(self.anchor, 1, np.int64) for _ in range(3)
        )
        self.total = arrays.zeros(self.anchor, 1, np.float64)
        self._batchnorm = any(isinstance(module, BatchNorm1d) for module in model.modules())
        self._steps, self._seconds, self._tables = {}, {}, []
        self._shuffling = None
        seed_masks([*model.modules(), *self.augment], self.seed)
        for augmentation in self.augment:
            augmentation.counter = self._put(augmentation.counter)

    leads = True  # whether this process writes files and shows progress

    def held(self):
        """Return the context that the whole fit runs in."""
        return contextlib.nullcontext()

    def agreed(self, found):
        """Return what all processes of the fit go by, where each has found something."""
        return found

    def interrupted(self):
        """Take note of Ctrl-C; the fit then ends."""
        self.history.interrupted = True

    def _put(self, array):
        return None if array is None else arrays.put(self.anchor, array)

    @property
    def batch_size(self):
        """The size of this epoch's batches."""
        size = self._sizes(self.epoch) if callable(self._sizes) else self._sizes
        if callable(self._sizes):
            arrays.check_integer("fit", f"batch_size({self.epoch})", size, 1)
        return int(size)

    def plan(self, epoch, rows=None):
        """Return [(batch size, how often)] of an epoch."""
        self.epoch = epoch
        rows = self.rows if rows is None else rows
        plan = plan_batches(rows, min(self.batch_size, rows), self._batchnorm)
        return [(size, count) for size, count in plan if count]

    def lay_out(self, schedule):
        """Write down the rates of every step of the fit, for the steps to read."""
        steps = sum(count for epoch in range(self.epochs) for _, count in self.plan(epoch))
        self.taken[0] = 0
        for lr, base in self.optimizer.rates():
            rates = [schedule.rate(base, t, steps) for t in range(steps)]
            self._tables.append((lr, self._put(np.array(rates, lr.dtype))))

    def run_epoch(self, epoch):
        """Train for one epoch, yielding the rows done about ten times a second."""
        self.cursor[0] = self.total[0] = self.hits[0] = 0
        self._arrange(epoch)
        self.done = 0
        for size, count in self.plan(epoch, len(self.order)):
            if size not in self._steps:
                self._steps[size] = self._make_step(size)
            while count > 0:
                began = time.perf_counter()
                piece = max(1, min(count, int(PIECE_SECONDS / self._seconds.get(size, 1.0))))
                self._steps[size](piece)
                self._seconds[size] = max((time.perf_counter() - began) / piece, 1e-9)
                count -= piece
                self.done += size * piece
                yield self.done

    def _arrange(self, epoch):
        """Choose the order of an epoch's rows."""
        if self.sampler is not None:
            order = self.sampler.order(self.seed, self.model.epochs_trained)
            order = np.ascontiguousarray(order, np.int64)
            if order.ndim != 1 or len(order) == 0 or order.min() < 0 or order.max() >= self.rows:
                raise ValueError(
                    f"fit: sampler gave indices of shape {order.shape}, expected (M,) of whole "
                    f"numbers in [0, {self.rows})"
                )
            if len(order) != len(self.order):
                self.order = self._put(order)
                self._steps.clear()
            self.order[...] = order
        elif self.shuffle:
            self.order[...] = self._shuffled()

    def _shuffled(self):
        """Return all rows in an order chosen by the steps taken, so that a second fit goes on."""
        if self._shuffling is None:
            order, count = np.arange(self.rows), np.zeros(1, np.int64)
            with kernels.record() as recording:  # which spares later epochs the checks
                kernels.shuffle(order, self.seed, count)
            self._shuffling = order, count, recording
        order, count, recording = self._shuffling
        order[...] = np.arange(self.rows)
        count[0] = self.optimizer.count[0]
        recording.replay()
        return order

    def figures(self):
        """Return the epoch's mean loss, and accuracy where targets are labels."""
        figures = {"loss": float(self.total[0]) / self.done}
        if not np.isfinite(figures["loss"]):
            figures["loss"] = float(self.total[0])
        if self._counts_hits():
            figures["accuracy"] = int(self.hits[0]) / self.done
        return figures

    def _counts_hits(self):
        return isinstance(self.loss, Loss) and self.loss.classes and self.y.ndim == 1

    def _part(self, size):
        """Return which rows of a batch this process trains on: first, stop."""
        return 0, size

    def _make_step(self, size):
        first, stop = self._part(size)
        own, order = stop - first, self.order if first == 0 else self.order[first:]
        batch = arrays.scratch(self.x, (own, *self.x.shape[1:]))
        targets = arrays.scratch(self.y, (own, *self.y.shape[1:]))
        weights = None if self.weights is None else arrays.scratch(self.weights, own)

        def run():
            for lr, table in self._tables:
                take_rate(1, lr, table, self.taken)
            gather_rows(own, batch, self.x, order, self.cursor)
            gather = gather_items if self.y.ndim == 1 else gather_rows
            gather(own, targets, self.y, order, self.cursor)
            if weights is not None:
                gather_items(own, weights, self.weights, order, self.cursor)
            x, y = batch, targets
            for augmentation in self.augment:
                x, y = augmentation.apply(x, y)
            with observing(self._observer()):
                output, value = self._train(size, x, y, weights)
            self._after_update()
            tally_loss(1, self.total, value, float(size))
            if self._counts_hits():
                tally_hits(1, self.hits, output, targets)
            advance(1, self.cursor, size)
            advance(1, self.taken, 1)

        return RecordedStep(run, self._state(), self.model)

    def _train(self, size, x, y, weights):
        """Run forward, loss, backward and the update on rows of a batch of `size`."""
        return train_once(
            self.model, self.loss, self.stepper, x, y, weights, self.class_weight,
            self._before_update,
        )  # fmt: skip

    def _state(self):
        own = [self.cursor, self.taken, self.total, self.hits]
        own += [array for callback in self.callbacks for array in callback.state()]
        own += [augmentation.counter for augmentation in self.augment]
        own += [lr for lr, _ in self.optimizer.rates()]
        return [*own, *step_state(self.model, self.optimizer)]

    def _observer(self):
        watching = overriding(self.callbacks, "after_layer")
        if not watching:
            return None

        def observe(layer, array, backward):
            for callback in watching:
                callback.after_layer(self, layer, array, backward)

        return observe

    def _before_update(self, grads):
        for callback in overriding(self.callbacks, "after_backward"):
            callback.after_backward(self)
        norm, limit = self.clips
        if norm is not None:
            kernels.clip_grad_norm(grads, norm)
        if limit is not None:
            kernels.clip_grad_value(grads, limit)

    def _after_update(self):
        for callback in overriding(self.callbacks, "after_step"):
            callback.after_step(self)


def overriding(callbacks, method):
    """Return the callbacks whose class defines this method."""
    return [c for c in callbacks if getattr(type(c), method) is not getattr(Callback, method)]


def plan_batches(rows, batch_size, batchnorm):
    """Return [(batch size, how often)]: whole batches, then what is left."""
    whole, rest = divmod(rows, batch_size)
    if batchnorm and rest == 1 and whole:
        return [(batch_size, whole - 1), (batch_size + 1, 1)]
    return [(batch_size, whole), (rest, 1 if rest else 0)]
