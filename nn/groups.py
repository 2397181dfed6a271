"""Parameter groups and the optimizer that steps them: what all optimizers share.

`lr` and the step count lie in one-element arrays, which recorded steps read: setting `optimizer.lr`
takes effect in a replay. A group's other numbers are part of what is recorded.

The rule: an optimizer packs its parameters into one arena (arena.pack), group after group, so that
a step is one launch for each group, whatever the number of layers.
"""

import numpy as np

from ..kernels import arrays
from .arena import pack
from .module import Module, Parameter
from .replay import advance

_AT_LEAST_0 = {
    *("lr", "momentum", "weight_decay", "eps", "lr_decay", "initial_accumulator_value"),
    *("momentum_decay", "tolerance_grad", "tolerance_change"),
}
_FRACTIONS = {"alpha", "rho"}


class Group:
    """Parameters that are stepped together: their part of the arena, their rate and numbers.

    The optimizer's options are attributes (`group.weight_decay`). `rate` is the array of one
    element that holds `lr`; `base_lr` is what schedules begin from; `state` names the arrays that
    steps keep.
    """

    def __init__(self, parameters, values, grads, options):
        self.parameters, self.values, self.grads = parameters, values, grads
        self.state = {}
        self.base_lr = options["lr"]
        self.rate = arrays.put(values, np.array([self.base_lr], values.dtype))
        vars(self).update({name: option for name, option in options.items() if name != "lr"})

    @property
    def lr(self):
        """The learning rate."""
        return float(self.rate[0])

    @lr.setter
    def lr(self, value):
        arrays.check_at_least("Group", "lr", value, 0)
        self.rate[0] = self.base_lr = value

    def keep(self, *names, fill=0.0):
        """Make arrays of the state, as large as the parameters."""
        for name in names:
            self.state[name] = arrays.zeros(self.values, self.values.shape, self.values.dtype)
            if fill:
                self.state[name][...] = fill


class Optimizer:
    """Holds the arena of its parameters, in groups, and steps them.

    parameters: a list of Parameters, a Module, or a list of dictionaries {"params": ..., and any of
    the options for these alone}, as in PyTorch. Frozen parameters are left out. Subclasses check
    their options in `check`, make arrays in `prepare` and launch their kernel in `update`.
    """

    full_batch = False  # whether a step wants all data at once, and a closure

    def __init__(self, parameters, **options):
        name = type(self).__name__
        given = _as_groups(name, parameters, options)
        kept = [_trainable(name, parameters) for parameters, _ in given]
        self.parameters = [parameter for group in kept for parameter in group]
        _refuse_twins(name, self.parameters)
        if not self.parameters and any(parameters for parameters, _ in given):
            count = sum(len(parameters) for parameters, _ in given)
            raise ValueError(
                f"{name}: all {count} parameters are frozen, expected one to train "
                "(model.unfreeze())"
            )
        for _, own in given:
            self.check(own)
        self.values, self.grads = pack(self.parameters)
        self.count = arrays.zeros(self.values, 1, np.int64)
        self.groups = self._make_groups(kept, [own for _, own in given])
        self._relative = [_ratio(group.base_lr, self.groups[0].base_lr) for group in self.groups]
        for group in self.groups:
            self.prepare(group)

    def _make_groups(self, kept, options):
        """Make the groups, each with its part of the arena."""
        groups, stop = [], self.values.size
        for parameters, own in reversed(list(zip(kept, options, strict=True))):
            start = parameters[0].home[2] if parameters else stop
            parts = self.values[start:stop], self.grads[start:stop]
            groups.append(Group(parameters, *parts, own))
            stop = start
        return groups[::-1]

    def check(self, options):
        """Refuse options of a group that make no sense."""
        name = type(self).__name__
        for option, value in options.items():
            if option in _AT_LEAST_0:
                arrays.check_at_least(name, option, value, 0)
            elif option in _FRACTIONS:
                arrays.check_fraction(name, option, value)
            elif option == "betas":
                check_betas(name, value)

    def prepare(self, group):
        """Make the arrays that steps of this group keep."""

    def update(self, group):
        """Launch the step of a group."""
        raise NotImplementedError(f"{type(self).__name__} does not define update")

    @property
    def lr(self):
        """The learning rate of the first group; setting it changes all groups in proportion."""
        return self.groups[0].lr

    @lr.setter
    def lr(self, value):
        arrays.check_at_least(type(self).__name__, "lr", value, 0)
        for group, relative in zip(self.groups, self._relative, strict=True):
            group.lr = value * relative

    @property
    def base_lr(self):
        """The rate of the first group that schedules begin from."""
        return self.groups[0].base_lr

    def rates(self):
        """Return [(array of one rate, its base rate)], one a group: schedules write the arrays."""
        return [(group.rate, group.base_lr) for group in self.groups]

    def step(self):
        """Change the parameters by their gradients."""
        self.check_home()
        advance(1, self.count, 1)
        for group in self.groups:
            if group.parameters:
                self.update(group)

    def check_home(self):
        """Refuse to step parameters that were moved or frozen since."""
        if self.at_home(self.parameters):
            return
        name = type(self).__name__
        if not all(parameter.trainable for parameter in self.parameters):
            raise RuntimeError(
                f"{name}: parameters were frozen since the optimizer was made, make a new one"
            )
        raise RuntimeError(
            f"{name}: the parameters have moved since the optimizer was made (by to() or another "
            "optimizer), make a new one"
        )

    def at_home(self, parameters):
        """Tell whether these are the optimizer's parameters, and lie where it packed them."""
        parameters = [parameter for parameter in parameters if parameter.trainable]
        own = {id(parameter) for parameter in self.parameters}
        return {id(parameter) for parameter in parameters} == own and all(
            parameter.home is not None and parameter.home[0] is self.values
            for parameter in parameters
        )

    def state(self):
        """Return every array that a step changes, besides the parameters."""
        return [self.count, *(array for group in self.groups for array in group.state.values())]


def _as_groups(name, parameters, options):
    """Return [(parameters, options)] of each group."""
    if isinstance(parameters, Module):
        parameters = parameters.parameters()
    listed = list(parameters)
    if not any(isinstance(item, dict) for item in listed):
        return [(_checked(name, listed), options)]
    groups = []
    for number, item in enumerate(listed):
        if not isinstance(item, dict):
            raise TypeError(
                f"{name}: group {number} is a {type(item).__name__}, expected a dictionary as the "
                "others are"
            )
        own = {key: value for key, value in item.items() if key != "params"}
        unknown = sorted(set(own) - set(options))
        if unknown or "params" not in item:
            raise ValueError(
                f"{name}: group {number} has options {sorted(item)}, expected 'params' and any of "
                f"{sorted(options)}"
            )
        inside = item["params"]
        if isinstance(inside, Module):
            inside = inside.parameters()
        inside = [inside] if isinstance(inside, Parameter) else list(inside)
        groups.append((_checked(name, inside), options | own))
    return groups


def _checked(name, parameters):
    for parameter in parameters:
        if not isinstance(parameter, Parameter):
            kind = type(parameter).__name__
            raise TypeError(f"{name}: parameter is a {kind}, expected a Parameter")
    return parameters


def _trainable(name, parameters):
    return [parameter for parameter in parameters if parameter.trainable]


def _refuse_twins(name, parameters):
    if len({id(parameter) for parameter in parameters}) < len(parameters):
        raise ValueError(f"{name}: a parameter stands twice in the groups, expected once")


def _ratio(lr, first):
    return lr / first if first else 1.0


def check_betas(name, betas):
    """Refuse decay rates outside [0, 1)."""
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise TypeError(f"{name}: betas is {betas!r}, expected two numbers")
    for i, beta in enumerate(betas):
        arrays.check_fraction(name, f"betas[{i}]", beta)
