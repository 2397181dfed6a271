"""Parameters and modules: what a model is made of.

`y, backward = module.forward(x)`; `dx = backward(dy)` fills each parameter's `.grad`. The closure
holds what the pass left behind: a module keeps no state of a pass, so one may run while another
waits for its backward.

The rule: a module computes with fonio.kernels alone. Then a step may be recorded and replayed
natively.
"""

import functools

import numpy as np

from ..kernels import arrays
from ..kernels.device import from_host, get_device
from .named_arrays import load_arrays


class Parameter:
    """An array that is trained, and its gradient. Assigning to `.value` copies into place.

    Where `trainable` is False no backward fills `.grad`, and optimizers leave it out.
    """

    trainable = True

    def __init__(self, value):
        value = arrays.check_array("Parameter", "value", value)
        arrays.check_float("Parameter", "value", value)
        self._value = value if value.flags.c_contiguous else value.copy()
        self._grad = arrays.zeros(value, value.shape, value.dtype)
        self.home = None  # the arena that it lies in, once an optimizer has packed it

    def __getstate__(self):
        """A copy, or a pickled parameter, lies in no arena."""
        return {**vars(self), "home": None}

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
    frozen = False
    made_with = ((), {})
    epochs_trained = 0  # by all fits: what a sampler goes on from

    def __init_subclass__(cls, **kwargs):
        """Let modules remember the arguments that they are made with: files hold them."""
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = _remembering(cls.__init__)

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
            elif isinstance(value, (list, tuple)):
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

    def state_dict(self):
        """Return {name: copy} of parameters and statistics as NumPy arrays, named as in PyTorch."""
        named = [(name, parameter.value) for name, parameter in self.named_parameters()]
        named += [(name, b) for name, b in self.named_buffers() if b.dtype.kind == "f"]
        return {name: np.array(arrays.on_host(array)) for name, array in named}

    def load_state_dict(self, state):
        """Copy arrays by name into place; refuse missing, unknown and misshapen ones first.

        Counters may be missing; PyTorch's `num_batches_tracked` is left out where none is kept.
        """
        load_arrays(self, state, type(self).__name__)

    def parameters(self):
        """Return all parameters, in order."""
        return [parameter for _, parameter in self.named_parameters()]

    def buffers(self):
        """Return all buffers, in order."""
        return [buffer for _, buffer in self.named_buffers()]

    def train(self, mode=True):
        """Set training mode for this module and all below; return it. A frozen one stays as is."""
        for module in self.modules():
            module.training = mode and not module.frozen
        return self

    def eval(self):
        """Set inference mode for this module and all below; return it."""
        return self.train(False)

    def freeze(self, frozen=True):
        """Keep this module and all below from being trained: parameters, statistics, masks.

        Frozen modules stay in eval mode. Make a new optimizer afterwards. Returns the module.
        """
        for module in self.modules():
            module.frozen = frozen
            module.training = module.training and not frozen
        for parameter in self.parameters():
            parameter.trainable = not frozen
        return self

    def unfreeze(self):
        """Undo `freeze`; return the module."""
        return self.freeze(False)

    @property
    def trainable(self):
        """Whether an optimizer would change any parameter of this module."""
        return any(parameter.trainable for parameter in self.parameters())

    @property
    def dtype(self):
        """The precision of its first parameter, or statistic; float32 where it has neither."""
        found = self.parameters() or [b for b in self.buffers() if b.dtype.kind == "f"]
        return found[0].dtype if found else np.dtype(np.float32)

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


def _remembering(init):
    @functools.wraps(init)
    def wrapped(self, *args, **kwargs):
        if "made_with" not in vars(self):  # the outermost class's
            self.made_with = (args, kwargs)
        init(self, *args, **kwargs)

    return wrapped


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
