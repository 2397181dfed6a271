"""Masks over the arena of parameters: some weights do not take part in training.

The rule: a mask is an array of zeros and ones as long as the arena, and is applied by a recorded
product, so that masked training costs one more launch a step.
"""

import numpy as np

from .. import kernels
from ..kernels import arrays
from .callbacks import Callback


class Masked(Callback):
    """Train only what `masks` leaves: {Parameter: array of bool}; others are trained whole.

    frozen: what is masked keeps its value (its gradient is 0); else it is held at 0.
    """

    def __init__(self, masks, frozen=False):
        self.masks, self.frozen = dict(masks), frozen
        for parameter, mask in self.masks.items():
            if np.shape(mask) != parameter.shape:
                raise ValueError(
                    f"Masked: mask has shape {np.shape(mask)}, expected {parameter.shape}"
                )
        self._flat = None

    def begin(self, fit):
        values = fit.optimizer.values
        flat = np.ones(values.size, values.dtype)
        for parameter, mask in self.masks.items():
            if parameter.trainable:
                start = parameter.home[2]
                flat[start : start + parameter.size] = np.ravel(mask)
        self._flat = arrays.put(values, flat)

    def after_backward(self, fit):
        if self.frozen:
            kernels.multiply(fit.optimizer.grads, self._flat, out=fit.optimizer.grads)

    def after_step(self, fit):
        if not self.frozen:
            kernels.multiply(fit.optimizer.values, self._flat, out=fit.optimizer.values)
