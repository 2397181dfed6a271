"""What a batch of labels weighs, and the check of its labels, for cross_entropy.

The rule: one pass over the labels finds both, so that a recorded step checks them as well.
"""

import numpy as np

from .caching import jit
from .launch import kernel
from .reductions import at
from .spread import join_sum, leader, my_range, on_cuda


@jit(inner=True)
def _bad_label(scale):
    """Raise; on CUDA, where nothing can, return a weight that makes the whole loss NaN."""
    if len(scale) > 0:  # always
        raise ValueError("cross_entropy: labels has a label out of range")
    return scale.dtype.type(0)


@on_cuda(_bad_label)
def _no_weight(scale):
    return scale.dtype.type(np.nan)


@jit(inner=True)
def _weight(row, scale, labels, class_weight, sample_weight, classes, ignored):
    """Return what a row weighs; check its label."""
    one, label = scale.dtype.type(1), labels[row]
    if label == ignored:
        return scale.dtype.type(0)
    if label < 0 or label >= classes:
        return _bad_label(scale)
    return at(class_weight, label, one) * at(sample_weight, row, one)


@jit(inner=True)
def _whole_weight(scale, labels, *args):
    """Return what all rows weigh, summed by chunks of 64."""
    whole = scale.dtype.type(0)
    for first in range(np.uintp(0), np.uintp(len(labels)), np.uintp(64)):
        part = scale.dtype.type(0)
        for row in range(first, min(np.uintp(len(labels)), first + np.uintp(64))):
            part += _weight(row, scale, labels, *args)
        whole += part
    return whole


@on_cuda(_whole_weight)
def _whole_weight_of_team(scale, labels, *args):
    whole = scale.dtype.type(0)
    for row in my_range(np.uintp(0), np.uintp(len(labels))):
        whole += _weight(row, scale, labels, *args)
    return join_sum(whole)


@kernel(spread="block")
def weigh_labels(start, stop, scale, labels, class_weight, sample_weight, classes, ignored, mean):
    """Check the labels; for a mean, scale[0] = 1/Σ weights of the rows that count, else 1."""
    one = scale.dtype.type(1)
    whole = _whole_weight(scale, labels, class_weight, sample_weight, classes, ignored)
    if leader():
        scale[0] = one / whole if mean else one + (whole - whole)
