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


def _four(first, lane, y, x, c1, c2, c3, k0, k1, *numbers):
    """Compute the four elements that one counter serves, sixteen apart."""
    i, step = first * np.uintp(4) + lane, np.uintp(LANES)
    # all loads first: on CUDA a store would hold back the next one
    four = x[i], x[i + step], x[i + step + step], x[i + step + step + step]
    words = draw(np.uint32(first + lane), c1, c2, c3, k0, k1)
    a, b, c, d = formula(words, four, first, lane, *numbers)  # noqa: F821  (bound by specialise)
    y[i] = a
    y[i + step] = b
    y[i + step + step] = c
    y[i + step + step + step] = d


@jit(inner=True)
def _load(x, i):
    return x[i] if i < np.uintp(len(x)) else x.dtype.type(0)


@jit(inner=True)
def _store(y, i, value):
    if i < np.uintp(len(y)):
        y[i] = value


def _rest(first, y, x, words, numbers):
    """Compute a last group that is cut short (a test in the loop above costs 7 ns an element)."""
    step = np.uintp(LANES)
    for lane in my_range(np.uintp(0), step):
        i = first * np.uintp(4) + lane
        j, k, m = i + step, i + step + step, i + step + step + step
        four = _load(x, i), _load(x, j), _load(x, k), _load(x, m)
        drawn_words = draw(np.uint32(first + lane), *words)
        a, b, c, d = formula(drawn_words, four, first, lane, *numbers)  # noqa: F821
        _store(y, i, a)
        _store(y, j, b)
        _store(y, k, c)
        _store(y, m, d)


def _share(start, stop, y, x, seed, step, stream, *numbers):
    zero, lanes = np.uintp(0), np.uintp(LANES)
    words = (np.uint32(stream), *halves(step[0]), *halves(seed))
    whole = np.uintp(len(y) // GROUP)
    for group in range(np.uintp(start), np.uintp(stop)):
        if group < whole:
            loop(zero, lanes, (group * lanes,), (y, x, *words, *numbers))  # noqa: F821
        else:
            rest(group * lanes, y, x, words, numbers)  # noqa: F821


def drawn(formula=None, *, cost=0.5):
    """Make `formula` a kernel over groups of 64: K(groups_of(size), y, x, seed, step, stream, ...).

    formula(words, four, first, lane, ...) -> four values: `words` belong to the elements `four`,
    of which the first is number 4·first + lane and each next one sixteen further. `cost` is ns an
    element.
    """
    if formula is None:
        return lambda formula: drawn(formula, cost=cost)

    def share():
        inner = jit(formula, inner=True)
        four = specialise(_four, formula, "four", formula=inner)
        rest = jit(specialise(_rest, formula, "rest", formula=inner), inner=True)
        loop = independent_loop(jit(four, inner=True), leading=1)
        return specialise(_share, formula, "drawn", loop=loop, rest=rest)

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
    check_key(operation, values["seed"], values["stream"])
