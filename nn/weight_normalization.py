"""Linear layers whose weights are normalised: by their norm, less their mean, or to propagate it.

The rule: the parameters trained are v and g; the weights made of them live for one pass.
"""

import math

import numpy as np

from .. import kernels
from ..kernels import arrays
from .layers import Linear, check_features, store
from .module import Module, Parameter


class WeightNorm(Module):
    """A linear layer with weights g·v/‖v‖ for each unit: their length and direction apart.

    Salimans and Kingma 2016, arXiv:1602.07868. Takes the place of the Linear given: g starts as the
    norm of its weights, so the outputs stay. `to_linear` gives the Linear of the same outputs.
    """

    normalize, differentiate = kernels.weightnorm, kernels.weightnorm_backward

    def __init__(self, linear):
        name = type(self).__name__
        if not isinstance(linear, Linear):
            raise TypeError(f"{name}: linear is a {type(linear).__name__}, expected a Linear")
        self.in_features, self.out_features = linear.in_features, linear.out_features
        v = arrays.on_host(linear.weight.value).copy()
        g = np.linalg.norm(self._direction(v), axis=1).astype(v.dtype)
        like = linear.weight.value
        self.weight_g, self.weight_v = (
            Parameter(arrays.put(like, g)),
            Parameter(arrays.put(like, v)),
        )
        self.bias = linear.bias

    @staticmethod
    def _direction(v):
        return v

    @property
    def weight(self):
        """The weights (out_features, in_features), as v and g make them."""
        return type(self).normalize(self.weight_v.value, self.weight_g.value)

    def forward(self, x):
        return self._forward(x, None)

    def forward_fused(self, x, activation):
        """Return (activation(y), backward) in one pass over y."""
        return self._forward(x, activation)

    def can_fuse(self, activation):
        return activation is not None

    def _forward(self, x, activation):
        check_features(self, x, self.in_features)
        weight = self.weight
        y = kernels.linear(x, weight, None if self.bias is None else self.bias.value, activation)

        def backward(dy, accumulate=False):
            return kernels.linear_backward_input(parameters_only(dy, accumulate), weight)

        def parameters_only(dy, accumulate=False):
            if activation is not None:
                dy = kernels.ACTIVATIONS[activation].backward_from_y(dy, y)
            self._store(kernels.linear_backward_weight(dy, x), accumulate)
            if self.bias is not None:
                store(self.bias, lambda out: kernels.column_sum(dy, out=out), accumulate)
            return dy

        backward.parameters_only = parameters_only
        return y, backward

    def _store(self, dweight, accumulate):
        v, g = self.weight_v, self.weight_g
        dv, dg = type(self).differentiate(dweight, v.value, g.value)
        for parameter, found in ((v, dv), (g, dg)):
            store(parameter, lambda out, found=found: kernels.copy(found, out=out), accumulate)

    def to_linear(self):
        """Return a Linear with these weights: what inference needs."""
        linear = Linear(self.in_features, self.out_features, self.bias is not None)
        linear.to(self.weight_v.dtype)
        linear.weight.value = self.weight
        if self.bias is not None:
            linear.bias.value = self.bias.value
        return linear.to("cuda") if arrays.device_of(self.weight_v.value) is not None else linear

    def describe(self):
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class CenteredWeightNorm(WeightNorm):
    """A linear layer with weights g·(v - v̄)/‖v - v̄‖ for each unit, whose mean is 0.

    Huang et al. 2017, arXiv:1710.02338. Takes the place of the Linear given, less the mean of each
    unit's weights.
    """

    normalize, differentiate = kernels.centered_weightnorm, kernels.centered_weightnorm_backward

    @staticmethod
    def _direction(v):
        return v - v.mean(1, keepdims=True)


def gaussian_moments(activation, points=20001):
    """Return mean and standard deviation of f(z), z standard normal, f by its name in ACTIVATIONS.

    By the trapezoidal rule on [-12, 12], in float64.
    """
    arrays.check_known("gaussian_moments", activation, kernels.ACTIVATIONS, "activation")
    z = np.linspace(-12.0, 12.0, points)
    y, weight = kernels.ACTIVATIONS[activation].forward(z), np.exp(-0.5 * z * z)
    weight /= weight.sum()
    mean = float(weight @ y)
    return mean, math.sqrt(float(weight @ (y - mean) ** 2))


class NormPropLinear(WeightNorm):
    """y = (f(W x + b) - c₁)/c₂ with the weights W of WeightNorm: what is standard normal stays so.

    Arpit et al. 2016, arXiv:1603.01431. c₁ and c₂ are the mean and the deviation of f(z), z
    standard normal: for ReLU 1/√(2π) and √(½(1 - 1/π)). No batch is needed; standardise the input
    of the first such layer (nn.Standardize). `gain` is what g starts from: with 1/1.21 the Jacobian
    of a ReLU layer, whose singular values are near √½/c₂ = 1.21, keeps the length of gradients.
    """

    def __init__(self, in_features, out_features, activation="relu", gain=1.0, dtype=np.float32):
        arrays.check_at_least("NormPropLinear", "gain", gain, 0, strictly=True)
        arrays.check_known("NormPropLinear", activation, kernels.ACTIVATIONS, "activation")
        super().__init__(Linear(in_features, out_features, dtype=dtype))
        self.bias.value = np.zeros(out_features, dtype)
        self.weight_g.value = np.full(out_features, gain, dtype)
        self.activation, self.gain = activation, float(gain)
        self.mean, self.deviation = gaussian_moments(activation)

    def can_fuse(self, activation):
        return False

    def forward(self, x):
        row, name = kernels.ACTIVATIONS[self.activation], self.activation
        fused = row.backward_from_y is not None
        h, back = self._forward(x, name if fused else None)
        f = h if fused else row.forward(h)
        y = kernels.standardize(f, self.mean, self.deviation)

        def backward(dy, accumulate=False):
            return back(before(dy), accumulate)

        def parameters_only(dy, accumulate=False):
            return back.parameters_only(before(dy), accumulate)

        def before(dy):
            dy = kernels.standardize(dy, 0.0, self.deviation)
            return dy if fused else row.backward(dy, h)

        backward.parameters_only = parameters_only
        return y, backward

    def describe(self):
        return f"{super().describe()}, activation={self.activation!r}, gain={self.gain:g}"
