"""DropConnect: a linear layer that drops its weights. Wan et al. 2013.

The rule: in training a weight that is kept is scaled by 1/(1-p), so that the layer in eval mode is
Linear; p is the chance to drop, and the bias is never dropped (the paper drops it, too).
"""

import numpy as np

from .. import kernels
from ..kernels import arrays
from .dropouts import Drawing
from .layers import Linear, check_features, store

INFERENCES = ("mean", "gaussian")
NO_PASS = -1  # the step of draws for inference, which no mask shares


class DropConnect(Drawing, Linear):
    """y = f(x (M∘W)ᵀ/(1-p) + b), M drawn anew for each step, or for each row: per_sample.

    x (N, in_features) -> y (N, out_features). f: `activation` by name; else the activation that
    follows in a Sequential may be computed here, as by Linear.

    inference: "mean" computes f of the mean over masks, f(x Wᵀ + b); "gaussian" the paper's mean of
    f over `samples` draws of N(mean, variance), the moments over masks of f's argument. The draws
    are the same for all rows. It needs f, has no backward, and is the mean where f is none.
    A mask that is given, layer(x, mask=), (O, I), takes the place of a drawn one in either mode.
    """

    def __init__(
        self, in_features, out_features, p=0.5, per_sample=False, inference="mean", samples=100,
        activation=None, bias=True, dtype=np.float32, seed=0, stream=None,
    ):  # fmt: skip
        arrays.check_fraction("DropConnect", "p", p)
        arrays.check_known("DropConnect", inference, INFERENCES, "inference")
        arrays.check_integer("DropConnect", "samples", samples, 1)
        if activation is not None:
            arrays.check_known("DropConnect", activation, kernels.ACTIVATIONS, "activation")
        super().__init__(in_features, out_features, bias, dtype)
        self.p, self.per_sample, self.inference = float(p), bool(per_sample), inference
        self.samples, self.activation = int(samples), activation
        self.start_drawing(seed, stream)

    def __call__(self, x, mask=None):
        return self.forward(x, mask)[0]

    def can_fuse(self, activation):
        return self.activation is None and activation is not None

    def forward(self, x, mask=None):
        return self._forward(x, self.activation, mask)

    def _forward(self, x, activation, mask=None):
        check_features(self, x, self.in_features)
        bias = None if self.bias is None else self.bias.value
        row = kernels.ACTIVATIONS.get(activation)
        fused = activation if row is not None and row.backward_from_y is not None else None
        if mask is None and not self.training and self.inference == "gaussian" and row is not None:
            return self._average(x, bias, row)
        y, backward = self._linear(x, bias, fused, mask)
        if row is None:
            return y, backward
        z = y if fused else row.forward(y)

        def before(dy):
            return row.backward_from_y(dy, z) if fused else row.backward(dy, y)

        def whole(dy, accumulate=False):
            return backward(before(dy), accumulate)

        whole.parameters_only = lambda dy, accumulate=False: backward(before(dy), accumulate, False)
        return z, whole

    def _linear(self, x, bias, activation, mask):
        """Return the layer's sums, with the activation already where it is fused; and a backward.

        That takes the gradient of the sums.
        """
        weight, drop = self.weight.value, None
        if mask is not None:
            factor = arrays.put(weight, self._check_mask(mask).astype(weight.dtype))
            drop = lambda a, out=None: kernels.multiply(a, factor, out=out)  # noqa: E731
        elif self.training and self.p > 0:
            key = self.p, *self.draw()
            if self.per_sample:
                return self._by_sample(x, bias, activation, key)
            drop = lambda a, out=None: kernels.dropout(a, *key, out=out)  # noqa: E731
        masked = weight if drop is None else drop(weight)
        y = kernels.linear(x, masked, bias, activation)

        def weight_gradient(dy, out):
            dweight = kernels.linear_backward_weight(dy, x, out=out)
            return dweight if drop is None else drop(dweight, dweight)

        def backward(dy, accumulate=False, input_too=True):
            store(self.weight, lambda out: weight_gradient(dy, out), accumulate)
            self._store_bias(lambda out: kernels.column_sum(dy, out=out), accumulate)
            return kernels.linear_backward_input(dy, masked) if input_too else None

        backward.parameters_only = lambda dy, accumulate=False: backward(dy, accumulate, False)
        return y, backward

    def _by_sample(self, x, bias, activation, key):
        weight = self.weight.value
        y = kernels.dropconnect(x, weight, bias, *key, per_sample=True)
        if activation is not None:
            kernels.ACTIVATIONS[activation].forward(y, out=y)

        def backward(dy, accumulate=False, input_too=True):
            dx, *found = kernels.dropconnect_backward(dy, x, weight, *key, per_sample=True)
            dweight, dbias = found
            store(self.weight, lambda out: _put(dweight, out), accumulate)
            self._store_bias(lambda out: _put(dbias, out), accumulate)
            return dx

        return y, backward

    def _store_bias(self, make, accumulate):
        if self.bias is not None:
            store(self.bias, make, accumulate)

    def _average(self, x, bias, row):
        """Return the mean of f over draws of N(mean, variance), row by row."""
        mean, sd = kernels.dropconnect_moments(x, self.weight.value, bias, self.p)
        zeros = arrays.zeros(x, (self.samples, self.out_features), x.dtype)
        draws = kernels.gaussian_noise(zeros, 1.0, self.seed, NO_PASS, self.stream or 0)
        nothing = zeros[0]
        ones = arrays.put(x, np.ones(self.out_features, x.dtype))
        y = arrays.scratch(x, mean.shape)
        for i in range(len(x)):
            z = kernels.batchnorm_inference(draws, sd[i], mean[i], nothing, ones, 0.0)
            found = kernels.column_moments(row.forward(z, out=z))[0]
            kernels.copy(found, out=y[i])

        def backward(dy, accumulate=False):
            raise RuntimeError(
                f"{self!r}: gaussian inference has no backward, expected inference='mean'"
            )

        return y, backward

    def _check_mask(self, mask):
        mask = np.asarray(arrays.on_host(mask))
        if mask.shape != self.weight.shape:
            raise ValueError(f"{self!r}: mask has shape {mask.shape}, expected {self.weight.shape}")
        return mask / (1.0 - self.p)

    def describe(self):
        told = [super().describe(), f"p={self.p:g}"]
        told += ["per_sample=True"] if self.per_sample else []
        told += [f"inference='gaussian', samples={self.samples}"] * (self.inference != "mean")
        told += [] if self.activation is None else [f"activation={self.activation!r}"]
        return ", ".join(told)


def _put(array, out):
    return array if out is None else kernels.copy(array, out=out)
