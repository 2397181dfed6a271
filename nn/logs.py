"""What a fit writes down as it goes: a CSV file, and event files for TensorBoard.

Both are callbacks. The rule: after each epoch all that is known of it is in the file, so that a fit
that is interrupted, or killed, loses no figure of a whole epoch. Where several processes make a
fit, the first one writes.
"""

import csv
import io
import os
import time
from pathlib import Path

import numpy as np

from .callbacks import Callback
from .extras import needed
from .files import write_whole
from .inspection import Inspector
from .records import SIDES

SHOWN = ("mean", "std", "zeros", "dead", "saturated")  # the figures of a layer that are curves


class CSVLogger(Callback):
    """Writes the figures of each epoch to a CSV file as the fit goes, a row for each epoch.

        nn.fit(model, x, y, callbacks=[nn.CSVLogger("fit.csv")])

    The columns are "epoch", from 0, and those of the History. A file that is there is replaced at
    the first epoch. A further fit with the same logger adds its rows; one that goes on from a
    checkpoint puts those of the epochs before it first, whatever the killed one had written.
    """

    def __init__(self, path):
        self.path = Path(path)
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"CSVLogger: {self.path.parent} is no folder")
        self._before, self._rows, self._fresh = [], [], True

    def begin(self, fit):
        self._before, self._fresh = self._rows, True

    def end_epoch(self, fit):
        columns = fit.history.columns
        # the whole history: a fit that goes on from a checkpoint knows of epochs before it
        self._rows = [*self._before, *zip(*columns.values(), strict=True)]
        lines = [(i, *row) for i, row in enumerate(self._rows)]
        if fit.leads and self._fresh:
            write_whole(self.path, _as_csv([("epoch", *columns), *lines]))
        elif fit.leads:
            with open(self.path, "ab") as file:
                file.write(_as_csv(lines[-1:]))
        self._fresh = False

    def saved(self):
        return {"before": self._before}, []

    def restored(self, plain, kept):
        self._before = [tuple(row) for row in plain["before"]]


class TensorBoard(Callback):
    """Writes event files for TensorBoard into a folder; needs tensorboardX, `fonio[tensorboard]`.

        look = nn.Inspector(every=100)
        nn.fit(model, x, y, callbacks=[look, nn.TensorBoard("runs/first", inspector=look)])

    After each epoch the figures of the History (loss, accuracy, validation, lr, seconds), by epochs
    trained. With an Inspector also what it has seen, by steps: histograms of each layer's
    activations and gradients, their moments and shares, and the norms of parameters and updates.
    """

    def __init__(self, folder, inspector=None):
        if inspector is not None and not isinstance(inspector, Inspector):
            kind = type(inspector).__name__
            raise TypeError(f"TensorBoard: inspector is a {kind}, expected an Inspector or None")
        _tensorboard()
        self.folder, self.inspector = Path(folder), inspector
        self._file, self._seen = None, 0

    def begin(self, fit):
        if self.inspector is not None and self.inspector not in fit.callbacks:
            raise ValueError(
                "TensorBoard: inspector is no callback of the fit, expected callbacks=[inspector, "
                "TensorBoard(...)]"
            )
        self._seen = 0
        if fit.leads:
            self.folder.mkdir(parents=True, exist_ok=True)
            # a suffix of its own: two files of one second would bear one name
            suffix = f".{os.getpid()}.{time.monotonic_ns()}"
            self._file = _tensorboard().EventsWriter(str(self.folder / "events"), suffix)

    def end_epoch(self, fit):
        if self._file is None:
            return
        figures = [{"tag": n, "simple_value": v} for n, v in fit.history.last().items()]
        self._write(fit.model.epochs_trained, figures)
        if self.inspector is not None:
            self.inspector.end_epoch(fit)  # it may stand behind this one, and does nothing twice
            records = self.inspector.records
            for at in range(self._seen, len(records["step"])):
                self._write(int(records["step"][at]), list(_values(records, at)))
            self._seen = len(records["step"])
        self._file.flush()

    def end(self, fit):
        if self._file is not None:
            self._file.close()
        self._file = None

    def _write(self, step, values):
        """Write values of one step, as the fields of TensorBoard's Summary.Value."""
        event = _tensorboard().event_pb2.Event(wall_time=time.time(), step=step)
        for value in values:
            event.summary.value.add(**value)
        self._file.write_event(event)


def _values(records, at):
    """Yield what an Inspector has seen at a step: curves and histograms."""
    for side in SIDES:
        for layer, found in records[side].items():
            tag = f"{side}/{layer.replace(' ', '_')}"
            yield from _curves(tag, {name: found[name] for name in SHOWN}, at)
            bars = _bars(found, at)
            if bars is not None:
                yield {"tag": tag, "histo": bars}
    for parameter, found in records["parameters"].items():
        yield from _curves(f"parameters/{parameter}", found, at)


def _curves(tag, found, at):
    for name, values in found.items():
        if np.isfinite(values[at]):
            yield {"tag": f"{tag}/{name}", "simple_value": float(values[at])}


def _bars(found, at):
    """Return a histogram's fields; None where nothing finite was seen."""
    least, most, mean, std = (float(found[name][at]) for name in ("min", "max", "mean", "std"))
    counts = found["histogram"][at]
    count = int(counts.sum())
    if count == 0 or not np.isfinite([mean, std]).all():
        return None
    ends = np.linspace(least, max(most, np.nextafter(least, np.inf)), len(counts) + 1)
    return {
        **{"min": least, "max": most, "num": count, "sum": count * mean},
        **{"sum_squares": count * (std**2 + mean**2)},
        **{"bucket_limit": ends[1:].tolist(), "bucket": counts.tolist()},
    }


def _as_csv(lines):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()


def _tensorboard():
    """Return tensorboardX's file of events, which writes when told to, in no thread of its own."""
    with needed("TensorBoard needs tensorboardX", "tensorboard", "tensorboardX"):
        from tensorboardX import event_file_writer
    return event_file_writer
