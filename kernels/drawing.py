"""The skeleton of what draws: a formula meets each element of an array with its random word.

Groups of 64 elements share sixteen counters, as random_numbers.py lays them out, so that sixteen
neighbours are drawn side by side.

The rule: what an element gets depends on its place and the key alone, not on the array's size nor
on threads.
"""

import numpy as np
from numba.extending import register_jitable

from . import arrays
from .caching import jit, specialise
from .launch import Kernel
from .native import independent_loop
from .random_numbers import GROUP, draw, halves
from .spread import my_range

LANES = 16


def _four(first, origin, lane, y, x, c1, c2, c3, k0, k1, *numbers):
    """Compute the four elements that one counter serves, sixteen apart."""
    i, step = first * np.uintp(4) + lane, np.uintp(LANES)
    # all loads first: on CUDA a store would hold back the next one
    four = x[i], x[i + step], x[i + step + step], x[i + step + step + step]
    words = draw(np.uint32(first + lane), c1, c2, c3, k0, k1)
    a, b, c, d = formula(words, four, origin + lane, *numbers)  # noqa: F821  (bound by specialise)
    y[i] = a
    y[i + step] = b
    y[i + step + step] = c
    y[i + step + step + step] = d


def _rest(first, origin, y, x, words, numbers):
    """Compute a last group that is cut short (a test in the loop above costs 7 ns an element)."""
    step, size = np.uintp(LANES), np.uintp(len(y))
    for lane in my_range(np.uintp(0), step):
        i = first * np.uintp(4) + lane
        j, k, m = i + step, i + step + step, i + step + step + step
        # what lies behind the end is not stored: any element will do for it
        four = x[i * (i < size)], x[j * (j < size)], x[k * (k < size)], x[m * (m < size)]
        drawn_words = draw(np.uint32(first + lane), *words)
        for value in formula(drawn_words, four, origin + lane, *numbers):  # noqa: F821
            if i < size:
                y[i] = value
            i += step


def _share(start, stop, y, x, seed, step, stream, *numbers):
    zero, lanes = np.uintp(0), np.uintp(LANES)
    words = (np.uint32(stream), *halves(step[0]), *halves(seed))
    whole = np.uintp(len(y) // GROUP)
    for group in range(np.uintp(start), np.uintp(stop)):
        first, origin = group * lanes, place(group * np.uintp(GROUP), *numbers)  # noqa: F821
        if group < whole:
            loop(zero, lanes, (first, origin), (y, x, *words, *numbers))  # noqa: F821
        else:
            rest(first, origin, y, x, words, numbers)  # noqa: F821


@jit(inner=True)
def _itself(i, *numbers):
    return i


def drawn(formula=None, *, cost=0.5, place=_itself):
    """Make `formula` a kernel over groups of 64: K(groups_of(size), y, x, seed, step, stream, ...).

    formula(words, four, at, ...) -> four values: `words` are those of the elements `four`, that
    lie sixteen apart. `at` is the place of the first, counted from place(i, ...) for the group that
    begins at element i (a division there, once a group, leaves the loop whole). `cost` is ns an
    element.
    """
    if formula is None:
        return lambda formula: drawn(formula, cost=cost, place=place)

    def share():
        inner = jit(formula, inner=True)
        four = specialise(_four, formula, "four", formula=inner)
        rest = jit(specialise(_rest, formula, "rest", formula=inner), inner=True)
        loop = independent_loop(jit(four, inner=True), leading=2)
        return specialise(_share, formula, "drawn", loop=loop, rest=rest, place=place)

    each = lambda *_: cost * GROUP  # noqa: E731
    return Kernel(formula, share, each, spread="cells", columns=lambda *_: LANES)


@register_jitable
def groups_of(size):
    """Return how many groups of 64 hold so many elements."""
    return (size + GROUP - 1) // GROUP


@register_jitable
def least_kept(rate):
    """Return the least word that is kept where the chance to drop is `rate`."""
    return min(int(rate * 4294967296.0 + 0.5), 4294967295)


def check_key(operation, seed, stream):
    """Refuse a seed or stream that does not fit the generator."""
    arrays.check_integer(operation, "seed", seed, 0)
    arrays.check_integer(operation, "stream", stream, 0)
    for name, value, bits in (("seed", seed, 64), ("stream", stream, 32)):
        if value >= 1 << bits:
            raise ValueError(f"{operation}: {name} is {value}, expected {name} < 2**{bits}")


def check_rate(operation, sizes, values):
    """Check the chance to drop and the key, for @operation."""
    arrays.check_fraction(operation, "rate", values["rate"])
    if values.get("scale") is not None:
        arrays.check_number(operation, "scale", values["scale"])
    check_key(operation, values["seed"], values["stream"])
