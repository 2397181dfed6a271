"""Steps of optimizers, in place, by PyTorch's formulas and names.

With g' = g + decay·p:

    sgd       v = momentum·v + (1 - dampening)·g';  p -= lr·v  (nesterov: lr·(g' + momentum·v))
    rmsprop   s = α·s + (1 - α)·g'²;  v = momentum·v + g'/(√s + ε);  p -= lr·v
    adam      m = β₁·m + (1 - β₁)·g';  v = β₂·v + (1 - β₂)·g'²;
              p -= lr/(1 - β₁ᵗ)·m/(√v/√(1 - β₂ᵗ) + ε)
    adamw     p *= 1 - lr·decay, then adam with g' = g

Moments and velocities begin as zeros; t counts steps from 1.

The rule: lr and step are read at each replay, and what depends on them alone is computed once a
chunk, not once an element.
"""

import math

import numpy as np

from . import arrays
from .arrays import scratch
from .caching import jit
from .elementary import expm1
from .launch import kernel
from .loops import for_each
from .native import independent_loop
from .operations import operation
from .reductions import add_up, lane_sum, new_lanes
from .spread import leader

SEGMENT = 4096  # elements of a partial sum of squares


def _plain_step(i, p, g, rate, decay):
    value = p[i]
    p[i] = value - rate * (g[i] + decay * value)


def _momentum_step(i, p, g, velocity, rate, momentum, fresh, begins, nesterov, decay):
    value, before = p[i], velocity[i]
    slope = g[i] + decay * value
    part = slope if begins and before == 0 else fresh * slope
    speed = momentum * before + part
    velocity[i] = speed
    p[i] = value - rate * (slope + momentum * speed if nesterov else speed)


def _rms_step(i, p, g, square, rate, alpha, fresh, eps, decay):
    value = p[i]
    slope = g[i] + decay * value
    mean = alpha * square[i] + fresh * (slope * slope)
    square[i] = mean
    p[i] = value - rate * (slope / (math.sqrt(mean) + eps))


def _rms_momentum_step(i, p, g, square, velocity, rate, alpha, fresh, eps, decay, momentum):
    value = p[i]
    slope = g[i] + decay * value
    mean = alpha * square[i] + fresh * (slope * slope)
    square[i] = mean
    speed = momentum * velocity[i] + slope / (math.sqrt(mean) + eps)
    velocity[i] = speed
    p[i] = value - rate * speed


def _adam_step(i, p, g, m, v, rate, beta1, fresh1, beta2, fresh2, root, eps, decay, kept):
    value = p[i]
    slope = g[i] + decay * value
    mean = beta1 * m[i] + fresh1 * slope
    square = beta2 * v[i] + fresh2 * (slope * slope)
    m[i], v[i] = mean, square
    p[i] = kept * value - rate * (mean / (math.sqrt(square) * root + eps))


_plain_loop = independent_loop(jit(_plain_step, inner=True))
_momentum_loop = independent_loop(jit(_momentum_step, inner=True))
_rms_loop = independent_loop(jit(_rms_step, inner=True))
_rms_momentum_loop = independent_loop(jit(_rms_momentum_step, inner=True))
_adam_loop = independent_loop(jit(_adam_step, inner=True))


@kernel(cost=lambda *_: 0.2, spread="grid")
def _descend(start, stop, p, g, lr, decay):
    _plain_loop(np.uintp(start), np.uintp(stop), (), (p, g, lr[0], decay))


@kernel(cost=lambda *_: 0.3, spread="grid")
def _descend_with_momentum(start, stop, p, g, velocity, step, lr, momentum, fresh, nesterov, decay):
    begins = step[0] <= 1
    numbers = (lr[0], momentum, fresh, begins, nesterov, decay)
    _momentum_loop(np.uintp(start), np.uintp(stop), (), (p, g, velocity, *numbers))


@kernel(cost=lambda *_: 0.4, spread="grid")
def _scale_by_rms(start, stop, p, g, square, lr, alpha, fresh, eps, decay):
    numbers = (lr[0], alpha, fresh, eps, decay)
    _rms_loop(np.uintp(start), np.uintp(stop), (), (p, g, square, *numbers))


@kernel(cost=lambda *_: 0.5, spread="grid")
def _scale_by_rms_with_momentum(
    start, stop, p, g, square, velocity, lr, alpha, fresh, eps, decay, momentum
):
    numbers = (lr[0], alpha, fresh, eps, decay, momentum)
    _rms_momentum_loop(np.uintp(start), np.uintp(stop), (), (p, g, square, velocity, *numbers))


@kernel(cost=lambda *_: 0.5, spread="grid")
def _adapt(
    start, stop, p, g, m, v, step, lr, beta1, fresh1, log1, beta2, fresh2, log2, eps, decay, shrink
):
    """Adam, with 1 - βᵗ = -expm1(t·log β), which loses no digits at small t."""
    one, t = type(eps)(1), type(eps)(step[0])
    rate = lr[0] / -expm1(t * log1)
    root = one / math.sqrt(-expm1(t * log2))
    kept = one - lr[0] * shrink
    numbers = (rate, beta1, fresh1, beta2, fresh2, root, eps, decay, kept)
    _adam_loop(np.uintp(start), np.uintp(stop), (), (p, g, m, v, *numbers))


def _check(operation, sizes, values):
    """Check the numbers that are given as numbers."""
    for name, value in values.items():
        if name in ("beta1", "beta2"):
            arrays.check_fraction(operation, name, value)
        elif name in ("momentum", "weight_decay", "eps", "alpha", "max_norm", "limit"):
            arrays.check_at_least(operation, name, value, 0)
        elif name == "dampening":
            arrays.check_number(operation, name, value)
    if values.get("momentum") and values["velocity"] is None:
        raise ValueError(f"{operation}: velocity is None, expected an array as momentum is not 0")
    if values.get("nesterov") and not (values["momentum"] > 0 and values["dampening"] == 0):
        raise ValueError(
            f"{operation}: nesterov has momentum {values['momentum']} and dampening "
            f"{values['dampening']}, expected momentum > 0 and dampening 0"
        )


_CHANGING = {"lr": None, "step": "int64"}  # numbers, or one-element arrays read at each replay


@operation("p! (...), g (...), velocity?! (...)", scalars=_CHANGING, check=_check)
def sgd(
    p, g, velocity=None, lr=1e-3, momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0,
    step=0,
):  # fmt: skip
    """Step by stochastic gradient descent, with momentum (Polyak 1964) or Nesterov's. In place.

    p, g, velocity (...): parameters, gradient; lr, step numbers or (1,)

    In PyTorch the first step takes the whole gradient as velocity, whatever the dampening. So do
    elements whose velocity is 0 here at step 1, or where no step is given.
    """
    kind = p.dtype.type
    if velocity is None or momentum == 0:
        _descend(p.size, p, g, lr, kind(weight_decay))
    else:
        _descend_with_momentum(
            p.size, p, g, velocity, step, lr, kind(momentum), kind(1.0 - dampening), nesterov,
            kind(weight_decay),
        )  # fmt: skip


@operation("p! (...), g (...), square! (...), velocity?! (...)", scalars=_CHANGING, check=_check)
def rmsprop(
    p, g, square, velocity=None, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0
):
    """Step by the gradient over the root of its mean square. Hinton 2012. In place.

    p, g, square, velocity (...); lr a number or (1,)
    """
    kind = p.dtype.type
    alpha_, fresh = kind(alpha), kind(1.0 - alpha)
    if velocity is None or momentum == 0:
        _scale_by_rms(p.size, p, g, square, lr, alpha_, fresh, kind(eps), kind(weight_decay))
    else:
        _scale_by_rms_with_momentum(
            p.size, p, g, square, velocity, lr, alpha_, fresh, kind(eps), kind(weight_decay),
            kind(momentum),
        )  # fmt: skip


@operation("p! (...), g (...), m! (...), v! (...)", scalars=_CHANGING, check=_check)
def adam(p, g, m, v, step, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
    """Step by the mean gradient over the root of its mean square. Kingma & Ba, arXiv:1412.6980.

    p, g, m, v (...); step (from 1), lr numbers or (1,)
    """
    kind = p.dtype.type
    _adapt(
        p.size, p, g, m, v, step, lr,
        kind(beta1), kind(1.0 - beta1), kind(np.log(np.float64(beta1))),
        kind(beta2), kind(1.0 - beta2), kind(np.log(np.float64(beta2))),
        kind(eps), kind(weight_decay), kind(0),
    )  # fmt: skip


@operation("p! (...), g (...), m! (...), v! (...)", scalars=_CHANGING, check=_check)
def adamw(p, g, m, v, step, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01):
    """Step by adam, the decay apart from the gradient. Loshchilov & Hutter 2017, arXiv:1711.05101.

    p, g, m, v (...); step (from 1), lr numbers or (1,)
    """
    kind = p.dtype.type
    _adapt(
        p.size, p, g, m, v, step, lr,
        kind(beta1), kind(1.0 - beta1), kind(np.log(np.float64(beta1))),
        kind(beta2), kind(1.0 - beta2), kind(np.log(np.float64(beta2))),
        kind(eps), kind(0), kind(weight_decay),
    )  # fmt: skip


def _square(i, g):
    return g[i] * g[i]


_add_squares = lane_sum(_square)


@kernel(cost=lambda *_: 400.0, spread="warp")
def _sum_squares(start, stop, partial, g):
    """partial[segment] = Σ g² over 4096 elements, in 64 lanes."""
    lanes, length = new_lanes(g), np.uintp(SEGMENT)
    for segment in range(np.uintp(start), np.uintp(stop)):
        first = segment * length
        total = _add_squares(first, min(np.uintp(len(g)), first + length), lanes, (g,))
        if leader():
            partial[segment] = total


@kernel(spread="block")
def _find_factor(start, stop, factor, partial, max_norm):
    one, total = type(max_norm)(1), add_up(partial)
    found = max_norm / (math.sqrt(total) + type(max_norm)(1e-6))
    if leader():
        factor[0] = one if found > one else found


@for_each(cost=0.2)
def _scale(i, g, factor):
    g[i] *= factor[0]


@operation("g! (...)", check=_check)
def clip_grad_norm(g, max_norm):
    """g *= min(1, max_norm/(‖g‖ + 1e-6)), in place. Pascanu et al. 2013, arXiv:1211.5063.

    g (...): all gradients in one array
    """
    partial = scratch(g, (g.size + SEGMENT - 1) // SEGMENT)
    factor = scratch(g, 1)
    _sum_squares(len(partial), partial, g)
    _find_factor(1, factor, partial, g.dtype.type(max_norm))
    _scale(g.size, g, factor)


@for_each(cost=0.2)
def _clip(i, g, limit):
    value = g[i]
    value = limit if value > limit else value
    g[i] = -limit if value < -limit else value


@operation("g! (...)", check=_check)
def clip_grad_value(g, limit):
    """g = min(max(g, -limit), limit), in place.

    g (...)
    """
    _clip(g.size, g, g.dtype.type(limit))
