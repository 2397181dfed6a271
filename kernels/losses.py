"""Losses of numbers against targets, element by element, each with its derivative.

A loss is a formula f(x, t, number) -> value, derivative. mean divides by the number of elements, or
with sample weights (one for each row) by their sum times the elements of a row.

The rule: a new loss is a formula and a public function here; sums run in a fixed order.
"""

import numpy as np
from numba.extending import overload

from . import arrays
from .arrays import scratch
from .caching import jit
from .elementary import exp, log1p
from .entropy import cross_entropy
from .launch import kernel
from .native import independent_loop
from .operations import operation
from .probabilities import log_softmax, log_softmax_backward, softmax, softmax_backward
from .reductions import (
    REDUCTIONS,
    at,
    lane_sum,
    new_lanes,
    reduction_in_njit,
    sum_losses,
    weigh_samples,
)
from .spread import leader

__all__ = [
    "bce_with_logits",
    "cross_entropy",
    "huber",
    "l1",
    "log_softmax",
    "log_softmax_backward",
    "mse",
    "poisson_nll",
    "smooth_l1",
    "softmax",
    "softmax_backward",
]

SEGMENT = 1024  # elements that share a partial sum where no row has a weight of its own


def _squared(x, t, number):
    d = x - t
    return d * d, d + d


def _absolute(x, t, number):
    d, zero, one = x - t, type(x)(0), type(x)(1)
    sign = one if d > 0 else (-one if d < 0 else d)  # 0 at 0, and NaN stays
    return abs(d), sign + zero


def _smooth(x, t, beta):
    d, half = x - t, type(x)(0.5)
    near = abs(d) < beta
    value = half * d * d / beta if near else abs(d) - half * beta
    sign = type(x)(1) if d > 0 else type(x)(-1)
    slope = d / beta if abs(d) <= beta else sign
    return value, slope if d == d else d


def _huber(x, t, delta):
    d, half = x - t, type(x)(0.5)
    sign = delta if d > 0 else -delta
    value = half * d * d if abs(d) <= delta else delta * (abs(d) - half * delta)
    slope = d if abs(d) <= delta else sign
    return value, slope if d == d else d


def _logistic(x, t, number):
    zero, one = type(x)(0), type(x)(1)
    e = exp(-abs(x))
    most = zero if x < 0 else x
    sigmoid = (one if x >= 0 else e) / (one + e)
    return (most - x * t) + log1p(e), sigmoid - t


def _poisson(x, t, number):
    rate = exp(x)
    return rate - t * x, rate - t


def _make_loops(formula):
    """Make the kernel that sums segments and the one that keeps each element's loss."""
    inner = jit(formula, inner=True)

    def derive(i, d, x, t, number, factor):
        value, slope = inner(x[i], t[i], number)
        d[i] = slope * factor
        return value

    def put(i, d, x, t, number, factor, losses):
        value, slope = inner(x[i], t[i], number)
        d[i] = slope * factor
        losses[i] = value * factor

    add_values = lane_sum(derive)
    put_loop = independent_loop(jit(put, inner=True))

    @kernel(cost=lambda losses, d, x, t, weights, width, *_: 0.6 * width, spread="warp")
    def sum_segments(start, stop, losses, d, x, t, weights, width, scale, number):
        size, one, lanes = np.uintp(len(x)), x.dtype.type(1), new_lanes(x)
        for segment in range(np.uintp(start), np.uintp(stop)):
            weight = at(weights, segment, one)
            first = segment * np.uintp(width)
            last = min(size, first + np.uintp(width))
            total = add_values(first, last, lanes, (d, x, t, number, weight * scale[0]))
            if leader():
                losses[segment] = total * weight

    @kernel(cost=lambda losses, d, x, t, weights, width, *_: 0.6 * width, spread="warp")
    def put_segments(start, stop, losses, d, x, t, weights, width, number):
        size, one = np.uintp(len(x)), x.dtype.type(1)
        for segment in range(np.uintp(start), np.uintp(stop)):
            first = segment * np.uintp(width)
            last = min(size, first + np.uintp(width))
            put_loop(first, last, (), (d, x, t, number, at(weights, segment, one), losses))

    return sum_segments, put_segments


def _make_operation(name, formula, check, shape):
    sum_segments, put_segments = _make_loops(formula)
    each = shape == "..."

    def run(loss, doutput, output, target, sample_weight, number, mean):
        size, width, kind = output.size, SEGMENT, output.dtype.type
        if sample_weight is not None:
            width = size // max(len(sample_weight), 1)
        segments = (size + width - 1) // max(width, 1)
        if each:
            put_segments(
                segments, loss, doutput, output, target, sample_weight, width, kind(number)
            )
        else:
            scale = scratch(output, 1)
            losses = scratch(output, segments)
            weigh_samples(1, scale, sample_weight, size, width, mean)
            sum_segments(
                segments, losses, doutput, output, target, sample_weight, width, scale,
                kind(number),
            )  # fmt: skip
            sum_losses(1, loss, losses, scale)

    run.__name__ = name
    declared = "output (...), target (...), sample_weight? (N)"
    return operation(f"{declared} -> loss ({shape}), doutput (...)", check=check)(run)


def _check(number, least_excluded):
    def check(operation, sizes, values):
        shape = sizes["..."]
        if "N" in sizes and (len(shape) == 0 or sizes["N"] != shape[0]):
            raise ValueError(
                f"{operation}: sample_weight has shape ({sizes['N']},), expected {shape[:1]}"
            )
        if number is not None:
            value = values["number"]
            arrays.check_at_least(operation, number, value, 0, strictly=least_excluded)

    return check


class _Loss:
    """The two operations of a formula: to one number, and to the loss of each element."""

    def __init__(self, name, formula, number=None, strictly=False):
        check = _check(number, strictly)
        self.name = name
        self.to_one = _make_operation(name, formula, check, "1")
        self.to_each = _make_operation(name, formula, check, "...")

    def pick(self, reduction):
        """Return the operation for a reduction, and whether it is the mean."""
        return self.to_each if reduction == "none" else self.to_one, reduction == "mean"

    def __call__(self, output, target, sample_weight, reduction, number, out):
        arrays.check_known(self.name, reduction, REDUCTIONS, "reduction")
        run, mean = self.pick(reduction)
        return run(output, target, sample_weight, number, mean, out=out)


_MSE = _Loss("mse", _squared)
_L1 = _Loss("l1", _absolute)
_SMOOTH_L1 = _Loss("smooth_l1", _smooth, "beta")
_HUBER = _Loss("huber", _huber, "delta", strictly=True)
_BCE = _Loss("bce_with_logits", _logistic)
_POISSON = _Loss("poisson_nll", _poisson)


def mse(output, target, sample_weight=None, reduction="mean", out=None):
    """loss = mean of (output - target)², and its derivative.

    output, target (...); sample_weight (N,), N the first size -> loss (1,), doutput (...)

    reduction="none" gives each element's loss, and doutput is the derivative of their sum.
    """
    return _MSE(output, target, sample_weight, reduction, 0.0, out)


def l1(output, target, sample_weight=None, reduction="mean", out=None):
    """loss = mean of |output - target|, and its derivative; else as mse.

    output, target (...); sample_weight (N,) -> loss (1,), doutput (...)
    """
    return _L1(output, target, sample_weight, reduction, 0.0, out)


def bce_with_logits(output, target, sample_weight=None, reduction="mean", out=None):
    """loss = mean of -t·log σ(x) - (1 - t)·log(1 - σ(x)), and its derivative; else as mse.

    output, target (...); sample_weight (N,) -> loss (1,), doutput (...)
    """
    return _BCE(output, target, sample_weight, reduction, 0.0, out)


def poisson_nll(output, target, sample_weight=None, reduction="mean", out=None):
    """loss = mean of eˣ - t·x, counts t of rate eˣ, and its derivative; else as mse.

    output, target (...); sample_weight (N,) -> loss (1,), doutput (...)

    -log of the Poisson distribution, less log t!, which no output changes.
    """
    return _POISSON(output, target, sample_weight, reduction, 0.0, out)


def smooth_l1(output, target, sample_weight=None, reduction="mean", beta=1.0, out=None):
    """loss = mean of d²/(2β) where |d| < β, else |d| - β/2. Girshick 2015, arXiv:1504.08083.

    output, target (...); sample_weight (N,) -> loss (1,), doutput (...)
    """
    return _SMOOTH_L1(output, target, sample_weight, reduction, beta, out)


def huber(output, target, sample_weight=None, reduction="mean", delta=1.0, out=None):
    """loss = mean of d²/2 where |d| <= δ, else δ·(|d| - δ/2). Huber 1964.

    output, target (...); sample_weight (N,) -> loss (1,), doutput (...)
    """
    return _HUBER(output, target, sample_weight, reduction, delta, out)


def _open_door(public, loss):
    @overload(public, prefer_literal=True)
    def door(output, target, sample_weight=None, reduction="mean", out=None):
        run, mean = loss.pick(reduction_in_njit(loss.name, reduction))

        def call(output, target, sample_weight=None, reduction="mean", out=None):
            return run(output, target, sample_weight, 0.0, mean, out=out)

        return call


for _public, _loss in (
    (mse, _MSE),
    (l1, _L1),
    (bce_with_logits, _BCE),
    (poisson_nll, _POISSON),
):
    _open_door(_public, _loss)


@overload(smooth_l1, prefer_literal=True)
def _smooth_l1_in_njit(output, target, sample_weight=None, reduction="mean", beta=1.0, out=None):
    run, mean = _SMOOTH_L1.pick(reduction_in_njit("smooth_l1", reduction))

    def call(output, target, sample_weight=None, reduction="mean", beta=1.0, out=None):
        return run(output, target, sample_weight, beta, mean, out=out)

    return call


@overload(huber, prefer_literal=True)
def _huber_in_njit(output, target, sample_weight=None, reduction="mean", delta=1.0, out=None):
    run, mean = _HUBER.pick(reduction_in_njit("huber", reduction))

    def call(output, target, sample_weight=None, reduction="mean", delta=1.0, out=None):
        return run(output, target, sample_weight, delta, mean, out=out)

    return call
