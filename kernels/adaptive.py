"""Steps that divide the gradient by the root of its squares: Adagrad and its children, in place.

With g' = g + decay·p:

    adagrad            s += g'²;  p -= lr/(1 + (t - 1)·lr_decay)·g'/(√s + ε)
    rmsprop            s = α·s + (1 - α)·g'²;  v = momentum·v + g'/(√s + ε);  p -= lr·v
    rmsprop_centered   s is the variance of g': s = α·(s + (1 - α)·(g' - m)²), m its running mean
    adadelta           s = ρ·s + (1 - ρ)·g'²;  Δ = √(d + ε)/√(s + ε)·g';
                       d = ρ·d + (1 - ρ)·Δ²;   p -= lr·Δ

The rule: one kernel makes the first three, with the arrays that are None left out when it compiles.
"""

import math

import numpy as np

from .caching import jit
from .descent import CHANGING, check_numbers
from .launch import kernel
from .native import independent_loop
from .operations import operation


def _rms_step(i, p, g, square, mean, velocity, rate, alpha, fresh, eps, decay, momentum):
    value = p[i]
    slope = g[i] + decay * value
    if alpha is None:
        squared = square[i] + slope * slope
    elif mean is None:
        squared = alpha * square[i] + fresh * (slope * slope)
    else:
        before = mean[i]
        away = slope - before
        squared = alpha * (square[i] + fresh * (away * away))
        mean[i] = before + fresh * away
    square[i] = squared
    move = slope / (math.sqrt(squared) + eps)
    if velocity is not None:
        move = momentum * velocity[i] + move
        velocity[i] = move
    p[i] = value - rate * move


def _delta_step(i, p, g, square, moved, rate, rho, fresh, eps, decay):
    value, before = p[i], moved[i]
    slope = g[i] + decay * value
    squared = rho * square[i] + fresh * (slope * slope)
    delta = math.sqrt(before + eps) / math.sqrt(squared + eps) * slope
    square[i] = squared
    moved[i] = rho * before + fresh * (delta * delta)
    p[i] = value - rate * delta


_rms_loop = independent_loop(jit(_rms_step, inner=True))
_delta_loop = independent_loop(jit(_delta_step, inner=True))


@kernel(cost=lambda *_: 0.5, spread="grid")
def _scale_by_rms(
    start, stop, p, g, square, mean, velocity, step, lr, lr_decay, sign, alpha, fresh, eps, decay,
    momentum,
):  # fmt: skip
    rate = sign * lr[0]
    if step is not None:
        kind = type(eps)
        rate = rate / (kind(1) + kind(step[0] - 1) * lr_decay)
    numbers = (rate, alpha, fresh, eps, decay, momentum)
    _rms_loop(np.uintp(start), np.uintp(stop), (), (p, g, square, mean, velocity, *numbers))


@kernel(cost=lambda *_: 0.6, spread="grid")
def _scale_by_deltas(start, stop, p, g, square, moved, lr, sign, rho, fresh, eps, decay):
    numbers = (sign * lr[0], rho, fresh, eps, decay)
    _delta_loop(np.uintp(start), np.uintp(stop), (), (p, g, square, moved, *numbers))


@operation("p! (...), g (...), total! (...)", scalars=CHANGING, check=check_numbers)
def adagrad(
    p, g, total, step, lr=1e-2, lr_decay=0.0, weight_decay=0.0, eps=1e-10, maximize=False
):  # fmt: skip
    """Step by the gradient over the root of the sum of its squares. Duchi et al. 2011. In place.

    p, g, total (...); step (from 1), lr numbers or (1,)

    The sum only grows, so the rate of each element only falls: lr/√t under an even gradient.
    """
    kind = p.dtype.type
    sign = kind(-1.0 if maximize else 1.0)
    _scale_by_rms(
        p.size, p, g, total, None, None, step, lr, kind(lr_decay), sign, None, None, kind(eps),
        sign * kind(weight_decay), None,
    )  # fmt: skip


def _check(operation, sizes, values):
    check_numbers(operation, sizes, values)
    if values["momentum"] and values["velocity"] is None:
        raise ValueError(f"{operation}: velocity is None, expected an array as momentum is not 0")


@operation("p! (...), g (...), square! (...), velocity?! (...)", scalars=CHANGING, check=_check)
def rmsprop(
    p, g, square, velocity=None, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0,
    maximize=False,
):  # fmt: skip
    """Step by the gradient over the root of its mean square. Hinton 2012. In place.

    p, g, square, velocity (...); lr a number or (1,)
    """
    kind = p.dtype.type
    sign = kind(-1.0 if maximize else 1.0)
    numbers = (kind(0), sign, kind(alpha), kind(1.0 - alpha), kind(eps))
    decay, momentum_ = sign * kind(weight_decay), kind(momentum)
    if velocity is None or momentum == 0:
        _scale_by_rms(p.size, p, g, square, None, None, None, lr, *numbers, decay, momentum_)
    else:
        _scale_by_rms(p.size, p, g, square, None, velocity, None, lr, *numbers, decay, momentum_)


@operation(
    "p! (...), g (...), square! (...), mean! (...), velocity?! (...)",
    scalars=CHANGING,
    check=_check,
)
def rmsprop_centered(
    p, g, square, mean, velocity=None, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0,
    momentum=0.0, maximize=False,
):  # fmt: skip
    """Step by the gradient over its running standard deviation. Graves 2013, arXiv:1308.0850.

    p, g, square, mean, velocity (...); lr a number or (1,)

    `square` holds the variance itself: PyTorch's E[g²] - E[g]², without what cancels in it.
    """
    kind = p.dtype.type
    sign = kind(-1.0 if maximize else 1.0)
    numbers = (kind(0), sign, kind(alpha), kind(1.0 - alpha), kind(eps))
    decay, momentum_ = sign * kind(weight_decay), kind(momentum)
    if velocity is None or momentum == 0:
        _scale_by_rms(p.size, p, g, square, mean, None, None, lr, *numbers, decay, momentum_)
    else:
        _scale_by_rms(p.size, p, g, square, mean, velocity, None, lr, *numbers, decay, momentum_)


@operation("p! (...), g (...), square! (...), moved! (...)", scalars=CHANGING, check=check_numbers)
def adadelta(
    p, g, square, moved, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0, maximize=False
):  # fmt: skip
    """Step by the gradient, scaled by the root mean squares of steps and gradients. In place.

    Zeiler 2012, arXiv:1212.5701. p, g, square, moved (...); lr a number or (1,)
    """
    kind = p.dtype.type
    sign = kind(-1.0 if maximize else 1.0)
    _scale_by_deltas(
        p.size, p, g, square, moved, lr, sign, kind(rho), kind(1.0 - rho), kind(eps),
        sign * kind(weight_decay),
    )  # fmt: skip
