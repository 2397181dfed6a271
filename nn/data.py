"""Data before and between the batches: splits, one-hot rows, batches, and balanced orders.

The rule: an order is a function of seed and epoch alone (kernels.shuffle), on any machine.
"""

import numpy as np

from .. import kernels
from ..kernels import arrays


def split(x, y, test=0.2, seed=0, stratify=None):
    """Split rows at random: x (N, ...), y (N, ...) -> (x, y), (x_test, y_test), as data sets are.

    test: the fraction of test rows. stratify: each class gives that fraction of its rows, to the
    nearest whole number that adds up (None: where y are labels (N,) of integers).
    """
    x, y = np.asarray(x), np.asarray(y)
    _check_rows("split", x, y)
    arrays.check_number("split", "test", test)
    if not 0 < test < 1:
        raise ValueError(f"split: test is {test}, expected 0 < test < 1")
    held = round(len(x) * test)
    if not 0 < held < len(x):
        raise ValueError(f"split: test is {test} of {len(x)} rows, expected rows on both sides")
    labels = y.ndim == 1 and y.dtype.kind in "iub"
    if stratify and not labels:
        raise ValueError(f"split: y has shape {y.shape}, dtype {y.dtype}, expected labels (N,)")
    order = np.arange(len(x))
    kernels.shuffle(order, seed)
    if labels and stratify is not False:
        order = _by_class_share(order, y, held)
    chosen = np.zeros(len(x), bool)
    chosen[order[:held]] = True
    rest = order[held:]
    return (x[rest], y[rest]), (x[order[:held]], y[order[:held]])


def _by_class_share(order, y, held):
    """Put first what each class gives: its share rounded down, and those most cut short one more.

    Both parts keep the order they had.
    """
    classes, counts = np.unique(y, return_counts=True)
    shares = counts * held / len(y)
    wanted = np.floor(shares).astype(int)
    most_cut = np.argsort(wanted - shares, kind="stable")
    wanted[most_cut[: held - wanted.sum()]] += 1
    taken = np.zeros(len(y), bool)
    for label, count in zip(classes, wanted, strict=True):
        taken[order[y[order] == label][:count]] = True
    return np.concatenate([order[taken[order]], order[~taken[order]]])


def _check_rows(operation, x, y):
    if x.ndim == 0:
        raise ValueError(f"{operation}: x has shape (), expected (N, ...)")
    if y.ndim == 0 or len(y) != len(x):
        raise ValueError(f"{operation}: y has shape {y.shape}, expected {len(x)} rows as x has")


def one_hot(labels, classes=None, dtype=np.float32):
    """Return rows (N, classes) with 1 in the column of each label (N,), else 0.

    classes: how many (None: up to the largest label).
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iub":
        raise ValueError(
            f"one_hot: labels has shape {labels.shape}, dtype {labels.dtype}, expected whole (N,)"
        )
    labels = np.ascontiguousarray(labels, np.int64)
    count = int(labels.max(initial=-1)) + 1 if classes is None else classes
    arrays.check_integer("one_hot", "classes", count, 0)
    rows = np.empty((len(labels), count), dtype)
    kernels.one_hot(rows, labels)
    return rows


def batches(x, y=None, batch_size=32, *, shuffle=True, seed=0, epoch=0, sampler=None, last=True):
    """Yield batches of an epoch, for loops of one's own: (x, y), or x alone where there is no y.

    sampler: an object whose order(seed, epoch) gives the rows, instead of shuffling. last: also a
    last batch that is smaller (`nn.step` takes one size, so leave it out there).
    """
    x = np.asarray(x)
    if y is not None:
        y = np.asarray(y)
        _check_rows("batches", x, y)
    arrays.check_integer("batches", "batch_size", batch_size, 1)
    if sampler is not None:
        order = sampler.order(seed, epoch)
    else:
        order = np.arange(len(x))
        if shuffle:
            kernels.shuffle(order, seed, epoch)
    return _batches(x, y, order, batch_size, last)


def _batches(x, y, order, batch_size, last):
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        if last or len(rows) == batch_size:
            yield x[rows] if y is None else (x[rows], y[rows])


class BalancedSampler:
    """Orders in which every batch has each class equally often, rare ones again and again.

    The classes take turns, so that of any run of rows no two classes differ by more than one.
    Each class passes through its rows, shuffled anew each time, until `rows` are given (None: until
    the largest class has been seen once).
    """

    def __init__(self, y, rows=None):
        y = np.asarray(arrays.on_host(y))
        if y.ndim != 1 or y.dtype.kind not in "iub" or len(y) == 0:
            raise ValueError(
                f"BalancedSampler: y has shape {y.shape}, dtype {y.dtype}, expected labels (N,)"
            )
        self.members = [np.flatnonzero(y == label) for label in np.unique(y)]
        if rows is not None:
            arrays.check_integer("BalancedSampler", "rows", rows, 1)
        self.rows = len(self.members) * max(map(len, self.members)) if rows is None else int(rows)

    def order(self, seed, epoch):
        """Return the rows of an epoch, (rows,) int64."""
        classes = len(self.members)
        turns = np.arange(classes)
        drawn = epoch << 32  # passes are counted within the epoch
        kernels.shuffle(turns, seed, drawn)
        found = np.empty(self.rows, np.int64)
        for place, turn in enumerate(turns):
            needed = len(found[place::classes])
            passes = []
            for _ in range(-(-needed // len(self.members[turn]))):
                drawn += 1
                passes.append(self.members[turn].copy())
                kernels.shuffle(passes[-1], seed, drawn)
            if needed:
                found[place::classes] = np.concatenate(passes)[:needed]
        return found
