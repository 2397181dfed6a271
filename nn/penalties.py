"""Penalties on weights, and the bound on their norms, as callbacks of a fit.

    nn.fit(model, x, y, callbacks=[nn.L2(1e-4), nn.MaxNorm(3.0, model[0])])

Each takes all weights of the model, or those of `layers` (modules or parameters), or of a group of
their neurons: `neurons` is a slice of the rows, as a row of a weight (out, in) is what one neuron
weighs its inputs with. Biases and other parameters of one dimension are left alone.

The rule: a penalty adds to the gradients, before clipping, and never to the loss that a fit
reports; `value()` tells it.
"""

import numpy as np

from .. import kernels
from ..kernels import arrays
from .callbacks import Callback
from .module import Module, Parameter


class _OnWeights(Callback):
    """Finds the weights that are meant."""

    def __init__(self, strengths, layers, neurons):
        for name, strength in strengths.items():
            arrays.check_at_least(type(self).__name__, name, strength, 0)
        if neurons is not None and not isinstance(neurons, slice):
            kind = type(neurons).__name__
            raise TypeError(f"{type(self).__name__}: neurons is a {kind}, expected a slice of rows")
        self.layers, self.neurons = _listed(type(self).__name__, layers), neurons
        self._model = None

    def begin(self, fit):
        self._model = fit.model
        self.weights(fit.model)

    def weights(self, model=None):
        """Return [(values, gradients)] of the weights that are meant, as views."""
        given = self.layers or [model if model is not None else self._model]
        found = [weight for item in given for weight in _weights_of(item)]
        if not found:
            name = type(self).__name__
            raise ValueError(f"{name}: there are no weights to train, expected a layer with some")
        rows = slice(None) if self.neurons is None else self.neurons
        return [(p.value[rows], p.grad[rows]) for p in found]


def _listed(name, layers):
    """Return what is given as a list of modules and parameters; None for all."""
    if layers is None:
        return None
    layers = list(layers) if isinstance(layers, list | tuple) else [layers]
    for layer in layers:
        if not isinstance(layer, Module | Parameter):
            kind = type(layer).__name__
            raise TypeError(f"{name}: layer is a {kind}, expected a Module or a Parameter")
    return layers


def _weights_of(item):
    parameters = [item] if isinstance(item, Parameter) else item.parameters()
    return [p for p in parameters if p.trainable and len(p.shape) > 1]


def _as_rows(array):
    return array.reshape(array.shape[0], -1)


class Penalty(_OnWeights):
    """A term added to the loss: subclasses add its gradient in `add`, and say it in `term`."""

    def after_backward(self, fit):
        self.add_to(fit.model)

    def add_to(self, model):
        """Add the penalty's gradient to those of the model's weights, in a loop of one's own."""
        for w, g in self.weights(model):
            self.add(g, w)

    def value(self, model=None):
        """Return the penalty itself, of the model last fitted or of the one given."""
        hosts = (np.asarray(arrays.on_host(w), np.float64) for w, _ in self.weights(model))
        return float(sum(self.term(w) for w in hosts))

    def add(self, g, w):
        """Add the gradient for the weights w to g."""
        raise NotImplementedError(f"{type(self).__name__} does not define add")

    def term(self, w):
        """Return the penalty of the weights w, a NumPy array."""
        raise NotImplementedError(f"{type(self).__name__} does not define term")


class ElasticNet(Penalty):
    """l1·Σ|w| + ½·l2·Σw². Zou and Hastie 2005."""

    def __init__(self, l1, l2, layers=None, neurons=None):
        super().__init__({"l1": l1, "l2": l2}, layers, neurons)
        self.l1, self.l2 = float(l1), float(l2)

    def add(self, g, w):
        kernels.add_elastic_net(g, w, self.l1, self.l2)

    def term(self, w):
        return self.l1 * np.abs(w).sum() + 0.5 * self.l2 * (w * w).sum()


class L1(ElasticNet):
    """strength·Σ|w|, which draws weights to zero. Tibshirani 1996."""

    def __init__(self, strength, layers=None, neurons=None):
        arrays.check_at_least("L1", "strength", strength, 0)
        super().__init__(strength, 0.0, layers, neurons)


class L2(ElasticNet):
    """½·strength·Σw²: what an optimizer's weight_decay is under SGD, for chosen layers.

    Written as λ·Σw², its strength is 2λ.
    """

    def __init__(self, strength, layers=None, neurons=None):
        arrays.check_at_least("L2", "strength", strength, 0)
        super().__init__(0.0, strength, layers, neurons)


class GroupLasso(Penalty):
    """strength·Σ‖w_row‖, which draws whole neurons to zero. Yuan and Lin 2006.

    For the neurons of nets: Scardapane et al. 2017, arXiv:1607.00485.
    """

    def __init__(self, strength, layers=None, neurons=None):
        super().__init__({"strength": strength}, layers, neurons)
        self.strength = float(strength)

    def add(self, g, w):
        kernels.add_group_lasso(_as_rows(g), _as_rows(w), self.strength)

    def term(self, w):
        return self.strength * np.sqrt((_as_rows(w) ** 2).sum(1)).sum()


class MaxNorm(_OnWeights):
    """After each step, shorten what a neuron weighs its inputs with to a length of `limit`.

    Srivastava et al. 2014 (section 5.1), beside dropout and high rates.
    """

    def __init__(self, limit, layers=None, neurons=None):
        super().__init__({"limit": limit}, layers, neurons)
        self.limit = float(limit)

    def after_step(self, fit):
        self.apply_to(fit.model)

    def apply_to(self, model):
        """Shorten the model's weights now, in a loop of one's own."""
        for w, _ in self.weights(model):
            kernels.max_norm(_as_rows(w), self.limit)
