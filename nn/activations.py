"""A module for each activation, by PyTorch's names.

Each is the operation of fonio.kernels of the same meaning; those whose derivative follows from
their output alone are computed by the layer before them in one pass (`fusible`).
"""

import numpy as np

from .. import kernels
from ..kernels import arrays
from .layers import store
from .module import Module, Parameter


class Activation(Module):
    """y = f(x), element by element. `operation` names f in fonio.kernels.ACTIVATIONS."""

    keeps_width = True
    operation = ""
    names = ()  # of its numbers, as the kernel takes them

    def __init__(self, *numbers):
        for name, number in zip(self.names, numbers, strict=True):
            arrays.check_number(type(self).__name__, name, number)
        self.numbers = tuple(map(float, numbers))

    @property
    def has_defaults(self):
        """Whether its numbers are those that the operation has by default."""
        known = kernels.ACTIVATIONS[self.operation].forward.operation
        return self.numbers in ((), tuple(known.defaults[1 : 1 + len(known.number_names)]))

    @property
    def fusible(self):
        """The name by which a layer before may compute it, or None."""
        row = kernels.ACTIVATIONS[self.operation]
        return self.operation if row.backward_from_y is not None and self.has_defaults else None

    def forward(self, x):
        row = kernels.ACTIVATIONS[self.operation]
        y = row.forward(x, *self.numbers)

        def backward(dy, accumulate=False):
            if self.fusible:
                return row.backward_from_y(dy, y)
            return row.backward(dy, x, *self.numbers)

        return y, backward

    def describe(self):
        pairs = zip(self.names, self.numbers, strict=False)
        return ", ".join(f"{name}={value:g}" for name, value in pairs)


class ReLU(Activation):
    """y = max(x, 0). Glorot, Bordes and Bengio 2011."""

    operation = "relu"


class LeakyReLU(Activation):
    """y = x where x > 0, else slope x. Maas, Hannun and Ng 2013.

    Some lectures draw it with a slope of 0.1; the paper's and PyTorch's is 0.01.
    """

    operation, names = "leaky_relu", ("negative_slope",)

    def __init__(self, negative_slope=0.01):
        super().__init__(negative_slope)


class ReLU6(Activation):
    """y = min(max(x, 0), 6). Howard et al. 2017, arXiv:1704.04861."""

    operation = "relu6"


class Threshold(Activation):
    """y = x where x > threshold, else value."""

    operation, names = "threshold", ("threshold", "value")

    def __init__(self, threshold, value):
        super().__init__(threshold, value)


class Hardtanh(Activation):
    """y = min(max(x, min_val), max_val). Collobert 2004."""

    operation, names = "hard_tanh", ("min_val", "max_val")

    def __init__(self, min_val=-1.0, max_val=1.0):
        super().__init__(min_val, max_val)
        if not min_val < max_val:
            raise ValueError(f"Hardtanh: min_val is {min_val}, expected min_val < {max_val}")


class Hardsigmoid(Activation):
    """y = min(max(x + 3, 0), 6) / 6, near the sigmoid. Howard et al. 2019, arXiv:1905.02244."""

    operation = "hard_sigmoid"


class Hardswish(Activation):
    """y = x min(max(x + 3, 0), 6) / 6, near SiLU. Howard et al. 2019, arXiv:1905.02244."""

    operation = "hard_swish"


class ELU(Activation):
    """y = x where x > 0, else alpha (eˣ - 1); not alpha eˣ - 1, as a slide has it.

    Clevert, Unterthiner and Hochreiter 2016, arXiv:1511.07289.
    """

    operation, names = "elu", ("alpha",)

    def __init__(self, alpha=1.0):
        super().__init__(alpha)


class CELU(Activation):
    """y = x where x > 0, else alpha (exp(x / alpha) - 1). Barron 2017, arXiv:1704.07483."""

    operation, names = "celu", ("alpha",)

    def __init__(self, alpha=1.0):
        super().__init__(alpha)
        arrays.check_at_least("CELU", "alpha", alpha, 0, strictly=True)


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


class Mish(Activation):
    """y = x tanh(softplus(x)). Misra 2019, arXiv:1908.08681."""

    operation = "mish"


class Softsign(Activation):
    """y = x / (1 + |x|). Bergstra et al. 2009."""

    operation = "softsign"


def _train_with(x, parameter, forward, derivative):
    """Return (y, backward) of an activation with a trained parameter."""
    value = parameter.value
    y = forward(x, value)

    def backward(dy, accumulate=False):
        if accumulate or not parameter.trainable:
            dx, grad = derivative(dy, x, value)
            store(parameter, lambda out: grad, True)
            return dx
        out = arrays.scratch(x, x.shape), parameter.grad
        return derivative(dy, x, value, out=out)[0]

    return y, backward


class Swish(Activation):
    """y = x σ(beta x), beta fixed or trained. Ramachandran, Zoph and Le 2017, arXiv:1710.05941.

    learned=True: beta begins as given, one for all or one for each of `num_parameters` channels of
    (N, C) or (N, C, L).
    """

    operation, names = "swish", ("beta",)

    def __init__(self, beta=1.0, learned=False, num_parameters=1, dtype=np.float32):
        super().__init__(beta)
        arrays.check_integer("Swish", "num_parameters", num_parameters, 1)
        self.learned = bool(learned)
        if self.learned:
            self.beta = Parameter(np.full(num_parameters, beta, dtype))
            self.num_features = _features(num_parameters)

    def forward(self, x):
        if not self.learned:
            return super().forward(x)
        operations = kernels.learned_swish, kernels.learned_swish_backward
        return _train_with(x, self.beta, *operations)

    def describe(self):
        return super().describe() + (f", num_parameters={self.beta.size}" if self.learned else "")


class PReLU(Module):
    """y = x where x > 0, else slope x; the slopes are trained. He et al. 2015, arXiv:1502.01852.

    weight (num_parameters,): one slope for all, or one for each channel of (N, C) or (N, C, L). The
    paper trains them without weight decay, which would pull them towards ReLU.
    """

    keeps_width = True

    def __init__(self, num_parameters=1, init=0.25, dtype=np.float32):
        arrays.check_integer("PReLU", "num_parameters", num_parameters, 1)
        arrays.check_number("PReLU", "init", init)
        self.weight = Parameter(np.full(num_parameters, init, dtype))
        self.num_features = _features(num_parameters)

    def forward(self, x):
        return _train_with(x, self.weight, kernels.prelu, kernels.prelu_backward)

    def describe(self):
        return f"num_parameters={self.weight.size}"


def _features(count):
    """Return the width that so many parameters want: any, if it is one for all."""
    return int(count) if count > 1 else None


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
