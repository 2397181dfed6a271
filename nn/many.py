"""fit_many: many small nets trained at once, one net a thread, with no Python in between.

Each thread takes the next net that is not finished and trains it alone, whole epochs natively
(many_loop.py), early stopping included. Python makes what is recorded, which nets of a kind share
(many_slots.py), and looks at the clock. A hundred nets 64-32-10 of 256 steps take 4.2 ms each by
fit one after another, 2.0 here, and 1.25 on two threads; 0.3 ms of it is Python's, which threads
do not share.

The rule: a net ends with the bits of `nn.fit` with its seed, whatever trains beside it.
"""

import threading

import numpy as np

from ..kernels import arrays, team
from .fit_checks import check_clips
from .history import History
from .many_data import Common
from .many_loop import COLUMN, FIGURES, MIN_DELTA, SIGN, WATCH, run_epochs
from .many_slots import Slot
from .many_tasks import check_many_schedule, check_models, make_tasks
from .progress import Progress
from .schedules import Schedule
from .steps import seed_masks

SLOTS = 4  # that a thread keeps: recordings for so many kinds of nets


class NetHistory(History):
    """The figures of one of many nets: `best_epoch` is that of its weights, -1 for none."""

    def __init__(self, best_epoch, stopped):
        super().__init__()
        self.best_epoch, self.stopped = best_epoch, stopped


class Histories(list):
    """The History of each net, in the order of the nets; `interrupted` by Ctrl-C or not."""

    def __init__(self, histories, interrupted=False):
        super().__init__(histories)
        self.interrupted = interrupted

    @property
    def epochs(self):
        """How many epochs each net was trained for, (nets,)."""
        return np.array([history.epochs for history in self], np.int64)

    @property
    def best_epochs(self):
        """The epoch whose weights each net has, from 0; -1 where none is whole, (nets,)."""
        return np.array([history.best_epoch for history in self], np.int64)

    def curves(self, name):
        """Return a figure of all nets by epoch, (nets, epochs), NaN after a net's end."""
        found = np.full((len(self), self.epochs.max(initial=0)), np.nan)
        for row, history in zip(found, self, strict=True):
            if history.epochs:
                row[: history.epochs] = history[name]
        return found

    def final(self, name):
        """Return a figure at the epoch whose weights each net has, (nets,); NaN where none."""
        pairs = zip(self.curves(name), self.best_epochs, strict=True)
        return np.array([row[best] if best >= 0 else np.nan for row, best in pairs])

    def __repr__(self):
        stopped = ", interrupted" if self.interrupted else ""
        return f"<Histories of {len(self)} nets, {self.epochs.sum()} epochs in all{stopped}>"


def fit_many(
    models,
    x,
    y,
    *,
    epochs=10,
    batch_size=32,
    optimizer="adam",
    lr=None,
    loss="cross_entropy",
    seeds=0,
    rows=None,
    validation=None,
    patience=None,
    monitor="val_loss",
    min_delta=0.0,
    schedule=None,
    clip_norm=None,
    clip_value=None,
    sample_weight=None,
    class_weight=None,
    shuffle=True,
    threads=None,
    progress=True,
):
    """Train many models on x (N, I) and y (N,) or (N, O), one a thread; return their Histories.

    epochs, batch_size, optimizer, lr, seeds, rows, patience: one for all, or a list with one for
    each model. optimizer: a name, a function of the parameters such as nn.SGD, or an Optimizer; lr:
    its rate (None: its own). seeds: a number s means s, s + 1, ...; rows: the rows that a net
    trains on (None: all), as of `nn.bootstrap` or of a fold, which copies nothing. patience: stop a
    net when `monitor` has not improved by more than `min_delta` for so many epochs, and put back
    the weights of its best. threads: how many nets at once (None: kernels.get_num_threads()).
    The rest is as in `nn.fit`.

    Each model ends with the bits that `nn.fit` with its seed gives it, for any number of threads.
    Ctrl-C stops all within a step, and leaves usable models. Models that differ in their
    numbers alone share what is recorded; each other kind, and any layer not of fonio, costs some
    milliseconds of Python.
    """
    common = Common(x, y, loss, validation, (sample_weight, class_weight), {
        "clip_norm": clip_norm, "clip_value": clip_value, "shuffle": shuffle, "schedule": schedule,
    })  # fmt: skip
    models = check_models(models, common.loss)
    check_clips("fit_many", clip_norm, clip_value)
    check_many_schedule(schedule)
    threads = team.get_num_threads() if threads is None else threads
    arrays.check_integer("fit_many", "threads", threads, 1)
    if isinstance(seeds, int | np.integer) and not isinstance(seeds, bool):
        seeds = [int(seeds) + i for i in range(len(models))]
    settings = {
        "epochs": epochs, "batch_size": batch_size, "optimizer": optimizer, "lr": lr,
        "seeds": seeds, "rows": rows, "patience": patience,
    }  # fmt: skip
    common.options["watch"] = _watch(monitor, min_delta)
    tasks = make_tasks(models, common, settings, None if patience is None else monitor)
    return _Crew(tasks, common).run(threads, progress)


def _watch(monitor, min_delta):
    """Return the words that tell the native loop what to watch."""
    arrays.check_known("fit_many", monitor, FIGURES, "monitor")
    arrays.check_at_least("fit_many", "min_delta", min_delta, 0)
    words = np.zeros(WATCH)
    words[COLUMN], words[MIN_DELTA] = FIGURES.index(monitor), min_delta
    words[SIGN] = -1.0 if "accuracy" in monitor else 1.0
    return words


class _Crew:
    """The threads that train the nets, each the next one that is not taken."""

    def __init__(self, tasks, common):
        self.tasks, self.common = tasks, common
        self.names = common.figures(tasks[0].model, tasks[0].outputs)
        self.stop = np.zeros(1, np.int64)
        self._pending = iter([task for task in tasks if task.epochs])
        self._python = threading.Lock()  # recording is Python's work, one thread at a time
        self._failures, self._finished = [], 0

    def run(self, threads, progress):
        """Train all nets; return their Histories."""
        count = max(1, min(threads, len(self.tasks)))
        # not Thread.join: one that Ctrl-C ended takes the thread for over (Python 3.11)
        ends = [threading.Event() for _ in range(count)]
        workers = [threading.Thread(target=self._work, args=(end,), daemon=True) for end in ends]
        bar = Progress(len(self.tasks), 1, progress, unit="net")
        interrupted = False
        try:
            for worker in workers:
                worker.start()
            for end in ends:
                while not end.wait(0.1):
                    bar.update(max(0, self._finished - 1), min(1, self._finished))
        except KeyboardInterrupt:
            interrupted = True
        finally:
            self.stop[0] = 1
            for worker, end in zip(workers, ends, strict=True):
                if worker.ident is not None:  # one that starts later finds that all shall stop
                    end.wait()
            bar.close()
        if self._failures:
            raise self._failures[0]
        return Histories(map(self._history, self.tasks), interrupted)

    def _work(self, end):
        task, slot, slots = None, None, {}
        try:
            with team.at_most_threads(1):
                while True:
                    with self._python:
                        task = self._next(task, slot)
                        if task is None:
                            return
                        slot = None
                        slot = self._slot(slots, task)
                    run_epochs(
                        *slot.arguments(task, self.common), task.figures, task.done, self.stop
                    )
        except BaseException as error:
            self.stop[0] = 1
            error.add_note(f"fit_many: training models[{task.number if task else '?'}]")
            self._failures.append(error)
            if task is not None and slot is not None:
                self._put_away(task, slot)
        finally:
            end.set()

    def _next(self, task, slot):
        """Put a trained net away and take another; None where there is none."""
        if task is not None:
            self._put_away(task, slot)
        return None if self.stop[0] else next(self._pending, None)

    def _slot(self, slots, task):
        """Return a slot with the net in it, one that has served its kind where there is one."""
        rates = tuple(map(len, task.rates))
        key = (task.kind, task.batch_size, task.count, task.outputs, rates)
        if task.kind is None or key not in slots:
            slot = Slot(task, self.common, shared=task.kind is not None)
            if not slot.shared:
                slot.load(task)
                return slot
            if len(slots) == SLOTS:
                del slots[next(iter(slots))]
            slots[key] = slot
        slots[key].load(task)
        return slots[key]

    def _put_away(self, task, slot):
        """Give a net its weights, the best where they were watched, and leave it in eval mode."""
        done, best, _ = map(int, task.done)
        slot.unload(task, kept=best >= 0 and not (task.finished and best == done - 1))
        model, schedule = task.model, self.common.options["schedule"]
        seed_masks(list(model.modules()), task.seed)
        model.epochs_trained += done
        model.eval()
        if schedule is not None and not isinstance(schedule, Schedule) and done:
            task.optimizer.lr = schedule(done - 1)
        self._finished += 1

    def _history(self, task):
        done, best, stopped = map(int, task.done)
        history = NetHistory(best if task.patience else done - 1, bool(stopped))
        history.interrupted = not task.finished
        for name in self.names:
            history.columns[name] = task.figures[:done, FIGURES.index(name)].tolist()
        history.columns["lr"] = task.rates_by_epoch()[:done]
        return history
