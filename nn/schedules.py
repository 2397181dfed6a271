"""Schedules: how the learning rate moves during a fit, and how the batch may grow instead.

A schedule gives each group's rate from its base rate and the time t: epochs from 0, or steps where
it is made `by="steps"`. Those by steps are laid out as a table that the recorded step reads.

The rule: a rate is a function of (base, t, total) alone, so that a fit that goes on, and a replay,
find the same one. ReduceLROnPlateau alone looks at the history.
"""

import bisect
import math

import numpy as np

from ..kernels import arrays
from ..kernels.launch import kernel
from .callbacks import Watch

UNITS = ("epochs", "steps")


class Schedule:
    """Base of the schedules; a subclass defines `rate(base, t, total)`."""

    by = "epochs"

    def rate(self, base, t, total):
        """Return the rate at time t (from 0) of `total` for a group whose own rate is `base`."""
        raise NotImplementedError(f"{type(self).__name__} does not define rate")

    def _count_by(self, by):
        arrays.check_known(type(self).__name__, by, UNITS, "by")
        self.by = by

    def _check(self, **lengths):
        for name, value in lengths.items():
            arrays.check_integer(type(self).__name__, name, value, 1)


class ConstantLR(Schedule):
    """The base rate throughout."""

    def rate(self, base, t, total):
        return base


class LambdaLR(Schedule):
    """base · function(t)."""

    def __init__(self, function, by="epochs"):
        self._count_by(by)
        if not callable(function):
            raise TypeError(
                f"LambdaLR: function is a {type(function).__name__}, expected a function of t"
            )
        self.function = function

    def rate(self, base, t, total):
        return base * self.function(t)


class StepLR(Schedule):
    """base · gamma^⌊t / step_size⌋."""

    def __init__(self, step_size, gamma=0.1, by="epochs"):
        self._check(step_size=step_size)
        arrays.check_at_least("StepLR", "gamma", gamma, 0, strictly=True)
        self._count_by(by)
        self.step_size, self.gamma = int(step_size), float(gamma)

    def rate(self, base, t, total):
        return base * self.gamma ** (t // self.step_size)


class MultiStepLR(Schedule):
    """base · gamma^(how many of the milestones t has reached)."""

    def __init__(self, milestones, gamma=0.1, by="epochs"):
        for i, milestone in enumerate(milestones):
            arrays.check_integer("MultiStepLR", f"milestones[{i}]", milestone, 0)
        arrays.check_at_least("MultiStepLR", "gamma", gamma, 0, strictly=True)
        self._count_by(by)
        self.milestones, self.gamma = sorted(milestones), float(gamma)

    def rate(self, base, t, total):
        return base * self.gamma ** bisect.bisect_right(self.milestones, t)


class ExponentialLR(Schedule):
    """base · gammaᵗ."""

    def __init__(self, gamma, by="epochs"):
        arrays.check_at_least("ExponentialLR", "gamma", gamma, 0, strictly=True)
        self._count_by(by)
        self.gamma = float(gamma)

    def rate(self, base, t, total):
        return base * self.gamma**t


class CosineAnnealingLR(Schedule):
    """From base to eta_min along half a cosine of T_max (None: the fit's length), and back again.

    Loshchilov and Hutter 2017, arXiv:1608.03983.
    """

    def __init__(self, T_max=None, eta_min=0.0, by="epochs"):
        if T_max is not None:
            self._check(T_max=T_max)
        arrays.check_at_least("CosineAnnealingLR", "eta_min", eta_min, 0)
        self._count_by(by)
        self.T_max, self.eta_min = T_max, float(eta_min)

    def rate(self, base, t, total):
        half = math.cos(math.pi * t / (self.T_max or total))
        return self.eta_min + (base - self.eta_min) * (1.0 + half) / 2.0


class OneCycleLR(Schedule):
    """Up from max_lr / div_factor to max_lr, then down to its start / final_div_factor.

    Smith and Topin 2018, arXiv:1708.07120. total_steps None: the fit's length. Of the base rates
    only the proportions between groups count: the first group climbs to max_lr. Counts steps unless
    said; momentum stays as it is.
    """

    def __init__(
        self, max_lr, total_steps=None, pct_start=0.3, anneal_strategy="cos", div_factor=25.0,
        final_div_factor=1e4, by="steps",
    ):  # fmt: skip
        name = "OneCycleLR"
        arrays.check_at_least(name, "max_lr", max_lr, 0, strictly=True)
        if total_steps is not None:
            self._check(total_steps=total_steps)
        arrays.check_fraction(name, "pct_start", pct_start)
        arrays.check_known(name, anneal_strategy, ("cos", "linear"), "anneal_strategy")
        arrays.check_at_least(name, "div_factor", div_factor, 0, strictly=True)
        arrays.check_at_least(name, "final_div_factor", final_div_factor, 0, strictly=True)
        self._count_by(by)
        self.max_lr, self.total_steps, self.pct_start = float(max_lr), total_steps, pct_start
        self.linear = anneal_strategy == "linear"
        self.div_factor, self.final_div_factor = float(div_factor), float(final_div_factor)
        self.first_base = None  # of the first group; fit tells

    def begin(self, bases):
        self.first_base = bases[0]

    def rate(self, base, t, total):
        total = self.total_steps or total
        if t >= total:
            raise ValueError(f"OneCycleLR: total_steps is {total}, expected more steps than {t}")
        top = self.max_lr * (base / self.first_base if self.first_base else 1.0)
        start = top / self.div_factor
        end = start / self.final_div_factor
        peak = max(self.pct_start * total - 1.0, 0.0)
        if t <= peak and peak > 0:
            return self._between(start, top, t / peak)
        return self._between(top, end, (t - peak) / max(total - 1.0 - peak, 1.0))

    def _between(self, start, end, part):
        if self.linear:
            return start + (end - start) * part
        return end + (start - end) / 2.0 * (1.0 + math.cos(math.pi * part))


class Warmup(Schedule):
    """Climb linearly from start_factor · rate over `length`, then go on as `then` (or constant).

    Goyal et al. 2017, arXiv:1706.02677. `then` begins its own time when the climb is over.
    """

    def __init__(self, length, then=None, start_factor=0.1, by=None):
        self._check(length=length)
        arrays.check_fraction("Warmup", "start_factor", start_factor)
        if then is not None and not isinstance(then, Schedule):
            raise TypeError(f"Warmup: then is a {type(then).__name__}, expected a schedule")
        self.length, self.then = int(length), then or ConstantLR()
        self.start_factor = float(start_factor)
        self._count_by(by or self.then.by)
        if then is not None and then.by != self.by:
            raise ValueError(f"Warmup: by is {self.by!r}, expected {then.by!r} as `then` counts")

    def begin(self, bases):
        if hasattr(self.then, "begin"):
            self.then.begin(bases)

    def rate(self, base, t, total):
        rest = max(total - self.length, 1)
        if t >= self.length:
            return self.then.rate(base, t - self.length, rest)
        part = self.start_factor + (1.0 - self.start_factor) * t / self.length
        return part * self.then.rate(base, 0, rest)


class ReduceLROnPlateau(Watch):
    """Cut the rates by `factor` once a figure has not improved for more than `patience` epochs.

    monitor None: "val_loss" where fit has validation data, else "loss". An improvement is one by
    more than `threshold`, of the best figure ("rel") or in itself ("abs"). Rates stay at or above
    `min_lr`; after a cut, `cooldown` epochs do not count.
    """

    def __init__(
        self, mode=None, factor=0.1, patience=10, threshold=1e-4, threshold_mode="rel", cooldown=0,
        min_lr=0.0, monitor=None,
    ):  # fmt: skip
        name = "ReduceLROnPlateau"
        arrays.check_fraction(name, "factor", factor)
        arrays.check_integer(name, "patience", patience, 0)
        arrays.check_integer(name, "cooldown", cooldown, 0)
        arrays.check_at_least(name, "threshold", threshold, 0)
        arrays.check_known(name, threshold_mode, ("rel", "abs"), "threshold_mode")
        arrays.check_at_least(name, "min_lr", min_lr, 0)
        super().__init__(monitor or "loss", mode, threshold)
        self.choose, self.relative = monitor is None, threshold_mode == "rel"
        self.factor, self.patience, self.cooldown = float(factor), int(patience), int(cooldown)
        self.min_lr, self.resting = float(min_lr), 0

    def begin(self, fit):
        if self.choose:
            self.monitor = "loss" if fit.validation is None else "val_loss"
        super().begin(fit)
        self.resting = 0

    def saved(self):
        return {**super().saved()[0], "resting": self.resting}, []

    def restored(self, plain, kept):
        super().restored(plain, kept)
        self.resting = plain["resting"]

    def _bar(self):
        if self.relative and math.isfinite(self.best):
            return self.best - self.min_delta * abs(self.best)
        return super()._bar()

    def end_epoch(self, fit):
        self.improved(fit)
        if self.resting > 0:
            self.resting, self.bad_epochs = self.resting - 1, 0
        if self.bad_epochs > self.patience:
            for lr, _ in fit.optimizer.rates():
                lr[0] = max(float(lr[0]) * self.factor, self.min_lr)
            self.resting, self.bad_epochs = self.cooldown, 0


class GrowBatch:
    """A batch size that grows by `factor` every `step_size` epochs, up to `most`.

    For `fit(batch_size=...)`: growing the batch does what decaying the rate does, in fewer steps.
    Smith et al. 2018, arXiv:1711.00489.
    """

    def __init__(self, start, step_size, factor=2, most=None):
        for name, value in (("start", start), ("step_size", step_size), ("most", most or start)):
            arrays.check_integer("GrowBatch", name, value, 1)
        arrays.check_at_least("GrowBatch", "factor", factor, 1)
        self.start, self.step_size, self.factor, self.most = start, step_size, factor, most

    def __call__(self, epoch):
        size = round(self.start * self.factor ** (epoch // self.step_size))
        return size if self.most is None else min(size, self.most)


def scale_rate(lr, batch_size, base_batch_size):
    """Return lr · batch_size / base_batch_size, the linear scaling rule.

    Goyal et al. 2017, arXiv:1706.02677: holds while the batch is small beside the data and the
    rate below what the loss stands.
    """
    arrays.check_at_least("scale_rate", "lr", lr, 0)
    for name, value in (("batch_size", batch_size), ("base_batch_size", base_batch_size)):
        arrays.check_integer("scale_rate", name, value, 1)
    return lr * batch_size / base_batch_size


@kernel
def take_rate(start, stop, lr, table, taken):
    """lr[0] = table[taken[0]]."""
    for _ in range(start, stop):
        lr[0] = table[min(np.intp(taken[0]), len(table) - 1)]
