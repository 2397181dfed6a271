"""What the nets of fit_many share: data by precision, loss, schedule, and what is watched.

The rule: x and y exist once for each precision; a net's own rows are indices.
"""

import numpy as np

from ..kernels import arrays
from .fit_checks import check_weighable, checked_weights, split_rows
from .inference import prepare_inputs
from .losses import Loss, make_loss, prepare_targets
from .many_loop import FIGURES


class Common:
    """What all nets share: data by precision, loss, schedule, and what is watched."""

    def __init__(self, x, y, loss, validation, weights, options):
        self.loss, self.options = make_loss(loss), options
        x, y = np.asarray(arrays.on_host(x)), np.asarray(arrays.on_host(y))
        if x.ndim == 2 and y.ndim and len(y) != len(x):
            raise ValueError(f"fit_many: y has {len(y)} rows, expected {len(x)} as x has")
        sample, self._classes = weights
        check_weighable("fit_many", self.loss, sample_weight=sample, class_weight=self._classes)
        sample = checked_weights("sample_weight", sample, len(x) if x.ndim else 0, np.float64)
        self._x, self._y, self._sample, self.validation = split_rows(x, y, sample, validation)
        self._made = {}

    @property
    def count(self):
        """How many rows there are to train on."""
        return len(self._x)

    def inputs(self, dtype):
        """Return x in a precision."""
        return self._once(("x", dtype), lambda: prepare_inputs(self._x, dtype, "fit_many"))

    def data(self, dtype, outputs):
        """Return x, y and the weights of the rows for nets of this precision and width."""
        weights = self._sample
        if weights is not None:
            weights = self._once(("weights", dtype), lambda: self._sample.astype(dtype))
        return self.inputs(dtype), self._targets("y", self._y, dtype, outputs, "fit_many"), weights

    def validation_data(self, dtype, outputs):
        """Return x and y to validate on."""
        where, (x, y) = "fit_many: validation", self.validation
        x = self._once(("val_x", dtype), lambda: prepare_inputs(x, dtype, where))
        y = self._targets("val_y", y, dtype, outputs, where)
        if len(y) != len(x):
            raise ValueError(f"{where}: y has {len(y)} rows, expected {len(x)} as x has")
        return x, y

    def class_weight(self, dtype, outputs):
        """Return the weights of the classes, or None."""
        return checked_weights("class_weight", self._classes, outputs, dtype)

    def _targets(self, name, y, dtype, outputs, where):
        key = (name, dtype, outputs)
        return self._once(key, lambda: prepare_targets(self.loss, y, outputs, dtype, where))

    def _once(self, key, make):
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def figures(self, model, outputs):
        """Return the names of the figures that there are for nets such as this one."""
        targets = self.data(model.dtype, outputs)[1]
        classes = isinstance(self.loss, Loss) and self.loss.classes
        signs = isinstance(self.loss, Loss) and self.loss.name == "bce_with_logits"
        there = {"loss"} | ({"accuracy"} if classes and targets.ndim == 1 else set())
        if self.validation is not None:
            there |= {"val_loss"} | ({"val_accuracy"} if classes or signs else set())
        return [name for name in FIGURES if name in there]
