"""fit: train a model on arrays, whole epochs natively.

Shuffling, gathering, forward, loss, backward, clipping, the optimizer and the running figures are
recorded kernels; Python wakes about ten times a second.

The rule: whatever ends a fit (the last epoch, an error, Ctrl-C) leaves a model in eval mode that
works.
"""

import time

import numpy as np

from .. import kernels
from ..kernels import arrays
from ..kernels.recording import PIECE_SECONDS
from .history import History
from .inference import evaluate, prepare_inputs
from .layers import BatchNorm1d
from .losses import Loss, check_model, make_loss, prepare_targets
from .optimizers import make_optimizer
from .progress import Progress
from .replay import advance, gather_items, gather_rows, tally_hits, tally_loss
from .steps import RecordedStep, output_width, seed_masks, step_state, train_once


def fit(
    model,
    x,
    y,
    *,
    epochs=10,
    batch_size=32,
    optimizer="adam",
    loss="cross_entropy",
    validation=None,
    schedule=None,
    clip_norm=None,
    sample_weight=None,
    class_weight=None,
    shuffle=True,
    callbacks=(),
    seed=0,
    progress=True,
    check_finite=False,
):
    """Train `model` on x (N, I) and y (N,) or (N, O); return a History of figures by epoch.

    optimizer, loss: names or objects, or for the loss a function (output, target) -> loss, doutput.
    validation: (x, y), or the fraction of the last rows to hold out. schedule: epoch (from 0) ->
    learning rate. callbacks: called as callback(model, history) after each epoch; True stops the
    fit. check_finite: look for NaN and infinity in x first. The last, smaller batch is trained on
    too; with batch normalization a last batch of one row joins the one before it. Ctrl-C returns
    the history so far.
    """
    loss = make_loss(loss)
    check_model(loss, model)
    _check_numbers(epochs, batch_size, clip_norm, schedule, callbacks, seed)
    x = prepare_inputs(x, model.dtype, "fit", check_finite)
    width = output_width(model, x)
    y = prepare_targets(loss, y, width, model.dtype)
    if len(y) != len(x):
        raise ValueError(f"fit: y has {len(y)} rows, expected {len(x)} as x has")
    weights = _weights("sample_weight", sample_weight, len(x), model.dtype)
    classes = _weights("class_weight", class_weight, width, model.dtype)
    x, y, weights, validation = _split(x, y, weights, validation)
    _check_validation(model, loss, validation)
    optimizer = make_optimizer(optimizer, model)
    trainer = _Trainer(model, loss, optimizer, (x, y, weights), classes, batch_size, clip_norm)
    trainer.begin(seed, shuffle)
    return _run(trainer, epochs, validation, schedule, callbacks, progress)


def _run(trainer, epochs, validation, schedule, callbacks, progress):
    history = History()
    bar = Progress(epochs, trainer.rows, progress)
    model, optimizer = trainer.model, trainer.optimizer
    figures = None
    try:
        for epoch in range(epochs):
            if schedule is not None:
                optimizer.lr = schedule(epoch)
            started = time.perf_counter()
            model.train()
            for done in trainer.epoch():
                speed = done / max(time.perf_counter() - started, 1e-9)
                bar.update(epoch, done, figures, speed)
            figures = trainer.figures()
            model.eval()
            if validation is not None:
                found = evaluate(model, *validation, loss=trainer.loss)
                figures |= {f"val_{name}": value for name, value in found.items()}
            history.add(**figures, lr=optimizer.lr, seconds=time.perf_counter() - started)
            bar.update(epoch, trainer.rows, figures)
            if any([callback(model, history) is True for callback in callbacks]):
                break
    except KeyboardInterrupt:
        history.interrupted = True
    finally:
        bar.close()
        model.eval()
    return history


class _Trainer:
    """The arrays of a fit, and its recorded steps: one for each batch shape."""

    def __init__(self, model, loss, optimizer, data, class_weight, batch_size, clip_norm):
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.anchor = model.anchor
        self.x, self.y, self.weights, self.class_weight = map(self._put, (*data, class_weight))
        self.clip_norm = clip_norm
        self.rows = len(self.x)
        self.order = self._put(np.arange(self.rows))
        self.cursor, self.hits = (arrays.zeros(self.anchor, 1, np.int64) for _ in range(2))
        self.total = arrays.zeros(self.anchor, 1, np.float64)
        self.plan = _plan(self.rows, min(batch_size, self.rows), _has_batchnorm(model))
        self._steps = {size: self._make_step(size) for size, count in self.plan if count}
        self._seconds = {}

    def _put(self, array):
        return None if array is None else arrays.put(self.anchor, array)

    def begin(self, seed, shuffle):
        """Seed what is random."""
        self.seed, self.shuffle = int(seed), shuffle
        seed_masks(self.model, self.seed)

    def epoch(self):
        """Train for one epoch, yielding the rows done about ten times a second."""
        self.cursor[0] = self.total[0] = self.hits[0] = 0
        if self.shuffle:  # by the steps taken so far, so that a second fit goes on
            order = np.arange(self.rows)
            kernels.shuffle(order, self.seed, int(self.optimizer.count[0]))
            self.order[...] = order
        done = 0
        for size, count in self.plan:
            while count > 0:
                began = time.perf_counter()
                piece = max(1, min(count, int(PIECE_SECONDS / self._seconds.get(size, 1.0))))
                self._steps[size](piece)
                self._seconds[size] = max((time.perf_counter() - began) / piece, 1e-9)
                count -= piece
                done += size * piece
                yield done

    def figures(self):
        """Return the epoch's mean loss, and accuracy where targets are labels."""
        figures = {"loss": float(self.total[0]) / self.rows}
        if not np.isfinite(figures["loss"]):
            figures["loss"] = float(self.total[0])
        if self._counts_hits():
            figures["accuracy"] = int(self.hits[0]) / self.rows
        return figures

    def _counts_hits(self):
        return isinstance(self.loss, Loss) and self.loss.classes and self.y.ndim == 1

    def _make_step(self, size):
        batch = arrays.scratch(self.x, (size, *self.x.shape[1:]))
        targets = arrays.scratch(self.y, (size, *self.y.shape[1:]))
        weights = None if self.weights is None else arrays.scratch(self.weights, size)

        def run():
            gather_rows(size, batch, self.x, self.order, self.cursor)
            gather = gather_items if self.y.ndim == 1 else gather_rows
            gather(size, targets, self.y, self.order, self.cursor)
            if weights is not None:
                gather_items(size, weights, self.weights, self.order, self.cursor)
            output, value = train_once(
                self.model, self.loss, self.optimizer, batch, targets, weights, self.class_weight,
                self._clip if self.clip_norm is not None else None,
            )  # fmt: skip
            tally_loss(1, self.total, value, float(size))
            if self._counts_hits():
                tally_hits(1, self.hits, output, targets)
            advance(1, self.cursor, size)

        own = [self.cursor, self.total, self.hits]
        return RecordedStep(run, [*own, *step_state(self.model, self.optimizer)], self.model)

    def _clip(self, grads):
        kernels.clip_grad_norm(grads, self.clip_norm)


def _plan(rows, batch_size, batchnorm):
    """Return [(batch size, how often)]: whole batches, then what is left."""
    whole, rest = divmod(rows, batch_size)
    if batchnorm and rest == 1 and whole:
        return [(batch_size, whole - 1), (batch_size + 1, 1)]
    return [(batch_size, whole), (rest, 1 if rest else 0)]


def _has_batchnorm(model):
    return any(isinstance(module, BatchNorm1d) for module in model.modules())


def _check_numbers(epochs, batch_size, clip_norm, schedule, callbacks, seed):
    arrays.check_integer("fit", "epochs", epochs, 0)
    arrays.check_integer("fit", "batch_size", batch_size, 1)
    arrays.check_integer("fit", "seed", seed, 0)
    if clip_norm is not None:
        arrays.check_at_least("fit", "clip_norm", clip_norm, 0, strictly=True)
    if schedule is not None and not callable(schedule):
        raise TypeError(f"fit: schedule is a {type(schedule).__name__}, expected a function")
    for callback in callbacks:
        if not callable(callback):
            raise TypeError(f"fit: callback is a {type(callback).__name__}, expected a function")


def _check_validation(model, loss, validation):
    """Refuse bad validation data before the first epoch, not after it."""
    if validation is None:
        return
    x = prepare_inputs(validation[0], model.dtype, "fit: validation")
    width = output_width(model, x)
    y = prepare_targets(loss, validation[1], width, model.dtype, "fit: validation")
    if len(y) != len(x):
        raise ValueError(f"fit: validation: y has {len(y)} rows, expected {len(x)} as x has")


def _weights(name, weights, count, dtype):
    if weights is None:
        return None
    weights = np.ascontiguousarray(arrays.on_host(weights), dtype)
    if weights.shape != (count,):
        raise ValueError(f"fit: {name} has shape {weights.shape}, expected ({count},)")
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError(f"fit: {name} has negative or non-finite numbers, expected {name} >= 0")
    return weights


def _split(x, y, weights, validation):
    """Return training x, y, weights and validation (x, y), the last rows for a fraction."""
    if not arrays.is_number(validation):
        if validation is not None and len(validation) != 2:
            raise ValueError("fit: validation is not (x, y), expected a pair or a fraction")
        return x, y, weights, validation
    if not 0 < validation < 1:
        raise ValueError(f"fit: validation is {validation}, expected 0 < validation < 1")
    held = max(1, round(len(x) * validation))
    if held >= len(x):
        raise ValueError(
            f"fit: validation is {validation} of {len(x)} rows, expected rows to train on"
        )
    kept = None if weights is None else weights[:-held]
    return x[:-held], y[:-held], kept, (x[-held:], y[-held:])
