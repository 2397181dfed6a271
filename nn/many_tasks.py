"""What fit_many is asked to do: the nets with their settings, and what they all share.

The rule: everything is checked here, before any weight is changed.
"""

from dataclasses import dataclass, field

import numpy as np

from ..kernels import arrays
from .fit_checks import check_schedule
from .losses import check_model
from .many_kinds import kind_of_model, kind_of_optimizer
from .many_loop import FIGURES
from .module import Module
from .normalization import BatchNorm1d
from .optimizers import Optimizer, make_optimizer
from .schedules import ReduceLROnPlateau, Schedule
from .steps import output_width
from .trainer import plan_batches

NONE = np.zeros(0, np.int64)


@dataclass
class Task:
    """One net and its settings; `figures` and `done` are what the native loop fills."""

    number: int
    model: Module
    optimizer: Optimizer
    make: object  # of another optimizer for a twin of the model, or None
    kind: object  # what nets that share a recording have in common, or None
    epochs: int
    batch_size: int
    seed: int
    rows: np.ndarray  # which it trains on, empty for all
    patience: int
    outputs: int
    count: int = 0
    plan: list = field(default_factory=list)
    figures: np.ndarray = field(default_factory=lambda: np.zeros(0))
    done: np.ndarray = field(default_factory=lambda: np.array([0, -1, 0]))
    rates: list = field(default_factory=list)

    def rates_by_epoch(self):
        """Return the first group's rate at the end of each epoch."""
        if not self.rates:
            return [self.optimizer.lr] * self.epochs
        steps = len(self.rates[0]) // max(self.epochs, 1)
        return self.rates[0][steps - 1 :: steps].astype(float).tolist() if self.epochs else []

    @property
    def finished(self):
        """Whether the net was trained to its end."""
        return bool(self.done[0] == self.epochs or self.done[2])


def each_of(name, value, count):
    """Return a setting for each net, from one for all or a list of as many."""
    if not isinstance(value, list | tuple | np.ndarray):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"fit_many: {name} has {len(value)} elements, expected {count}, one a net")
    return list(value)


def check_models(models, loss):
    """Return the models as a list; refuse what cannot be trained side by side."""
    if isinstance(models, Module) or not hasattr(models, "__iter__"):
        kind = type(models).__name__
        raise TypeError(f"fit_many: models is a {kind}, expected a list of Modules")
    models = list(models)
    if not models:
        raise ValueError("fit_many: models is empty, expected at least one")
    seen = {}
    for number, model in enumerate(models):
        if not isinstance(model, Module):
            kind = type(model).__name__
            raise TypeError(f"fit_many: models[{number}] is a {kind}, expected a Module")
        if model.device != "cpu":
            raise ValueError(f"fit_many: models[{number}] is on cuda, expected the CPU (nn.fit)")
        for part in (*model.parameters(), *model.modules()):
            first = seen.setdefault(id(part), number)
            if first != number:
                raise ValueError(
                    f"fit_many: models[{first}] and models[{number}] share {part!r}, expected "
                    "models apart"
                )
        check_model(loss, model)
    return models


def make_tasks(models, common, settings, monitor):
    """Return the Task of each net, everything checked; only the optimizers are made here."""
    count = len(models)
    settings = {name: each_of(name, value, count) for name, value in settings.items()}
    for name, least in (("epochs", 0), ("batch_size", 1), ("seeds", 0)):
        for value in settings[name]:
            arrays.check_integer("fit_many", name, value, least)
    for seed in settings["seeds"]:
        if seed >= 1 << 63:
            raise ValueError(f"fit_many: seeds has an element {seed}, expected seeds below 2**63")
    for value in settings["lr"]:
        if value is not None:
            arrays.check_at_least("fit_many", "lr", value, 0)
    for value in settings["patience"]:
        if value is not None:
            arrays.check_integer("fit_many", "patience", value, 1)
    kinds, known = [kind_of_model(model) for model in models], {}
    widths = [_width(*pair, common, known) for pair in zip(models, kinds, strict=True)]
    _check_monitor(monitor, common, models[0], widths[0])
    for spec in settings["optimizer"]:
        _check_optimizer(spec)
    rows = [_rows(given, common.count) for given in settings["rows"]]
    return [
        _task(
            i,
            models[i],
            kinds[i],
            widths[i],
            rows[i],
            {name: values[i] for name, values in settings.items()},
            common,
        )  # fmt: skip
        for i in range(count)
    ]


def _check_monitor(monitor, common, model, outputs):
    """Refuse to watch what no one computes."""
    there = common.figures(model, outputs)
    if monitor is None or monitor in there:
        return
    if monitor.startswith("val_") and common.validation is None:
        raise ValueError(f"fit_many: monitor is {monitor!r}, expected validation data")
    raise ValueError(f"fit_many: monitor is {monitor!r}, expected one of {there}")


def _width(model, kind, common, known):
    """Return a model's number of outputs, once the data fit it."""
    if kind is not None and kind in known:
        return known[kind]
    outputs = output_width(model, common.inputs(model.dtype))
    common.data(model.dtype, outputs)
    common.class_weight(model.dtype, outputs)
    if common.validation is not None:
        common.validation_data(model.dtype, outputs)
    if kind is not None:
        known[kind] = outputs
    return outputs


def _rows(given, count):
    """Return the rows that a net trains on as int64, empty for all."""
    if given is None:
        return NONE
    rows = np.asarray(given)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or not len(rows):
        raise ValueError(
            f"fit_many: rows has an element of shape {rows.shape}, dtype {rows.dtype}, expected "
            "whole numbers (M,)"
        )
    if rows.min() < 0 or rows.max() >= count:
        bad = rows.min() if rows.min() < 0 else rows.max()
        raise ValueError(f"fit_many: rows has an element {bad}, expected rows in [0, {count})")
    return np.ascontiguousarray(rows, np.int64)


def _check_optimizer(spec):
    if isinstance(spec, str):
        from .optimizers import OPTIMIZERS

        arrays.check_known("fit_many", spec, OPTIMIZERS, "optimizer")
        if OPTIMIZERS[spec][0].full_batch:
            _refuse_full_batch(OPTIMIZERS[spec][0])
    elif not (isinstance(spec, Optimizer) or callable(spec)):
        kind = type(spec).__name__
        raise TypeError(
            f"fit_many: optimizer is a {kind}, expected a name, an Optimizer or a function of the "
            "parameters"
        )


def _refuse_full_batch(kind):
    raise ValueError(
        f"fit_many: optimizer is {kind.__name__}, whose line search decides in Python, expected "
        "one of steps (nn.fit takes it)"
    )


def _task(number, model, kind, outputs, rows, own, common):
    make, optimizer = _optimizer(number, model, own["optimizer"])
    parts = kind, make and kind_of_optimizer(model, optimizer)
    if own["lr"] is not None:
        optimizer.lr = own["lr"]
    count = len(rows) or common.count
    batchnorm = any(isinstance(module, BatchNorm1d) for module in model.modules())
    plan = plan_batches(count, min(own["batch_size"], count), batchnorm)
    task = Task(
        number, model, optimizer, make, None if None in parts else parts,
        int(own["epochs"]), int(own["batch_size"]), int(own["seeds"]), rows,
        int(own["patience"] or 0), outputs, count,
        [(size, times) for size, times in plan if times],
    )  # fmt: skip
    task.figures = np.zeros((task.epochs, len(FIGURES)))
    task.rates = rates_of(task, common.options["schedule"])
    return task


def _optimizer(number, model, spec):
    """Return how to make another optimizer like it (None: unknown), and a net's optimizer."""
    make = None if isinstance(spec, Optimizer) else _maker(spec)
    optimizer = spec if make is None else make(model)
    if not isinstance(optimizer, Optimizer):
        kind = type(optimizer).__name__
        raise TypeError(f"fit_many: optimizer made a {kind}, expected an Optimizer")
    if optimizer.full_batch:
        _refuse_full_batch(type(optimizer))
    if not optimizer.at_home(model.parameters()):
        raise ValueError(
            f"fit_many: the optimizer of models[{number}] holds other parameters, expected those "
            "of the model, where they lie"
        )
    return make, optimizer


def _maker(spec):
    if isinstance(spec, str):
        return lambda model: make_optimizer(spec, model)
    return lambda model: spec(model.parameters())


def check_many_schedule(schedule):
    """Refuse what is no schedule, and the one that looks at the history."""
    if isinstance(schedule, ReduceLROnPlateau):
        raise ValueError(
            "fit_many: schedule is a ReduceLROnPlateau, which decides in Python, expected a "
            "schedule of epochs or steps"
        )
    check_schedule("fit_many", schedule)


def rates_of(task, schedule):
    """Return the rates of each group, by epochs or by steps; none without a schedule."""
    if schedule is None:
        return []
    groups = task.optimizer.rates()
    if not isinstance(schedule, Schedule):
        first, table = task.optimizer.lr, []
        for epoch in range(task.epochs):
            task.optimizer.lr = schedule(epoch)
            table.append([rate[0] for rate, _ in task.optimizer.rates()])
        task.optimizer.lr = first
        return [
            np.array([row[i] for row in table], rate.dtype) for i, (rate, _) in enumerate(groups)
        ]
    if hasattr(schedule, "begin"):
        schedule.begin([base for _, base in groups])
    steps = sum(times for _, times in task.plan)
    total = task.epochs * (steps if schedule.by == "steps" else 1)
    return [
        np.array([schedule.rate(base, t, total) for t in range(total)], rate.dtype)
        for rate, base in groups
    ]
