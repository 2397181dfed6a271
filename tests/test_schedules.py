"""Schedules against PyTorch's rates (typed in as formulas), in epochs and in recorded steps."""

import numpy as np
import pytest

from fonio import nn
from tests.test_training import blobs, net, quiet_fit


def rates(schedule, total, base=0.1):
    if hasattr(schedule, "begin"):
        schedule.begin([base])
    return [schedule.rate(base, t, total) for t in range(total)]


def test_schedules_follow_their_formulas():
    t = np.arange(10)
    assert rates(nn.ConstantLR(), 3) == [0.1] * 3
    np.testing.assert_allclose(rates(nn.StepLR(3, 0.5), 10), 0.1 * 0.5 ** (t // 3))
    np.testing.assert_allclose(rates(nn.ExponentialLR(0.9), 10), 0.1 * 0.9**t)
    wanted = [0.1] * 2 + [0.01] * 5 + [0.001] * 3
    np.testing.assert_allclose(rates(nn.MultiStepLR([7, 2]), 10), wanted)
    cosine = 0.02 + 0.08 * (1 + np.cos(np.pi * t / 5)) / 2
    np.testing.assert_allclose(rates(nn.CosineAnnealingLR(5, 0.02), 10), cosine)
    np.testing.assert_allclose(rates(nn.LambdaLR(lambda t: 1 / (1 + t)), 10), 0.1 / (1 + t))
    climb = [0.1 * (0.1 + 0.9 * i / 4) for i in range(4)]
    np.testing.assert_allclose(rates(nn.Warmup(4), 6), [*climb, 0.1, 0.1])
    then = rates(nn.Warmup(4, nn.StepLR(1, 0.5)), 6)
    np.testing.assert_allclose(then, [*climb, 0.1, 0.05])


# torch.optim.lr_scheduler.OneCycleLR(SGD(lr=.1), max_lr=1, total_steps=10), .get_last_lr(), 2.13.0
ONE_CYCLE = {
    "cos": [0.04, 0.52, 1.0, 0.9504846320134737, 0.8117456539497631, 0.6112620219362893,
            0.38874197806371075, 0.18825834605023697, 0.04951936798652625, 4e-06],
    "linear": [0.04, 0.52, 1.0, 0.857143428571, 0.714286857143, 0.571430285714, 0.428573714286,
               0.285717142857, 0.142860571429, 4e-06],
}  # fmt: skip


@pytest.mark.parametrize("strategy", ["cos", "linear"])
def test_one_cycle_is_pytorchs(strategy):
    found = rates(nn.OneCycleLR(1.0, 10, anneal_strategy=strategy), 10)
    np.testing.assert_allclose(found, ONE_CYCLE[strategy], rtol=1e-9)


def test_a_schedule_by_steps_moves_the_rate_in_the_replay():
    """SGD on a gradient of one: the parameters fall by the sum of the rates."""
    model = nn.Sequential(nn.Linear(1, 1)).to("float64")
    start = float(model[0].bias.value[0])
    optimizer = nn.SGD(model.parameters(), lr=0.5)
    x, y = np.zeros((12, 1)), np.zeros((12, 1))

    def slope(output, target):
        return np.zeros(1), np.full((3, 1), 1 / 3)

    schedule = nn.LambdaLR(lambda t: 1 / (1 + t), by="steps")
    history = quiet_fit(
        model, x, y, epochs=2, batch_size=3, optimizer=optimizer, loss=slope, schedule=schedule
    )
    fallen = start - float(model[0].bias.value[0])
    assert fallen == pytest.approx(0.5 * sum(1 / (1 + t) for t in range(8)), rel=1e-12)
    assert history.lr == pytest.approx([0.5 / 4, 0.5 / 8])
    assert optimizer.base_lr == 0.5


def test_a_schedule_by_epochs_scales_the_base_rate_and_leaves_it():
    model = net()
    optimizer = nn.SGD(model.parameters(), lr=0.2)
    for _ in range(2):  # the second fit begins anew
        history = quiet_fit(model, *blobs(), epochs=3, optimizer=optimizer, schedule=nn.StepLR(1))
        assert history.lr == pytest.approx([0.2, 0.02, 0.002], rel=1e-6)
    assert optimizer.base_lr == 0.2


class Losses(nn.Callback):
    """Puts losses of our own into the history, before the plateau looks."""

    def __init__(self, values):
        self.values = values

    def end_epoch(self, fit):
        fit.history.columns["told"] = self.values[: fit.epoch + 1]


def test_reduce_on_plateau_counts_as_pytorch_does():
    # ReduceLROnPlateau(patience=2, cooldown=1, factor=.5) of PyTorch 2.13.0 on these losses
    losses = [1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.8, 0.79999]
    wanted = [1.0] * 4 + [0.5] * 4 + [0.25] * 3
    plateau = nn.ReduceLROnPlateau(patience=2, cooldown=1, factor=0.5, monitor="told")
    model = net()
    optimizer = nn.SGD(model.parameters(), lr=1.0)
    seen = []

    class After(nn.Callback):
        def end_epoch(self, fit):
            seen.append(fit.optimizer.lr)

    plateau_after = [Losses(losses), plateau, After()]
    quiet_fit(model, *blobs(40), epochs=len(losses), optimizer=optimizer, callbacks=plateau_after)
    assert seen == wanted


def test_the_linear_scaling_rule():
    assert nn.scale_rate(0.1, 512, 128) == pytest.approx(0.4)


BAD = [
    (lambda: nn.StepLR(0), ValueError, "step_size is 0, expected step_size >= 1"),
    (lambda: nn.StepLR(-3), ValueError, "step_size is -3"),
    (lambda: nn.StepLR(2.5), TypeError, "step_size is a float"),
    (lambda: nn.CosineAnnealingLR(-1), ValueError, "T_max is -1"),
    (lambda: nn.OneCycleLR(1.0, total_steps=-5), ValueError, "total_steps is -5"),
    (lambda: nn.Warmup(-1), ValueError, "length is -1"),
    (lambda: nn.Warmup(5, lambda t: t), TypeError, "then is a function, expected a schedule"),
    (lambda: nn.Warmup(5, nn.StepLR(1), by="steps"), ValueError, "by is 'steps', expected 'epo"),
    (lambda: nn.StepLR(2, by="batches"), ValueError, "unknown by 'batches'"),
    (lambda: nn.MultiStepLR([-1]), ValueError, r"milestones\[0\] is -1"),
    (lambda: nn.ReduceLROnPlateau(factor=1.0), ValueError, "factor is 1.0"),
    (lambda: nn.scale_rate(0.1, 0, 8), ValueError, "batch_size is 0"),
    (lambda: quiet_fit(net(), *blobs(), schedule=3), TypeError, "schedule is a int"),
    (lambda: quiet_fit(net(), *blobs(), schedule=nn.StepLR), TypeError, "schedule is a StepLR"),
    (
        lambda: quiet_fit(net(), *blobs(), schedule=nn.OneCycleLR(1.0, 3)),
        ValueError, "total_steps is 3, expected more steps",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=range(len(BAD)))
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
