"""Cross-entropy of logits against labels, with its derivative.

    loss = -Σ_c q_c·w_c·log p_c,   dlogits = p·Σ_c q_c·w_c - q·w,   p = softmax(logits)

with q the labels as probabilities, smoothed to (1 - ε)·q + ε/C, and w the weights of the classes.

The rule: a row's results do not depend on the other rows, up to the division of a mean.
"""

import numpy as np
from numba.extending import overload

from . import arrays
from .arrays import scratch
from .label_weights import weigh_labels
from .launch import kernel
from .operations import operation
from .reductions import REDUCTIONS, at, reduction_in_njit, sum_losses, weigh_samples
from .rows import NARROW, blocks_of, both, make_unit, rows_in, softened
from .spread import join_sum, leader, my_range


def _make_labels(step, soften):
    @kernel(cost=lambda losses, dx, x, *_: 20.0 * x.shape[1] + 200.0, spread="rows")
    def cross_entropy_labels(
        start, stop, losses, dx, x, labels, class_weight, sample_weight, scale, smoothing, ignored
    ):
        """Losses of rows and `scale` times their derivatives, where labels are whole numbers."""
        unit = make_unit(x)
        zero, columns, one = np.uintp(0), np.uintp(x.shape[1]), x.dtype.type(1)
        share, all_classes = smoothing / x.dtype.type(x.shape[1]), x.dtype.type(0)
        for column in my_range(zero, columns):
            all_classes += at(class_weight, column, one)
        all_classes = join_sum(all_classes)
        for block in range(np.uintp(start), np.uintp(stop)):
            first, last = rows_in(block, x)
            for start_row in range(first, last, np.uintp(step)):
                values, top, total, rest = soften(unit, x, start_row, last)
                for lane in range(min(last - start_row, np.uintp(step))):
                    row = start_row + lane
                    label = min(np.uintp(labels[row]), columns - np.uintp(1))  # CUDA cannot raise
                    if labels[row] == ignored:
                        if leader():
                            losses[row] = 0
                        for column in my_range(zero, columns):
                            dx[row, column] = 0
                        continue
                    weight = at(sample_weight, row, one)
                    spread = weight * share
                    weight *= (one - smoothing) * at(class_weight, label, one)
                    most, logarithm = top[lane], rest[lane]
                    loss, none = x.dtype.type(0), x.dtype.type(0)
                    if leader():
                        loss = weight * (logarithm - (x[row, label] - most))
                    factor = scale[0] * (weight + spread * all_classes) * total[lane]
                    hit = scale[0] * weight
                    for column in my_range(zero, columns):
                        value = softened(values, top, x, start_row, lane, column, step)
                        dx[row, column] = value * factor - (hit if column == label else none)
                    if smoothing != 0:
                        for column in my_range(zero, columns):
                            share_here = spread * at(class_weight, column, one)
                            loss += share_here * (logarithm - (x[row, column] - most))
                            dx[row, column] -= scale[0] * share_here
                    loss = join_sum(loss)
                    if leader():
                        losses[row] = loss

    return cross_entropy_labels


def _make_probabilities(step, soften):
    @kernel(cost=lambda losses, dx, x, *_: 40.0 * x.shape[1] + 200.0, spread="rows")
    def cross_entropy_probabilities(
        start, stop, losses, dx, x, labels, class_weight, sample_weight, scale, smoothing
    ):
        """Losses of rows and `scale` times their derivatives, where labels are probabilities."""
        unit = make_unit(x)
        zero, columns, one = np.uintp(0), np.uintp(x.shape[1]), x.dtype.type(1)
        share = smoothing / x.dtype.type(x.shape[1])
        for block in range(np.uintp(start), np.uintp(stop)):
            first, last = rows_in(block, x)
            for start_row in range(first, last, np.uintp(step)):
                values, top, total, rest = soften(unit, x, start_row, last)
                for lane in range(min(last - start_row, np.uintp(step))):
                    row = start_row + lane
                    weight = at(sample_weight, row, one)
                    most, logarithm = top[lane], rest[lane]
                    loss, mass = x.dtype.type(0), x.dtype.type(0)
                    for column in my_range(zero, columns):
                        q = (one - smoothing) * labels[row, column] + share
                        q *= at(class_weight, column, one)
                        mass += q
                        loss += q * (logarithm - (x[row, column] - most))
                    loss, mass = join_sum(loss), join_sum(mass)
                    if leader():
                        losses[row] = weight * loss
                    weight *= scale[0]
                    factor = mass * total[lane]
                    for column in my_range(zero, columns):
                        q = (one - smoothing) * labels[row, column] + share
                        q *= at(class_weight, column, one)
                        value = softened(values, top, x, start_row, lane, column, step)
                        dx[row, column] = weight * (value * factor - q)

    return cross_entropy_probabilities


_labels_narrow, _labels_wide = both(_make_labels)
_probabilities_narrow, _probabilities_wide = both(_make_probabilities)


def _check(operation, sizes, values):
    smoothing, labels = values["label_smoothing"], values["labels"]
    arrays.check_number(operation, "label_smoothing", smoothing)
    if not 0 <= smoothing <= 1:
        raise ValueError(
            f"{operation}: label_smoothing is {smoothing}, expected 0 <= label_smoothing <= 1"
        )
    if labels.ndim == 1:
        ignored = values["ignore_index"]
        arrays.check_integer(operation, "ignore_index", ignored)
        labels = arrays.readable(labels)
        if labels is None:  # recorded on CUDA: nothing waits for the device; fit has looked before
            return
        bad = np.flatnonzero(((labels < 0) | (labels >= sizes["C"])) & (labels != ignored))
        if len(bad):
            raise ValueError(
                f"{operation}: labels[{bad[0]}] is {labels[bad[0]]}, "
                f"expected 0 <= label < {sizes['C']} or {ignored} (ignored)"
            )


_WEIGHTS = "class_weight? (C), sample_weight? (N)"


def _against_labels(size):
    each = size == "N"

    @operation(
        f"logits (N, C), labels (N) int64, {_WEIGHTS} -> loss ({size}), dlogits (N, C)",
        check=_check,
    )
    def cross_entropy(
        loss,
        dlogits,
        logits,
        labels,
        class_weight,
        sample_weight,
        label_smoothing,
        ignore_index,
        mean,
    ):
        rows, columns = logits.shape
        losses = loss if each else scratch(logits, rows)
        scale = scratch(logits, 1)
        smoothing = logits.dtype.type(label_smoothing)
        weigh_labels(1, scale, labels, class_weight, sample_weight, columns, ignore_index, mean)
        if columns <= NARROW:
            _labels_narrow(
                blocks_of(rows), losses, dlogits, logits, labels, class_weight, sample_weight,
                scale, smoothing, ignore_index,
            )  # fmt: skip
        else:
            _labels_wide(
                blocks_of(rows), losses, dlogits, logits, labels, class_weight, sample_weight,
                scale, smoothing, ignore_index,
            )  # fmt: skip
        if not each:
            sum_losses(1, loss, losses, scale)

    return cross_entropy


def _against_probabilities(size):
    each = size == "N"

    @operation(
        f"logits (N, C), labels (N, C), {_WEIGHTS} -> loss ({size}), dlogits (N, C)", check=_check
    )
    def cross_entropy(
        loss, dlogits, logits, labels, class_weight, sample_weight, label_smoothing, mean
    ):
        rows, columns = logits.shape
        losses = loss if each else scratch(logits, rows)
        scale = scratch(logits, 1)
        smoothing = logits.dtype.type(label_smoothing)
        weigh_samples(1, scale, sample_weight, rows, 1, mean)
        if columns <= NARROW:
            _probabilities_narrow(
                blocks_of(rows), losses, dlogits, logits, labels, class_weight, sample_weight,
                scale, smoothing,
            )  # fmt: skip
        else:
            _probabilities_wide(
                blocks_of(rows), losses, dlogits, logits, labels, class_weight, sample_weight,
                scale, smoothing,
            )  # fmt: skip
        if not each:
            sum_losses(1, loss, losses, scale)

    return cross_entropy


_labels_to_one, _labels_to_each = _against_labels("1"), _against_labels("N")
_probabilities_to_one, _probabilities_to_each = (
    _against_probabilities("1"),
    _against_probabilities("N"),
)


def cross_entropy(
    logits,
    labels,
    label_smoothing=0.0,
    class_weight=None,
    sample_weight=None,
    ignore_index=-100,
    reduction="mean",
    out=None,
):
    """loss = -Σ_c q_c·w_c·log softmax(logits)_c and its derivative. Szegedy et al. 2016: smoothing.

    logits (N, C); labels (N,) int64 or (N, C) probabilities; class_weight (C,); sample_weight (N,)
    -> loss (1,), dlogits (N, C)

    Rows labelled ignore_index count nothing. reduction="mean" divides by the weights of the rows
    that count (class_weight of the label times sample_weight; probabilities: sample_weight alone);
    "sum" does not; "none" gives loss (N,), and dlogits is the derivative of their sum.
    """
    arrays.check_known("cross_entropy", reduction, REDUCTIONS, "reduction")
    each, mean = reduction == "none", reduction == "mean"
    if getattr(labels, "ndim", 1) == 2:
        run = _probabilities_to_each if each else _probabilities_to_one
        return run(logits, labels, class_weight, sample_weight, label_smoothing, mean, out=out)
    run = _labels_to_each if each else _labels_to_one
    return run(
        logits, labels, class_weight, sample_weight, label_smoothing, ignore_index, mean, out=out
    )


@overload(cross_entropy, prefer_literal=True)
def _cross_entropy_in_njit(
    logits,
    labels,
    label_smoothing=0.0,
    class_weight=None,
    sample_weight=None,
    ignore_index=-100,
    reduction="mean",
    out=None,
):
    reduction_ = reduction_in_njit("cross_entropy", reduction)
    each, mean = reduction_ == "none", reduction_ == "mean"
    if labels.ndim == 2:
        run = _probabilities_to_each if each else _probabilities_to_one

        def against_probabilities(
            logits, labels, label_smoothing=0.0, class_weight=None, sample_weight=None,
            ignore_index=-100, reduction="mean", out=None,
        ):  # fmt: skip
            return run(logits, labels, class_weight, sample_weight, label_smoothing, mean, out=out)

        return against_probabilities
    run = _labels_to_each if each else _labels_to_one

    def against_labels(
        logits, labels, label_smoothing=0.0, class_weight=None, sample_weight=None,
        ignore_index=-100, reduction="mean", out=None,
    ):  # fmt: skip
        return run(
            logits, labels, class_weight, sample_weight, label_smoothing, ignore_index, mean,
            out=out,
        )  # fmt: skip

    return against_labels
