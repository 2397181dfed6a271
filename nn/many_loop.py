"""The native loop of fit_many: whole fits of one net on the calling thread, with no Python at all.

A fit is seven recordings (a training step by batch shape, the rates of an epoch, validation, the
copy of the best weights) and the decisions between them, which are the same formulas as in
training.py and callbacks.py, so that the figures and the bits are those of `nn.fit`.

The rule: what differs from net to net lies in arrays, so that one machine code serves all.
"""

import numpy as np

from ..kernels import shuffle
from ..kernels.caching import jit
from ..kernels.launch import kernel
from ..kernels.loops import for_each, for_each_row
from ..kernels.native import atomic_load
from ..kernels.team import replay_alone

WHOLE, REST, RATES, PART, LAST, MEASURE, KEEP, TABLES = range(8)  # recordings, and how many
FIGURES = ("loss", "accuracy", "val_loss", "val_accuracy")
COLUMN, SIGN, MIN_DELTA, WATCH = range(4)  # of the words that say what is watched


@for_each(cost=0.1)
def move_bytes(i, target, source):
    """target = source, of any dtype, seen as bytes."""
    target[i] = source[i]


@for_each_row(cost=0.3)
def place_rows(row, batch, whole, cursor):
    """whole[cursor + row] = batch[row]."""
    place = np.uintp(cursor[0]) + row
    for column in range(np.uintp(batch.shape[1])):
        whole[place, column] = batch[row, column]


@jit(inner=True)
def _largest(values):
    """Return the place of the largest number as np.argmax does: the first, and a NaN is larger."""
    best = 0
    for i in range(1, len(values)):
        top = values[best]
        if values[i] > top or (values[i] != values[i] and top == top):
            best = i
    return best


@kernel
def count_labels(start, stop, hits, output, labels):
    """Count the rows whose largest output is the label's."""
    for _ in range(start, stop):
        for row in range(len(output)):
            hits[0] += 1 if _largest(output[row]) == labels[row] else 0


@kernel
def count_classes(start, stop, hits, output, target):
    """Count the rows whose largest output is where the largest target is."""
    for _ in range(start, stop):
        for row in range(len(output)):
            hits[0] += 1 if _largest(output[row]) == _largest(target[row]) else 0


@kernel
def count_signs(start, stop, hits, output, target):
    """Count the logits that are on their target's side."""
    for _ in range(start, stop):
        for row in range(output.shape[0]):
            for column in range(output.shape[1]):
                hits[0] += 1 if (output[row, column] > 0) == (target[row, column] > 0.5) else 0


@jit(inner=True)
def _arrange(order, rows, seed, count, shuffled):
    """Choose the order of an epoch's rows, by the steps taken so far."""
    for i in range(len(order)):
        order[i] = i
    if shuffled:
        shuffle(order, seed, count)
    if len(rows):
        for i in range(len(order)):
            order[i] = rows[order[i]]


@jit(inner=True)
def _walk(table, times, stop):
    """Replay a table until it is done, or all shall stop; tell whether it was done."""
    for _ in range(times):
        if atomic_load(stop, 0) != 0:
            return False
        replay_alone(table, 1)
    return True


@jit(inner=True)
def _train(tables, times, cursor, total, hits, stop):
    """Train for one epoch; tell whether it was done."""
    cursor[0] = hits[0] = 0
    total[0] = 0.0
    replay_alone(tables[RATES], times[RATES])
    return _walk(tables[WHOLE], times[WHOLE], stop) and _walk(tables[REST], times[REST], stop)


@jit(inner=True)
def _validate(tables, times, cursor, total, hits, stop):
    """Compute the validation figures; tell whether it was done."""
    cursor[0] = hits[0] = 0
    total[0] = 0.0
    if not (_walk(tables[PART], times[PART], stop) and _walk(tables[LAST], times[LAST], stop)):
        return False
    replay_alone(tables[MEASURE], times[MEASURE])
    return True


@jit(cache=True)
def run_epochs(tables, times, order, rows, keys, training, validation, watch, figures, done, stop):
    """Fit a net: fill figures (epochs, 4) and done = [epochs run, the best one or -1, stopped].

    tables, times: the recordings and how often each is walked in an epoch; keys: seed, whether rows
    are shuffled, patience (0: none); training, validation: (cursor, total, hits, [rows], [hits at
    most]), the training one with the optimizer's count; watch: column, sign, min_delta.
    """
    cursor, total, hits, count = training
    val_cursor, val_total, val_hits, val_most = validation
    seed, shuffled, patience = keys
    best, bad = np.inf, 0
    for epoch in range(len(figures)):
        _arrange(order, rows, seed, count, shuffled != 0)
        if not _train(tables, times, cursor, total, hits, stop):
            return
        mean = total[0] / len(order)
        figures[epoch, 0] = mean if np.isfinite(mean) else total[0]
        figures[epoch, 1] = hits[0] / len(order)
        if times[MEASURE]:
            if not _validate(tables, times, val_cursor, val_total, val_hits, stop):
                return
            figures[epoch, 2], figures[epoch, 3] = val_total[0], val_hits[0] / val_most[0]
        done[0] = epoch + 1
        if patience == 0:
            continue
        value = watch[SIGN] * figures[epoch, int(watch[COLUMN])]
        if value < best - watch[MIN_DELTA]:
            best, bad, done[1] = value, 0, epoch
            replay_alone(tables[KEEP], 1)
        else:
            bad += 1
            if bad >= patience:
                done[2] = 1
                return
