"""Small nets as functions that the calling thread runs alone: net(weights, x, out), one row.

A net is a tuple of stages, (kind, options): what is written here once for njit and cuda.jit, each
stage a loop with its sizes, and the places of its numbers in the flat `weights`, as constants.

The rule: a stage reads x, writes y, and the two are apart; hidden rows lie in two arrays of the
thread that take turns.
"""

import functools
import math

import numpy as np

from .activations import ACTIVATIONS, swish
from .caching import jit, specialise
from .elementary import exp, log, sigmoid

# ruff: noqa: F821  (sizes, places, KIND, activate and the next stages are bound by `build`)


def _linear(weights, x, y):
    for o in range(OUT):
        total = weights[BIAS + o]
        for i in range(IN):
            total += weights[WEIGHT + o * IN + i] * KIND(x[i])
        y[o] = activate(total)


def _affine(weights, x, y):
    for i in range(OUT):
        y[i] = KIND(x[i]) * weights[SCALE + i * STEP] + weights[SHIFT + i * STEP]


def _each(weights, x, y):
    for i in range(OUT):
        y[i] = activate(KIND(x[i]))


def _prelu(weights, x, y):
    for i in range(OUT):
        value = KIND(x[i])
        low = value * weights[SLOPE + i * STEP]
        y[i] = value if value > KIND(0) else low


def _swish(weights, x, y):
    for i in range(OUT):
        y[i] = swish(KIND(x[i]), weights[BETA + i * STEP])


def _top(x):
    top = KIND(x[0])
    for i in range(1, OUT):
        value = KIND(x[i])
        top = value if value > top or value != value else top
    return top


def _softmax(weights, x, y):
    largest, total = top(x), KIND(0)
    for i in range(OUT):
        y[i] = exp(KIND(x[i]) - largest)
        total += y[i]
    for i in range(OUT):
        y[i] = y[i] / total


def _log_softmax(weights, x, y):
    largest, total = top(x), KIND(0)
    for i in range(OUT):
        total += exp(KIND(x[i]) - largest)
    total = log(total)
    for i in range(OUT):
        y[i] = KIND(x[i]) - largest - total


def _crelu(weights, x, y):
    for i in range(IN):
        value = KIND(x[i])
        y[i] = KIND(0) if value < KIND(0) else value
        y[IN + i] = KIND(0) if value > KIND(0) else -value


def _glu(weights, x, y):
    for i in range(OUT):
        y[i] = KIND(x[i]) * sigmoid(KIND(x[OUT + i]))


def _maxout(weights, x, y):
    for o in range(OUT):
        largest = KIND(x[o * PIECES])
        for i in range(1, PIECES):
            value = KIND(x[o * PIECES + i])
            largest = value if value > largest or value != value else largest
        y[o] = largest


def _norm(weights, x, y):
    size = OUT // GROUPS
    for group in range(GROUPS):
        first, mean, square = group * size, KIND(0), KIND(0)
        if CENTERED:
            for i in range(first, first + size):
                mean += KIND(x[i])
            mean = mean / KIND(size)
        for i in range(first, first + size):
            apart = KIND(x[i]) - mean
            square += apart * apart
        scale = KIND(1) / KIND(math.sqrt(square / KIND(size) + EPS))
        for i in range(first, first + size):
            y[i] = (KIND(x[i]) - mean) * scale * weights[GAMMA + i] + weights[BETA + i]


def _link(weights, x, here, there, out):
    first(weights, x, here)
    rest(weights, here, there, here, out)


def _last(weights, x, here, there, out):
    first(weights, x, out)


def _hidden(weights, x, out):
    here, there = np.empty(WIDTH, KIND), np.empty(WIDTH, KIND)
    run(weights, x, here, there, out)


def _residual(weights, x, y):
    past = np.empty(OUT, KIND)
    shortcut(weights, x, past)
    body(weights, x, y)
    for i in range(OUT):
        y[i] += past[i]


def _same(value):
    return value


def _activate_0(value):
    return operation(value)


def _activate_1(value):
    return operation(value, A)


def _activate_2(value):
    return operation(value, A, B)


STAGES = {
    "linear": _linear, "affine": _affine, "activation": _each, "prelu": _prelu, "swish": _swish,
    "softmax": _softmax, "log_softmax": _log_softmax, "crelu": _crelu, "glu": _glu,
    "maxout": _maxout, "norm": _norm, "residual": _residual,
}  # fmt: skip
ACTIVATE = (_activate_0, _activate_1, _activate_2)


class Builder:
    """Makes functions of stages; `bind(template, names)` compiles one, `side(public)` a helper."""

    hidden, residual = staticmethod(_hidden), staticmethod(_residual)

    def __init__(self, dtype):
        self.kind = np.dtype(dtype).type

    def net(self, stages, width):
        """Return net(weights, x, out) of stages whose widest hidden row has `width` numbers."""
        made = [self.stage(*stage) for stage in stages]
        run = self.bind(_last, first=made[-1])
        if len(made) == 1:
            return made[0]
        for first in reversed(made[:-1]):
            run = self.bind(_link, first=first, rest=run)
        return self.bind(self.hidden, run=run, WIDTH=width)

    def stage(self, kind, options):
        """Return a stage(weights, x, y)."""
        names = dict(options)
        if kind == "residual":
            for part in ("body", "shortcut"):
                names[part] = self.net(*names[part])
            return self.bind(self.residual, **names)
        if kind in ("linear", "activation"):
            names["activate"] = self.activation(*names.pop("activation"))
        if kind in ("softmax", "log_softmax"):
            names["top"] = self.bind(_top, OUT=names["OUT"])
        if "EPS" in names:
            names["EPS"] = self.kind(names["EPS"])
        return self.bind(STAGES[kind], **names)

    def activation(self, name, numbers):
        """Return activate(value) of a name in ACTIVATIONS and its numbers; None leaves as it is."""
        if name is None:
            return self.bind(_same)
        values = dict(zip("AB", map(self.kind, numbers), strict=False))
        operation = self.side(ACTIVATIONS[name].forward)
        return self.bind(ACTIVATE[len(numbers)], operation=operation, **values)

    def bind(self, template, **names):
        """Compile a template for njit, with names bound."""
        identity = (repr(sorted((n, v) for n, v in names.items() if not callable(v))),)
        copy = specialise(template, template, "net", identity, KIND=self.kind, **names)
        return jit(copy, identity=identity)

    def side(self, public):
        """Return what stands for a public function in compiled code."""
        return public


@functools.lru_cache(64)
def build(stages, width, dtype, target):
    """Return net(weights, x, out) for "cpu" or "cuda"; equal stages are compiled once."""
    if target == "cpu":
        return Builder(dtype).net(stages, width)
    from .cuda_nets import CudaBuilder

    return CudaBuilder(dtype).net(stages, width)
