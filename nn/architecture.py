"""What a model is made of, as plain data: classes by name, and what each was made with.

Every Module remembers the arguments that it was made with; an attribute of an argument's name that
has changed since (a grown layer's width, say) wins.

The rule: data names classes of fonio.nn, or of those that the caller passes, and nothing else. What
is built from it can be no larger than the file that holds it.
"""

import inspect
import math

import numpy as np

from ..kernels import arrays
from .module import Module

MOST_DEPTH = 100
NO_SIZES = ("seed", "stream", "samples", "summation", "suppression")  # integers of any size
WIDTHS = ("in_features", "out_features", "features", "hidden")  # a weight is two of these
SIMPLE = (bool, int, float, str, type(None))


def describe(module):
    """Return a module as plain data for JSON: {"class": name, argument: value}."""
    made = {"class": type(module).__name__}
    for name, value in known_arguments(module):
        made[name] = _plain(value, f"{type(module).__name__}: {name}")
    return made


def known_arguments(module):
    """Yield (name, value) of what the module was made with, as it is now."""
    parameters = inspect.signature(type(module).__init__).parameters
    args, kwargs = module.made_with
    bound = inspect.signature(type(module).__init__).bind(module, *args, **kwargs).arguments
    for name, parameter in list(parameters.items())[1:]:
        value = bound.get(name, parameter.default)
        now = vars(module).get(name, value)
        if parameter.kind is parameter.VAR_POSITIONAL:
            yield name, list(now if name in vars(module) else bound.get(name, ()))
        elif parameter.kind is not parameter.VAR_KEYWORD and name != "dtype":
            yield name, now if isinstance(now, SIMPLE) else value


def _plain(value, where):
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, SIMPLE):
        return value
    if isinstance(value, Module):
        return describe(value)
    if isinstance(value, type) and issubclass(value, Module):
        return {"type": value.__name__}
    if isinstance(value, list | tuple):
        return [_plain(item, where) for item in value]
    if arrays.is_array(value):
        host = arrays.on_host(value)
        return {"array": host.tolist(), "dtype": str(host.dtype)}
    raise TypeError(
        f"save: {where} is a {type(value).__name__}, expected numbers, strings, arrays or modules"
    )


class Builder:
    """Makes modules of plain data; `most`: how many numbers the file holds, the largest size."""

    def __init__(self, classes, dtype, most):
        self.classes, self.dtype, self.most = classes, dtype, most
        self._made, self._numbers = {}, 0

    def build(self, data, depth=0):
        """Return the module that the data describes."""
        if depth > MOST_DEPTH:
            raise ValueError(f"its modules are nested more than {MOST_DEPTH} deep")
        if not isinstance(data, dict) or not isinstance(data.get("class"), str):
            raise ValueError(f"it describes a layer as {str(data)[:60]}, expected its class")
        made = self._class(data["class"])
        signature = inspect.signature(made.__init__).parameters
        args, kwargs = [], {}
        for name, value in data.items():
            if name == "class":
                continue
            if name not in signature or name == "self":
                raise ValueError(f"{data['class']} takes no argument {name!r}")
            value = self._value(value, name, depth)
            if signature[name].kind is inspect.Parameter.VAR_POSITIONAL:
                args = value if isinstance(value, list) else [value]
            else:
                kwargs[name] = tuple(value) if isinstance(value, list) else value
        widths = [value for name, value in kwargs.items() if name in WIDTHS]
        if math.prod(w for w in widths if isinstance(w, int)) > self.most:
            raise ValueError(f"{data['class']} of {widths} is more than the file holds numbers")
        if "dtype" in signature:
            kwargs["dtype"] = self.dtype
        return self._counted(made(*args, **kwargs))

    def _counted(self, module):
        """Return a module that was made; refuse what is far more than the file holds.

        Many small layers may be described in few bytes. Some layers are made of others that they
        do not keep, so a few times more is well.
        """
        held = [parameter.value for parameter in module.parameters()] + module.buffers()
        new = {id(array): array for array in held if id(array) not in self._made}
        self._made |= new  # kept, so that no other array takes an address
        self._numbers += sum(array.size for array in new.values())
        if self._numbers > 4 * self.most:
            raise ValueError("its layers are more than the file holds numbers")
        return module

    def _class(self, name):
        if name not in self.classes:
            arrays.check_known("load", name, self.classes, "layer")
        return self.classes[name]

    def _value(self, value, name, depth):
        if isinstance(value, list):
            return [self._value(item, name, depth) for item in value]
        if isinstance(value, dict):
            if "type" in value:
                return self._class(value["type"])
            if "array" in value:
                dtype = np.dtype(value["dtype"])
                if dtype.kind not in "biuf":  # a text of a gigabyte is one dtype
                    raise ValueError(f"{name} has dtype {dtype}, expected numbers")
                return np.array(value["array"], dtype)
            return self.build(value, depth + 1)
        if isinstance(value, int) and name not in NO_SIZES and abs(value) > self.most:
            raise ValueError(f"{name} is {value}, more than the file holds numbers")
        return value


def known_classes(extra=()):
    """Return {name: class} of the modules of fonio.nn, and those of the caller."""
    from .. import nn

    found = {name: getattr(nn, name) for name in nn.__all__}
    found = {n: c for n, c in found.items() if isinstance(c, type) and issubclass(c, Module)}
    for made in extra:
        if not (isinstance(made, type) and issubclass(made, Module)):
            raise TypeError(f"load: classes holds {made!r}, expected classes of modules")
        found[made.__name__] = made
    return found
