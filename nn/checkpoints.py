"""Checkpoints: all that a fit needs to go on as if it had never stopped.

Weights, statistics, counters of masks, the optimizer's moments, rates, the history and the memory
of callbacks are written after an epoch, whole or not at all. Shuffling is a function of the seed
and the steps taken, so a fit that goes on ends with the bits of one that was never disturbed.

The rule: a checkpoint is data (safetensors and JSON), and is refused where it fits the fit badly.
"""

import json
from pathlib import Path

import numpy as np

from ..kernels import arrays
from .callbacks import Callback
from .files import check_version, model_tensors, read_tensors, write_tensors
from .named_arrays import matched_arrays

FORMAT, VERSION = "fonio-checkpoint", 1


class Checkpoint(Callback):
    """Writes a checkpoint every `every` epochs, and after the last one. See fit(checkpoint=...)."""

    def __init__(self, path, every=1):
        arrays.check_integer("fit", "every", every, 1)
        self.path, self.every = Path(path), int(every)
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"fit: checkpoint: {self.path.parent} is no folder")

    def begin(self, fit):
        if fit.optimizer.full_batch:
            name = type(fit.optimizer).__name__
            raise ValueError(
                f"fit: checkpoint: {name} keeps more than a checkpoint holds, expected another "
                "optimizer"
            )

    def end_epoch(self, fit):
        if fit.leads and ((fit.epoch + 1) % self.every == 0 or fit.epoch + 1 == fit.epochs):
            self.write(fit)

    def write(self, fit):
        """Write what the fit would need to go on after this epoch."""
        tensors = {f"model.{name}": array for name, array in model_tensors(fit.model).items()}
        for name, group in _moving(fit).items():
            tensors |= {f"{name}.{i}": _flat(array) for i, array in enumerate(group)}
        memories = []
        for i, callback in enumerate(_lasting(fit)):
            plain, kept = callback.saved()
            memories.append({"class": type(callback).__name__, "saved": plain})
            tensors |= {f"kept.{i}.{j}": _flat(array) for j, array in enumerate(kept)}
        about = {
            "epoch": fit.epoch,
            "trained": fit.model.epochs_trained,
            "history": fit.history.columns,
            "callbacks": memories,
            **_identity(fit),
        }
        told = {
            "format": FORMAT,
            "version": str(VERSION),
            "fit": json.dumps(about),
        }
        write_tensors(self.path, tensors, told)


def resume(fit, path):
    """Put a checkpoint into a fit that is about to begin; return the epoch to go on with."""
    tensors, told = read_tensors(path, "fit: resume")
    if told.get("format") != FORMAT:
        raise ValueError(f"fit: resume: {path} holds no checkpoint of a fit")
    check_version(path, told, "fit: resume")
    about = json.loads(told["fit"])
    for name, value in _identity(fit).items():
        if about.get(name) != value:
            raise ValueError(
                f"fit: resume: the checkpoint has {name} {about.get(name)!r}, this fit {value!r}"
            )
    named = {n.removeprefix("model."): a for n, a in tensors.items() if n.startswith("model.")}
    pairs = matched_arrays(fit.model, named, "fit: resume")
    for name, group in _moving(fit).items():
        pairs += _pairs(name, group, tensors)
    for array, old in pairs:
        array[...] = old
    for i, (callback, memory) in enumerate(zip(_lasting(fit), about["callbacks"], strict=True)):
        kept, j = [], 0
        while f"kept.{i}.{j}" in tensors:
            kept.append(tensors[f"kept.{i}.{j}"])
            j += 1
        callback.restored(memory["saved"], kept)
    fit.history.columns = about["history"]
    fit.model.epochs_trained = about["trained"]
    return about["epoch"] + 1


def _identity(fit):
    """What must be the same in the fit that goes on."""
    return {
        "optimizer": type(fit.optimizer).__name__,
        "seed": fit.seed,
        "rows": fit.rows,
        "callback classes": [type(callback).__name__ for callback in _lasting(fit)],
    }


def _lasting(fit):
    """The callbacks that must be there again: each fit chooses anew whether it writes."""
    return [callback for callback in fit.callbacks if not isinstance(callback, Checkpoint)]


def _moving(fit):
    """Every array that steps change, but the model's own: {group: arrays in their order}."""
    return {
        "optimizer": fit.optimizer.state(),
        "rate": [lr for lr, _ in fit.optimizer.rates()],
        "steps": [fit.taken],
        "augment": [augmentation.counter for augmentation in fit.augment],
        "callback": [array for callback in fit.callbacks for array in callback.state()],
    }


def _flat(array):
    return np.ascontiguousarray(arrays.on_host(array))


def _pairs(name, group, tensors):
    """Return (array, what the checkpoint holds of it) for each of a group, checked."""
    saved = sum(1 for key in tensors if key.startswith(f"{name}."))
    if saved != len(group):
        raise ValueError(
            f"fit: resume: the checkpoint holds {saved} arrays of {name}, this fit {len(group)}: "
            "it was made with other options"
        )
    pairs = [(array, tensors[f"{name}.{i}"]) for i, array in enumerate(group)]
    for i, (array, old) in enumerate(pairs):
        if old.shape != array.shape or old.dtype != array.dtype:
            raise ValueError(
                f"fit: resume: {name}.{i} is {(old.shape, str(old.dtype))}, "
                f"expected {(array.shape, str(array.dtype))}"
            )
    return pairs
