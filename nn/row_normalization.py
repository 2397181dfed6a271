"""Normalizations within a row, which do not know the batch: layer, RMS, group, instance, divisive.

Names and defaults follow PyTorch.

The rule: training and eval mode do the same, and a batch of one row is as good as another.
"""

import numpy as np

from .. import kernels
from ..kernels import arrays
from .layers import check_features
from .normalization import Scaled, taken


def _features(name, shape):
    """Return the width that PyTorch calls normalized_shape: a number, or a tuple of one."""
    if isinstance(shape, tuple | list):
        if len(shape) != 1:
            raise ValueError(f"{name}: normalized_shape is {tuple(shape)}, expected one number")
        (shape,) = shape
    arrays.check_integer(name, "normalized_shape", shape, 1)
    return int(shape)


class LayerNorm(Scaled):
    """y = γ (x - mean) / √(var + eps) + β over each row of x (N, C).

    Ba, Kiros and Hinton 2016, arXiv:1607.06450.
    """

    def __init__(
        self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True, dtype=np.float32
    ):
        features = _features("LayerNorm", normalized_shape)
        arrays.check_at_least("LayerNorm", "eps", eps, 0)
        self._make_affine(features, elementwise_affine, elementwise_affine and bias, dtype)
        self.eps = eps

    def forward(self, x):
        check_features(self, x, self.num_features)
        x = taken(self, x)
        gamma = self._gamma(x)
        y, mean, rstd = kernels.layernorm(x, gamma, self._beta(x), self.eps)

        def backward(dy, accumulate=False):
            def run(out):
                kernels.layernorm_backward(dy, x, gamma, mean, rstd, out=out)

            return self._differentiate(run, x, (self.weight, self.bias), accumulate)

        return y, backward

    def describe(self):
        plain = "" if self.weight is not None else ", elementwise_affine=False"
        return f"{self.num_features}, eps={self.eps}{plain}"


class RMSNorm(Scaled):
    """y = γ x / √(mean of x² + eps) over each row of x (N, C).

    Zhang and Sennrich 2019, arXiv:1910.07467. eps None: the precision of x, as in PyTorch.
    """

    def __init__(self, normalized_shape, eps=None, elementwise_affine=True, dtype=np.float32):
        features = _features("RMSNorm", normalized_shape)
        if eps is not None:
            arrays.check_at_least("RMSNorm", "eps", eps, 0)
        self._make_affine(features, elementwise_affine, False, dtype)
        self.eps = eps

    def forward(self, x):
        check_features(self, x, self.num_features)
        x = taken(self, x)
        gamma = self._gamma(x)
        eps = float(np.finfo(x.dtype).eps) if self.eps is None else self.eps
        y, rstd = kernels.rmsnorm(x, gamma, eps)

        def backward(dy, accumulate=False):
            def run(out):
                kernels.rmsnorm_backward(dy, x, gamma, rstd, out=out)

            return self._differentiate(run, x, (self.weight,), accumulate)

        return y, backward

    def describe(self):
        plain = "" if self.weight is not None else ", elementwise_affine=False"
        return f"{self.num_features}, eps={self.eps}{plain}"


class GroupNorm(Scaled):
    """y = γ (x - mean) / √(var + eps) + β over each group of channels: x (N, C) or (N, C, L).

    Wu and He 2018, arXiv:1803.08494.
    """

    def __init__(self, num_groups, num_channels, eps=1e-5, affine=True, dtype=np.float32):
        arrays.check_integer("GroupNorm", "num_groups", num_groups, 1)
        arrays.check_integer("GroupNorm", "num_channels", num_channels, 1)
        if num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: num_groups is {num_groups}, expected a divisor of {num_channels}, the "
                "channels"
            )
        arrays.check_at_least("GroupNorm", "eps", eps, 0)
        self._make_affine(num_channels, affine, affine, dtype)
        self.num_groups, self.eps = int(num_groups), eps

    def forward(self, x):
        check_features(self, x, self.num_features, channels=True)
        x = taken(self, x)
        gamma = self._gamma(x)
        y, mean, rstd = kernels.groupnorm(x, gamma, self._beta(x), self.num_groups, self.eps)

        def backward(dy, accumulate=False):
            def run(out):
                kernels.groupnorm_backward(dy, x, gamma, mean, rstd, out=out)

            return self._differentiate(run, x, (self.weight, self.bias), accumulate)

        return y, backward

    def describe(self):
        plain = "" if self.weight is not None else ", affine=False"
        return f"{self.num_groups}, {self.num_features}, eps={self.eps}{plain}"


class InstanceNorm1d(Scaled):
    """y = γ (x - mean) / √(var + eps) + β over the length of each channel of x (N, C, L).

    Ulyanov, Vedaldi and Lempitsky 2016, arXiv:1607.08022. As in PyTorch γ and β are there with
    affine=True alone.
    """

    def __init__(self, num_features, eps=1e-5, *, affine=False, dtype=np.float32):
        arrays.check_integer("InstanceNorm1d", "num_features", num_features, 1)
        arrays.check_at_least("InstanceNorm1d", "eps", eps, 0)
        self._make_affine(num_features, affine, affine, dtype)
        self.eps = eps

    def forward(self, x):
        check_features(self, x, self.num_features, channels=True)
        if x.ndim != 3 or x.shape[2] == 1:
            raise ValueError(
                f"{self!r}: x has shape {x.shape}, expected (N, {self.num_features}, L) with L > 1 "
                "(of one number the mean is itself and the deviation 0)"
            )
        x = taken(self, x)
        gamma = self._gamma(x)
        y, mean, rstd = kernels.instancenorm(x, gamma, self._beta(x), self.eps)

        def backward(dy, accumulate=False):
            def run(out):
                kernels.instancenorm_backward(dy, x, gamma, mean, rstd, out=out)

            return self._differentiate(run, x, (self.weight, self.bias), accumulate)

        return y, backward

    def describe(self):
        return f"{self.num_features}, eps={self.eps}, affine={self.weight is not None}"


class DivisiveNorm(Scaled):
    """y = γ v / √(sigma² + mean of v²) + β, v = x less the mean of its neighbours; x (N, C).

    Ren et al. 2017, arXiv:1611.04520. The means go over the `summation` and the `suppression`
    features around (odd numbers), as far as there are such.
    """

    def __init__(
        self, num_features, summation=5, suppression=5, sigma=1.0, affine=True, dtype=np.float32
    ):
        arrays.check_integer("DivisiveNorm", "num_features", num_features, 1)
        for name, width in (("summation", summation), ("suppression", suppression)):
            arrays.check_integer("DivisiveNorm", name, width, 1)
            if width % 2 == 0:
                raise ValueError(f"DivisiveNorm: {name} is {width}, expected an odd number")
        arrays.check_at_least("DivisiveNorm", "sigma", sigma, 0)
        self._make_affine(num_features, affine, affine, dtype)
        self.summation, self.suppression = int(summation), int(suppression)
        self.sigma = float(sigma)

    def forward(self, x):
        check_features(self, x, self.num_features)
        x = taken(self, x)
        gamma, fields = self._gamma(x), (self.summation, self.suppression)
        y, away, scale = kernels.divisivenorm(x, gamma, self._beta(x), *fields, self.sigma)

        def backward(dy, accumulate=False):
            def run(out):
                kernels.divisivenorm_backward(dy, away, scale, gamma, *fields, out=out)

            return self._differentiate(run, x, (self.weight, self.bias), accumulate)

        return y, backward

    def describe(self):
        return (
            f"{self.num_features}, summation={self.summation}, suppression={self.suppression}, "
            f"sigma={self.sigma:g}"
        )


class PowerNorm(Scaled):
    """y = γ x / √(ψ² + eps) + β, ψ² a running mean of x²: x (N, C), no mean taken away.

    Shen et al. 2020, arXiv:2003.07845. Training reads the ψ² of the batches before, as eval mode
    does, and then moves it by `momentum` (the paper's 1 - α = 0.1); the gradient is the paper's
    estimate, which keeps a running `drift`.
    """

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, dtype=np.float32):
        arrays.check_integer("PowerNorm", "num_features", num_features, 1)
        arrays.check_at_least("PowerNorm", "eps", eps, 0)
        arrays.check_at_least("PowerNorm", "momentum", momentum, 0)
        self._make_affine(num_features, affine, affine, dtype)
        self.eps, self.momentum = eps, float(momentum)
        self.running_power = np.ones(num_features, dtype)
        self.drift = np.zeros(num_features, dtype)

    def forward(self, x):
        check_features(self, x, self.num_features)
        x = taken(self, x)
        momentum, power, drift = self.momentum, self.running_power, self.drift
        if not self.training:  # the same numbers, and nothing moves
            momentum, power, drift = 0.0, kernels.copy(power), arrays.zeros(x, drift.shape, x.dtype)
        gamma = self._gamma(x)
        y, rstd, square = kernels.powernorm(x, gamma, self._beta(x), power, self.eps, momentum)

        def backward(dy, accumulate=False):
            def run(out):
                kernels.powernorm_backward(dy, x, gamma, rstd, square, drift, momentum, out=out)

            return self._differentiate(run, x, (self.weight, self.bias), accumulate)

        return y, backward

    def describe(self):
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum:g}"
