"""Activations: pairs of formulas, forward and backward, and the table of them all, ACTIVATIONS.

A backward takes dy and the input x; `<name>_backward_y` takes the output y where that tells all.

The rule: a new activation is a pair of formulas and a row here, and treats NaN and infinity as
PyTorch does. A condition is put so that NaN fails it, and chooses between two values: a select,
which vectorises.
"""

from collections.abc import Callable
from dataclasses import dataclass

from .caching import jit
from .elementary import erf, exp, expm1, sigmoid, softplus, tanh
from .elementwise import elementwise


@elementwise(cost=0.2)
def relu(x):
    """y = max(x, 0). Glorot, Bordes & Bengio 2011.

    x (...) -> y (...)
    """
    return type(x)(0) if x <= 0 else x


@elementwise(cost=0.3)
def relu_backward(dy, x):
    """dx = dy where x > 0, else 0 (also at x = 0)."""
    return type(x)(0) if x <= 0 else dy


@elementwise(cost=0.3)
def leaky_relu(x, slope=0.01):
    """y = x where x > 0, else slope·x. Maas, Hannun & Ng 2013.

    x (...) -> y (...)
    """
    return x if x > 0 else slope * x


@elementwise(cost=0.3)
def leaky_relu_backward(dy, x, slope=0.01):
    """dx = dy where x > 0, else slope·dy."""
    return dy if x > 0 else slope * dy


@elementwise(cost=0.3)
def relu6(x):
    """y = min(max(x, 0), 6). Howard et al. 2017, arXiv:1704.04861.

    x (...) -> y (...)
    """
    T = type(x)
    y = T(0) if x <= 0 else x
    return T(6) if y >= 6 else y


@elementwise(cost=0.3)
def relu6_backward(dy, x):
    """dx = dy where 0 < x < 6, else 0. The output y serves as well as x."""
    T = type(x)
    dx = T(0) if x <= 0 else dy
    return T(0) if x >= 6 else dx


@elementwise(cost=0.5)
def elu(x, alpha=1.0):
    """y = x where x > 0, else α·(eˣ - 1). Clevert et al. 2015, arXiv:1511.07289.

    x (...) -> y (...)
    """
    below = alpha * expm1(x)
    return below if x <= 0 else x


@elementwise(cost=0.5)
def elu_backward(dy, x, alpha=1.0):
    """dx = dy where x > 0, else dy·α·eˣ."""
    below = dy * (alpha * exp(x))
    return below if x <= 0 else dy


@elementwise(cost=0.3)
def elu_backward_y(dy, y, alpha=1.0):
    """dx = dy where y > 0, else dy·(y + α)."""
    below = dy * (y + alpha)
    return below if y <= 0 else dy


@elementwise(cost=0.5)
def selu(x):
    """y = λ·x where x > 0, else λ·α·(eˣ - 1). Klambauer et al. 2017, arXiv:1706.02515.

    x (...) -> y (...)

    λ = 1.0507..., α = 1.6733...: mean 0 and variance 1 of a layer's input are kept.
    """
    T = type(x)
    below = T(1.0507009873554805 * 1.6732632423543772) * expm1(x)
    return below if x <= 0 else T(1.0507009873554805) * x


@elementwise(cost=0.5)
def selu_backward(dy, x):
    """dx = λ·dy where x > 0, else dy·λ·α·eˣ."""
    T = type(x)
    below = dy * (T(1.0507009873554805 * 1.6732632423543772) * exp(x))
    return below if x <= 0 else T(1.0507009873554805) * dy


@elementwise(cost=0.3)
def selu_backward_y(dy, y):
    """dx = λ·dy where y > 0, else dy·(y + λ·α)."""
    T = type(y)
    below = dy * (y + T(1.0507009873554805 * 1.6732632423543772))
    return below if y <= 0 else T(1.0507009873554805) * dy


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
    )
}
