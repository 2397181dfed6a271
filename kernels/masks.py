"""Dropout and its masks, and shuffling: everything that draws random numbers in a training step.

A mask is never stored: it is a function of (seed, stream, step, element), see random_numbers.py,
and backward draws it again. An element is dropped where its word is below rate·2³².

The rule: a mask's first n elements do not depend on the size of the array, nor on threads.
"""

import numpy as np
from numba import types
from numba.core import errors
from numba.extending import overload, register_jitable

from . import arrays
from .caching import jit
from .copies import copy_from_flat
from .drawing import LANES, check_key, check_rate, groups_of, least_kept
from .launch import kernel
from .native import independent_loop
from .operations import one_element, operation
from .random_numbers import GROUP, draw, halves
from .spread import my_range

SHUFFLE = 0xFFFFFFFF  # the stream of shuffles, which no layer takes


@jit(inner=True)
def _kept(word, threshold, value, scale):
    return value * (type(scale)(0) if word < threshold else scale)


def _drop_four(first, lane, y, x, threshold, scale, c1, c2, c3, k0, k1):
    """Drop from the four elements that one counter serves, sixteen apart."""
    i, step = first * np.uintp(4) + lane, np.uintp(LANES)
    # all loads first: on CUDA a store would hold back the next one
    x1, x2, x3, x4 = x[i], x[i + step], x[i + step + step], x[i + step + step + step]
    a, b, c, d = draw(np.uint32(first + lane), c1, c2, c3, k0, k1)
    y[i] = _kept(a, threshold, x1, scale)
    y[i + step] = _kept(b, threshold, x2, scale)
    y[i + step + step] = _kept(c, threshold, x3, scale)
    y[i + step + step + step] = _kept(d, threshold, x4, scale)


@jit(inner=True)
def _drop_rest(first, y, x, threshold, scale, words):
    """Drop from a last group that is cut short (a test in the loop above costs 7 ns an element)."""
    step = np.uintp(LANES)
    for lane in my_range(np.uintp(0), step):
        i = first * np.uintp(4) + lane
        for word in draw(np.uint32(first + lane), *words):
            if i < np.uintp(len(y)):
                y[i] = _kept(word, threshold, x[i], scale)
            i += step


@jit(inner=True)
def _put_kept(mask, i, word, threshold):
    if i < np.uintp(len(mask)):  # the last group may be cut short
        mask[i] = word >= threshold


def _mask_four(first, lane, mask, threshold, c1, c2, c3, k0, k1):
    i = first * np.uintp(4) + lane
    a, b, c, d = draw(np.uint32(first + lane), c1, c2, c3, k0, k1)
    _put_kept(mask, i, a, threshold)
    _put_kept(mask, i + np.uintp(LANES), b, threshold)
    _put_kept(mask, i + np.uintp(2 * LANES), c, threshold)
    _put_kept(mask, i + np.uintp(3 * LANES), d, threshold)


_drop_loop = independent_loop(jit(_drop_four, inner=True), leading=1)
_mask_loop = independent_loop(jit(_mask_four, inner=True), leading=1)


@kernel(cost=lambda *_: 0.5 * GROUP, spread="cells", columns=lambda *_: LANES)
def drop_each(start, stop, y, x, threshold, scale, seed, step, stream):
    """Groups of 64 elements, each with sixteen counters."""
    zero, lanes = np.uintp(0), np.uintp(LANES)
    words = (np.uint32(stream), *halves(step[0]), *halves(seed))
    least, whole = np.uint32(threshold), np.uintp(len(y) // GROUP)
    for group in range(np.uintp(start), np.uintp(stop)):
        if group < whole:
            _drop_loop(zero, lanes, (group * lanes,), (y, x, least, scale, *words))
        else:
            _drop_rest(group * lanes, y, x, least, scale, words)


@kernel(cost=lambda *_: 0.5 * GROUP, spread="cells", columns=lambda *_: LANES)
def _draw_mask(start, stop, mask, threshold, seed, step, stream):
    zero, lanes = np.uintp(0), np.uintp(LANES)
    words = (np.uint32(stream), *halves(step[0]), *halves(seed))
    for group in range(np.uintp(start), np.uintp(stop)):
        _mask_loop(zero, lanes, (group * lanes,), (mask, np.uint32(threshold), *words))


@operation("x (...) -> y (...)", in_place=("x",), scalars={"step": "int64"}, check=check_rate)
def dropout(y, x, rate=0.5, seed=0, step=0, stream=0, scale=None):
    """y = x/(1 - rate), or 0 with the chance `rate`. Srivastava et al. 2014.

    x (...); step a number or (1,) int64 -> y (...)

    rate is the chance to drop, where some texts write p for the chance to keep. scale: the factor
    of what is kept, where it is not 1/(1 - rate). What is dropped is multiplied by 0, as in
    PyTorch: NaN and infinity come out as NaN.
    """
    drop_each(
        groups_of(x.size), y, x, least_kept(rate), factor_of(x, rate, scale), seed, step, stream
    )


@operation("dy (...) -> dx (...)", in_place=("dy",), scalars={"step": "int64"}, check=check_rate)
def dropout_backward(dx, dy, rate=0.5, seed=0, step=0, stream=0, scale=None):
    """dx = dy/(1 - rate) where dropout kept x, else 0; `scale` as there.

    dy (...); step a number or (1,) int64 -> dx (...)
    """
    drop_each(
        groups_of(dy.size), dx, dy, least_kept(rate), factor_of(dy, rate, scale), seed, step, stream
    )


@register_jitable
def factor_of(like, rate, scale):
    """Return what is multiplied to what is kept."""
    if scale is None:
        return like.dtype.type(1.0 / (1.0 - rate))
    return like.dtype.type(scale)


def dropout_mask(shape, rate=0.5, seed=0, step=0, stream=0, out=None):
    """Return the mask of dropout, True where it keeps; on CUDA where `out` is there.

    shape -> mask (shape) bool
    """
    name = "dropout_mask"
    arrays.check_fraction(name, "rate", rate)
    check_key(name, seed, stream)
    given = out
    if out is not None:
        out = arrays.check_array(name, "out", out)
        arrays.check_dtype(name, "out", out, np.dtype(np.bool_))
        arrays.check_shape(name, "out", out.shape, tuple(np.atleast_1d(shape).tolist()))
        arrays.check_writable(name, "out", out)
    step = one_element(name, "step", step, np.dtype(np.int64), ("out", out))
    whole = out is not None and out.flags.c_contiguous
    mask = out if whole else arrays.new(out, shape, np.bool_)
    _draw_mask(groups_of(mask.size), mask.reshape(-1), least_kept(rate), seed, step, stream)
    if out is None:
        return mask
    if not whole:
        copy_from_flat(out, mask.reshape(-1))
    return given


@overload(dropout_mask)
def _dropout_mask_in_njit(shape, rate=0.5, seed=0, step=0, stream=0, out=None):
    if not isinstance(out, types.Array):
        raise errors.TypingError("dropout_mask: inside njit the result needs out=")

    def call(shape, rate=0.5, seed=0, step=0, stream=0, out=None):
        if not 0 <= rate < 1:
            raise ValueError("dropout_mask: rate is out of range, expected 0 <= rate < 1")
        steps = np.array([np.int64(step)])
        flat = out.reshape(-1)
        _draw_mask(groups_of(flat.size), flat, least_kept(rate), seed, steps, stream)
        return out

    return call


@kernel
def _shuffle(start, stop, order, seed, step):
    """Fisher & Yates: swap each element, from the last, with one not after it."""
    c2, c3 = halves(step[0])
    k0, k1 = halves(seed)
    for i in range(len(order) - 1, 0, -1):
        a, b, _, _ = draw(*halves(i), np.uint32(c2 ^ SHUFFLE), c3, k0, k1)
        count = np.uint64(i + 1)
        low = (np.uint64(b) * count) >> np.uint64(32)
        j = np.int64((np.uint64(a) * count + low) >> np.uint64(32))
        order[i], order[j] = order[j], order[i]


def _check_shuffle(operation, sizes, values):
    check_key(operation, values["seed"], 0)


@operation("order! (N) int64", scalars={"step": "int64"}, check=_check_shuffle)
def shuffle(order, seed=0, step=0):
    """Shuffle in place, all orders alike. Fisher & Yates 1938.

    order (N,) int64; step a number or (1,) int64
    """
    _shuffle(1, order, seed, step)
