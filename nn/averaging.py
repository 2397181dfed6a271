"""Averages of the weights along a fit, which generalise better than its last ones.

The rule: training goes on with its own weights; the average lies beside them until it is asked for.
"""

import contextlib

import numpy as np

from .. import kernels
from ..kernels import arrays
from .callbacks import Callback


class _Average(Callback):
    """Keeps an average of the arena of parameters; a fit that goes on goes on with it."""

    def __init__(self):
        self.average = self.optimizer = None

    def begin(self, fit):
        if self.optimizer is not fit.optimizer:
            self.optimizer = fit.optimizer
            self._start(fit.optimizer.values)

    def _start(self, values):
        self.average = arrays.put(values, arrays.on_host(values).copy())

    def _known(self):
        if self.average is None:
            raise RuntimeError(f"{type(self).__name__}: has seen no fit, expected one before")

    def copy_to_model(self):
        """Put the averaged weights into the model, for good.

        A model with BatchNorm1d then wants its statistics again: `nn.recompute_statistics`.
        """
        self._known()
        self.optimizer.check_home()
        kernels.copy(self.average, out=self.optimizer.values)

    @contextlib.contextmanager
    def averaged(self):
        """Give the model the averaged weights in the block, and its own after it."""
        self._known()
        own = self.optimizer.values.copy()
        self.copy_to_model()
        try:
            yield
        finally:
            self.optimizer.values[...] = own


class EMA(_Average):
    """Exponential moving average of the weights: each step, average += (1 - decay)(p - average).

    Polyak and Juditsky 1992. Begins from the weights before the first step. Early on `decay` is
    held to at most (1 + t)/(10 + t), so that a short fit forgets its start; `warm=False`: not so.
    """

    def __init__(self, decay=0.999, warm=True):
        super().__init__()
        arrays.check_fraction("EMA", "decay", decay)
        self.decay, self.warm = float(decay), bool(warm)
        self._weight = self._taken = None

    def _start(self, values):
        super()._start(values)
        self._taken = arrays.zeros(values, 1, np.int64)
        self._weight = arrays.zeros(values, 1, values.dtype)

    def after_step(self, fit):
        least = self._weight.dtype.type(1.0 - self.decay)
        _ema_weight(1, self._weight, self._taken, least, self.warm)
        kernels.lerp(self.average, fit.optimizer.values, self._weight)

    def state(self):
        return [self.average, self._taken, self._weight]


@kernels.kernel
def _ema_weight(start, stop, weight, taken, least, warm):
    """weight = max(1 - decay, 9/(10 + t)), and count the step t."""
    for _ in range(start, stop):
        taken[0] += 1
        kind = type(least)
        early = kind(9) / (kind(10) + kind(taken[0])) if warm else kind(0)
        weight[0] = max(least, early)


class SWA(_Average):
    """The mean of the weights at the ends of epochs, from epoch `start` on, every `every` epochs.

    Izmailov et al. 2018, arXiv:1803.05407.
    """

    def __init__(self, start=0, every=1):
        super().__init__()
        arrays.check_integer("SWA", "start", start, 0)
        arrays.check_integer("SWA", "every", every, 1)
        self.start, self.every, self.count = int(start), int(every), 0

    def _start(self, values):
        super()._start(values)
        self.count = 0

    def saved(self):
        return {"count": self.count}, [self.average]

    def restored(self, plain, kept):
        self.count = plain["count"]
        self.average[...] = kept[0]

    def end_epoch(self, fit):
        if fit.epoch >= self.start and (fit.epoch - self.start) % self.every == 0:
            self.count += 1
            kernels.lerp(self.average, fit.optimizer.values, 1.0 / self.count)
