"""device_function: a small net that one thread of a user's own kernel evaluates for one row.

    net, weights = nn.device_function(model)

    @cuda.jit
    def kernel(weights, x, out):
        row = cuda.grid(1)
        if row < len(x):
            net(weights, x[row], out[row])

The function holds the shape of the net, the array its numbers: another array of the same shape
needs no new compiling.

The rule: one thread, one row, no barrier and no memory but its own: any thread may call it.
"""

import numpy as np

from ..kernels import arrays
from .lowering import lower, widths

BYTES = 1 << 16  # of weights: what constant memory holds, and a first-level cache
WIDTH = 256  # of a hidden row, which lies in the local memory of every thread, twice
TARGETS = ("cuda", "cpu")
STAGES = (
    *("linear", "affine", "activation", "prelu", "swish", "softmax", "log_softmax", "crelu", "glu"),
    *("maxout", "norm", "residual"),
)
STEPPED = {"prelu": ("slope",), "swish": ("beta",), "affine": ("scale", "shift")}


def device_function(model, target="cuda"):
    """Return (net, weights) of a small model in eval mode: net(weights, x, out) fills out (O,).

    net is a device function for `@cuda.jit`, or with target="cpu" a function for `@njit`. weights
    (W,), a NumPy array of the model's precision, goes to the kernel as an argument (global memory),
    or by `cuda.const.array_like(weights)` into constant memory. x (I,) may be of any precision and
    strided; out may not overlap it.

    The model may hold 64 KB of numbers and hidden rows of 256; batch normalization is folded into
    the layer before it. New weights need no compiling: `nn.device_weights(model)`. Models of one
    shape get one function.
    """
    from ..kernels.small_nets import build

    arrays.check_known("device_function", target, TARGETS, "target")
    if target == "cuda":
        from ..kernels.numba_device import import_cuda

        import_cuda()
    plan = _Plan(model, "device_function")
    return build(plan.stages, plan.widest, plan.dtype.str, target), plan.weights()


def device_weights(model, out=None):
    """Return the weights of a model, (W,), as its device function reads them; `out` is filled."""
    plan = _Plan(model, "device_weights")
    weights = plan.weights()
    if out is None:
        return weights
    out = arrays.check_array("device_weights", "out", out)
    arrays.check_dtype("device_weights", "out", out, weights.dtype)
    arrays.check_shape("device_weights", "out", out.shape, weights.shape)
    arrays.check_writable("device_weights", "out", out)
    out[...] = weights
    return out


class _Plan:
    """The stages of a model, as kernels.small_nets takes them, and its numbers in a row."""

    def __init__(self, model, where):
        self.where, self._parts, self._size = where, [], 0
        steps = lower(model, where)
        inputs, outputs = widths(model, steps, where)
        self.dtype = model.dtype
        self.stages, self.widest, made = self._chain(steps, inputs)
        if made != outputs:
            raise ValueError(f"{where}: the steps make {made} outputs, expected {outputs}")
        if self._size * self.dtype.itemsize > BYTES:
            raise ValueError(
                f"{where}: the model holds {self._size} numbers, expected at most "
                f"{BYTES // self.dtype.itemsize} (64 KB); nn.predict takes larger ones"
            )

    def weights(self):
        """Return the numbers, (W,)."""
        return np.concatenate([np.zeros(0), *self._parts]).astype(self.dtype)

    def _chain(self, steps, width):
        """Return (stages, widest hidden row, outputs) of steps that take `width` features."""
        stages, hidden = [], []
        steps = list(steps)
        if not steps:
            steps = [None]
        while steps:
            step = steps.pop(0)
            following = steps[0] if steps else None
            fused = getattr(step, "kind", None) == "linear" and _is_activation(following)
            activation = steps.pop(0) if fused else None
            options, width = self._stage(step, activation, width)
            stages.append(options)
            hidden.append(width)
        widest = max(hidden[:-1], default=0)
        if widest > WIDTH:
            raise ValueError(
                f"{self.where}: the model has a hidden row of {widest} numbers, expected at most "
                f"{WIDTH}; nn.predict takes larger ones"
            )
        return tuple(stages), widest, width

    def _hold(self, array):
        """Keep numbers; return where they begin."""
        self._parts.append(np.ravel(array).astype(np.float64))
        self._size += self._parts[-1].size
        return self._size - self._parts[-1].size

    def _stage(self, step, activation, width):
        """Return ((kind, options), how many numbers it makes)."""
        if step is None:
            return ("activation", (("OUT", width), ("activation", (None, ())))), width
        kind, out, told = step.kind, width, {"IN": width}
        if kind not in STAGES:
            raise TypeError(
                f"{self.where}: the model has a step of kind {kind!r}, expected steps of "
                f"{', '.join(STAGES)}"
            )
        if kind == "linear":
            out = len(step.weight)
            told |= {"WEIGHT": self._hold(step.weight), "BIAS": self._hold(step.bias)}
            told["activation"] = _named(activation)
        elif kind == "activation":
            told["activation"] = _named(step)
        elif kind in STEPPED:
            told |= {name.upper(): self._hold(step.holds[name]) for name in STEPPED[kind]}
            told["STEP"] = int(step.holds[STEPPED[kind][0]].size > 1)
        elif kind == "norm":
            told |= {"GAMMA": self._hold(step.gamma), "BETA": self._hold(step.beta)}
            told |= {"GROUPS": step.groups, "CENTERED": bool(step.centered), "EPS": step.eps}
        elif kind == "maxout":
            out, told["PIECES"] = width // step.pieces, step.pieces
        elif kind in ("crelu", "glu"):
            out = 2 * width if kind == "crelu" else width // 2
        elif kind == "residual":
            *body, out = self._chain(step.body, width)
            *past, _ = self._chain(step.shortcut, width)
            told |= {"body": tuple(body), "shortcut": tuple(past)}
        return (kind, (*told.items(), ("OUT", out))), out


def _is_activation(step):
    return step is not None and step.kind == "activation"


def _named(step):
    """Return an activation as (name, numbers), (None, ()) for none."""
    return (None, ()) if step is None else (step.name, tuple(map(float, step.numbers)))
