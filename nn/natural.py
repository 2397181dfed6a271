"""Natural neural networks: linear layers that see whitened inputs, refreshed now and then.

Desjardins et al. 2015, arXiv:1507.00210. A layer is y = V U (x - c) + d. V and d are trained; U and
c are set every T steps so that U (x - c) is white on the data, and V and d with them so that y
stays what it was. Plain gradient descent on V then goes about where natural gradient would.

The rule: a refresh changes no output, and writes in place, so that recorded steps go on.
"""

import numpy as np

from .. import kernels
from ..kernels import arrays
from .callbacks import Callback
from .inference import eval_mode, prepare_inputs
from .layers import Linear, check_features, store
from .module import Module, Parameter


class WhitenedLinear(Module):
    """y = V U (x - c) + d: a Linear whose inputs are decorrelated; at first U is 1 and c is 0.

    weight V (out_features, in_features) and bias d are trained, whitening U and centre c buffers
    that `refresh` sets: by hand, or by the callback RefreshWhitening in a fit.
    """

    def __init__(self, in_features, out_features, dtype=np.float32):
        plain = Linear(in_features, out_features, dtype=dtype)
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self.weight, self.bias = Parameter(plain.weight.value), Parameter(plain.bias.value)
        self.whitening = np.eye(in_features, dtype=dtype)
        self.centre = np.zeros(in_features, dtype)
        self.shift = np.zeros(in_features, dtype)  # -U c
        self._seen = []

    def forward(self, x):
        check_features(self, x, self.in_features)
        if self._seen:
            self._seen.append(arrays.on_host(x))
        weight, whitening = self.weight.value, self.whitening
        z = kernels.linear(x, whitening, self.shift)
        y = kernels.linear(z, weight, self.bias.value)

        def backward(dy, accumulate=False):
            dz = kernels.linear_backward_input(parameters_only(dy, accumulate), weight)
            return kernels.linear_backward_input(dz, whitening)

        def parameters_only(dy, accumulate=False):
            store(
                self.weight, lambda out: kernels.linear_backward_weight(dy, z, out=out), accumulate
            )
            store(self.bias, lambda out: kernels.column_sum(dy, out=out), accumulate)
            return dy

        backward.parameters_only = parameters_only
        return y, backward

    def refresh(self, x, eps=1e-3):
        """Whiten by the inputs x (N, in_features) of this layer, and keep every output.

        U = (covariance + eps·1)^(-1/2), c = the mean; eps is a share of the mean variance.
        """
        arrays.check_at_least("WhitenedLinear", "eps", eps, 0, strictly=True)
        check_features(self, x, self.in_features)
        x = np.float64(arrays.on_host(x))
        mean = x.mean(0)
        covariance = (x - mean).T @ (x - mean) / len(x)
        ridge = eps * max(np.trace(covariance) / len(mean), np.finfo(np.float32).tiny)
        variances, axes = np.linalg.eigh(covariance)
        roots = np.sqrt(np.maximum(variances, 0.0) + ridge)
        plain, level = self.plain_weights()
        whitening = axes / roots @ axes.T
        self.weight.value = plain @ (axes * roots @ axes.T)
        self.bias.value = level + plain @ mean
        for name, value in (
            ("whitening", whitening),
            ("centre", mean),
            ("shift", -whitening @ mean),
        ):
            array = getattr(self, name)
            arrays.assign(array, np.ascontiguousarray(value, array.dtype))

    @property
    def refreshed(self):
        """Whether U is another than that of a new layer."""
        whitening = arrays.on_host(self.whitening)
        return not np.array_equal(whitening, np.eye(len(whitening), dtype=whitening.dtype))

    def plain_weights(self):
        """Return W and b of y = W x + b, in float64: what a Linear of the same outputs has."""
        weight, whitening, shift, bias = (
            np.float64(arrays.on_host(a))
            for a in (self.weight.value, self.whitening, self.shift, self.bias.value)
        )
        return weight @ whitening, weight @ shift + bias

    def to_linear(self):
        """Return a Linear with the same outputs."""
        linear = Linear(self.in_features, self.out_features, dtype=self.weight.dtype)
        linear.weight.value, linear.bias.value = self.plain_weights()
        return linear if arrays.device_of(self.weight.value) is None else linear.to("cuda")

    def describe(self):
        return f"in_features={self.in_features}, out_features={self.out_features}"


def _whitened(where, model):
    layers = [layer for layer in model.modules() if isinstance(layer, WhitenedLinear)]
    if not layers:
        raise ValueError(f"{where}: the model has no WhitenedLinear, expected one")
    return layers


def refresh_whitening(model, x, eps=1e-3):
    """Refresh every WhitenedLinear of a model by its inputs for the data x (N, I); in place."""
    layers = _whitened("refresh_whitening", model)
    x = prepare_inputs(x, model.dtype, "refresh_whitening")
    try:
        for layer in layers:
            layer._seen.append(None)  # watch
        with eval_mode(model), kernels.not_recorded():
            model(arrays.put(model.anchor, x))
        for layer in layers:
            layer.refresh(np.concatenate(layer._seen[1:]), eps)
    finally:
        for layer in layers:
            layer._seen.clear()


class RefreshWhitening(Callback):
    """Refresh the WhitenedLinear layers of a model, by the data x, after every so many epochs.

    Also before the first one, where none was refreshed yet; so a second fit goes on. What an
    optimizer remembers of V (momentum) is left as it is.
    """

    def __init__(self, x, every=1, eps=1e-3):
        arrays.check_integer("RefreshWhitening", "every", every, 1)
        arrays.check_at_least("RefreshWhitening", "eps", eps, 0, strictly=True)
        self.x, self.every, self.eps = x, int(every), float(eps)

    def begin(self, fit):
        if not any(layer.refreshed for layer in _whitened("RefreshWhitening", fit.model)):
            refresh_whitening(fit.model, self.x, self.eps)

    def end_epoch(self, fit):
        if (fit.epoch + 1) % self.every == 0:
            refresh_whitening(fit.model, self.x, self.eps)
