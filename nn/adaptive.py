"""Optimizers with a rate for each element: Adagrad, RMSprop, Adadelta, Adam and its relatives.

The rule: PyTorch's names, arguments, defaults and order of arguments.
"""

import numpy as np

from .. import kernels
from ..kernels import arrays
from .groups import Optimizer


class Adagrad(Optimizer):
    """Divide the gradient by the root of the sum of its squares. Duchi et al. 2011.

    The sum only grows, so the rates die: under an even gradient that of step t is lr/√t.
    """

    def __init__(
        self, parameters, lr=1e-2, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0,
        eps=1e-10, *, maximize=False,
    ):  # fmt: skip
        super().__init__(
            parameters, lr=lr, lr_decay=lr_decay, weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value, eps=eps, maximize=maximize,
        )  # fmt: skip

    def prepare(self, group):
        group.keep("total", fill=group.initial_accumulator_value)

    def update(self, group):
        kernels.adagrad(
            group.values, group.grads, group.state["total"], self.count, group.rate,
            group.lr_decay, group.weight_decay, group.eps, bool(group.maximize),
        )  # fmt: skip


class RMSprop(Optimizer):
    """Divide the gradient by the root of its running mean square. Tieleman and Hinton 2012.

    centered: by its running standard deviation instead. Graves 2013, arXiv:1308.0850.
    """

    def __init__(
        self, parameters, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0,
        centered=False, *, maximize=False,
    ):  # fmt: skip
        super().__init__(
            parameters, lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum,
            centered=centered, maximize=maximize,
        )  # fmt: skip

    def prepare(self, group):
        group.keep("square", *["mean"] * bool(group.centered))
        if group.momentum:
            group.keep("velocity")

    def update(self, group):
        state = group.state
        step = kernels.rmsprop_centered if group.centered else kernels.rmsprop
        means = (state["square"], state["mean"]) if group.centered else (state["square"],)
        step(
            group.values, group.grads, *means, state.get("velocity"), group.rate, group.alpha,
            group.eps, group.weight_decay, group.momentum, bool(group.maximize),
        )  # fmt: skip


class Adadelta(Optimizer):
    """Scale the gradient by the ratio of the root mean squares of steps and gradients.

    Zeiler 2012, arXiv:1212.5701. The step has the unit of the parameters, so lr = 1 fits any.
    """

    def __init__(
        self, parameters, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0, *, maximize=False
    ):  # fmt: skip
        super().__init__(
            parameters, lr=lr, rho=rho, eps=eps, weight_decay=weight_decay, maximize=maximize
        )

    def prepare(self, group):
        group.keep("square", "moved")

    def update(self, group):
        kernels.adadelta(
            group.values, group.grads, group.state["square"], group.state["moved"], group.rate,
            group.rho, group.eps, group.weight_decay, bool(group.maximize),
        )  # fmt: skip


class Adam(Optimizer):
    """Adaptive moments. Kingma and Ba 2015, arXiv:1412.6980.

    amsgrad: divide by the largest mean square so far. Reddi et al. 2018, arXiv:1904.09237.
    """

    decoupled = False

    def __init__(
        self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False,
        *, maximize=False, decoupled_weight_decay=None,
    ):  # fmt: skip
        if decoupled_weight_decay is None:
            decoupled_weight_decay = self.decoupled
        super().__init__(
            parameters, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad,
            maximize=maximize, decoupled_weight_decay=decoupled_weight_decay,
        )  # fmt: skip

    def prepare(self, group):
        group.keep("m", "v", *["top"] * bool(group.amsgrad))

    def update(self, group):
        state, apart = group.state, bool(group.decoupled_weight_decay)
        arrays_ = group.values, group.grads, state["m"], state["v"]
        numbers = self.count, group.rate, *group.betas, group.eps, group.weight_decay
        if group.amsgrad:
            kernels.amsgrad(*arrays_, state["top"], *numbers, apart, bool(group.maximize))
        else:
            step = kernels.adamw if apart else kernels.adam
            step(*arrays_, *numbers, bool(group.maximize))


class AdamW(Adam):
    """Adam with decay of the weights apart from the gradient.

    Loshchilov and Hutter 2019, arXiv:1711.05101.
    """

    decoupled = True

    def __init__(
        self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False,
        *, maximize=False,
    ):  # fmt: skip
        super().__init__(parameters, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)


class RAdam(Optimizer):
    """Adam whose rate is rectified while its mean square is young: no warm-up is needed.

    Liu et al. 2020, arXiv:1908.03265.
    """

    def __init__(
        self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0,
        decoupled_weight_decay=False, *, maximize=False,
    ):  # fmt: skip
        super().__init__(
            parameters, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay,
            decoupled_weight_decay=decoupled_weight_decay, maximize=maximize,
        )  # fmt: skip

    def prepare(self, group):
        group.keep("m", "v")

    def update(self, group):
        kernels.radam(
            group.values, group.grads, group.state["m"], group.state["v"], self.count, group.rate,
            *group.betas, group.eps, group.weight_decay, bool(group.decoupled_weight_decay),
            bool(group.maximize),
        )  # fmt: skip


class NAdam(Optimizer):
    """Adam with Nesterov's momentum. Dozat 2016."""

    def __init__(
        self, parameters, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0,
        momentum_decay=4e-3, decoupled_weight_decay=False, *, maximize=False,
    ):  # fmt: skip
        super().__init__(
            parameters, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay,
            momentum_decay=momentum_decay, decoupled_weight_decay=decoupled_weight_decay,
            maximize=maximize,
        )  # fmt: skip

    def prepare(self, group):
        group.keep("m", "v")
        group.state["product"] = arrays.put(group.values, np.ones(1, group.values.dtype))

    def update(self, group):
        state = group.state
        kernels.nadam(
            group.values, group.grads, state["m"], state["v"], state["product"], self.count,
            group.rate, *group.betas, group.eps, group.weight_decay, group.momentum_decay,
            bool(group.decoupled_weight_decay), bool(group.maximize),
        )  # fmt: skip
