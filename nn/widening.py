"""Hidden layers made wider or narrower in place: a Linear, what follows it, and the next Linear.

The rule: the arrays are new, so an optimizer and recordings of the model are made again.
"""

import numpy as np

from ..kernels import arrays
from .activations import Activation
from .dropouts import Dropout
from .layers import Linear
from .module import Parameter
from .normalization import BatchNorm1d


def hidden_between(model, place, where):
    """Return the place of the next Linear; refuse layers between that mix or reshape features."""
    if not isinstance(model[place], Linear):
        raise TypeError(f"{where}: layer {place} is {model[place]!r}, expected a Linear")
    for i in range(place + 1, len(model)):
        if isinstance(model[i], Linear):
            return i
        plain = isinstance(model[i], Activation | Dropout) and not model[i].parameters()
        plain = plain and not arrays.is_array(getattr(model[i], "p", None))  # by unit
        if not plain and type(model[i]) is not BatchNorm1d:
            raise TypeError(
                f"{where}: {model[i]!r} lies between the Linear layers, expected activations "
                "without parameters, Dropout and BatchNorm1d"
            )
    raise ValueError(f"{where}: layer {place} is the last Linear, expected a hidden one")


def cut_features(model, first, second, kept):
    """Keep the features `kept` (indices) of the hidden layer between two Linear layers."""
    _resize(model, first, second, len(kept), lambda old, axis: np.take(old, kept, axis))


def add_features(model, first, second, made):
    """Add features: `made` (arrays by name) are the new parts.

    "weight" (units, in), "bias" (units,), "out" (next's out, units).
    """
    units = len(made["weight"])

    def widen(old, axis):
        new = made["out"] if axis == 1 else made["weight"] if old.ndim == 2 else None
        return np.concatenate([old, new], axis)

    _resize(model, first, second, model[first].out_features + units, widen, made, units)


def _resize(model, first, second, width, change, made=None, units=0):
    layer, following = model[first], model[second]
    _replace(layer, "weight", change(_host(layer.weight), 0))
    _replace(following, "weight", change(_host(following.weight), 1))
    layer.out_features = following.in_features = width

    def vector(old, name, default):
        if made is None:
            return change(old, 0)
        new = made.get(name, np.full(units, default))
        return np.concatenate([old, new.astype(old.dtype)])

    if layer.bias is not None:
        _replace(layer, "bias", vector(_host(layer.bias), "bias", 0))
    for i in range(first + 1, second):
        if type(model[i]) is BatchNorm1d:
            _resize_batchnorm(model[i], width, vector)


def _resize_batchnorm(norm, width, vector):
    for name, default in (("weight", 1), ("bias", 0)):
        if getattr(norm, name) is not None:
            _replace(norm, name, vector(_host(getattr(norm, name)), "", default))
    for name, default in (("running_mean", 0), ("running_var", 1)):
        old = getattr(norm, name)
        if old is not None:
            setattr(norm, name, arrays.put(old, vector(arrays.on_host(old), "", default)))
    norm.num_features = width


def _host(parameter):
    return arrays.on_host(parameter.value)


def _replace(layer, name, value):
    """Make a parameter of another shape, on the device of the old one."""
    old = getattr(layer, name)
    new = Parameter(arrays.put(old.value, np.ascontiguousarray(value, old.dtype)))
    new.trainable = old.trainable
    setattr(layer, name, new)
