"""The kernels of a training loop: what changes from replay to replay is advanced by kernels.

The rule: a recorded step finds the batch, the counters and the sums in arrays, so that replaying it
goes on where the last replay ended.
"""

import numpy as np

from ..kernels.caching import jit
from ..kernels.launch import kernel
from ..kernels.loops import for_each_row
from ..kernels.native import prefetch
from ..kernels.spread import join_sum, leader, my_range, on_cuda


@kernel
def take_ticket(start, stop, ticket, counter):
    """ticket[0] = counter[0], and count one more."""
    for _ in range(start, stop):
        ticket[0] = counter[0]
        counter[0] += 1


@kernel
def advance(start, stop, counter, by):
    """counter[0] += by."""
    for _ in range(start, stop):
        counter[0] += by


LONG, LINE = 512, 64  # bytes of a row worth fetching ahead, and of a cache line
AHEAD = 5  # rows between the one copied and the one fetched: 52 -> 35 us for 128 rows of 784


@jit(inner=True)
def _fetch(data, order, place):
    """Ask for a row that will be read soon: rows in random order surprise the cache."""
    size = data.shape[1] * data.itemsize
    if size >= LONG:
        row = data.ctypes.data + np.intp(order[place]) * data.strides[0]
        for start in range(0, size, LINE):
            prefetch(row + start)


@on_cuda(_fetch)
def _leave_to_warps(data, order, place):
    pass


@for_each_row(cost=0.3, spread="cells")
def gather_rows(row, batch, data, order, cursor):
    """batch[row] = data[order[cursor + row]]."""
    first = np.intp(cursor[0])
    source = order[first + np.intp(row)]
    _fetch(data, order, first + min(np.intp(row) + AHEAD, np.intp(batch.shape[0]) - 1))
    for column in my_range(np.uintp(0), np.uintp(batch.shape[1])):
        batch[row, column] = data[np.uintp(source), column]


@for_each_row(cost=5.0)
def gather_items(row, batch, data, order, cursor):
    """batch[row] = data[order[cursor + row]] of a flat array."""
    batch[row] = data[order[np.intp(cursor[0]) + np.intp(row)]]


@kernel
def tally_loss(start, stop, total, loss, rows):
    """Add a batch's mean loss, times its rows, to the epoch's sum (float64)."""
    for _ in range(start, stop):
        total[0] += np.float64(loss[0]) * rows


@kernel(spread="block")
def tally_hits(start, stop, hits, output, labels):
    """Count the rows whose largest output is the label's; one output is a logit of class 1."""
    for _ in range(start, stop):
        count = 0
        for row in my_range(np.uintp(0), np.uintp(output.shape[0])):
            best = 0
            if output.shape[1] == 1:
                best = 1 if output[row, 0] > 0 else 0
            else:
                top = output[row, 0]
                for column in range(1, output.shape[1]):
                    value = output[row, column]
                    best = column if value > top else best
                    top = value if value > top else top
            count += 1 if labels[row] == best else 0
        count = join_sum(count)
        if leader():
            hits[0] += count
