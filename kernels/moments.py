"""Adam and its relatives: the mean gradient over the root of its mean square, in place.

With g' = g + decay·p:

    adam      m = β₁·m + (1 - β₁)·g';  v = β₂·v + (1 - β₂)·g'²;  p -= lr/b₁·m/(√v/√b₂ + ε)
    adamw     p *= 1 - lr·decay, then adam with g' = g
    amsgrad   adam with the largest v so far in the place of v
    radam     p -= lr·r·m/b₁·√b₂/(√v + ε) where ρ > 5, else lr·m/b₁;
              ρ = ρ∞ - 2t·β₂ᵗ/b₂, ρ∞ = 2/(1 - β₂) - 1, r² = (ρ-4)(ρ-2)ρ∞/((ρ∞-4)(ρ∞-2)ρ)
    nadam     p -= lr·(μ'·m/(1 - Πμ·μ') + (1 - μ)·g'/(1 - Πμ))/(√(v/b₂) + ε);
              μ = β₁·(1 - ½·0.96^(t·ψ)), μ' the same at t + 1

where b = 1 - βᵗ = -expm1(t·log β), which loses no digits at small t.

The rule: all take the same loop, and differ in coefficients. Adam's come from t in the chunk
itself; nadam's and radam's, which want float64 (ρ∞ - 2t·β₂ᵗ/b₂ cancels), from a launch before.
They take libm's expm1: ours is made for vectors, and takes 0.1 s more to compile.
"""

import math

import numpy as np
from numba.extending import register_jitable

from .arrays import scratch
from .caching import jit
from .descent import CHANGING, check_numbers
from .launch import kernel
from .native import independent_loop
from .operations import operation


def _adam_step(
    i, p, g, m, v, top, rate, beta1, fresh1, beta2, fresh2, root, eps, decay, kept, blend, ahead
):
    value = p[i]
    slope = g[i] + decay * value
    mean = beta1 * m[i] + fresh1 * slope
    square = beta2 * v[i] + fresh2 * (slope * slope)
    m[i], v[i] = mean, square
    if top is not None:
        before = top[i]
        square = before if before >= square else square
        top[i] = square
    if ahead is not None:
        mean = blend * mean + ahead * slope
    p[i] = kept * value - rate * (mean / (math.sqrt(square) * root + eps))


_adam_loop = independent_loop(jit(_adam_step, inner=True))


@kernel(cost=lambda *_: 0.5, spread="grid")
def _adapt(
    start, stop, p, g, m, v, top, step, lr, sign, beta1, fresh1, log1, beta2, fresh2, log2, eps,
    decay, shrink,
):  # fmt: skip
    one, t = type(eps)(1), type(eps)(step[0])
    rate = sign * lr[0] / -math.expm1(t * log1)
    root = one / math.sqrt(-math.expm1(t * log2))
    kept = one - lr[0] * shrink
    numbers = (rate, beta1, fresh1, beta2, fresh2, root, eps, decay, kept, None, None)
    _adam_loop(np.uintp(start), np.uintp(stop), (), (p, g, m, v, top, *numbers))


@kernel(cost=lambda *_: 0.5, spread="grid")
def _adapt_by(start, stop, p, g, m, v, planned, beta1, fresh1, beta2, fresh2, decay):
    rate, root, eps, kept, blend, ahead = (
        planned[0], planned[1], planned[2], planned[3], planned[4], planned[5],
    )  # fmt: skip
    numbers = (rate, beta1, fresh1, beta2, fresh2, root, eps, decay, kept, blend, ahead)
    _adam_loop(np.uintp(start), np.uintp(stop), (), (p, g, m, v, None, *numbers))


@kernel
def _plan_radam(start, stop, planned, step, lr, sign, log1, log2, eps, shrink):
    for _ in range(start, stop):
        t, rate = np.float64(step[0]), np.float64(lr[0])
        bias1, bias2 = -math.expm1(t * log1), -math.expm1(t * log2)
        limit = -2.0 / math.expm1(log2) - 1.0
        rho = limit - 2.0 * t * (1.0 - bias2) / bias2
        sure = rho > 5.0
        if sure:
            over = (rho - 4.0) * (rho - 2.0) * limit
            bias1 /= math.sqrt(over / ((limit - 4.0) * (limit - 2.0) * rho) * bias2)
        planned[0] = sign * rate / bias1
        planned[1], planned[2] = (1.0, eps) if sure else (0.0, 1.0)  # √v·0 + 1 divides by nothing
        planned[3], planned[4], planned[5] = 1.0 - rate * shrink, 1.0, 0.0


@kernel
def _plan_nadam(start, stop, planned, product, step, lr, sign, beta1, log2, eps, shrink, slowly):
    for _ in range(start, stop):
        t, rate = np.float64(step[0]), np.float64(lr[0])
        now = beta1 * (1.0 - 0.5 * math.exp(t * slowly))
        after = beta1 * (1.0 - 0.5 * math.exp((t + 1.0) * slowly))
        whole = np.float64(product[0]) * now
        product[0] = whole
        planned[0], planned[1], planned[2] = (
            sign * rate,
            1.0 / math.sqrt(-math.expm1(t * log2)),
            eps,
        )
        planned[3] = 1.0 - rate * shrink
        planned[4], planned[5] = after / (1.0 - whole * after), (1.0 - now) / (1.0 - whole)


@register_jitable
def _log(beta):
    """Return log β; of 0 without the warning."""
    return np.log(np.float64(beta)) if beta > 0 else -np.inf


@operation("p! (...), g (...), m! (...), v! (...)", scalars=CHANGING, check=check_numbers)
def adam(
    p, g, m, v, step, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, maximize=False
):
    """Step by the mean gradient over the root of its mean square. Kingma & Ba, arXiv:1412.6980.

    p, g, m, v (...); step (from 1), lr numbers or (1,)
    """
    kind = p.dtype.type
    sign = kind(-1.0 if maximize else 1.0)
    _adapt(
        p.size, p, g, m, v, None, step, lr, sign,
        kind(beta1), kind(1.0 - beta1), kind(_log(beta1)),
        kind(beta2), kind(1.0 - beta2), kind(_log(beta2)),
        kind(eps), sign * kind(weight_decay), kind(0),
    )  # fmt: skip


@operation("p! (...), g (...), m! (...), v! (...)", scalars=CHANGING, check=check_numbers)
def adamw(
    p, g, m, v, step, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01, maximize=False
):
    """Step by adam, the decay apart from the gradient. Loshchilov & Hutter 2017, arXiv:1711.05101.

    p, g, m, v (...); step (from 1), lr numbers or (1,)
    """
    kind = p.dtype.type
    sign = kind(-1.0 if maximize else 1.0)
    _adapt(
        p.size, p, g, m, v, None, step, lr, sign,
        kind(beta1), kind(1.0 - beta1), kind(_log(beta1)),
        kind(beta2), kind(1.0 - beta2), kind(_log(beta2)),
        kind(eps), kind(0), kind(weight_decay),
    )  # fmt: skip


@operation(
    "p! (...), g (...), m! (...), v! (...), top! (...)", scalars=CHANGING, check=check_numbers
)
def amsgrad(
    p, g, m, v, top, step, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0,
    decoupled=False, maximize=False,
):  # fmt: skip
    """Step by adam with the largest mean square so far. Reddi et al. 2018, arXiv:1904.09237.

    p, g, m, v, top (...); step (from 1), lr numbers or (1,); decoupled: the decay as in adamw

    A step never grows because large gradients were long ago, so that it converges where Adam need
    not.
    """
    kind = p.dtype.type
    sign = kind(-1.0 if maximize else 1.0)
    apart = kind(1.0 if decoupled else 0.0)
    _adapt(
        p.size, p, g, m, v, top, step, lr, sign,
        kind(beta1), kind(1.0 - beta1), kind(_log(beta1)),
        kind(beta2), kind(1.0 - beta2), kind(_log(beta2)),
        kind(eps), sign * (kind(1) - apart) * kind(weight_decay), apart * kind(weight_decay),
    )  # fmt: skip


@operation("p! (...), g (...), m! (...), v! (...)", scalars=CHANGING, check=check_numbers)
def radam(
    p, g, m, v, step, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0,
    decoupled=False, maximize=False,
):  # fmt: skip
    """Step by adam, rectified while v is young. Liu et al. 2020, arXiv:1908.03265. In place.

    p, g, m, v (...); step (from 1), lr numbers or (1,); decoupled: the decay as in adamw
    """
    kind = p.dtype.type
    sign = -1.0 if maximize else 1.0
    apart = 1.0 if decoupled else 0.0
    planned = scratch(p, 6)
    _plan_radam(
        1, planned, step, lr, sign, _log(beta1), _log(beta2), float(eps),
        apart * weight_decay,
    )  # fmt: skip
    _adapt_by(
        p.size, p, g, m, v, planned, kind(beta1), kind(1.0 - beta1), kind(beta2),
        kind(1.0 - beta2), kind(sign * (1.0 - apart) * weight_decay),
    )  # fmt: skip


@operation(
    "p! (...), g (...), m! (...), v! (...), product! (1)", scalars=CHANGING, check=check_numbers
)
def nadam(
    p, g, m, v, product, step, lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0,
    momentum_decay=4e-3, decoupled=False, maximize=False,
):  # fmt: skip
    """Step by adam with Nesterov's momentum. Dozat 2016. In place.

    p, g, m, v (...); product (1,): Πμ, 1 before the first step; step (from 1), lr numbers or (1,)
    """
    kind = p.dtype.type
    sign = -1.0 if maximize else 1.0
    apart = 1.0 if decoupled else 0.0
    planned = scratch(p, 6)
    _plan_nadam(
        1, planned, product, step, lr, sign, float(beta1), _log(beta2), float(eps),
        apart * weight_decay, np.log(0.96) * momentum_decay,
    )  # fmt: skip
    _adapt_by(
        p.size, p, g, m, v, planned, kind(beta1), kind(1.0 - beta1), kind(beta2),
        kind(1.0 - beta2), kind(sign * (1.0 - apart) * weight_decay),
    )  # fmt: skip
