"""Parameters, modules, and Sequential: what a model is made of.

`y, backward = module.forward(x)`; `dx = backward(dy)` fills each parameter's `.grad`. The closure
holds what the pass left behind: a module keeps no state of a pass, so one may run while another
waits for its backward.

The rule: a module computes with fonio.kernels alone. Then a step may be recorded and replayed
natively.
"""

import contextlib
import threading

import numpy as np

from ..kernels import arrays
from ..kernels.device import from_host, get_device

_local = threading.local()


class Parameter:
    """An array that is trained, and its gradient. Assigning to `.value` copies into place."""

    def __init__(self, value):
        value = arrays.check_array("Parameter", "value", value)
        arrays.check_float("Parameter", "value", value)
        self._value = value if value.flags.c_contiguous else value.copy()
        self._grad = arrays.zeros(value, value.shape, value.dtype)
        self.home = None  # the arena that it lies in, once an optimizer has packed it

    @property
    def value(self):
        return self._value

    @value.setter
    def value(self, new):
        self._copy_in("value", self._value, new)

    @property
    def grad(self):
        return self._grad

    @grad.setter
    def grad(self, new):
        self._copy_in("grad", self._grad, new)

    @staticmethod
    def _copy_in(name, array, new):
        new = np.asarray(arrays.on_host(new))
        if new.shape != array.shape:
            raise ValueError(f"Parameter: {name} has shape {new.shape}, expected {array.shape}")
        array[...] = new

    @property
    def shape(self):
        return self._value.shape

    @property
    def dtype(self):
        return self._value.dtype

    @property
    def size(self):
        return self._value.size

    def move(self, value, grad):
        """Make `value` and `grad` the parameter's memory.

        Recordings of the old memory become stale.
        """
        arrays.assign(value, self._value)
        arrays.assign(grad, self._grad)
        self._value, self._grad = value, grad
        self.home = None

    def __repr__(self):
        return f"Parameter{self.shape}: {self.dtype}"


class Module:
    """A layer or a model. Subclasses define `forward(x) -> (y, backward)`.

    Attributes that are Parameters are trained, arrays are buffers (saved, not trained), Modules are
    children.
    """

    training = True

    def forward(self, x):
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def __call__(self, x):
        """Return the output for x alone."""
        return self.forward(x)[0]

    def children(self):
        """Yield (name, child) of the modules held directly."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value
            elif isinstance(value, list | tuple):
                for i, item in enumerate(value):
                    if isinstance(item, Module):
                        yield f"{name}.{i}", item

    def modules(self):
        """Yield this module and all below it, in order."""
        yield self
        for _, child in self.children():
            yield from child.modules()

    def named_parameters(self, prefix=""):
        """Yield (name, Parameter) of all parameters, in order, named as in PyTorch: `0.weight`."""
        yield from self._named(Parameter, prefix)

    def named_buffers(self, prefix=""):
        """Yield (name, array) of what is kept but not trained: running statistics, counters."""
        yield from self._named(arrays.ARRAYS, prefix)

    def _named(self, kind, prefix):
        for name, value in vars(self).items():
            if isinstance(value, kind):
                yield prefix + name, value
        for name, child in self.children():
            yield from child._named(kind, f"{prefix}{name}.")

    def parameters(self):
        """Return all parameters, in order."""
        return [parameter for _, parameter in self.named_parameters()]

    def buffers(self):
        """Return all buffers, in order."""
        return [buffer for _, buffer in self.named_buffers()]

    def train(self, mode=True):
        """Set training mode for this module and all below; return it."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self):
        """Set inference mode for this module and all below; return it."""
        return self.train(False)

    @property
    def dtype(self):
        """The precision of the model, that of its first parameter (float32 where it has none)."""
        parameters = self.parameters()
        return parameters[0].dtype if parameters else np.dtype(np.float32)

    @property
    def device(self):
        """Where the parameters lie: "cuda" or "cpu"."""
        return "cpu" if arrays.device_of(self.anchor) is None else "cuda"

    @property
    def anchor(self):
        """The first parameter's array, or a buffer: what a pass makes new arrays beside."""
        found = [p.value for p in self.parameters()] or self.buffers()
        return found[0] if found else None

    def to(self, target):
        """Move to "cuda" or "cpu", or convert to float32 or float64; return the module."""
        convert_module(self, target)
        return self

    def describe(self):
        """Return what stands in the parentheses of the repr."""
        return ""

    def __repr__(self):
        lines = [
            f"  ({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.children()
        ]
        name = type(self).__name__
        if not lines:
            return f"{name}({self.describe()})"
        return f"{name}(\n" + "\n".join(lines) + "\n)"


def convert_module(module, target):
    """Move or convert every parameter, its gradient and every buffer of a module."""
    if isinstance(target, str) and target in ("cpu", "cuda"):
        device = get_device() if target == "cuda" else None
        new_dtype = None
    else:
        device, new_dtype = arrays.device_of(module.anchor), _float_dtype(target)

    def moved(array):
        dtype = new_dtype if new_dtype is not None and array.dtype.kind == "f" else array.dtype
        if arrays.device_of(array) is device and dtype == array.dtype:
            return array
        host = arrays.on_host(array).astype(dtype)
        return host if device is None else from_host(device, host)

    for each in module.modules():
        for name, value in vars(each).items():
            if isinstance(value, Parameter):
                new = moved(value.value)
                if new is not value.value:
                    value.move(new, moved(value.grad))
            elif arrays.is_array(value):
                setattr(each, name, moved(value))


def _float_dtype(target):
    try:
        dtype = np.dtype(target)
    except TypeError:
        raise TypeError(
            f"to: target is {target!r}, expected 'cuda', 'cpu', float32 or float64"
        ) from None
    if dtype not in arrays.FLOATS:
        raise TypeError(f"to: dtype is {dtype}, expected float32 or float64")
    return dtype


def apply_backward(backward, dy, accumulate):
    """Call a layer's backward; a layer of a user's own need not know `accumulate`."""
    return backward(dy, accumulate=True) if accumulate else backward(dy)


class Sequential(Module):
    """Modules one after another.

    A linear or normalization layer computes the activation after it.
    """

    def __init__(self, *layers):
        for layer in layers:
            if not isinstance(layer, Module):
                kind = type(layer).__name__
                raise TypeError(f"Sequential: layer is a {kind}, expected a Module")
        self.layers = list(layers)
        _check_once(self)
        _check_widths(self.layers)

    def children(self):
        for i, layer in enumerate(self.layers):
            yield str(i), layer

    @property
    def in_features(self):
        """The width that the first layer with one expects, or None."""
        wants = (_wanted(layer) for layer in self.layers)
        return next((width for width in wants if width is not None), None)

    @property
    def out_features(self):
        """The width that the last layer with one makes, or None."""
        makes = (_made(layer) for layer in reversed(self.layers))
        return next((width for width in makes if width is not None), None)

    def __len__(self):
        return len(self.layers)

    def __iter__(self):
        return iter(self.layers)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Sequential(*self.layers[index])
        return self.layers[index]

    def forward(self, x):
        passed, i = [], 0
        while i < len(self.layers):
            layer = self.layers[i]
            activation = self._fused_after(i)
            several = _run_fused(self.layers, i, x)
            if several is not None:
                x, backward, count = several
            elif activation is None:
                x, backward = layer.forward(x)
            else:
                x, backward = layer.forward_fused(x, activation)
            i += count if several is not None else 1 if activation is None else 2
            _trace(layer, x)
            passed.append((layer, backward))

        def backward(dy, accumulate=False):
            for layer, back in reversed(passed):
                dy = apply_backward(back, dy, accumulate)
                _trace(layer, dy)
            return dy

        def parameters_only(dy, accumulate=False):
            for layer, back in reversed(passed[1:]):
                dy = apply_backward(back, dy, accumulate)
                _trace(layer, dy)
            if passed:
                last = passed[0][1]
                apply_backward(getattr(last, "parameters_only", last), dy, accumulate)

        backward.parameters_only = parameters_only
        return x, backward

    def _fused_after(self, i):
        """Return the name of the activation that layer i computes for the next, or None."""
        can = getattr(self.layers[i], "can_fuse", None)
        if can is None or i + 1 == len(self.layers):
            return None
        activation = getattr(self.layers[i + 1], "fusible", None)
        return activation if activation is not None and can(activation) else None


def _run_fused(layers, i, x):
    """Run layers from i on as one CUDA kernel where that pays: (y, backward, how many) or None."""
    if arrays.device_of(x) is None:
        return None
    from .fusion import run

    return run(layers, i, x)


def _check_once(model):
    """Refuse a module that stands twice: its second backward would overwrite the first."""
    seen = set()
    for module in model.modules():
        if id(module) in seen:
            raise ValueError(f"Sequential: {module!r} stands twice in the model, expected once")
        seen.add(id(module))


def _wanted(layer):
    return getattr(layer, "in_features", None) or getattr(layer, "num_features", None)


def _made(layer):
    return getattr(layer, "out_features", None) or getattr(layer, "num_features", None)


def _check_widths(layers):
    """Refuse a layer whose width does not fit the one before, naming both."""
    known, maker = None, None
    for i, layer in enumerate(layers):
        wants = _wanted(layer)
        if wants is not None and known is not None and wants != known:
            raise ValueError(
                f"Sequential: layer {i} {layer!r} expects {wants} features, "
                f"but layer {maker} {layers[maker]!r} makes {known}"
            )
        makes = _made(layer)
        if makes is not None:
            known, maker = makes, i
        elif not getattr(layer, "keeps_width", False):
            known = None


@contextlib.contextmanager
def tracing():
    """Collect (layer, array) of what each layer of a Sequential makes, forward and backward."""
    before, _local.trace = getattr(_local, "trace", None), []
    try:
        yield _local.trace
    finally:
        _local.trace = before


def _trace(layer, array):
    trace = getattr(_local, "trace", None)
    if trace is not None:
        trace.append((layer, array))
