"""Philox4x32-10, a counter-based generator. Salmon et al. 2011, doi:10.1145/2063384.2063405.

Four 32-bit words of a counter and two of a key give four random words, with no state in between:
the same numbers on every machine, for any number of threads. All random numbers of this package are
keyed by a seed and counted by (element, stream, step), least words first:

    key      seed mod 2³², seed // 2³²
    counter  16·(e // 64) + e % 16 of element e,  stream,  step mod 2³², step // 2³²

Element e takes word (e // 16) % 4 of its counter: sixteen neighbours come from sixteen neighbouring
counters, so that the loop vectorises, and element e does not depend on how many there are.

The rule: no two draws share seed, stream, step and element; who needs more takes another stream.
"""

import numpy as np
from numba import types
from numba.core import errors
from numba.extending import overload

from . import arrays
from .caching import jit
from .copies import contiguous
from .launch import kernel
from .spread import on_cuda

GROUP = 64  # elements that one group of 16 counters serves


@jit(inner=True)
def _multiply(a, b):
    """Return the high and the low word of the product."""
    product = np.uint64(a) * np.uint64(b)
    return np.uint32(product >> np.uint64(32)), np.uint32(product)


@jit(inner=True)
def draw(c0, c1, c2, c3, k0, k1):
    """Return four random words from the words of a counter and a key."""
    for _ in range(10):
        high0, low0 = _multiply(np.uint32(0xD2511F53), c0)
        high1, low1 = _multiply(np.uint32(0xCD9E8D57), c2)
        c0, c1, c2, c3 = np.uint32(high1 ^ c1 ^ k0), low1, np.uint32(high0 ^ c3 ^ k1), low0
        k0, k1 = np.uint32(k0 + np.uint32(0x9E3779B9)), np.uint32(k1 + np.uint32(0xBB67AE85))
    return c0, c1, c2, c3


@jit(inner=True)
def halves(number):
    """Return the low and the high word of a 64-bit number."""
    whole = np.uint64(number)
    return np.uint32(whole), np.uint32(whole >> np.uint64(32))


@kernel(cost=lambda *_: 20.0)
def _draw_rows(start, stop, words, counter, key):
    for row in range(np.uintp(start), np.uintp(stop)):
        a, b, c, d = counter[row, 0], counter[row, 1], counter[row, 2], counter[row, 3]
        a, b, c, d = draw(a, b, c, d, key[0], key[1])
        words[row, 0], words[row, 1], words[row, 2], words[row, 3] = a, b, c, d


def philox(counter, key):
    """Return the random words of counters: Philox4x32-10. Salmon et al. 2011.

    counter (..., 4) uint32, key (2,) uint32 -> words (..., 4) uint32

    Inside njit and cuda.jit: philox((c0, c1, c2, c3), (k0, k1)) -> a tuple of four uint32.
    """
    counter, key = (
        arrays.check_array("philox", name, value)
        for name, value in (("counter", counter), ("key", key))
    )
    for name, value in (("counter", counter), ("key", key)):
        arrays.check_dtype("philox", name, value, np.dtype(np.uint32))
    arrays.check_one_device("philox", (("counter", counter), ("key", key)))
    arrays.check_shape("philox", "key", key.shape, (2,))
    if counter.ndim == 0 or counter.shape[-1] != 4:
        raise ValueError(f"philox: counter has shape {counter.shape}, expected (..., 4)")
    words = arrays.scratch(counter, counter.shape)
    rows = words.size // 4
    _draw_rows(rows, words.reshape(rows, 4), contiguous(counter).reshape(rows, 4), contiguous(key))
    return words


@overload(philox)
def _philox_inside(counter, key):
    if not (isinstance(counter, types.BaseTuple) and isinstance(key, types.BaseTuple)):
        raise errors.TypingError("philox: in compiled code counter and key are tuples of numbers")
    return _philox_of_tuples


@on_cuda(philox)
def _philox_of_tuples(counter, key):
    a, b, c, d = counter
    k0, k1 = key
    return draw(
        np.uint32(a), np.uint32(b), np.uint32(c), np.uint32(d), np.uint32(k0), np.uint32(k1)
    )
