"""Batch normalization as a layer, and what layers with a slope and a level for each feature share.

Names and defaults follow PyTorch.

The rule: in training mode the statistics are the batch's, in eval mode the running ones.
"""

import numpy as np

from .. import kernels
from ..kernels import arrays
from ..kernels.launch import kernel
from .exchange import processes
from .layers import check_features, store
from .module import Module, Parameter


class Scaled(Module):
    """A normalization with a slope γ, `weight`, and a level β, `bias`, or without (None)."""

    def _make_affine(self, features, weight, bias, dtype):
        self.num_features = int(features)
        self.weight = Parameter(np.ones(features, dtype)) if weight else None
        self.bias = Parameter(np.zeros(features, dtype)) if bias else None

    def _gamma(self, x):
        return self._value(self.weight, np.ones, x)

    def _beta(self, x):
        return self._value(self.bias, np.zeros, x)

    def _value(self, parameter, constant, x):
        """Return a parameter's array, or the constant that stands for it beside x."""
        if parameter is not None:
            return parameter.value
        return arrays.put(x, constant(self.num_features, x.dtype))

    def _differentiate(self, run, x, parameters, accumulate):
        """Let run((dx, *gradients)) write the gradients of these parameters; return dx.

        A parameter that is None or frozen gets none.
        """
        kept = [p is not None and p.trainable for p in parameters]
        into = [
            p.grad if keep and not accumulate else arrays.scratch(x, self.num_features)
            for p, keep in zip(parameters, kept, strict=True)
        ]
        dx = arrays.scratch(x, x.shape)
        run((dx, *into))
        for parameter, keep, found in zip(parameters, kept, into, strict=True):
            if keep and accumulate:
                kernels.add(parameter.grad, found, out=parameter.grad)
        return dx


def taken(layer, x):
    """Return another library's CUDA array as one of ours, and other arrays as they are."""
    return arrays.check_array(repr(layer), "x", x) if arrays.is_foreign(x) else x


@kernel
def count_batch(start, stop, count, share):
    """Count a batch; share[0] = 1/count: what its statistics weigh in their average so far."""
    for _ in range(start, stop):
        count[0] += 1
        share[0] = share.dtype.type(1) / share.dtype.type(count[0])


class BatchNorm1d(Scaled):
    """y = γ (x - mean) / √(var + eps) + β: x (N, C), each feature over the batch, or (N, C, L).

    Ioffe and Szegedy 2015, arXiv:1502.03167. Of (N, C, L) each channel goes over N and L. (Where a
    text writes β·x̂ + γ, the two letters have changed places.)

    In eval mode with the running statistics: running = (1 - momentum) running + momentum batch, or
    with momentum None their average over all batches; the variance unbiased, as PyTorch keeps it,
    unless `unbiased` is False. Without `track_running_stats` eval mode takes the batch's own.
    """

    def __init__(
        self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True,
        dtype=np.float32, *, unbiased=True,
    ):  # fmt: skip
        arrays.check_integer("BatchNorm1d", "num_features", num_features, 1)
        arrays.check_at_least("BatchNorm1d", "eps", eps, 0)
        if momentum is not None:
            arrays.check_at_least("BatchNorm1d", "momentum", momentum, 0)
        self._make_affine(num_features, affine, affine, dtype)
        self.eps, self.momentum, self.unbiased = eps, momentum, bool(unbiased)
        self.track_running_stats = bool(track_running_stats)
        self.running_mean = self.running_var = self.num_batches_tracked = None
        if track_running_stats:
            self.running_mean = np.zeros(num_features, dtype)
            self.running_var = np.ones(num_features, dtype)
            if momentum is None:
                self.num_batches_tracked = np.zeros(1, np.int64)

    def forward(self, x):
        return self._forward(x, None)

    def forward_fused(self, x, activation):
        """Return (relu(y), backward) in one pass over y."""
        return self._forward(x, activation == "relu")

    def can_fuse(self, activation):
        return activation == "relu"

    def _forward(self, x, relu):
        check_features(self, x, self.num_features, channels=True)
        x = taken(self, x)
        if not self.training and self.track_running_stats:
            return self._forward_eval(x, relu)
        shared = processes()
        if shared is not None:
            from .shared_statistics import forward

            return forward(self, x, relu, shared)
        rows = x.size // self.num_features
        if rows == 1:
            raise ValueError(
                f"{self!r}: the batch has 1 row, expected at least 2 in training mode (of one row "
                "the mean is x and the deviation 0: nothing of x would be left)"
            )
        gamma = self._gamma(x)
        y, mean, rstd = kernels.batchnorm(x, gamma, self._beta(x), self.eps, relu)
        if self.training and self.track_running_stats:
            self._update(mean, rstd, rows)
        passed = y if relu else None

        def backward(dy, accumulate=False):
            def run(out):
                kernels.batchnorm_backward(dy, x, gamma, mean, rstd, passed, out=out)

            return self._differentiate(run, x, (self.weight, self.bias), accumulate)

        return y, backward

    def _update(self, mean, rstd, rows):
        momentum = self.momentum
        if momentum is None:
            momentum = arrays.scratch(mean, 1)
            count_batch(1, self.num_batches_tracked, momentum)
        kernels.update_running(
            self.running_mean, self.running_var, mean, rstd, rows, momentum, self.eps,
            self.unbiased,
        )  # fmt: skip

    def _forward_eval(self, x, relu):
        gamma, mean, var = self._gamma(x), self.running_mean, self.running_var
        y = kernels.batchnorm_inference(x, gamma, self._beta(x), mean, var, self.eps, relu)

        def backward(dy, accumulate=False):
            if relu:
                dy = kernels.ACTIVATIONS["relu"].backward_from_y(dy, y)
            zeros = arrays.zeros(mean, mean.shape, mean.dtype)
            if self.weight is not None:
                ones = arrays.put(gamma, np.ones(gamma.shape, gamma.dtype))
                x_hat = kernels.batchnorm_inference(x, ones, zeros, mean, var, self.eps)
                product = kernels.multiply(dy, x_hat)
                store(self.weight, lambda out: kernels.column_sum(product, out=out), accumulate)
                store(self.bias, lambda out: kernels.column_sum(dy, out=out), accumulate)
            return kernels.batchnorm_inference(dy, gamma, zeros, zeros, var, self.eps)

        return y, backward

    def reset_running_stats(self):
        """Forget the running statistics: mean 0, variance 1, no batch counted."""
        for array, value in ((self.running_mean, 0), (self.running_var, 1)):
            if array is not None:
                array[...] = value
        if self.num_batches_tracked is not None:
            self.num_batches_tracked[...] = 0

    def describe(self):
        told = f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"
        if self.weight is None:
            told += ", affine=False"
        if not self.track_running_stats:
            told += ", track_running_stats=False"
        return told + ("" if self.unbiased else ", unbiased=False")
