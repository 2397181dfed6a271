"""Losses for training: what a name means, and what its targets must look like.

A loss is `(output, target) -> loss, doutput`, the loss a one-element array. A user's own is called
so; those named here also take a weight for each sample.

The rule: targets (N,) and (N, 1) mean the same, and nothing is ever broadcast against targets.
"""

from dataclasses import dataclass

import numpy as np

from .. import kernels
from ..kernels import arrays
from .activations import Softmax


@dataclass(frozen=True)
class Loss:
    """A loss of fonio.kernels by name; `classes`: targets are labels or rows of probabilities.

    options: pairs (name, number) of arguments that the kernel takes besides.
    """

    name: str
    classes: bool = False
    options: tuple = ()

    def __call__(self, output, target, sample_weight=None, class_weight=None, reduction="mean"):
        function = getattr(kernels, self.name)
        options = dict(self.options, reduction=reduction)
        if self.classes:
            options["class_weight"] = class_weight
        return function(output, target, sample_weight=sample_weight, **options)


class CrossEntropy(Loss):
    """Cross-entropy of logits against labels smoothed to (1 - ε)·q + ε/C, ε = label_smoothing.

    Szegedy et al. 2016, arXiv:1512.00567, section 7.
    """

    def __init__(self, label_smoothing=0.0):
        arrays.check_number("CrossEntropy", "label_smoothing", label_smoothing)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(
                f"CrossEntropy: label_smoothing is {label_smoothing}, expected "
                "0 <= label_smoothing <= 1"
            )
        super().__init__("cross_entropy", True, (("label_smoothing", float(label_smoothing)),))


NUMBERS = ("mse", "l1", "smooth_l1", "huber", "bce_with_logits", "poisson_nll")
LOSSES = {
    "cross_entropy": Loss("cross_entropy", classes=True),
    **{name: Loss(name) for name in NUMBERS},
}


def make_loss(loss):
    """Return a loss from its name, or as it is."""
    if isinstance(loss, str):
        arrays.check_known("fit", loss, LOSSES, "loss")
        return LOSSES[loss]
    if not callable(loss):
        kind = type(loss).__name__
        raise TypeError(f"fit: loss is a {kind}, expected a name or a function of (output, target)")
    return loss


def check_model(loss, model):
    """Refuse a model that ends in Softmax under cross_entropy, which takes logits."""
    last = model
    while len(inner := list(last.children())):
        last = inner[-1][1]
    if isinstance(loss, Loss) and loss.name == "cross_entropy" and isinstance(last, Softmax):
        raise ValueError(
            "fit: the model ends in Softmax, expected logits under cross_entropy (which has the "
            "softmax inside): leave the last layer out"
        )


def prepare_targets(loss, y, outputs, dtype, where="fit"):
    """Return targets as the loss takes them: labels (N,) int64, or (N, O) numbers."""
    y = np.asarray(arrays.on_host(y))
    if y.dtype.kind not in "iufb":
        raise TypeError(f"{where}: y has dtype {y.dtype}, expected numbers")
    if not (isinstance(loss, Loss) and loss.classes):
        return _numbers(loss, y, outputs, dtype, where)
    if y.ndim == 2 and y.shape[1] == outputs and outputs > 1:
        return np.ascontiguousarray(y, dtype)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise ValueError(f"{where}: y has shape {y.shape}, expected (N,) or (N, {outputs})")
    return _labels(y, outputs, where)


def _labels(y, outputs, where):
    if y.dtype.kind == "f":
        bad = np.flatnonzero(y != np.floor(y))
        if len(bad):
            raise ValueError(
                f"{where}: y[{bad[0]}] is {y[bad[0]]}, expected a whole label in [0, {outputs})"
            )
    labels = np.ascontiguousarray(y, np.int64)
    bad = np.flatnonzero((labels < 0) | (labels >= outputs))
    if len(bad):
        raise ValueError(
            f"{where}: y[{bad[0]}] is {labels[bad[0]]}, expected a label in [0, {outputs})"
        )
    return labels


def _numbers(loss, y, outputs, dtype, where):
    if y.ndim == 1:
        y = y[:, None]
    if y.ndim != 2 or (isinstance(loss, Loss) and y.shape[1] != outputs):
        raise ValueError(f"{where}: y has shape {y.shape}, expected (N, {outputs})")
    return np.ascontiguousarray(y, dtype)
