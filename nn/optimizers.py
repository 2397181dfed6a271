"""Optimizers by name, and gradient descent: PyTorch's names, arguments and formulas.

The rule: what an optimizer is called in `fit` stands in one table, OPTIMIZERS.
"""

from .. import kernels
from ..kernels import arrays
from ..kernels.descent import check_form
from .adaptive import Adadelta, Adagrad, Adam, AdamW, NAdam, RAdam, RMSprop
from .groups import Optimizer
from .lbfgs import LBFGS


class SGD(Optimizer):
    """Gradient descent with momentum (Polyak 1964) or Nesterov's (Sutskever et al. 2013).

    form: "pytorch", v = momentum·v + g and p -= lr·v; or "classical", v = momentum·v + lr·g and
    p -= v, which goes another way once lr changes. Nesterov's likewise, its p the point ahead.
    """

    def __init__(
        self, parameters, lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False,
        *, maximize=False, form="pytorch",
    ):  # fmt: skip
        super().__init__(
            parameters, lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay,
            nesterov=nesterov, maximize=maximize, form=form,
        )  # fmt: skip

    def check(self, options):
        super().check(options)
        arrays.check_number("SGD", "dampening", options["dampening"])
        arrays.check_known("SGD", options["form"], ("pytorch", "classical"), "form")
        momentum, dampening, nesterov = (
            options[name] for name in ("momentum", "dampening", "nesterov")
        )
        check_form("SGD", momentum, dampening, nesterov, options["form"] == "classical")

    def prepare(self, group):
        if group.momentum:
            group.keep("velocity")

    def update(self, group):
        kernels.sgd(
            group.values, group.grads, group.state.get("velocity"), group.rate, group.momentum,
            group.dampening, bool(group.nesterov), group.weight_decay, self.count,
            bool(group.maximize), group.form == "classical",
        )  # fmt: skip


# name: (class, the rate that suits small MLPs, other options)
OPTIMIZERS = {
    "sgd": (SGD, 1e-2, {}),
    "adagrad": (Adagrad, 1e-2, {}),
    "rmsprop": (RMSprop, 1e-3, {}),
    "adadelta": (Adadelta, 1.0, {}),
    "adam": (Adam, 1e-3, {}),
    "adamw": (AdamW, 1e-3, {}),
    "nadam": (NAdam, 1e-3, {}),
    "radam": (RAdam, 1e-3, {}),
    "lbfgs": (LBFGS, 1.0, {"line_search_fn": "strong_wolfe"}),
}


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
    made, lr, options = OPTIMIZERS[optimizer]
    known = getattr(model, "fit_optimizer", None)
    if type(known) is made and known.at_home(model.parameters()):
        known.lr = lr
        return known
    model.fit_optimizer = made(model.parameters(), lr=lr, **options)
    return model.fit_optimizer
