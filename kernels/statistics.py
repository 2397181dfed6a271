"""Figures of arrays while they are made: moments, histograms, dead units, norms of parameters.

Each operation writes one row of arrays that hold many, and which row is read when it runs: a
recorded one passes the number in an array. A row that is not there, -1 say, makes it return at
once, so that figures taken at every hundredth step cost next to nothing at the others.

The rule: a launch is one chunk, so that a step that takes no figures claims no more than that.
"""

import math

import numpy as np

from .arrays import check_number
from .caching import jit
from .columns import as_rows
from .launch import kernel
from .native import independent_loop, new_vector
from .operations import operation
from .reductions import LANES, lane_sum, new_lanes
from .spread import join_max, join_sum, leader, my_range

SEGMENT = 4096  # elements of a partial sum
FIGURES = 7  # of a summary
MEAN, STD, LEAST, MOST, ZEROS, DEAD, BEYOND = range(FIGURES)


@jit(inner=True)
def _is_there(row, rows):
    return row[0] >= 0 and row[0] < rows


def _take(first, lane, x, lanes, low, high):
    value, one, zero = x[first + lane], x.dtype.type(1), x.dtype.type(0)
    lanes[lane] += value
    least, most = lanes[LANES + lane], lanes[2 * LANES + lane]
    finite = value - value == 0
    below = value if finite else least
    above = value if finite else most
    lanes[LANES + lane] = below if below < least else least
    lanes[2 * LANES + lane] = above if above > most else most
    lanes[3 * LANES + lane] += one if value == 0 else zero
    outside = one if value < low else zero
    lanes[4 * LANES + lane] += one if value > high else outside


_take_one = jit(_take, inner=True)
_take_lanes = independent_loop(_take_one, leading=1)


def _away(first, lane, x, lanes, mean):
    d = x[first + lane] - mean
    lanes[lane] += d * d


_add_one = jit(_away, inner=True)
_add_lanes = independent_loop(_add_one, leading=1)


@jit(inner=True)
def _set_lanes(lanes, first, value):
    for lane in range(np.uintp(first), np.uintp(first + LANES)):
        lanes[lane] = value


@jit(inner=True)
def _fold(lanes):
    """Add up the first lanes, in order, and begin them anew."""
    total = lanes.dtype.type(0)
    for lane in range(np.uintp(LANES)):
        total += lanes[lane]
        lanes[lane] = 0
    return total


@jit(inner=True)
def _sum_and_count(x, lanes, low, high):
    """Pass once over x; return Σ x, and leave the rest in the lanes."""
    kind, size, step, width = x.dtype.type, np.uintp(len(x)), np.uintp(SEGMENT), np.uintp(LANES)
    for block, value in enumerate((0.0, np.inf, -np.inf, 0.0, 0.0)):
        _set_lanes(lanes, block * LANES, kind(value))
    total = kind(0)
    for start in range(np.uintp(0), size, step):
        stop = min(size, start + step)
        whole = start + (stop - start) // width * width
        for place in range(start, whole, width):
            _take_lanes(np.uintp(0), width, (place,), (x, lanes, low, high))
        for lane in range(stop - whole):
            _take_one(whole, lane, x, lanes, low, high)
        total += _fold(lanes)
    return total


@jit(inner=True)
def _sum_squares(x, lanes, mean):
    """Σ(x - mean)²."""
    total, width = x.dtype.type(0), np.uintp(LANES)
    size, step = np.uintp(len(x)), np.uintp(SEGMENT)
    for start in range(np.uintp(0), size, step):
        stop = min(size, start + step)
        whole = start + (stop - start) // width * width
        for place in range(start, whole, width):
            _add_lanes(np.uintp(0), width, (place,), (x, lanes, mean))
        for lane in range(stop - whole):
            _add_one(whole, lane, x, lanes, mean)
        total += _fold(lanes)
    return total


@jit(inner=True)
def _is_dead(x, column, columns):
    """Tell whether a column holds nothing but zeros; most end at their first row."""
    for place in range(column, np.uintp(len(x)), columns):
        if x[place] != 0:
            return False
    return len(x) > 0


@jit(inner=True)
def _bin_of(value, least, scale, last):
    """Return the bin of a value; infinities go to the ends. NaN has none: ask before."""
    zero = type(value)(0)
    t = (value - least) * scale if scale > 0 else zero
    t = last if t > last else t
    return np.uintp(np.intp(t if t > 0 else zero))  # unsigned, as items are


@jit(inner=True)
def _scale_of(least, most, bins):
    """Return bins for each unit between the ends, 0 where there is no room between them."""
    kind = type(least)
    scale = kind(bins) / (most - least)
    return scale if most > least and scale - scale == 0 else kind(0)


@jit(inner=True)
def _summarize(summary, size, columns, total, squares, least, most, zeros, beyond, dead):
    kind = type(total)
    count, nothing = kind(size), kind(np.nan)
    summary[MEAN] = total / count
    summary[STD] = math.sqrt(squares / count)
    summary[LEAST] = least if least <= most else nothing
    summary[MOST] = most if least <= most else nothing
    summary[ZEROS] = zeros / count
    summary[BEYOND] = beyond / count
    summary[DEAD] = kind(dead) / kind(columns)


def _observe_on_device(start, stop, summaries, histograms, x, columns, row, low, high):
    """A block for each bin; all find the ends, and the first block the other figures."""
    if not _is_there(row, summaries.shape[0]):
        return
    kind, size = x.dtype.type, np.uintp(len(x))
    least, most = kind(np.inf), kind(-np.inf)
    for i in my_range(np.uintp(0), size):
        value = x[i]
        if value - value == 0:
            least = value if value < least else least
            most = value if value > most else most
    least, most = -join_max(-least), join_max(most)
    bins = histograms.shape[1]
    scale, last = _scale_of(least, most, bins), kind(bins - 1)
    for item in range(np.uintp(start), np.uintp(stop)):
        count = 0
        for i in my_range(np.uintp(0), size):
            value = x[i]
            if value == value:
                count += 1 if _bin_of(value, least, scale, last) == item else 0
        count = join_sum(count)
        if leader():
            histograms[row[0], item] = count
        if item == 0:
            _sum_up(summaries[row[0]], x, columns, least, most, low, high)


def _sum_up(summary, x, columns, least, most, low, high):
    """Sum up all but the ends. In floats: the linker takes one join of a kind to a function."""
    kind, size, across = x.dtype.type, np.uintp(len(x)), np.uintp(columns)
    zero, one = kind(0), kind(1)
    total, squares, zeros, beyond, dead = zero, zero, zero, zero, zero
    for i in my_range(np.uintp(0), size):
        value = x[i]
        total += value
        zeros += one if value == 0 else zero
        beyond += one if value < low or value > high else zero
    total, zeros, beyond = join_sum(total), join_sum(zeros), join_sum(beyond)
    mean = total / kind(size)
    for i in my_range(np.uintp(0), size):
        squares += (x[i] - mean) * (x[i] - mean)
    for column in my_range(np.uintp(0), across):
        dead += one if _is_dead(x, column, across) else zero
    squares, dead = join_sum(squares), join_sum(dead)
    if leader():
        _summarize(summary, size, columns, total, squares, least, most, zeros, beyond, dead)


@kernel(spread="block", cuda=_observe_on_device)
def _observe(start, stop, summaries, histograms, x, columns, row, low, high):
    if not _is_there(row, summaries.shape[0]):
        return
    kind, size, across = x.dtype.type, np.uintp(len(x)), np.uintp(columns)
    lanes = new_vector(x, 5 * LANES)
    total = _sum_and_count(x, lanes, low, high)
    least, most, zeros, beyond, dead = kind(np.inf), kind(-np.inf), kind(0), kind(0), 0
    for lane in range(LANES):
        below, above = lanes[LANES + lane], lanes[2 * LANES + lane]
        least = below if below < least else least
        most = above if above > most else most
        zeros += lanes[3 * LANES + lane]
        beyond += lanes[4 * LANES + lane]
    squares = _sum_squares(x, lanes, total / kind(size))
    for column in range(across):
        dead += 1 if _is_dead(x, column, across) else 0
    summary, counts = summaries[row[0]], histograms[row[0]]
    _summarize(summary, size, columns, total, squares, least, most, zeros, beyond, dead)
    counts[:] = 0
    scale, last = _scale_of(least, most, len(counts)), kind(len(counts) - 1)
    for i in range(size):
        if x[i] == x[i]:
            counts[_bin_of(x[i], least, scale, last)] += 1


def _check_bounds(operation, sizes, values):
    for name in ("low", "high"):
        check_number(operation, name, values[name])
    if sizes["B"] < 1:
        raise ValueError(f"{operation}: histograms has {sizes['B']} bins, expected at least 1")


@operation(
    f"x (N, C, L?), summaries! (R, {FIGURES}), histograms! (R, B) int64",
    scalars={"row": "int64"},
    check=_check_bounds,
)
def observe(x, summaries, histograms, row=0, low=-math.inf, high=math.inf):
    """Write the figures of x into a row of `summaries` and of `histograms`. In place.

    x (N, C) or (N, C, L); summaries (R, 7), histograms (R, B) int64; row a number or (1,)

    A summary is the mean, the standard deviation (over N·C), the smallest and largest finite
    element, the share of zeros, the share of dead columns (nothing but zeros) and the share of
    elements below `low` or above `high`. A histogram has B bins between the smallest and the
    largest; infinities count in the bins at the ends, NaN in none. A row outside [0, R) writes
    nothing.
    """
    kind, columns, bins = x.dtype.type, as_rows(x).shape[1], histograms.shape[1]
    flat = x.reshape(x.size)
    _observe(bins, summaries, histograms, flat, columns, row, kind(low), kind(high))


def _gap(i, a, b, apart):
    d = a[i] - (b[i] if apart else type(a[i])(0))
    return d * d


_add_gaps = lane_sum(_gap)


@jit(inner=True)
def _distance(a, b, first, last, apart, lanes):
    """‖a - b‖ of a stretch, or ‖a‖ where they are not taken apart."""
    total, step = a.dtype.type(0), np.uintp(SEGMENT)
    for start in range(first, last, step):
        total += _add_gaps(start, min(last, start + step), lanes, (a, b, apart))
    return math.sqrt(total)


@kernel(spread="block")
def _observe_update(start, stop, norms, before, values, grads, starts, stops, row, after):
    """Items are those of norms[row]: gradients, values, then what was moved."""
    if not _is_there(row, norms.shape[0]):
        return
    size, lanes, count = np.int64(len(values)), new_lanes(values), np.uintp(len(starts))
    for item in range(np.uintp(start), np.uintp(stop)):
        part, k = item // count, item % count
        if (part == 2) == after:
            first = np.uintp(min(max(starts[k], 0), size))
            last = np.uintp(min(max(stops[k], 0), size))
            norm = _distance(grads if part == 0 else values, before, first, last, after, lanes)
            if leader():
                norms[row[0], part, k] = norm
            if part == 1:
                for i in my_range(first, last):
                    before[i] = values[i]


@operation(
    "norms! (R, 3, K), before! (P), values (P), grads (P), starts (K) int64, stops (K) int64",
    scalars={"row": "int64"},
)
def observe_update(norms, before, values, grads, starts, stops, row=0, after=False):
    """Write the norms of parameters that lie in one array, around an optimizer's step. In place.

    norms (R, 3, K), before (P,); values, grads (P,); parameter k is [starts[k], stops[k])

    Before the step norms[row, 0] = ‖gradient‖, norms[row, 1] = ‖value‖ and before = values; `after`
    it norms[row, 2] = ‖values - before‖. A row outside [0, R) writes nothing.
    """
    _observe_update(3 * len(starts), norms, before, values, grads, starts, stops, row, bool(after))
