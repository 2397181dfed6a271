"""Dropout and its relatives: what a net drops, or blurs, while it trains.

The rule: p is always the chance to drop, whatever a text calls p.
"""

import numpy as np

from .. import kernels
from ..kernels import arrays
from .module import Module
from .replay import take_ticket


class Dropout(Module):
    """Drop each value with chance p while training, and scale the others by 1/(1-p).

    Srivastava et al. 2014.

    The mask is a function of (seed, stream, counter, position): it is never stored, and is the same
    for any number of threads. `counter` counts the passes.
    """

    keeps_width = True

    def __init__(self, p=0.5, seed=0, stream=None):
        arrays.check_fraction("Dropout", "p", p)
        self.p, self.seed, self.stream = float(p), seed, stream
        self.counter = np.zeros(1, np.int64)

    def forward(self, x):
        if not self.training or self.p == 0:
            return x, pass_through
        step = arrays.new(self.counter, 1, np.int64)
        take_ticket(1, step, self.counter)
        seed, stream = self.seed, self.stream or 0
        y = kernels.dropout(x, self.p, seed, step, stream)

        def backward(dy, accumulate=False):
            return kernels.dropout_backward(dy, self.p, seed, step, stream)

        return y, backward

    def describe(self):
        return f"p={self.p:g}"


def pass_through(dy, accumulate=False):
    """The backward of a layer that did nothing."""
    return dy
