"""Rows mixed with other rows, and labels as rows of probabilities.

The rule: a row's share and partner depend on seed, stream, step, its place and the batch's size
alone. Row i has counter i of its stream (random_numbers.py), the batch the last one.
"""

import math

import numpy as np

from . import arrays
from .arrays import scratch
from .caching import jit
from .drawing import check_key
from .elementary import exp, expm1, log
from .launch import kernel
from .loops import for_each_cell
from .native import independent_loop
from .operations import operation
from .random_numbers import draw, halves
from .resampling import cosine_and_sine, fraction

LAST = 0xFFFFFFFF  # the counter of what a batch draws


@jit(inner=True)
def _log_of(word, like):
    """Return log u, u uniform on (0, 1] in steps of 2⁻²⁴."""
    T = type(like)
    return log(T(fraction(word)) + T(2.0**-24))


@jit(inner=True)
def _beta(a, b, c, d, alpha):
    """Return a draw of Beta(α, α) from four random words, without rejection.

    A point of the disc with r² = 1 - u^(1/(α + ½)) has (1 + r cos φ)/2 ~ Beta(α + 1, α + 1) (Ulrich
    1984). The odds of a Beta are one Gamma over another, and Gamma(α + 1)·v^(1/α) is Gamma(α)
    (Stuart 1962): odds times two such powers' ratio are those of Beta(α, α).
    """
    one = type(alpha)(1)
    radius = math.sqrt(-expm1(_log_of(a, alpha) / (alpha + type(alpha)(0.5))))
    across = radius * cosine_and_sine(type(alpha)(360) * type(alpha)(fraction(b)))[0]
    odds = log((one + across) / (one - across)) + (_log_of(c, alpha) - _log_of(d, alpha)) / alpha
    return one / (one + exp(-odds))


@kernel(cost=lambda *_: 100.0)
def _draw_shares(start, stop, shares, alpha, seed, step, stream):
    """shares[i] = (λ, the other row): each row's partner is as many rows further on."""
    words = (np.uint32(stream), *halves(step[0]), *halves(seed))
    rows = np.uint64(shares.shape[0])
    a, _, _, _ = draw(np.uint32(LAST), *words)
    apart = ((np.uint64(a) * (rows - np.uint64(1))) >> np.uint64(32)) + np.uint64(1)
    for i in range(np.uintp(start), np.uintp(stop)):
        a, b, c, d = draw(np.uint32(i), *words)
        shares[i, 0] = _beta(a, b, c, d, alpha)
        shares[i, 1] = (np.uint64(i) + apart) % rows


def _blend_cell(row, other, column, y, x, share):
    value, far = x[row, column], x[other, column]
    y[row, column] = far + share * (value - far)


_blend_loop = independent_loop(jit(_blend_cell, inner=True), leading=2)


@kernel(cost=lambda y, *_: 0.2 * y.shape[1], spread="cells")
def _blend(start, stop, y, x, shares):
    last = np.uintp(x.shape[0] - 1)
    for row in range(np.uintp(start), np.uintp(stop)):
        other = min(np.uintp(shares[row, 1]), last)  # rows beyond 2²⁴ are no float32
        _blend_loop(np.uintp(0), np.uintp(x.shape[1]), (row, other), (y, x, shares[row, 0]))


def _check_mixup(operation, sizes, values):
    alpha = values["alpha"]
    arrays.check_at_least(operation, "alpha", alpha, 0, strictly=True)
    if not math.isfinite(alpha):
        raise ValueError(f"{operation}: alpha is {alpha}, expected a finite number")
    check_key(operation, values["seed"], values["stream"])


@operation(
    "x (N, C), targets (N, K) -> y (N, C), mixed (N, K)",
    scalars={"step": "int64"},
    check=_check_mixup,
)
def mixup(y, mixed, x, targets, alpha=0.2, seed=0, step=0, stream=0):
    """y = λx + (1 - λ)x', targets alike. Zhang et al. 2018, arXiv:1710.09412.

    x (N, C), targets (N, K) -> y (N, C), mixed (N, K)

    Each row has a λ ~ Beta(α, α) of its own. Its partner x' is a number of rows further on, the
    same for all and drawn from 1 to N - 1, so that each row is a partner once.
    """
    shares = scratch(x, (x.shape[0], 2))
    _draw_shares(x.shape[0], shares, x.dtype.type(alpha), seed, step, stream)
    _blend(x.shape[0], y, x, shares)
    _blend(x.shape[0], mixed, targets, shares)


@for_each_cell(cost=0.3)
def _put_one(row, column, y, labels):
    y[row, column] = y.dtype.type(1 if labels[row] == np.int64(column) else 0)


def _check_labels(operation, sizes, values):
    labels = arrays.readable(values["labels"])
    if labels is None:  # recorded on CUDA: nothing waits for the device
        return
    bad = np.flatnonzero((labels < 0) | (labels >= sizes["C"]))
    if len(bad):
        raise ValueError(
            f"{operation}: labels[{bad[0]}] is {labels[bad[0]]}, expected 0 <= label < {sizes['C']}"
        )


@operation("y! (N, C), labels (N) int64", check=_check_labels)
def one_hot(y, labels):
    """Set y to 1 in the column of each row's label, in place, and to 0 elsewhere.

    y (N, C), labels (N,) in [0, C)
    """
    _put_one(y.shape[0], y, labels)
