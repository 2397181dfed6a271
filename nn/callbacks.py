"""Callbacks: what a fit calls at its ends, after each epoch, and inside its recorded step.

The rule: `after_layer`, `after_backward` and `after_step` run in the recorded step, so they launch
kernels and nothing else, and name in `state()` every array that they change and read again. The
others are plain Python.
"""

import math

from ..kernels import arrays


class Callback:
    """Subclass and override what is wanted; each method is given the running fit.

    The fit has `model`, `optimizer`, `loss`, `history`, `epoch` (from 0), `epochs`, `rows`,
    `batch_size`, `seed` and `validation`.
    """

    def begin(self, fit):
        """Called before the first epoch."""

    def after_layer(self, fit, layer, array, backward):
        """Called in each step, recorded, with what each layer of a Sequential made.

        `backward` tells that the array is its gradient. A linear or normalization layer that
        computes the activation after it is not shown apart from that.
        """

    def after_backward(self, fit):
        """Called in each step, recorded: the gradients are there, the optimizer's step is not."""

    def after_step(self, fit):
        """Called in each step, recorded: the parameters are changed."""

    def end_epoch(self, fit):
        """Called after each epoch, in eval mode; True ends the fit."""

    def end(self, fit):
        """Called when the fit ends, whatever ended it."""

    def tick(self, fit):
        """Called about ten times a second while an epoch runs; `fit.done` rows of it are done."""

    def state(self):
        """Return every array that the recorded methods change."""
        return []

    def saved(self):
        """Return (plain values for JSON, arrays): what a checkpoint keeps besides `state`."""
        return {}, []

    def restored(self, plain, kept):
        """Take back what `saved` returned, when a fit goes on from a checkpoint."""


class Function(Callback):
    """A plain function `(model, history)`, called after each epoch; True ends the fit."""

    def __init__(self, function):
        self.function = function

    def end_epoch(self, fit):
        return self.function(fit.model, fit.history)


def make_callbacks(callbacks):
    """Return callbacks as they are, and plain functions as callbacks."""
    made = []
    for callback in callbacks:
        if isinstance(callback, type) or not (isinstance(callback, Callback) or callable(callback)):
            kind = callback.__name__ if isinstance(callback, type) else type(callback).__name__
            raise TypeError(f"fit: callback is a {kind}, expected a Callback or a function")
        made.append(callback if isinstance(callback, Callback) else Function(callback))
    return made


class Watch(Callback):
    """Follows one figure of the history, and knows when it is the best so far.

    monitor: "val_loss", "loss", "val_accuracy" or another column; mode "min" or "max" (None: "max"
    for an accuracy); an improvement is one by more than `min_delta`.
    """

    def __init__(self, monitor, mode, min_delta):
        name = type(self).__name__
        if mode is not None:
            arrays.check_known(name, mode, ("min", "max"), "mode")
        arrays.check_at_least(name, "min_delta", min_delta, 0)
        self.monitor, self.min_delta = monitor, float(min_delta)
        self.sign = -1.0 if (mode or ("max" if "accuracy" in monitor else "min")) == "max" else 1.0
        self.begin_watch()

    def begin_watch(self):
        """Forget what was seen."""
        self.best, self.best_epoch, self.bad_epochs = math.inf, None, 0

    def begin(self, fit):
        if self.monitor.startswith("val_") and fit.validation is None:
            raise ValueError(
                f"{type(self).__name__}: monitor is {self.monitor!r}, expected fit to be given "
                "validation data"
            )
        self.begin_watch()

    def improved(self, fit):
        """Look at the last epoch's figure; tell whether it is the best so far."""
        value = self.sign * fit.history[self.monitor][-1]
        better = value < self._bar()
        if better:
            self.best, self.best_epoch, self.bad_epochs = value, fit.epoch, 0
        else:
            self.bad_epochs += 1
        return better

    def saved(self):
        return {"best": self.best, "best_epoch": self.best_epoch, "bad": self.bad_epochs}, []

    def restored(self, plain, kept):
        self.best, self.best_epoch = plain["best"], plain["best_epoch"]
        self.bad_epochs = plain["bad"]

    def _bar(self):
        """What a figure must lie below to be better (with the sign of a loss)."""
        return self.best - self.min_delta

    @property
    def best_value(self):
        """The best figure seen."""
        return self.sign * self.best


class EarlyStopping(Watch):
    """End a fit when a figure has not improved for `patience` epochs. Prechelt 1998.

    The weights (and buffers) of the best epoch are put back at the end, whatever ended the fit,
    unless `restore_best` is False.
    """

    def __init__(
        self, monitor="val_loss", patience=10, min_delta=0.0, mode=None, restore_best=True
    ):
        arrays.check_integer("EarlyStopping", "patience", patience, 1)
        super().__init__(monitor, mode, min_delta)
        self.patience, self.restore_best = int(patience), restore_best
        self.stopped = False
        self._kept = None

    def begin(self, fit):
        super().begin(fit)
        self.stopped, self._kept = False, None

    def end_epoch(self, fit):
        if self.improved(fit):
            if self.restore_best:
                self._kept = snapshot(fit.model)
            return False
        self.stopped = self.bad_epochs >= self.patience
        return self.stopped

    def saved(self):
        return super().saved()[0], self._kept or []

    def restored(self, plain, kept):
        super().restored(plain, kept)
        self._kept = kept or None

    def end(self, fit):
        if self._kept is not None and self.best_epoch != fit.epoch:
            restore(fit.model, self._kept)
        self._kept = None


def snapshot(model):
    """Return copies of a model's parameters and buffers, for `restore`."""
    return [array.copy() for array in _arrays(model)]


def restore(model, kept):
    """Put back what `snapshot` copied."""
    for array, old in zip(_arrays(model), kept, strict=True):
        array[...] = old


def _arrays(model):
    return [parameter.value for parameter in model.parameters()] + model.buffers()
