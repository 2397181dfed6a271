"""Products with a mask for each sample: yₙ = (Mₙ∘W)·xₙ and its gradients, masks drawn inside.

Rows of I elements are laid out as P = I rounded up to whole groups of 64, zeros behind them: weight
(o, i) of sample n takes the word of the element (n·O + o)·P + i, and no group is cut short.

The rule: sixteen lanes of a row side by side, then the lanes in order; what sample n gets depends
on no other.
"""

import numpy as np
from numba.extending import register_jitable

from .arrays import scratch
from .caching import jit
from .drawing import LANES, groups_of, least_kept
from .launch import kernel
from .loops import for_each_cell
from .native import independent_loop
from .random_numbers import GROUP, draw, halves
from .reductions import at, new_lanes
from .spread import join_sum, leader, my_range, on_cuda


@for_each_cell
def _fit_width(row, column, target, source):
    """Copy rows into wider ones, whose rest is 0, or into narrower ones."""
    width = np.uintp(source.shape[1])
    value = source[row, column if column < width else width - np.uintp(1)]
    target[row, column] = value if column < width else target.dtype.type(0)


@jit(inner=True)
def _add_four(total, i, j, first, lane, x, w, least, scale, c1, c2, c3, k0, k1):
    """Add x[i]·scale·w[j] of the four elements of a counter, where their words keep them.

    Each sum has one product, so that it rounds in one way, wherever it is compiled.
    """
    step, zero = np.uintp(LANES), type(scale)(0)
    a, b, c, d = draw(np.uint32(first + lane), c1, c2, c3, k0, k1)
    total += x[i] * (w[j] * (zero if a < least else scale))
    i, j = i + step, j + step
    total += x[i] * (w[j] * (zero if b < least else scale))
    i, j = i + step, j + step
    total += x[i] * (w[j] * (zero if c < least else scale))
    i, j = i + step, j + step
    return total + x[i] * (w[j] * (zero if d < least else scale))


def _add_to_lane(x_at, w_at, first, lane, lanes, x, w, *key):
    lanes[lane] = _add_four(lanes[lane], x_at + lane, w_at + lane, first, lane, x, w, *key)


_lanes_loop = independent_loop(jit(_add_to_lane, inner=True), leading=3)


@jit(inner=True)
def _masked_dot(item, x_at, w_at, groups, lanes, x, w, key):
    """Return Σ x·w over a row of whole groups, whose weights the words of row `item` keep."""
    zero, step = np.uintp(0), np.uintp(LANES)
    for lane in range(step):
        lanes[lane] = 0
    for group in range(groups):
        base, first = group * np.uintp(GROUP), (item * groups + group) * step
        _lanes_loop(zero, step, (x_at + base, w_at + base, first), (lanes, x, w, *key))
    total = x.dtype.type(0)
    for lane in range(step):
        total += lanes[lane]
    return total


@on_cuda(_masked_dot)
def _masked_dot_on_device(item, x_at, w_at, groups, lanes, x, w, key):
    step, total = np.uintp(LANES), x.dtype.type(0)
    for counter in my_range(np.uintp(0), groups * step):
        group, lane = counter // step, counter % step
        base, first = group * np.uintp(GROUP) + lane, (item * groups + group) * step
        total = _add_four(total, x_at + base, w_at + base, first, lane, x, w, *key)
    return join_sum(total)


@kernel(cost=lambda y, x, weight, bias, groups, *_: 0.7 * GROUP * groups, spread="warp")
def _connect(start, stop, y, x, weight, bias, groups, threshold, scale, seed, step, stream):
    """Compute y[n, o], by items n·O + o; x and weight are flat, their rows whole groups."""
    key = (np.uint32(threshold), scale, np.uint32(stream), *halves(step[0]), *halves(seed))
    outputs, count = np.uintp(y.shape[1]), np.uintp(groups)
    width, lanes = count * np.uintp(GROUP), new_lanes(x)
    for item in range(np.uintp(start), np.uintp(stop)):
        n, o = item // outputs, item % outputs
        total = _masked_dot(item, n * width, o * width, count, lanes, x, weight, key)
        if leader():
            y[n, o] = total + at(bias, o, type(scale)(0))


def _add_masked(out_at, source_at, first, lane, out, source, by, least, c1, c2, c3, k0, k1):
    i, j, step = out_at + lane, source_at + lane, np.uintp(LANES)
    a, b, c, d = draw(np.uint32(first + lane), c1, c2, c3, k0, k1)
    zero = type(by)(0)
    out[i] += source[j] * (zero if a < least else by)
    i, j = i + step, j + step
    out[i] += source[j] * (zero if b < least else by)
    i, j = i + step, j + step
    out[i] += source[j] * (zero if c < least else by)
    i, j = i + step, j + step
    out[i] += source[j] * (zero if d < least else by)


_masked_loop = independent_loop(jit(_add_masked, inner=True), leading=3)


@kernel(
    cost=lambda out, source, dy, groups, across, along, terms, *_: 0.7 * GROUP * terms,
    spread="cells",
    columns=lambda *_: LANES,
)
def _collect(
    start, stop, out, source, dy, groups, across, along, terms, threshold, scale, seed, step, stream
):  # fmt: skip
    """out[r] = scale·Σ_s dy[k]·M[k]∘source[s], k = r·across + s·along, by groups of 64 columns."""
    key = (np.uint32(stream), *halves(step[0]), *halves(seed))
    zero, lanes, size = np.uintp(0), np.uintp(LANES), np.uintp(GROUP)
    count, least = np.uintp(groups), np.uint32(threshold)
    width = count * size
    for item in range(np.uintp(start), np.uintp(stop)):
        row, base = item // count, item % count * size
        place = row * width + base
        for lane in my_range(zero, lanes):
            for i in range(place + lane, place + size, lanes):
                out[i] = 0
        for s in range(np.uintp(terms)):
            k = row * np.uintp(across) + s * np.uintp(along)
            first = (k * width + base) // np.uintp(4)
            lead, by = (place, s * width + base, first), scale * dy[k]
            _masked_loop(zero, lanes, lead, (out, source, by, least, *key))


@register_jitable
def _whole_groups(x):
    """Return x, flat, with rows of whole groups: zeros stand behind a row that is cut short."""
    width = groups_of(x.shape[1]) * GROUP
    if width == x.shape[1]:
        return x.reshape(-1)
    room = scratch(x, (x.shape[0], width))
    _fit_width(x.shape[0], room, x)
    return room.reshape(-1)


@register_jitable
def connect_samples(y, x, weight, bias, rate, seed, step, stream):
    """Set y (N, O) to the products of x (N, I) with masked weights (O, I), and the bias."""
    scale = x.dtype.type(1.0 / (1.0 - rate))
    key = (groups_of(x.shape[1]), least_kept(rate), scale, seed, step, stream)
    _connect(y.size, y, _whole_groups(x), _whole_groups(weight), bias, *key)


@register_jitable
def collect_samples(dx, dweight, dy, x, weight, rate, seed, step, stream):
    """Set dx (N, I) and dweight (O, I), which hold the same masks."""
    scale = x.dtype.type(1.0 / (1.0 - rate))
    key = (least_kept(rate), scale, seed, step, stream)
    (rows, outputs), groups, flat = dy.shape, groups_of(x.shape[1]), dy.reshape(-1)
    for_x = scratch(x, (rows, groups * GROUP))
    for_w = scratch(x, (outputs, groups * GROUP))
    line, source = for_x.reshape(-1), _whole_groups(weight)
    _collect(rows * groups, line, source, flat, groups, outputs, 1, outputs, *key)
    line, source = for_w.reshape(-1), _whole_groups(x)
    _collect(outputs * groups, line, source, flat, groups, 1, outputs, rows, *key)
    _fit_width(rows, dx, for_x)
    _fit_width(outputs, dweight, for_w)
