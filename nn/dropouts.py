"""Dropout and its relatives: what a net drops, or blurs, while it trains.

Masks are functions of (seed, stream, counter, position): they are never stored, and are the same
for any number of threads. `counter` counts the passes; `fit` sets seed and stream.

The rule: p is always the chance to drop. Some texts write p for the chance to keep, and some say
"multiply by p" at test time where 1 - p, the chance to keep, is meant.
"""

import numpy as np

from .. import kernels
from ..kernels import arrays
from .layers import check_features
from .module import Module
from .replay import take_ticket

MODES = ("inverted", "test-scaled")


class Drawing:
    """What layers that draw have in common: the key of their masks."""

    def start_drawing(self, seed, stream):
        """Take the seed and stream, and begin to count passes."""
        self.seed, self.stream = seed, stream
        self.counter = np.zeros(1, np.int64)

    def draw(self):
        """Return seed, step and stream of this pass, and count it."""
        step = arrays.new(self.counter, 1, np.int64)
        take_ticket(1, step, self.counter)
        return self.seed, step, self.stream or 0


def pass_through(dy, accumulate=False):
    """The backward of a layer that did nothing."""
    return dy


def multiply_by(x, factor):
    """Return x times an array of NumPy's that x broadcasts, and the backward of it."""
    host = np.ascontiguousarray(np.broadcast_to(factor, x.shape), x.dtype)
    factor = arrays.put(x, host)

    def backward(dy, accumulate=False):
        return kernels.multiply(dy, factor)

    return kernels.multiply(x, factor), backward


class Dropout(Drawing, Module):
    """Drop each value with chance p while training, and scale the others by 1/(1-p).

    Srivastava et al. 2014. p: a number, or one for each unit, (C,). mode "test-scaled": the first
    form, which leaves what it keeps as it is and multiplies by 1-p in eval mode instead. A mask
    that is given, layer(x, mask=), True where it keeps, x-like or (C,), takes the place of a drawn
    one in either mode.
    """

    keeps_width = True
    operation = "dropout"

    def __init__(self, p=0.5, mode="inverted", seed=0, stream=None):
        arrays.check_known("Dropout", mode, MODES, "mode")
        self.p, self.mode = _chances("Dropout", p), mode
        self.start_drawing(seed, stream)

    def __call__(self, x, mask=None):
        return self.forward(x, mask)[0]

    def forward(self, x, mask=None):
        by_unit, scaled = not isinstance(self.p, float), self.mode == "test-scaled"
        if by_unit:
            check_features(self, x, self.p.size)
        if mask is not None:
            kept = 1.0 if scaled else 1.0 - arrays.on_host(self.p)
            return multiply_by(x, self._check_mask(x, mask) / kept)
        if self.training and (by_unit or self.p > 0):
            return self._drop(x, self.p, self.draw(), 1.0 if scaled else None)
        if self.training or not scaled:
            return x, pass_through
        return self._drop(x, 0.0, (0, 0, 0), 1.0 - arrays.on_host(self.p))

    def _drop(self, x, p, key, scale):
        """Drop with chance p, and multiply by `scale` what is kept; None: by 1/(1-p)."""
        if isinstance(self.p, float):
            operation, numbers = self.operation, (p, *key, scale)
        else:
            chances, scales = (None if v is None else self._by_unit(v) for v in (p, scale))
            operation, numbers = "unit_dropout", (chances, scales, *key)
        y = getattr(kernels, operation)(x, *numbers)

        def backward(dy, accumulate=False):
            return getattr(kernels, f"{operation}_backward")(dy, *numbers)

        return y, backward

    def _by_unit(self, value):
        """Return a number for each unit, where p lies."""
        if value is self.p:
            return value
        return arrays.put(self.p, np.full(self.p.shape, value, self.p.dtype))

    def _check_mask(self, x, mask):
        return _checked(self, mask, x.shape, (x.shape, x.shape[1:]))

    def describe(self):
        shown = f"p={self.p:g}" if isinstance(self.p, float) else f"p of {self.p.size} units"
        return shown if self.mode == "inverted" else f"{shown}, mode={self.mode!r}"


class Dropout2d(Dropout):
    """Drop whole channels of (N, C, ...) with chance p while training. Tompson et al. 2015.

    arXiv:1411.4280. All else as in Dropout; a given mask is (N, C) or (C,).
    """

    operation = "spatial_dropout"

    def __init__(self, p=0.5, mode="inverted", seed=0, stream=None):
        arrays.check_fraction("Dropout2d", "p", p)
        super().__init__(p, mode, seed, stream)

    def _check_mask(self, x, mask):
        mask = _checked(self, mask, x.shape[:2], (x.shape[:2], x.shape[1:2]))
        return mask.reshape(mask.shape + (1,) * (x.ndim - 2))


class AlphaDropout(Drawing, Module):
    """Dropout for SELU: sets values to its least and keeps mean 0 and variance 1.

    Klambauer et al. 2017, arXiv:1706.02515.
    """

    keeps_width = True
    operation = "alpha_dropout"

    def __init__(self, p=0.5, seed=0, stream=None):
        arrays.check_fraction(type(self).__name__, "p", p)
        self.p = float(p)
        self.start_drawing(seed, stream)

    def forward(self, x):
        if not self.training or self.p == 0:
            return x, pass_through
        key = self.draw()
        y = getattr(kernels, self.operation)(x, self.p, *key)

        def backward(dy, accumulate=False):
            return getattr(kernels, f"{self.operation}_backward")(dy, self.p, *key)

        return y, backward

    def describe(self):
        return f"p={self.p:g}"


class GaussianDropout(AlphaDropout):
    """Multiply each value by m ~ N(1, p/(1-p)) while training. Srivastava et al. 2014.

    The spread is that of dropout with chance p; no value is dropped.
    """

    operation = "gaussian_dropout"


def _chances(layer, p):
    """Return p as a number, or as an array (C,) of float32."""
    if arrays.is_number(p) or not isinstance(p, np.ndarray | list | tuple) or np.ndim(p) == 0:
        p = p.item() if isinstance(p, np.ndarray) else p
        arrays.check_fraction(layer, "p", p)
        return float(p)
    chances = np.array(p, np.float32)
    if chances.ndim != 1:
        raise ValueError(f"{layer}: p has shape {chances.shape}, expected a number or (C,)")
    wrong = np.flatnonzero(~((chances >= 0) & (chances < 1)))
    if len(wrong):
        raise ValueError(f"{layer}: p has {chances[wrong[0]]} at {wrong[0]}, expected 0 <= p < 1")
    return chances


def _checked(layer, mask, whole, shapes):
    """Return a given mask of one of these shapes as numbers."""
    mask = np.asarray(arrays.on_host(mask))
    if mask.shape not in shapes:
        wanted = " or ".join(map(arrays.spell, dict.fromkeys(shapes)))
        raise ValueError(f"{layer!r}: mask has shape {mask.shape}, expected {wanted}")
    return np.broadcast_to(mask.astype(np.float64), whole)
