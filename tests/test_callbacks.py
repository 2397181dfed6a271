"""Callbacks, early stopping, averages of weights, growing batches, samplers, frozen modules."""

import signal
import threading

import numpy as np
import pytest

from fonio import kernels, nn
from fonio.kernels import set_num_threads
from fonio.nn.replay import advance
from tests.test_training import blobs, net, quiet_fit, weights


class Recorder(nn.Callback):
    """Writes down what it was called for."""

    def __init__(self):
        self.calls = []

    def begin(self, fit):
        self.calls.append(("begin", fit.epochs, fit.rows, fit.batch_size, fit.seed))

    def end_epoch(self, fit):
        self.calls.append(("epoch", fit.epoch, fit.history.epochs, fit.model.training))
        return fit.epoch == 2

    def end(self, fit):
        self.calls.append(("end", fit.epoch))


def test_a_callback_is_told_of_the_fit():
    recorder = Recorder()
    quiet_fit(net(), *blobs(), epochs=9, batch_size=50, callbacks=[recorder], seed=4)
    epochs = [("epoch", i, i + 1, False) for i in range(3)]
    assert recorder.calls == [("begin", 9, 200, 50, 4), *epochs, ("end", 2)]


class Counter(nn.Callback):
    """Counts steps in the recorded step, and halves the gradient."""

    def __init__(self):
        self.steps = np.zeros(1, np.int64)

    def after_backward(self, fit):
        half = np.full_like(fit.optimizer.grads, 0.5)
        kernels.multiply(fit.optimizer.grads, half, out=fit.optimizer.grads)

    def after_step(self, fit):
        advance(1, self.steps, 1)

    def state(self):
        return [self.steps]


def test_recorded_methods_run_in_every_step_before_and_after_the_update():
    x, y = blobs()
    counter, model, twin = Counter(), net(), net()
    quiet_fit(model, x, y, optimizer=nn.SGD(model.parameters(), lr=0.1), callbacks=[counter])
    quiet_fit(twin, x, y, optimizer=nn.SGD(twin.parameters(), lr=0.05))
    assert counter.steps[0] == 5 * 7
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(p.value, q.value, rtol=2e-4, atol=1e-6)


def test_early_stopping_restores_the_best_weights_and_statistics():
    x, y = blobs(120)
    noise = np.random.default_rng(1).permutation(y)  # nothing to learn: validation gets worse
    model = net(dropout=False)
    kept = {}

    def remember(model, history):
        kept[history.epochs - 1] = (weights(model), model[1].running_mean.copy())

    stopping = nn.EarlyStopping(patience=4)
    history = quiet_fit(
        model, x, noise, epochs=200, validation=0.3, callbacks=[remember, stopping],
        optimizer=nn.Adam(model.parameters(), lr=0.05),
    )  # fmt: skip
    best = int(np.argmin(history.val_loss))
    assert stopping.stopped
    assert stopping.best_epoch == best
    assert stopping.best_value == history.val_loss[best]
    assert history.epochs == best + 5 < 200
    assert weights(model) == kept[best][0] != kept[history.epochs - 1][0]
    assert np.array_equal(model[1].running_mean, kept[best][1])


def test_early_stopping_restores_after_ctrl_c(ctrl_c):
    x, y = blobs(2000)
    model, stopping = net(), nn.EarlyStopping("accuracy", patience=10**6)
    threading.Timer(1.0, signal.raise_signal, (signal.SIGINT,)).start()
    history = quiet_fit(model, x, y, epochs=10**6, callbacks=[stopping])
    assert history.interrupted
    assert stopping.best_value == max(history.accuracy)


def test_ema_follows_its_formula_and_leaves_training_alone():
    x, y = blobs(96)
    model, twin = net(dropout=False), net(dropout=False)
    ema = nn.EMA(decay=0.7)
    optimizer = nn.SGD(model.parameters(), lr=0.1)
    quiet_fit(model, x, y, epochs=3, optimizer=optimizer, callbacks=[ema], shuffle=False)
    other = nn.SGD(twin.parameters(), lr=0.1)
    wanted, t = other.values.astype(np.float64), 0
    for _ in range(3):
        for start in range(0, 96, 32):
            output, backward = twin.train().forward(x[start : start + 32])
            backward(kernels.cross_entropy(output, y[start : start + 32])[1])
            other.step()
            t += 1
            wanted += max(0.3, 9 / (10 + t)) * (other.values - wanted)
    assert weights(model) == weights(twin)
    np.testing.assert_allclose(ema.average, wanted, rtol=1e-5, atol=1e-6)
    with ema.averaged():
        assert np.array_equal(optimizer.values, ema.average)
    assert weights(model) == weights(twin)
    ema.copy_to_model()
    assert np.array_equal(optimizer.values, ema.average)


def test_swa_is_the_mean_of_the_last_epochs_weights():
    x, y = blobs()
    model, swa, seen = net(), nn.SWA(start=2, every=2), []
    optimizer = nn.SGD(model.parameters(), lr=0.1)

    def keep(model, history):
        seen.append(optimizer.values.copy())

    quiet_fit(model, x, y, epochs=7, optimizer=optimizer, callbacks=[swa, keep])
    assert swa.count == 3
    np.testing.assert_allclose(swa.average, np.mean(seen[2::2], axis=0), rtol=1e-5, atol=1e-7)


def test_a_growing_batch_takes_fewer_steps():
    grow = nn.GrowBatch(16, step_size=2, factor=2, most=50)
    assert [grow(epoch) for epoch in range(8)] == [16, 16, 32, 32, 50, 50, 50, 50]
    model = net()
    optimizer = nn.SGD(model.parameters(), lr=0.1)
    quiet_fit(model, *blobs(), epochs=5, batch_size=grow, optimizer=optimizer)
    assert int(optimizer.count[0]) == 2 * 13 + 2 * 7 + 4
    with pytest.raises(TypeError, match=r"batch_size\(0\) is a float"):
        quiet_fit(net(), *blobs(), batch_size=lambda epoch: 1.5)


class Sampler:
    """The first rows alone, more of them each epoch."""

    def order(self, seed, epoch):
        return np.arange(20 * (epoch + 1))


def test_a_sampler_chooses_the_rows():
    x, y = blobs()
    x[60:] = np.nan
    model = net()
    optimizer = nn.SGD(model.parameters(), lr=0.1)
    history = quiet_fit(
        model, x, y, epochs=3, batch_size=20, optimizer=optimizer, sampler=Sampler()
    )
    assert np.isfinite(history.loss).all()
    assert int(optimizer.count[0]) == 1 + 2 + 3


def test_a_checkpoint_of_lbfgs_is_refused():
    model = net()
    with pytest.raises(ValueError, match="LBFGS keeps more than a checkpoint holds"):
        quiet_fit(model, *blobs(), optimizer=nn.LBFGS(model.parameters()), checkpoint="never")


def test_a_second_fit_goes_on_with_the_orders_of_a_sampler():
    class Seen:
        def __init__(self):
            self.epochs = []

        def order(self, seed, epoch):
            self.epochs.append(epoch)
            return np.arange(200)

    model, sampler = net(), Seen()
    for _ in range(2):
        quiet_fit(model, *blobs(), epochs=2, sampler=sampler)
    assert sampler.epochs == [0, 1, 2, 3]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_same_bits_with_callbacks_for_any_number_of_threads(threads):
    set_num_threads(threads)
    try:
        model, ema = net(), nn.EMA(0.9)
        schedule = nn.Warmup(5, nn.CosineAnnealingLR(by="steps"))
        quiet_fit(model, *blobs(), callbacks=[ema], schedule=schedule, clip_value=0.1)
    finally:
        set_num_threads(1)
    found = (weights(model), ema.average.tobytes())
    assert _first.setdefault("bits", found) == found


_first = {}


def test_frozen_layers_stay_as_they_are_and_the_others_train():
    x, y = blobs()
    model = net()
    model[:2].freeze()
    frozen = [p.value.copy() for p in model[:2].parameters()] + [model[1].running_mean.copy()]
    head = model[4].weight.value.copy()
    quiet_fit(model, x, y)
    after = [p.value for p in model[:2].parameters()] + [model[1].running_mean]
    assert all(np.array_equal(a, b) for a, b in zip(frozen, after, strict=True))
    assert not np.array_equal(model[4].weight.value, head)
    assert not model[0].weight.grad.any()
    model.unfreeze()
    quiet_fit(model, x, y)
    assert not np.array_equal(model[0].weight.value, frozen[0])


def test_a_frozen_beginning_gives_the_gradients_of_the_whole():
    x, y = blobs(32)
    model, twin = net(dropout=False), net(dropout=False)
    model[0].freeze()
    for each in (model, twin):
        output, backward = each.train().forward(x)
        backward.parameters_only(kernels.cross_entropy(output, y)[1])
    pairs = list(zip(model.parameters(), twin.parameters(), strict=True))
    assert all(np.array_equal(p.grad, q.grad) for p, q in pairs[2:])
    assert not any(p.grad.any() for p, _ in pairs[:2])


X, Y = blobs(20)
BAD = [
    (lambda: quiet_fit(net().freeze(), X, Y), ValueError, "are frozen, expected one to train"),
    (lambda: nn.SGD(net().freeze().parameters()), ValueError, "SGD: all 6 parameters are frozen"),
    (
        lambda: quiet_fit(net(), X, Y, callbacks=[nn.EarlyStopping()]),
        ValueError, "EarlyStopping: monitor is 'val_loss', expected fit to be given validation",
    ),
    (lambda: quiet_fit(net(), X, Y, callbacks=[nn.EMA]), TypeError, "callback is a EMA, expected"),
    (lambda: nn.EarlyStopping(patience=0), ValueError, "patience is 0, expected patience >= 1"),
    (lambda: nn.EarlyStopping(mode="up"), ValueError, "unknown mode 'up'"),
    (lambda: nn.EMA(decay=1.0), ValueError, "decay is 1.0"),
    (lambda: nn.EMA().copy_to_model(), RuntimeError, "has seen no fit"),
    (lambda: nn.SWA(every=0), ValueError, "every is 0"),
    (lambda: nn.GrowBatch(0, 5), ValueError, "start is 0"),
    (lambda: quiet_fit(net(), X, Y, augment=3), TypeError, "augment is a int, expected an Augm"),
    (lambda: quiet_fit(net(), X, Y, clip_value=-1), ValueError, "clip_value is -1"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=range(len(BAD)))
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
