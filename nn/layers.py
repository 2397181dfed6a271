"""Layers: Linear, and what layers share.

Names and defaults follow PyTorch.

The rule: a backward writes each parameter's `.grad` (`accumulate=True` adds to it) and returns dx.
Where the layer comes first its `backward.parameters_only` leaves dx out.
"""

import math

import numpy as np

from .. import kernels
from ..kernels import arrays
from . import init
from .module import Module, Parameter


def check_features(layer, x, features, *, channels=False):
    """Refuse an input whose width is not the layer's, naming the layer."""
    if not arrays.is_array(x) and not arrays.is_foreign(x):
        raise TypeError(f"{layer!r}: x is a {type(x).__name__}, expected a NumPy array")
    if x.ndim not in (2, 2 + channels) or x.shape[1] != features:
        wanted = f"(N, {features})" + (f" or (N, {features}, L)" if channels else "")
        raise ValueError(f"{layer!r}: x has shape {x.shape}, expected {wanted}")


def store(parameter, make, accumulate):
    """Let `make(out=)` write a parameter's gradient, or add to it what `make` returns.

    A frozen parameter gets none.
    """
    if not parameter.trainable:
        return
    if accumulate:
        kernels.add(parameter.grad, make(out=None), out=parameter.grad)
    else:
        make(out=parameter.grad)


class Linear(Module):
    """y = x Wᵀ + b: x (N, in_features) -> y (N, out_features).

    weight (out_features, in_features) and bias (out_features,) start from U(-1/√in, 1/√in).
    """

    def __init__(self, in_features, out_features, bias=True, dtype=np.float32):
        arrays.check_integer("Linear", "in_features", in_features, 1)
        arrays.check_integer("Linear", "out_features", out_features, 1)
        self.in_features, self.out_features = int(in_features), int(out_features)
        bound = 1.0 / math.sqrt(in_features)
        self.weight = Parameter(np.empty((out_features, in_features), dtype))
        init.uniform(self.weight, -bound, bound)
        self.bias = None
        if bias:
            self.bias = Parameter(np.empty(out_features, dtype))
            init.uniform(self.bias, -bound, bound)

    def forward(self, x):
        return self._forward(x, None)

    def forward_fused(self, x, activation):
        """Return (activation(y), backward) in one pass over y."""
        return self._forward(x, activation)

    def can_fuse(self, activation):
        return activation is not None

    def _forward(self, x, activation):
        check_features(self, x, self.in_features)
        weight = self.weight.value
        bias = None if self.bias is None else self.bias.value
        y = kernels.linear(x, weight, bias, activation)

        def backward(dy, accumulate=False):
            dy = parameters_only(dy, accumulate)
            return kernels.linear_backward_input(dy, weight)

        def parameters_only(dy, accumulate=False):
            if activation is not None:
                dy = kernels.ACTIVATIONS[activation].backward_from_y(dy, y)
            store(
                self.weight, lambda out: kernels.linear_backward_weight(dy, x, out=out), accumulate
            )
            if self.bias is not None:
                store(self.bias, lambda out: kernels.column_sum(dy, out=out), accumulate)
            return dy

        backward.parameters_only = parameters_only
        return y, backward

    def describe(self):
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )
