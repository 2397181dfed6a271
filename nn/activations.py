"""A module for each activation, by PyTorch's names.

Each is the operation of fonio.kernels of the same meaning; those whose derivative follows from
their output alone are computed by the layer before them in one pass (`fusible`).
"""

import inspect

from .. import kernels
from ..kernels import arrays
from .module import Module


class Activation(Module):
    """y = f(x), element by element. `operation` names f in fonio.kernels.ACTIVATIONS."""

    keeps_width = True
    operation = ""
    number = None  # the name of its parameter, if it has one

    def __init__(self):
        self.numbers = ()

    @property
    def fusible(self):
        """The name by which a layer before may compute it, or None."""
        row = kernels.ACTIVATIONS[self.operation]
        return self.operation if row.backward_from_y is not None and not self.numbers else None

    def forward(self, x):
        row = kernels.ACTIVATIONS[self.operation]
        y = row.forward(x, *self.numbers)

        def backward(dy, accumulate=False):
            if self.fusible:
                return row.backward_from_y(dy, y)
            return row.backward(dy, x, *self.numbers)

        return y, backward

    def describe(self):
        return ", ".join(f"{self.number}={value:g}" for value in self.numbers)


class _WithNumber(Activation):
    """An activation with one parameter, whose default is the kernel's."""

    def _set(self, value):
        default = list(inspect.signature(kernels.ACTIVATIONS[self.operation].forward).parameters)
        arrays.check_number(type(self).__name__, self.number, value)
        self.numbers = (float(value),) if len(default) > 1 else ()


class ReLU(Activation):
    """y = max(x, 0). Glorot, Bordes and Bengio 2011."""

    operation = "relu"


class LeakyReLU(_WithNumber):
    """y = x where x > 0, else slope x. Maas, Hannun and Ng 2013."""

    operation, number = "leaky_relu", "negative_slope"

    def __init__(self, negative_slope=0.01):
        self._set(negative_slope)


class ReLU6(Activation):
    """y = min(max(x, 0), 6). Howard et al. 2017, arXiv:1704.04861."""

    operation = "relu6"


class ELU(_WithNumber):
    """y = x where x > 0, else alpha (eˣ - 1).

    Clevert, Unterthiner and Hochreiter 2016, arXiv:1511.07289.
    """

    operation, number = "elu", "alpha"

    def __init__(self, alpha=1.0):
        self._set(alpha)


class SELU(Activation):
    """y = λ x where x > 0, else λ α (eˣ - 1). Klambauer et al. 2017, arXiv:1706.02515."""

    operation = "selu"


class GELU(Activation):
    """y = x Φ(x), exactly or by tanh. Hendrycks and Gimpel 2016, arXiv:1606.08415."""

    def __init__(self, approximate="none"):
        super().__init__()
        arrays.check_known("GELU", approximate, ("none", "tanh"), "approximate")
        self.approximate = approximate
        self.operation = "gelu_tanh" if approximate == "tanh" else "gelu"

    def describe(self):
        return f"approximate={self.approximate!r}"


class QuickGELU(Activation):
    """y = x σ(1.702 x). Hendrycks and Gimpel 2016, arXiv:1606.08415."""

    operation = "quick_gelu"


class Sigmoid(Activation):
    """y = 1 / (1 + e⁻ˣ)."""

    operation = "sigmoid"


class Tanh(Activation):
    """y = tanh x."""

    operation = "tanh"


class Softplus(Activation):
    """y = log(1 + eˣ). Dugas et al. 2001."""

    operation = "softplus"


class SiLU(Activation):
    """y = x σ(x). Elfwing, Uchibe and Doya 2018, arXiv:1702.03118."""

    operation = "silu"


class _Rows(Module):
    """A normalization of each row to probabilities or their logarithms."""

    keeps_width = True
    operations = (None, None)

    def forward(self, x):
        function, derivative = (getattr(kernels, name) for name in self.operations)
        y = function(x)

        def backward(dy, accumulate=False):
            return derivative(dy, y)

        return y, backward


class Softmax(_Rows):
    """y = eˣ / Σ eˣ over each row. Not for training under cross_entropy, which takes logits."""

    operations = ("softmax", "softmax_backward")


class LogSoftmax(_Rows):
    """y = x - log Σ eˣ over each row."""

    operations = ("log_softmax", "log_softmax_backward")
