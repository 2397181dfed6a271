"""Activations: pairs of formulas, forward and backward, and the table of them all, ACTIVATIONS.

A backward takes dy and the input x; `<name>_backward_y` takes the output y where that tells all.
Those that are linear above 0 or made of lines are in rectifiers.py.

The rule: a new activation is a pair of formulas and a row here, and treats NaN and infinity as
PyTorch does. A condition is put so that NaN fails it, and chooses between two values: a select,
which vectorises.
"""

from collections.abc import Callable
from dataclasses import dataclass

from .caching import jit
from .elementary import erf, exp, sigmoid, softplus, tanh
from .formulas import elementwise
from .precision import choose
from .rectifiers import (
    celu,
    celu_backward,
    celu_backward_y,
    elu,
    elu_backward,
    elu_backward_y,
    hard_sigmoid,
    hard_sigmoid_backward,
    hard_sigmoid_backward_y,
    hard_swish,
    hard_swish_backward,
    hard_tanh,
    hard_tanh_backward,
    leaky_relu,
    leaky_relu_backward,
    relu,
    relu6,
    relu6_backward,
    relu_backward,
    selu,
    selu_backward,
    selu_backward_y,
    threshold,
    threshold_backward,
)


@jit(inner=True)
def _normal_cdf(x):
    """Φ(x) = (1 + erf(x/√2))/2."""
    T = type(x)
    return T(0.5) * (T(1) + erf(x * T(0.7071067811865476)))


@elementwise(cost=0.6)
def gelu(x):
    """y = x·Φ(x), Φ the normal distribution. Hendrycks & Gimpel 2016, arXiv:1606.08415.

    x (...) -> y (...)
    """
    T = type(x)
    return x * (T(0) if x < T(-8.5) else _normal_cdf(x))  # erf may miss -1 by half an ulp


@elementwise(cost=1.0)
def gelu_backward(dy, x):
    """dx = dy·(Φ(x) + x·φ(x)), φ(x) = exp(-x²/2)/√(2π)."""
    T = type(x)
    beside = x * (T(0.3989422804014327) * exp(T(-0.5) * x * x))
    return dy * (beside if x < T(-8.5) else _normal_cdf(x) + beside)


@elementwise(cost=0.5)
def gelu_tanh(x):
    """y = x·(1 + tanh u)/2, u = √(2/π)·(x + 0.044715·x³), near gelu. Hendrycks & Gimpel 2016.

    x (...) -> y (...)
    """
    T = type(x)
    # (1 + tanh u)/2 = σ(2u)
    return x * sigmoid(T(1.5957691216057308) * (x + T(0.044715) * x * x * x))


@elementwise(cost=0.6)
def gelu_tanh_backward(dy, x):
    """dx = dy·(s + x·s·(1 - s)·2u'), s = σ(2u) and u as in gelu_tanh."""
    T = type(x)
    s = sigmoid(T(1.5957691216057308) * (x + T(0.044715) * x * x * x))
    near = T(20) if abs(x) > 20 else x  # beyond, s·(1 - s) is 0, and x² would overflow
    slope = T(1.5957691216057308) * (T(1) + T(3 * 0.044715) * near * near)
    return dy * (s + x * (s * (T(1) - s)) * slope)


@elementwise(cost=0.5)
def quick_gelu(x):
    """y = x·σ(1.702·x), near gelu. Hendrycks & Gimpel 2016, arXiv:1606.08415.

    x (...) -> y (...)
    """
    return x * sigmoid(type(x)(1.702) * x)


@elementwise(cost=0.6)
def quick_gelu_backward(dy, x):
    """dx = dy·(s + 1.702·x·s·(1 - s)), s = σ(1.702·x)."""
    T = type(x)
    s = sigmoid(T(1.702) * x)
    return dy * (s + T(1.702) * x * (s * (T(1) - s)))


@elementwise(cost=0.5)
def silu(x):
    """y = x·σ(x). Elfwing, Uchibe & Doya 2017, arXiv:1702.03118.

    x (...) -> y (...)
    """
    return x * sigmoid(x)


@elementwise(cost=0.6)
def silu_backward(dy, x):
    """dx = dy·s·(1 + x·(1 - s)), s = σ(x)."""
    T = type(x)
    s = sigmoid(x)
    return dy * (s * (T(1) + x * (T(1) - s)))


@elementwise(cost=0.6)
def sigmoid_backward(dy, x):
    """dx = dy·s·(1 - s), s = σ(x)."""
    s = sigmoid(x)
    return dy * (s * (type(x)(1) - s))


@elementwise(cost=0.3)
def sigmoid_backward_y(dy, y):
    """dx = dy·y·(1 - y)."""
    return dy * (y * (type(y)(1) - y))


@elementwise(cost=0.6)
def tanh_backward(dy, x):
    """dx = dy·(1 - tanh²x)."""
    t = tanh(x)
    return dy * (type(x)(1) - t * t)


@elementwise(cost=0.3)
def tanh_backward_y(dy, y):
    """dx = dy·(1 - y²)."""
    return dy * (type(y)(1) - y * y)


@elementwise(cost=0.6)
def softplus_backward(dy, x):
    """dx = dy·σ(x)."""
    return dy * sigmoid(x)


@elementwise(cost=0.5)
def swish(x, beta=1.0):
    """y = x·σ(βx): silu at β = 1, x/2 at 0, relu as β grows. Ramachandran et al. 2017.

    x (...) -> y (...)

    arXiv:1710.05941. learned_swish takes β from an array.
    """
    return x * sigmoid(beta * x)


@elementwise(cost=0.6)
def swish_backward(dy, x, beta=1.0):
    """dx = dy·s·(1 + βx·(1 - s)), s = σ(βx)."""
    T, u = type(x), beta * x
    s = sigmoid(u)
    return dy * (s * (T(1) + u * (T(1) - s)))


@jit(inner=True)
def _limited(x):
    """Return x, or the limits beyond which tanh(softplus x) is 1 and eˣ is 0."""
    low, high = choose(x, -104.0, -746.0), choose(x, 20.0, 40.0)
    near = high if x > high else x
    return low if near < low else near


@elementwise(cost=0.5)
def mish(x):
    """y = x·tanh(softplus x) = x·n/(n + 2), n = eˣ·(eˣ + 2). Misra 2019, arXiv:1908.08681.

    x (...) -> y (...)
    """
    T = type(x)
    e = exp(_limited(x))
    n = e * (e + T(2))
    return x * (n / (n + T(2)))


@elementwise(cost=0.6)
def mish_backward(dy, x):
    """dx = dy·(n/(n + 2) + 4x·eˣ·(eˣ + 1)/(n + 2)²), n as in mish."""
    T, near = type(x), _limited(x)
    e = exp(near)
    n = e * (e + T(2))
    r = T(1) / (n + T(2))
    return dy * (n * r + near * (T(4) * e * r * ((e + T(1)) * r)))


@elementwise(cost=0.3)
def softsign(x):
    """y = x/(1 + |x|). Bergstra et al. 2009.

    x (...) -> y (...)
    """
    return x / (type(x)(1) + abs(x))


@elementwise(cost=0.3)
def softsign_backward(dy, x):
    """dx = dy/(1 + |x|)²."""
    r = type(x)(1) / (type(x)(1) + abs(x))
    return dy * (r * r)


@elementwise(cost=0.3)
def softsign_backward_y(dy, y):
    """dx = dy·(1 - |y|)²."""
    r = type(y)(1) - abs(y)
    return dy * (r * r)


@dataclass(frozen=True)
class Activation:
    """A row: the operations y = forward(x) and dx = backward(dy, x), and that from y, if any."""

    name: str
    forward: Callable
    backward: Callable
    backward_from_y: Callable | None = None  # dx = backward_from_y(dy, y)


ACTIVATIONS = {
    row.name: row
    for row in (
        Activation("relu", relu, relu_backward, relu_backward),
        Activation("leaky_relu", leaky_relu, leaky_relu_backward),
        Activation("relu6", relu6, relu6_backward, relu6_backward),
        Activation("elu", elu, elu_backward, elu_backward_y),
        Activation("selu", selu, selu_backward, selu_backward_y),
        Activation("gelu", gelu, gelu_backward),
        Activation("gelu_tanh", gelu_tanh, gelu_tanh_backward),
        Activation("quick_gelu", quick_gelu, quick_gelu_backward),
        Activation("silu", silu, silu_backward),
        Activation("sigmoid", sigmoid, sigmoid_backward, sigmoid_backward_y),
        Activation("tanh", tanh, tanh_backward, tanh_backward_y),
        Activation("softplus", softplus, softplus_backward),
        Activation("threshold", threshold, threshold_backward),
        Activation("hard_tanh", hard_tanh, hard_tanh_backward, hard_tanh_backward),
        Activation("hard_sigmoid", hard_sigmoid, hard_sigmoid_backward, hard_sigmoid_backward_y),
        Activation("hard_swish", hard_swish, hard_swish_backward),
        Activation("celu", celu, celu_backward, celu_backward_y),
        Activation("swish", swish, swish_backward),
        Activation("mish", mish, mish_backward),
        Activation("softsign", softsign, softsign_backward, softsign_backward_y),
    )
}
