"""Gradient descent, plain and with momentum, in place.

With g' = g + decay·p, in PyTorch's form and in the classical one:

    PyTorch     v = momentum·v + (1 - dampening)·g';  p -= lr·v  (nesterov: lr·(g' + momentum·v))
    classical   v = momentum·v + lr·g';               p -= v     (nesterov: lr·g' + momentum·v)

The paths part where lr changes. PyTorch's v is a mean of slopes, and a new lr rescales all of it at
once; the classical v is made of steps already scaled, which a new lr replaces little by little.
Nesterov's p, in both forms, is the point ahead, p + momentum·v, where the next slope is taken.

The rule, for every optimizer: moments and velocities begin as zeros, t counts steps from 1, lr and
step are read at each replay, and what depends on them alone is computed once a chunk. `maximize`
climbs: velocities and means are then those of g - decay·p.
"""

import numpy as np

from . import arrays
from .caching import jit
from .launch import kernel
from .native import independent_loop
from .operations import operation


def _plain_step(i, p, g, rate, decay):
    value = p[i]
    p[i] = value - rate * (g[i] + decay * value)


def _momentum_step(i, p, g, velocity, rate, momentum, fresh, begins, nesterov, decay):
    value, before = p[i], velocity[i]
    slope = g[i] + decay * value
    part = slope if begins and before == 0 else fresh * slope
    speed = momentum * before + part
    velocity[i] = speed
    p[i] = value - rate * (part + momentum * speed if nesterov else speed)


_plain_loop = independent_loop(jit(_plain_step, inner=True))
_momentum_loop = independent_loop(jit(_momentum_step, inner=True))


@kernel(cost=lambda *_: 0.2, spread="grid")
def _descend(start, stop, p, g, lr, sign, decay):
    _plain_loop(np.uintp(start), np.uintp(stop), (), (p, g, sign * lr[0], decay))


@kernel(cost=lambda *_: 0.3, spread="grid")
def _descend_with_momentum(
    start, stop, p, g, velocity, step, lr, sign, momentum, fresh, nesterov, classical, decay
):
    rate, begins = sign * lr[0], step[0] <= 1 and not classical
    if classical:
        rate, fresh = sign, lr[0]
    numbers = (rate, momentum, fresh, begins, nesterov, decay)
    _momentum_loop(np.uintp(start), np.uintp(stop), (), (p, g, velocity, *numbers))


FRACTIONS = ("beta1", "beta2", "alpha", "rho")
AT_LEAST_0 = (
    "momentum", "weight_decay", "eps", "lr_decay", "momentum_decay", "max_norm", "limit", "l1",
    "l2", "strength",
)  # fmt: skip


def check_numbers(operation, sizes, values):
    """Check the numbers of an optimizer's step that are given as numbers."""
    for name, value in values.items():
        if name in FRACTIONS:
            arrays.check_fraction(operation, name, value)
        elif name in AT_LEAST_0:
            arrays.check_at_least(operation, name, value, 0)
        elif name == "dampening":
            arrays.check_number(operation, name, value)


def _check(operation, sizes, values):
    check_numbers(operation, sizes, values)
    momentum, dampening = values["momentum"], values["dampening"]
    if momentum and values["velocity"] is None:
        raise ValueError(f"{operation}: velocity is None, expected an array as momentum is not 0")
    check_form(operation, momentum, dampening, values["nesterov"], values["classical"])


def check_form(operation, momentum, dampening, nesterov, classical):
    """Refuse combinations of momentum's options that mean nothing."""
    if nesterov and not (momentum > 0 and dampening == 0):
        raise ValueError(
            f"{operation}: nesterov has momentum {momentum} and dampening {dampening}, "
            "expected momentum > 0 and dampening 0"
        )
    if classical and dampening != 0:
        raise ValueError(
            f"{operation}: the classical form has dampening {dampening}, expected dampening 0"
        )


CHANGING = {"lr": None, "step": "int64"}  # numbers, or one-element arrays read at each replay


@operation("p! (...), g (...), velocity?! (...)", scalars=CHANGING, check=_check)
def sgd(
    p, g, velocity=None, lr=1e-3, momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0,
    step=0, maximize=False, classical=False,
):  # fmt: skip
    """Step by stochastic gradient descent, with momentum (Polyak 1964) or Nesterov's. In place.

    p, g, velocity (...): parameters, gradient; lr, step numbers or (1,); classical: the other form

    In PyTorch the first step takes the whole gradient as velocity, whatever the dampening. So do
    elements whose velocity is 0 here at step 1, or where no step is given.
    """
    kind = p.dtype.type
    sign = kind(-1.0 if maximize else 1.0)
    decay = sign * kind(weight_decay)
    if velocity is None or momentum == 0:
        _descend(p.size, p, g, lr, sign, decay)
    else:
        _descend_with_momentum(
            p.size, p, g, velocity, step, lr, sign, kind(momentum), kind(1.0 - dampening),
            nesterov, classical, decay,
        )  # fmt: skip
