"""Where the nets of fit_many are trained: recordings made once for all nets of a kind.

A slot is a net whose steps are recorded. Nets that differ in nothing but their numbers (weights,
rates, rows, seeds) pass through the same slot, one after another: their arrays are copied in before
and out after, which takes microseconds where recording takes milliseconds of Python. A net that
cannot be compared so is its own slot.

The rule: what a net leaves in a slot, the next one overwrites.
"""

import copy

import numpy as np

from ..kernels import team
from .inference import ROWS, eval_mode
from .losses import Loss
from .many_loop import (
    KEEP,
    LAST,
    MEASURE,
    PART,
    RATES,
    REST,
    TABLES,
    WHOLE,
    count_classes,
    count_labels,
    count_signs,
    move_bytes,
    place_rows,
)
from .replay import advance, gather_rows, tally_loss
from .schedules import take_rate
from .steps import RecordedStep, seed_masks
from .trainer import Trainer

SEED = 0x5EED_0F_4E7_5EED  # stands for a seed while recording: no other word is like it


def arrays_of(model, optimizer):
    """Return every array of a net that training reads or writes, in one order for all of a kind."""
    trained = {id(parameter) for parameter in optimizer.parameters}
    frozen = [p.value for p in model.parameters() if id(p) not in trained]
    rates = [rate for rate, _ in optimizer.rates()]
    own = [optimizer.values, optimizer.grads, *frozen, *model.buffers(), *optimizer.state()]
    return [*own, *rates]


def twin_of(model):
    """Return a copy of a model with arrays of its own, and without its optimizer."""
    return copy.deepcopy(model, {id(getattr(model, "fit_optimizer", None)): None})


class Slot:
    """A recorded net: `load` a net's arrays, `run_epochs(*slot.arguments(...))`, `unload`."""

    def __init__(self, task, common, shared):
        self.model, self.optimizer, self.shared = task.model, task.optimizer, False
        if shared:
            self._take_twins(task)
        self.arrays = arrays_of(self.model, self.optimizer)
        self._steps = []  # kept alive: the tables name their arrays
        self.seeds = []  # the words of launches that hold the seed
        self.tables = [np.zeros((0, team.COLUMNS), np.int64)] * TABLES
        self.times = np.zeros(TABLES, np.int64)
        self._begin(task, common)
        self.load(task)
        before = [array.copy() for array in self.arrays]
        try:
            self._record(task, common)
        finally:
            for array, old in zip(self.arrays, before, strict=True):
                array[...] = old

    def _take_twins(self, task):
        """Make a model and an optimizer like the net's, where its maker makes one for any model."""
        model = twin_of(task.model)
        optimizer = task.make(model)
        if optimizer is not task.optimizer and optimizer.at_home(model.parameters()):
            self.model, self.optimizer, self.shared = model, optimizer, True

    def _begin(self, task, common):
        """Make the trainer, whose steps are recorded, and the tables of rates."""
        dtype, options = task.model.dtype, common.options
        options = options | {
            "epochs": task.epochs, "batch_size": task.batch_size, "shuffle": False,
            "sampler": None, "augment": [], "callbacks": [], "seed": task.seed, "validation": None,
            "class_weight": common.class_weight(dtype, task.outputs),
        }  # fmt: skip
        data = common.data(dtype, task.outputs)
        self.trainer = Trainer(self.model, common.loss, self.optimizer, data, options)
        self.trainer.order = np.arange(task.count)
        self.epoch = np.zeros(1, np.int64)
        rates = self.optimizer.rates() if task.rates else []
        self.rate_tables = [
            (rate, np.zeros_like(table)) for (rate, _), table in zip(rates, task.rates, strict=True)
        ]
        self.by_steps = getattr(common.options["schedule"], "by", "epochs") == "steps"
        self.trainer._tables = self.rate_tables if self.by_steps else []

    def load(self, task):
        """Copy a net in."""
        if self.shared:
            self._exchange(self.arrays, arrays_of(task.model, task.optimizer))
        for words, place in self.seeds:
            words[place] = task.seed
        self.trainer.taken[0] = self.epoch[0] = 0
        for (_, table), rates in zip(self.rate_tables, task.rates, strict=True):
            table[...] = rates
        self.trainer.order[...] = task.rows if len(task.rows) else np.arange(task.count)

    def unload(self, task, kept):
        """Copy a net out; `kept`: with the weights that were put aside."""
        if kept:
            self._exchange(*zip(*self._aside, strict=True))
        if self.shared:
            self._exchange(arrays_of(task.model, task.optimizer), self.arrays)

    @staticmethod
    def _exchange(targets, sources):
        for target, source in zip(targets, sources, strict=True):
            target[...] = source

    def arguments(self, task, common):
        """Return what run_epochs takes before figures, done and stop."""
        trainer = self.trainer
        return (
            tuple(self.tables), self.times, trainer.order, task.rows,
            (task.seed, int(common.options["shuffle"]), task.patience),
            (trainer.cursor, trainer.total, trainer.hits, self.optimizer.count),
            (self.val_cursor, self.val_total, self.val_hits, self.val_most),
            common.options["watch"],
        )  # fmt: skip

    def _record(self, task, common):
        """Record and prove all steps; the arrays of the net are changed by that."""
        validation = self._begin_validation(task, common)
        self.model.train()
        for which, (size, times) in zip((WHOLE, REST), task.plan, strict=False):
            step = self.trainer._make_step(size)
            self.trainer.cursor[0] = 0
            self._find_seeds(step, task)
            self._prove(step, self.trainer.cursor, size, task.count)
            self._put(which, step, times)
        if self.rate_tables and not self.by_steps:
            rates = [rate for rate, _ in self.rate_tables]
            step = RecordedStep(self._take_rates, [self.epoch, *rates], self.model)
            step(2)
            self._put(RATES, step, 1)
        for which, step, times, size in validation:  # proven with other weights than recorded
            self._prove(step, self.val_cursor, size, len(self.val_order))
            self._put(which, step, times)
        self._record_keeping()

    def _find_seeds(self, step, task):
        """Record a step that is to draw with the seeds of several nets."""
        drawing = list(self.model.modules())
        seed_masks(drawing, SEED if self.shared else task.seed)
        step()
        if self.shared:
            seed_masks(drawing, task.seed)
            self.seeds += step.recording.places_of(SEED)
            for words, place in self.seeds:
                words[place] = task.seed

    def _put(self, which, step, times):
        self._steps.append(step)
        self.tables[which], self.times[which] = step.recording.native_table, times

    @staticmethod
    def _prove(step, cursor, size, rows):
        """Take a recorded step again, on other rows where there are."""
        if cursor[0] + size > rows:
            cursor[0] = 0
        step()

    def _take_rates(self):
        for rate, table in self.rate_tables:
            take_rate(1, rate, table, self.epoch)
        advance(1, self.epoch, 1)

    def _record_keeping(self):
        """Record the copy of what training changes of the model."""
        changed = [self.optimizer.values, *self.model.buffers()]
        self._aside = [(array, np.empty_like(array)) for array in changed if array.size]
        flat = [
            (kept.reshape(-1).view(np.uint8), array.reshape(-1).view(np.uint8))
            for array, kept in self._aside
        ]

        def run():
            for kept, array in flat:
                move_bytes(len(kept), kept, array)

        step = RecordedStep(run, [], self.model)
        step(2)
        self._put(KEEP, step, 1)

    def _begin_validation(self, task, common):
        """Record validation; return [(which, step, times, rows)], not proven yet."""
        self.val_cursor, self.val_hits = np.zeros(1, np.int64), np.zeros(1, np.int64)
        self.val_total, self.val_most = np.zeros(1), np.ones(1, np.int64)
        self.val_order = np.arange(0)
        if common.validation is None:
            return []
        x, y = common.validation_data(task.model.dtype, task.outputs)
        self.val_order, whole = np.arange(len(x)), np.empty((len(x), task.outputs), x.dtype)
        measure, self.val_most[0] = self._measuring(common.loss, whole, y)
        times, rest = divmod(len(x), ROWS)
        runs = [
            (which, self._answering(x, whole, size), count, size)
            for which, size, count in ((PART, ROWS, times), (LAST, rest, 1))
            if size and count
        ]
        state = [self.val_cursor, self.val_total, self.val_hits, whole]
        steps = []
        for which, run, count, size in (*runs, (MEASURE, measure, 1, 0)):
            step = RecordedStep(run, state, self.model)
            self.val_cursor[0] = 0
            step()
            steps.append((which, step, count, size))
        return steps

    def _answering(self, x, whole, size):
        """Return a function that fills the next rows of outputs, as `predict` does."""
        batch = np.empty((size, x.shape[1]), x.dtype)

        def run():
            gather_rows(size, batch, x, self.val_order, self.val_cursor)
            with eval_mode(self.model):
                output = self.model(batch)
            place_rows(size, output, whole, self.val_cursor)
            advance(1, self.val_cursor, size)

        return run

    def _measuring(self, loss, whole, y):
        """Return a function that adds up loss and hits, and how many hits there may be."""
        count, most = None, 1
        if isinstance(loss, Loss) and loss.classes:
            count, most = (count_labels if y.ndim == 1 else count_classes), len(y)
        elif isinstance(loss, Loss) and loss.name == "bce_with_logits":
            count, most = count_signs, y.size

        def run():
            value = loss(whole, y)[0]
            tally_loss(1, self.val_total, value, 1.0)
            if count is not None:
                count(1, self.val_hits, whole, y)

        return run, most
