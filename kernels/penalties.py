"""Gradients of penalties on weights, and the bound on their norms, in place.

    elastic net   Σ l1·|w| + ½·l2·w²        g += l1·sign(w) + l2·w
    group lasso   Σ strength·‖w_row‖        g_row += strength·w_row/‖w_row‖, nothing where that is 0
    max-norm      ‖w_row‖ <= limit          w_row *= limit/‖w_row‖ where it is longer

A row of a weight (out, in) is what one neuron weighs its inputs with.

The rule: an l2 of λ is a weight decay of λ.
"""

import math

import numpy as np

from .caching import jit
from .descent import check_numbers
from .launch import kernel
from .loops import for_each
from .native import independent_loop
from .operations import operation
from .reductions import lane_sum, new_lanes


@for_each(cost=0.2)
def _penalize(i, g, w, l1, l2):
    value = w[i]
    kind = type(value)
    sign = kind(1) if value > 0 else kind(-1) if value < 0 else value
    g[i] += l1 * sign + l2 * value


def _square(column, w, row):
    return w[row, column] * w[row, column]


def _pull(row, column, g, w, scale):
    g[row, column] += scale * w[row, column]


def _shorten(row, column, w, scale):
    w[row, column] *= scale


_add_squares = lane_sum(_square)
_pull_along = independent_loop(jit(_pull, inner=True), leading=1)
_shorten_along = independent_loop(jit(_shorten, inner=True), leading=1)


@kernel(cost=lambda g, w, *_: 0.5 * w.shape[1], spread="warp")
def _pull_rows(start, stop, g, w, strength):
    lanes, columns = new_lanes(w), np.uintp(w.shape[1])
    for row in range(np.uintp(start), np.uintp(stop)):
        length = math.sqrt(_add_squares(np.uintp(0), columns, lanes, (w, row)))
        scale = strength / length if length > 0 else type(length)(0)
        _pull_along(np.uintp(0), columns, (row,), (g, w, scale))


@kernel(cost=lambda w, *_: 0.5 * w.shape[1], spread="warp")
def _shorten_rows(start, stop, w, limit):
    lanes, columns = new_lanes(w), np.uintp(w.shape[1])
    for row in range(np.uintp(start), np.uintp(stop)):
        length = math.sqrt(_add_squares(np.uintp(0), columns, lanes, (w, row)))
        if length > limit:
            _shorten_along(np.uintp(0), columns, (row,), (w, limit / length))


@operation("g! (...), w (...)", check=check_numbers)
def add_elastic_net(g, w, l1=0.0, l2=0.0):
    """g += l1·sign(w) + l2·w, in place. Zou & Hastie 2005; with l1 = 0 ridge, with l2 = 0 lasso.

    g, w (...): the gradient and the weights
    """
    kind = g.dtype.type
    _penalize(g.size, g, w, kind(l1), kind(l2))


@operation("g! (N, C), w (N, C)", check=check_numbers)
def add_group_lasso(g, w, strength):
    """g_row += strength·w_row/‖w_row‖, in place: whole rows go to zero. Yuan & Lin 2006.

    g, w (N, C): the gradient and the weights, a group a row; nothing is added to a row of zeros
    """
    _pull_rows(len(w), g, w, g.dtype.type(strength))


@operation("w! (N, C)", check=check_numbers)
def max_norm(w, limit):
    """w_row *= min(1, limit/‖w_row‖), in place. Srivastava et al. 2014 (section 5.1).

    w (N, C)
    """
    _shorten_rows(len(w), w, w.dtype.type(limit))
