"""Products of long arrays, and gradients kept within bounds, in place.

The rule: a sum runs over segments of 4096 elements, whatever the threads, and the segments are
added in order.
"""

import math

import numpy as np

from .arrays import scratch
from .descent import check_numbers
from .launch import kernel
from .loops import for_each
from .operations import operation
from .reductions import add_up, lane_sum, new_lanes
from .spread import leader

SEGMENT = 4096  # elements of a partial sum


def _square(i, g):
    return g[i] * g[i]


def _product(i, a, b):
    return a[i] * b[i]


_add_squares = lane_sum(_square)
_add_products = lane_sum(_product)


@kernel(cost=lambda *_: 400.0, spread="warp")
def sum_squares(start, stop, partial, g, place):
    """partial[place + segment] = Σ g² over 4096 elements, in 64 lanes."""
    lanes, length = new_lanes(g), np.uintp(SEGMENT)
    for segment in range(np.uintp(start), np.uintp(stop)):
        first = segment * length
        total = _add_squares(first, min(np.uintp(len(g)), first + length), lanes, (g,))
        if leader():
            partial[np.uintp(place) + segment] = total


@kernel(cost=lambda *_: 500.0, spread="warp")
def _sum_products(start, stop, partial, a, b):
    lanes, length = new_lanes(a), np.uintp(SEGMENT)
    for segment in range(np.uintp(start), np.uintp(stop)):
        first = segment * length
        total = _add_products(first, min(np.uintp(len(a)), first + length), lanes, (a, b))
        if leader():
            partial[segment] = total


@kernel(spread="block")
def _end_product(start, stop, y, partial):
    total = add_up(partial)
    if leader():
        y[0] = total


@kernel(spread="block")
def find_factor(start, stop, found, partial, max_norm):
    """found = min(1, max_norm/(norm + 1e-6)) and the norm, from partial sums of squares."""
    one, norm = type(max_norm)(1), math.sqrt(add_up(partial))
    factor = max_norm / (norm + type(max_norm)(1e-6))
    if leader():
        found[0] = one if factor > one else factor
        found[1] = norm


@for_each(cost=0.2)
def scale(i, g, factor):
    """g *= factor[0]."""
    g[i] *= factor[0]


@for_each(cost=0.2)
def clip(i, g, limit):
    """Hold g within [-limit, limit]."""
    value = g[i]
    value = limit if value > limit else value
    g[i] = -limit if value < -limit else value


@operation("a (...), b (...) -> y (1)")
def dot(y, a, b):
    """Σ a·b, over all elements.

    a, b (...) -> y (1,)
    """
    partial = scratch(a, (a.size + SEGMENT - 1) // SEGMENT)
    _sum_products(len(partial), partial, a, b)
    _end_product(1, y, partial)


@operation("g! (...)", check=check_numbers)
def clip_grad_norm(g, max_norm):
    """g *= min(1, max_norm/(‖g‖ + 1e-6)), in place. Pascanu et al. 2013, arXiv:1211.5063.

    g (...): all gradients in one array
    """
    partial = scratch(g, (g.size + SEGMENT - 1) // SEGMENT)
    found = scratch(g, 2)
    sum_squares(len(partial), partial, g, 0)
    find_factor(1, found, partial, g.dtype.type(max_norm))
    scale(g.size, g, found)


@operation("g! (...)", check=check_numbers)
def clip_grad_value(g, limit):
    """g = min(max(g, -limit), limit), in place.

    g (...)
    """
    clip(g.size, g, g.dtype.type(limit))
