"""Optimizers: PyTorch's names, arguments and formulas, one launch for all parameters of a model.

`lr` and the step count lie in one-element arrays, which recorded steps read: setting `optimizer.lr`
takes effect in a replay.

The rule: an optimizer packs its parameters into one arena (arena.pack), so that a step is one
kernel over one flat array, whatever the number of layers.
"""

import numpy as np

from .. import kernels
from ..kernels import arrays
from .arena import pack
from .module import Parameter
from .replay import advance


class Optimizer:
    """Holds the arena of its parameters and steps it.

    Subclasses launch their kernel in `_update`.
    """

    def __init__(self, parameters, lr):
        self.parameters = trainable(type(self).__name__, parameters)
        arrays.check_at_least(type(self).__name__, "lr", lr, 0)
        self.base_lr = lr
        self.values, self.grads = pack(self.parameters)
        self._lr = arrays.put(self.values, np.array([lr], self.values.dtype))
        self.count = arrays.zeros(self.values, 1, np.int64)

    @property
    def lr(self):
        """The learning rate."""
        return float(self._lr[0])

    @lr.setter
    def lr(self, value):
        arrays.check_at_least(type(self).__name__, "lr", value, 0)
        self._lr[0] = self.base_lr = value

    def rates(self):
        """Return [(array of one rate, its base rate)]: schedules write the arrays."""
        return [(self._lr, self.base_lr)]

    def step(self):
        """Change the parameters by their gradients."""
        self.check_home()
        advance(1, self.count, 1)
        self._update()

    def check_home(self):
        """Refuse to step parameters that another optimizer or a conversion has moved."""
        if not self.at_home(self.parameters):
            raise RuntimeError(
                f"{type(self).__name__}: the parameters have moved since the optimizer was "
                "made (by to() or another optimizer), make a new one"
            )

    def at_home(self, parameters):
        """Tell whether these are the optimizer's parameters, and lie where it packed them."""
        parameters = [parameter for parameter in parameters if parameter.trainable]
        same = len(parameters) == len(self.parameters)
        return same and all(
            parameter is own and parameter.home is not None and parameter.home[0] is self.values
            for parameter, own in zip(parameters, self.parameters, strict=True)
        )

    def _update(self):
        raise NotImplementedError

    def state(self):
        """Return every array that a step changes, besides the parameters."""
        return [self.count, *(v for v in vars(self).values() if self._is_moment(v))]

    def _is_moment(self, value):
        known = (self.values, self.grads, self.count, self._lr)
        return arrays.is_array(value) and not any(value is other for other in known)

    def _zeros(self):
        return arrays.zeros(self.values, self.values.shape, self.values.dtype)


def trainable(name, parameters):
    """Return the parameters that are not frozen; refuse what is none, and a list without any."""
    parameters = list(parameters)
    for parameter in parameters:
        if not isinstance(parameter, Parameter):
            raise TypeError(
                f"{name}: parameter is a {type(parameter).__name__}, expected a Parameter"
            )
    kept = [parameter for parameter in parameters if parameter.trainable]
    if parameters and not kept:
        raise ValueError(
            f"{name}: all {len(parameters)} parameters are frozen, expected one to train "
            "(model.unfreeze())"
        )
    return kept


def check_betas(name, betas):
    """Refuse decay rates outside [0, 1)."""
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise TypeError(f"{name}: betas is {betas!r}, expected two numbers")
    for i, beta in enumerate(betas):
        arrays.check_fraction(name, f"betas[{i}]", beta)
    return tuple(map(float, betas))


class SGD(Optimizer):
    """Gradient descent with momentum (Polyak 1964) or Nesterov's (Sutskever et al. 2013)."""

    def __init__(
        self, parameters, lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False
    ):
        super().__init__(parameters, lr)
        arrays.check_at_least("SGD", "momentum", momentum, 0)
        arrays.check_at_least("SGD", "weight_decay", weight_decay, 0)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError(
                f"SGD: nesterov has momentum {momentum} and dampening {dampening}, "
                "expected momentum > 0 and dampening 0"
            )
        self.momentum, self.dampening = float(momentum), float(dampening)
        self.weight_decay, self.nesterov = float(weight_decay), bool(nesterov)
        self.velocity = self._zeros() if momentum else None

    def _update(self):
        kernels.sgd(
            self.values, self.grads, self.velocity, self._lr, self.momentum, self.dampening,
            self.nesterov, self.weight_decay, step=self.count,
        )  # fmt: skip


class RMSprop(Optimizer):
    """Divide the gradient by the root of its running mean square. Tieleman and Hinton 2012."""

    def __init__(self, parameters, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0):
        super().__init__(parameters, lr)
        arrays.check_fraction("RMSprop", "alpha", alpha)
        arrays.check_at_least("RMSprop", "eps", eps, 0)
        arrays.check_at_least("RMSprop", "weight_decay", weight_decay, 0)
        arrays.check_at_least("RMSprop", "momentum", momentum, 0)
        self.alpha, self.eps = float(alpha), float(eps)
        self.weight_decay, self.momentum = float(weight_decay), float(momentum)
        self.square = self._zeros()
        self.velocity = self._zeros() if momentum else None

    def _update(self):
        kernels.rmsprop(
            self.values, self.grads, self.square, self.velocity, self._lr, self.alpha, self.eps,
            self.weight_decay, self.momentum,
        )  # fmt: skip


class Adam(Optimizer):
    """Adaptive moments. Kingma and Ba 2015, arXiv:1412.6980."""

    kernel = "adam"
    default_decay = 0.0

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=None):
        super().__init__(parameters, lr)
        name = type(self).__name__
        decay = self.default_decay if weight_decay is None else weight_decay
        self.beta1, self.beta2 = check_betas(name, betas)
        arrays.check_at_least(name, "eps", eps, 0)
        arrays.check_at_least(name, "weight_decay", decay, 0)
        self.eps, self.weight_decay = float(eps), float(decay)
        self.m, self.v = self._zeros(), self._zeros()

    def _update(self):
        getattr(kernels, self.kernel)(
            self.values, self.grads, self.m, self.v, self.count, self._lr, self.beta1, self.beta2,
            self.eps, self.weight_decay,
        )  # fmt: skip


class AdamW(Adam):
    """Adam with decay of the weights apart from the gradient.

    Loshchilov and Hutter 2019, arXiv:1711.05101.
    """

    kernel = "adamw"
    default_decay = 0.01


OPTIMIZERS = {"sgd": SGD, "rmsprop": RMSprop, "adam": Adam, "adamw": AdamW}
_RATES = {"sgd": 1e-2, "rmsprop": 1e-3, "adam": 1e-3, "adamw": 1e-3}


def make_optimizer(optimizer, model):
    """Return an optimizer as it is, or from its name with a rate that suits small MLPs.

    A model fitted again under the same name keeps its optimizer: the second fit goes on.
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    if not isinstance(optimizer, str):
        kind = type(optimizer).__name__
        raise TypeError(f"fit: optimizer is a {kind}, expected a name or an Optimizer")
    arrays.check_known("fit", optimizer, OPTIMIZERS, "optimizer")
    known = getattr(model, "fit_optimizer", None)
    if type(known) is OPTIMIZERS[optimizer] and known.at_home(model.parameters()):
        known.lr = _RATES[optimizer]
        return known
    model.fit_optimizer = OPTIMIZERS[optimizer](model.parameters(), lr=_RATES[optimizer])
    return model.fit_optimizer
