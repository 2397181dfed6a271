"""Which nets of fit_many are of one kind, so that one recording serves them all.

The rule: two nets are of one kind only if all that a recording could have seen, but for numbers in
arrays and seeds, is known to be equal. What cannot be compared is of no kind.
"""

import numpy as np

from .module import Module, Parameter

# what a module holds that no step depends on, or that is described apart
ASIDE = {"made_with", "fit_optimizer", "epochs_trained", "training", "seed", "stream"}
OF_A_GROUP = {"parameters", "values", "grads", "state", "rate", "base_lr"}


class _Unknown(Exception):
    """Something that cannot be compared."""


def _plain(value):
    """Describe a value that is no array and no module, or raise."""
    if value is None or isinstance(value, bool | int | float | str | np.generic | np.dtype | type):
        return repr(value)
    if isinstance(value, tuple | list):
        return tuple(map(_plain, value))
    raise _Unknown


def _described(name, value):
    if isinstance(value, Parameter):
        return name, value.shape, value.dtype.str, value.trainable
    if isinstance(value, np.ndarray):
        return name, value.shape, value.dtype.str
    if isinstance(value, Module):
        return name, "module"
    if isinstance(value, list | tuple) and any(isinstance(item, Module) for item in value):
        return name, len(value)
    return name, _plain(value)


def _of_ours(thing):
    return type(thing).__module__.partition(".")[0] == "fonio"


def kind_of_model(model):
    """Describe all of a model that recordings depend on; None where that is not known."""
    parts = []
    try:
        for module in model.modules():
            if not _of_ours(module):
                return None
            held = sorted((n, v) for n, v in vars(module).items() if n not in ASIDE)
            parts.append((type(module), *(_described(*pair) for pair in held)))
    except (_Unknown, TypeError):
        return None
    return tuple(parts)


def kind_of_optimizer(model, optimizer):
    """Describe all of a model's optimizer that recordings depend on; None where not known."""
    place = {id(parameter): i for i, parameter in enumerate(model.parameters())}
    parts = []
    try:
        for group in optimizer.groups:
            held = sorted((n, v) for n, v in vars(group).items() if n not in OF_A_GROUP)
            options = tuple((name, _plain(value)) for name, value in held)
            parts.append((tuple(place[id(p)] for p in group.parameters), options))
    except (_Unknown, TypeError):
        return None
    return (type(optimizer), *parts) if _of_ours(optimizer) else None
