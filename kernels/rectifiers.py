"""Activations that are linear above 0, and the piecewise linear ones, forward and backward.

A backward takes dy and the input x; `<name>_backward_y` takes the output y where that tells all.

The rule: as in activations.py, whose table holds these too: a condition is put so that NaN fails
it, and chooses between two values.
"""

from . import arrays
from .elementary import exp, expm1
from .formulas import elementwise


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

    Some lectures draw it with a slope of 0.1; the paper's and PyTorch's is 0.01. prelu learns it.
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


@elementwise(cost=0.3)
def threshold(x, threshold=0.0, value=0.0):
    """y = x where x > threshold, else value.

    x (...) -> y (...)
    """
    return value if x <= threshold else x


@elementwise(cost=0.3)
def threshold_backward(dy, x, threshold=0.0, value=0.0):
    """dx = dy where x > threshold, else 0."""
    return type(x)(0) if x <= threshold else dy


def _check_bounds(operation, sizes, values):
    low, high = values["min_val"], values["max_val"]
    if not low <= high:
        raise ValueError(f"{operation}: min_val is {low}, expected min_val <= {high}, the max_val")


@elementwise(cost=0.3, check=_check_bounds)
def hard_tanh(x, min_val=-1.0, max_val=1.0):
    """y = min(max(x, min_val), max_val). Collobert 2004.

    x (...) -> y (...)
    """
    y = min_val if x < min_val else x
    return max_val if y > max_val else y


@elementwise(cost=0.3, check=_check_bounds)
def hard_tanh_backward(dy, x, min_val=-1.0, max_val=1.0):
    """dx = dy where min_val < x < max_val, else 0. The output y serves as well as x."""
    T = type(x)
    dx = dy if x > min_val else T(0)
    return dx if x < max_val else T(0)


@elementwise(cost=0.3)
def hard_sigmoid(x):
    """y = min(max(x + 3, 0), 6)/6, near the sigmoid. Howard et al. 2019, arXiv:1905.02244.

    x (...) -> y (...)
    """
    T = type(x)
    y = T(0) if x <= -3 else (x + T(3)) * T(1 / 6)
    return T(1) if x >= 3 else y


@elementwise(cost=0.3)
def hard_sigmoid_backward(dy, x):
    """dx = dy/6 where -3 < x < 3, else 0."""
    T = type(x)
    dx = dy * T(1 / 6) if x > -3 else T(0)
    return dx if x < 3 else T(0)


@elementwise(cost=0.3)
def hard_sigmoid_backward_y(dy, y):
    """dx = dy/6 where 0 < y < 1, else 0."""
    T = type(y)
    dx = dy * T(1 / 6) if y > 0 else T(0)
    return dx if y < 1 else T(0)


@elementwise(cost=0.3)
def hard_swish(x):
    """y = x·min(max(x + 3, 0), 6)/6, near silu. Howard et al. 2019, arXiv:1905.02244.

    x (...) -> y (...)
    """
    T = type(x)
    share = T(0) if x <= -3 else (x + T(3)) * T(1 / 6)
    return x * (T(1) if x >= 3 else share)


@elementwise(cost=0.3)
def hard_swish_backward(dy, x):
    """dx = dy·(x/3 + 1/2) where -3 < x < 3, 0 below, dy above."""
    T = type(x)
    dx = T(0) if x <= -3 else dy * (x * T(1 / 3) + T(0.5))
    return dy if x >= 3 else dx


@elementwise(cost=0.5)
def elu(x, alpha=1.0):
    """y = x where x > 0, else α·(eˣ - 1). Clevert et al. 2015, arXiv:1511.07289.

    x (...) -> y (...)

    Not α·eˣ - 1, as a slide has it: that jumps at 0 unless α = 1.
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


def _check_alpha(operation, sizes, values):
    arrays.check_at_least(operation, "alpha", values["alpha"], 0, strictly=True)


@elementwise(cost=0.5, check=_check_alpha)
def celu(x, alpha=1.0):
    """y = x where x > 0, else α·(exp(x/α) - 1): its slope is 1 at 0 whatever α is.

    x (...) -> y (...)

    Barron 2017, arXiv:1704.07483.
    """
    below = alpha * expm1(x / alpha)
    return below if x <= 0 else x


@elementwise(cost=0.5, check=_check_alpha)
def celu_backward(dy, x, alpha=1.0):
    """dx = dy where x > 0, else dy·exp(x/α)."""
    below = dy * exp(x / alpha)
    return below if x <= 0 else dy


@elementwise(cost=0.3, check=_check_alpha)
def celu_backward_y(dy, y, alpha=1.0):
    """dx = dy where y > 0, else dy·(y/α + 1)."""
    below = dy * (y / alpha + type(y)(1))
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
