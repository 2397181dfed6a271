"""Batch normalization as a layer.

Names and defaults follow PyTorch.

The rule: in training mode the statistics are the batch's, in eval mode the running ones.
"""

import numpy as np

from .. import kernels
from ..kernels import arrays
from .layers import check_features, store
from .module import Module, Parameter


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
