"""fit: train a model on arrays, whole epochs natively.

Shuffling, gathering, augmentation, forward, loss, backward, clipping, the optimizer and the running
figures are recorded kernels; Python wakes about ten times a second.

The rule: whatever ends a fit (the last epoch, an error, Ctrl-C) leaves a model in eval mode that
works.
"""

import time
from pathlib import Path

from .callbacks import make_callbacks
from .fit_checks import (
    check_numbers,
    check_validation,
    check_weighable,
    checked_weights,
    split_rows,
)
from .history import History
from .inference import evaluate, prepare_inputs
from .losses import check_model, make_loss, prepare_targets
from .optimizers import make_optimizer
from .progress import Progress
from .schedules import ReduceLROnPlateau, Schedule
from .steps import output_width
from .trainer import Trainer, overriding


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
    clip_value=None,
    sample_weight=None,
    class_weight=None,
    shuffle=True,
    sampler=None,
    augment=(),
    callbacks=(),
    seed=0,
    progress=True,
    check_finite=False,
    checkpoint=None,
    every=1,
    resume=None,
    communicator=None,
):
    """Train `model` on x (N, I) and y (N,) or (N, O); return a History of figures by epoch.

    batch_size: a number, or a function of the epoch (`nn.GrowBatch`); with nn.LBFGS an epoch is one
    step on all rows. optimizer, loss: names or objects, or for the loss a function (output, target)
    -> loss, doutput. validation: (x, y), or the fraction of the last rows to hold out. schedule: an
    object of nn.schedules, or a function epoch (from 0) -> learning rate. sampler: an object whose
    `order(seed, epoch)` gives the rows of an epoch, instead of shuffling. augment: augmentations of
    the training batches, in turn. callbacks: `nn.Callback` objects, or functions (model, history)
    called after each epoch; True stops the fit. check_finite: look for NaN and infinity in x first.
    The last, smaller batch is trained on too; with batch normalization a last batch of one row
    joins the one before it. Ctrl-C returns the history so far.

    checkpoint: a path that is written every `every` epochs; resume: such a path, to go on from.
    With the same arguments the fit that goes on ends with the bits of an undisturbed one. Where
    both name one path that is not there yet, the fit begins anew.

    communicator: of mpi4py, MPI.COMM_WORLD: its processes each train on their part of every batch,
    and take the same steps; see data_parallel.py.
    """
    loss = make_loss(loss)
    check_model(loss, model)
    callbacks = make_callbacks(callbacks)
    augment = _augmentations(augment)
    check_numbers(epochs, batch_size, clip_norm, clip_value, schedule, seed)
    x = prepare_inputs(x, model.dtype, "fit", check_finite)
    width = output_width(model, x)
    y = prepare_targets(loss, y, width, model.dtype)
    if len(y) != len(x):
        raise ValueError(f"fit: y has {len(y)} rows, expected {len(x)} as x has")
    check_weighable("fit", loss, sample_weight=sample_weight, class_weight=class_weight)
    weights = checked_weights("sample_weight", sample_weight, len(x), model.dtype)
    classes = checked_weights("class_weight", class_weight, width, model.dtype)
    x, y, weights, validation = split_rows(x, y, weights, validation)
    check_validation(model, loss, validation)
    if isinstance(schedule, ReduceLROnPlateau):
        callbacks.append(schedule)
    if checkpoint is not None:
        from .checkpoints import Checkpoint

        callbacks.append(Checkpoint(checkpoint, every))
    options = {
        "epochs": epochs, "batch_size": batch_size, "clip_norm": clip_norm,
        "clip_value": clip_value, "shuffle": shuffle, "sampler": sampler, "augment": augment,
        "callbacks": callbacks, "seed": seed, "validation": validation, "class_weight": classes,
    }  # fmt: skip
    optimizer = make_optimizer(optimizer, model)
    train = _full_batch() if optimizer.full_batch else Trainer
    if communicator is not None:
        from .data_parallel import trainer_of

        train = trainer_of(communicator, train)
    trainer = train(model, loss, optimizer, (x, y, weights), options)
    if resume is not None and checkpoint is not None and not Path(resume).exists():
        resume = None if Path(resume) == Path(checkpoint) else resume
    with trainer.held():
        return _run(trainer, schedule, progress and trainer.leads, resume)


def _full_batch():
    """Return the trainer of optimizers that want a closure; few fits need it."""
    from .full_batch import FullBatchTrainer

    return FullBatchTrainer


def _run(trainer, schedule, progress, resume):
    model, history = trainer.model, History()
    trainer.history = history
    _begin_schedule(trainer, schedule)
    for callback in trainer.callbacks:
        callback.begin(trainer)
    first = 0
    if resume is not None:
        from .checkpoints import resume as go_on

        first = go_on(trainer, resume)
    bar = Progress(trainer.epochs, trainer.rows, progress)
    try:
        for epoch in range(first, trainer.epochs):
            _set_rate(trainer.optimizer, schedule, epoch, trainer.epochs)
            figures = _run_epoch(trainer, epoch, bar)
            bar.update(epoch, trainer.rows, figures)
            over = [callback.end_epoch(trainer) is True for callback in trainer.callbacks]
            if trainer.agreed(any(over)):
                break
    except KeyboardInterrupt:
        trainer.interrupted()
    finally:
        bar.close()
        model.eval()
        for callback in trainer.callbacks:
            callback.end(trainer)
    return history


def _run_epoch(trainer, epoch, bar):
    """Train for one epoch; add its figures to the history and return them."""
    started = time.perf_counter()
    last = trainer.history.last()
    trainer.model.train()
    for done in trainer.run_epoch(epoch):
        speed = done / max(time.perf_counter() - started, 1e-9)
        bar.update(epoch, min(done, trainer.rows), last or None, speed)
        for callback in overriding(trainer.callbacks, "tick"):
            callback.tick(trainer)
    figures = trainer.figures()
    trainer.model.epochs_trained += 1
    trainer.model.eval()
    if trainer.validation is not None:
        found = evaluate(trainer.model, *trainer.validation, loss=trainer.loss)
        figures |= {f"val_{name}": value for name, value in found.items()}
    figures = trainer.agreed(figures)
    seconds = time.perf_counter() - started
    trainer.history.add(**figures, lr=trainer.optimizer.lr, seconds=seconds)
    return figures


def _begin_schedule(trainer, schedule):
    if not isinstance(schedule, Schedule):
        return
    if hasattr(schedule, "begin"):
        schedule.begin([base for _, base in trainer.optimizer.rates()])
    if schedule.by == "steps":
        trainer.lay_out(schedule)


def _set_rate(optimizer, schedule, epoch, epochs):
    """Set the rates of an epoch, where the schedule counts epochs."""
    if isinstance(schedule, Schedule):
        if schedule.by == "epochs":
            for lr, base in optimizer.rates():
                lr[0] = schedule.rate(base, epoch, epochs)
    elif schedule is not None and not isinstance(schedule, ReduceLROnPlateau):
        optimizer.lr = schedule(epoch)


def _augmentations(augment):
    augment = list(augment) if isinstance(augment, tuple | list) else [augment]
    for one in augment:
        if isinstance(one, type) or not hasattr(one, "apply"):
            kind = one.__name__ if isinstance(one, type) else type(one).__name__
            raise TypeError(f"fit: augment is a {kind}, expected an Augmentation")
    if len(augment) < 2:
        return augment
    from .augmentation import Augmentation
    from .compositions import Compose

    own = all(isinstance(one, Augmentation) for one in augment)
    return [Compose(*augment)] if own else augment  # movements then take one resampling
