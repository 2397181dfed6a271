"""Layers: Linear, BatchNorm1d, and what layers share.

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


class BatchNorm1d(Module):
    """y = γ (x - mean) / √(var + eps) + β: x (N, C), each feature over the batch, or (N, C, L).

    Ioffe and Szegedy 2015, arXiv:1502.03167. Of (N, C, L) each channel goes over N and L.

    In eval mode with the running statistics: running = (1 - momentum) running + momentum batch, the
    variance unbiased, as PyTorch keeps it.
    """

    def __init__(self, num_features, eps=1e-5, momentum=0.1, dtype=np.float32):
        arrays.check_integer("BatchNorm1d", "num_features", num_features, 1)
        arrays.check_at_least("BatchNorm1d", "eps", eps, 0)
        arrays.check_at_least("BatchNorm1d", "momentum", momentum, 0)
        self.num_features, self.eps, self.momentum = int(num_features), eps, momentum
        self.weight = Parameter(np.ones(num_features, dtype))
        self.bias = Parameter(np.zeros(num_features, dtype))
        self.running_mean = np.zeros(num_features, dtype)
        self.running_var = np.ones(num_features, dtype)

    def forward(self, x):
        return self._forward(x, None)

    def forward_fused(self, x, activation):
        """Return (relu(y), backward) in one pass over y."""
        return self._forward(x, activation == "relu")

    def can_fuse(self, activation):
        return activation == "relu"

    def _forward(self, x, relu):
        check_features(self, x, self.num_features, channels=True)
        if not self.training:
            return self._forward_eval(x, relu)
        rows = x.size // self.num_features
        if rows == 1:
            raise ValueError(f"{self!r}: the batch has 1 row, expected at least 2 in training mode")
        gamma = self.weight.value
        y, mean, rstd = kernels.batchnorm(x, gamma, self.bias.value, self.eps, relu)
        kernels.update_running(
            self.running_mean, self.running_var, mean, rstd, rows, self.momentum, self.eps
        )
        passed = y if relu else None

        def backward(dy, accumulate=False):
            if not accumulate:
                out = (arrays.scratch(x, x.shape), self.weight.grad, self.bias.grad)
                return kernels.batchnorm_backward(dy, x, gamma, mean, rstd, passed, out=out)[0]
            dx, dgamma, dbeta = kernels.batchnorm_backward(dy, x, gamma, mean, rstd, passed)
            kernels.add(self.weight.grad, dgamma, out=self.weight.grad)
            kernels.add(self.bias.grad, dbeta, out=self.bias.grad)
            return dx

        return y, backward

    def _forward_eval(self, x, relu):
        gamma, mean, var = self.weight.value, self.running_mean, self.running_var
        y = kernels.batchnorm_inference(x, gamma, self.bias.value, mean, var, self.eps, relu)

        def backward(dy, accumulate=False):
            if relu:
                dy = kernels.ACTIVATIONS["relu"].backward_from_y(dy, y)
            zeros = arrays.zeros(mean, mean.shape, mean.dtype)
            ones = arrays.put(gamma, np.ones(gamma.shape, gamma.dtype))
            x_hat = kernels.batchnorm_inference(x, ones, zeros, mean, var, self.eps)
            product = kernels.multiply(dy, x_hat)
            store(self.weight, lambda out: kernels.column_sum(product, out=out), accumulate)
            store(self.bias, lambda out: kernels.column_sum(dy, out=out), accumulate)
            return kernels.batchnorm_inference(dy, gamma, zeros, zeros, var, self.eps)

        return y, backward

    def describe(self):
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"
