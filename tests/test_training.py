"""fit, step, predict and evaluate: same bits, whole data, nothing stale, nothing lost."""

import hashlib
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from fonio import kernels, nn
from fonio.kernels import get_num_threads, set_num_threads


def blobs(rows=200, classes=3, features=5, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, rows)
    centres = rng.normal(0, 3, (classes, features))
    return (centres[y] + rng.normal(0, 1, (rows, features))).astype(np.float32), y


def net(seed=0, batchnorm=True, dropout=True):
    nn.manual_seed(seed)
    layers = [nn.Linear(5, 16)]
    layers += [nn.BatchNorm1d(16)] if batchnorm else []
    layers += [nn.ReLU()]
    layers += [nn.Dropout(0.2)] if dropout else []
    return nn.Sequential(*layers, nn.Linear(16, 3))


def weights(model):
    return b"".join(p.value.tobytes() for p in model.parameters())


def quiet_fit(model, *data, **options):
    return nn.fit(model, *data, **{"epochs": 5, "progress": False, **options})


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adam", "adamw"])
def test_each_optimizer_learns(optimizer):
    x, y = blobs()
    model = net()
    history = quiet_fit(model, x, y, epochs=20, optimizer=optimizer)
    assert history.epochs == 20
    assert history.loss[-1] < history.loss[0]
    assert nn.evaluate(model, x, y)["accuracy"] > 0.9
    assert not model.training


def test_replayed_training_equals_a_loop_of_eager_steps():
    x, y = blobs(96)
    model, twin = net(dropout=False), net(dropout=False)
    quiet_fit(model, x, y, epochs=3, batch_size=32, shuffle=False, optimizer="sgd")
    optimizer = nn.SGD(twin.parameters(), lr=1e-2)
    for _ in range(3):
        for start in range(0, 96, 32):
            out, backward = twin.train().forward(x[start : start + 32])
            _, dout = kernels.cross_entropy(out, y[start : start + 32])
            backward(dout)
            optimizer.step()
    assert weights(model) == weights(twin)


def test_the_same_bits_for_any_number_of_threads():
    x, y = blobs(700)
    before, found = get_num_threads(), set()
    try:
        for threads in (1, 2, 3):
            set_num_threads(threads)
            nn.manual_seed(1)
            model = nn.Sequential(
                nn.Linear(5, 256),
                nn.BatchNorm1d(256),
                nn.ReLU(),
                nn.Dropout(0.3),
                nn.Linear(256, 3),
            )
            history = quiet_fit(model, x, y, epochs=3, batch_size=256, seed=5)
            found.add(hashlib.sha256(weights(model) + str(history.loss).encode()).hexdigest())
    finally:
        set_num_threads(before)
    assert len(found) == 1


SCRIPT = """
import hashlib, sys
sys.path.insert(0, {tests!r})
from test_training import *
model = net()
quiet_fit(model, *blobs(), seed=3)
print(hashlib.sha256(weights(model)).hexdigest())
"""


def test_the_same_bits_in_a_second_process():
    model = net()
    quiet_fit(model, *blobs(), seed=3)
    code = SCRIPT.format(tests=os.path.dirname(__file__))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == hashlib.sha256(weights(model)).hexdigest(), done.stderr


def test_seeds_matter_and_repeat():
    x, y = blobs()
    found = []
    for seed in (1, 1, 2):
        model = net()
        quiet_fit(model, x, y, seed=seed)
        found.append(weights(model))
    assert found[0] == found[1] != found[2]


def test_a_second_fit_goes_on_where_the_first_ended():
    x, y = blobs()
    once, twice = net(), net()
    quiet_fit(once, x, y, epochs=8)
    first = quiet_fit(twice, x, y, epochs=3)
    second = quiet_fit(twice, x, y, epochs=5)
    assert weights(once) == weights(twice)
    assert second.loss[-1] < first.loss[0]
    quiet_fit(twice, x, y, epochs=1, optimizer="sgd")  # another name: another optimizer
    assert weights(once) != weights(twice)


@pytest.mark.parametrize("rows", [1, 31, 32, 33, 64, 65, 70])
def test_every_row_is_trained_on_once_an_epoch(rows):
    x, y = blobs(rows)
    seen = []

    class Spy(nn.Module):
        keeps_width = True

        def forward(self, x):
            if self.training:
                seen.append(len(x))
            return x, lambda dy: dy

    model = nn.Sequential(Spy(), nn.Linear(5, 3))
    optimizer = nn.SGD(model.parameters(), lr=0.0)
    history = quiet_fit(model, x, y, epochs=2, batch_size=32, optimizer=optimizer)
    wanted = nn.evaluate(model, x, y)  # with a rate of 0 the epoch's figures are those of the model
    assert history.loss[-1] == pytest.approx(wanted["loss"], rel=1e-5)
    assert history.accuracy[-1] == pytest.approx(wanted["accuracy"])
    assert set(seen) == {min(rows, 32), *([rows % 32] if rows > 32 and rows % 32 else [])}


def test_with_batchnorm_a_last_row_joins_the_batch_before():
    x, y = blobs(65)
    history = quiet_fit(net(), x, y, batch_size=32)
    assert np.isfinite(history.loss).all()
    with pytest.raises(ValueError, match="the batch has 1 row"):
        quiet_fit(net(), x[:1], y[:1])


class Doubling(nn.Module):
    """A layer of a user's own that computes with NumPy."""

    keeps_width = True

    def forward(self, x):
        return 2 * x, lambda dy: 2 * dy


class NumpyBackward(nn.Module):
    keeps_width = True

    def forward(self, x):
        return kernels.add(x, x), lambda dy: 2 * dy


class Recordable(nn.Module):
    keeps_width = True

    def forward(self, x):
        return kernels.add(x, x), lambda dy: kernels.add(dy, dy)


@pytest.mark.parametrize("layer", [Doubling, NumpyBackward])
def test_what_cannot_be_recorded_is_caught_and_named(layer):
    x, y = blobs()
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), layer(), nn.Linear(8, 3))
    with pytest.raises(RuntimeError, match=f"{layer.__name__}: computes outside fonio.kernels"):
        quiet_fit(model, x, y)


def test_a_layer_of_a_users_own_is_recorded():
    x, y = blobs()
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), Recordable(), nn.Linear(8, 3))
    assert quiet_fit(model, x, y, epochs=20).accuracy[-1] > 0.9


def test_a_loss_of_a_users_own():
    x, _ = blobs()
    target = x[:, :1] * 2 + x[:, 1:2]

    def squared(output, target):
        return kernels.mse(output, target)

    model = nn.Sequential(nn.Linear(5, 1))
    optimizer = nn.SGD(model.parameters(), lr=0.02)
    history = quiet_fit(model, x, target, epochs=200, loss=squared, optimizer=optimizer)
    assert history.loss[-1] < 1e-3


def test_regression_targets_of_both_shapes_mean_the_same():
    x, _ = blobs()
    target = (x @ np.arange(5.0)).astype(np.float32)
    found = []
    for y in (target, target[:, None], target.astype(np.float64)):
        nn.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 1))
        quiet_fit(model, x, y, loss="mse")
        found.append(weights(model))
    assert found[0] == found[1] == found[2]


def test_one_output_is_a_logit():
    x, y = blobs(classes=2)
    nn.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 1))
    quiet_fit(model, x, y, loss="bce_with_logits", epochs=20)
    proba = nn.predict_proba(model, x)
    assert proba.shape == (len(x), 2)
    assert np.allclose(proba.sum(1), 1, atol=1e-6)
    assert (proba.argmax(1) == y).mean() > 0.9
    assert nn.evaluate(model, x, y, loss="bce_with_logits")["accuracy"] > 0.9


def test_probabilities_as_targets():
    x, y = blobs()
    model = net()
    history = quiet_fit(model, x, np.eye(3)[y], epochs=20)
    assert history.loss[-1] < history.loss[0]
    assert nn.evaluate(model, x, y)["accuracy"] > 0.9


def test_weights_of_samples_and_classes():
    x, y = blobs()
    first, second = net(dropout=False), net(dropout=False)
    quiet_fit(first, x, y, class_weight=[1.0, 2.0, 0.5], shuffle=False)
    per_row = np.array([1.0, 2.0, 0.5])[y]
    quiet_fit(second, x, y, sample_weight=per_row, shuffle=False)
    assert np.isfinite(first[0].weight.value).all()
    assert not np.array_equal(first[0].weight.value, net(dropout=False)[0].weight.value)
    zero = np.where(y == 0, 0.0, 1.0)
    model = net(dropout=False)
    quiet_fit(model, x, y, sample_weight=zero, epochs=20)
    assert (nn.predict(model, x).argmax(1)[y == 0] != 0).mean() > 0.5


def test_validation_schedule_clipping_and_callbacks():
    x, y = blobs()
    rates, calls = [], []

    def schedule(epoch):
        rates.append(epoch)
        return 1e-2 / (1 + epoch)

    def callback(model, history):
        calls.append((model.training, history.epochs))
        return history.epochs == 3

    history = quiet_fit(
        net(), x, y, epochs=9, validation=0.25, schedule=schedule, clip_norm=0.5,
        callbacks=[callback],
    )  # fmt: skip
    assert history.epochs == 3
    assert rates == [0, 1, 2]
    assert calls == [(False, 1), (False, 2), (False, 3)]
    assert history["lr"] == pytest.approx([1e-2, 5e-3, 1e-2 / 3])
    assert len(history.val_loss) == len(history.val_accuracy) == 3
    assert "3 epochs" in repr(history)


def test_ctrl_c_returns_the_history_and_a_usable_model(ctrl_c):
    x, y = blobs(2000)
    model = net()
    threading.Timer(1.0, signal.raise_signal, (signal.SIGINT,)).start()
    history = quiet_fit(model, x, y, epochs=10**6)
    assert history.interrupted
    assert 0 < history.epochs < 10**6
    assert not model.training
    assert nn.evaluate(model, x, y)["accuracy"] > 0.9


def test_an_answer_does_not_depend_on_the_rows_beside_it():
    x, y = blobs(1300)
    model = net()
    quiet_fit(model, x, y)
    whole = nn.predict(model, x)
    for rows in (slice(0, 1), slice(5, 12), slice(700, 1300)):
        assert np.array_equal(nn.predict(model, x[rows]), whole[rows])


def test_a_step_of_ones_own():
    x, y = blobs(64)
    model = net(dropout=False)
    optimizer = nn.Adam(model.parameters(), lr=1e-2)
    take = nn.step(model, "cross_entropy", optimizer, 32)
    losses = [take(x[:32], y[:32]) if i % 2 else take(x[32:], y[32:]) for i in range(60)]
    assert losses[-1] < 0.5 * losses[0]
    assert int(optimizer.count[0]) == 60
    with pytest.raises(ValueError, match=r"x has shape \(3, 5\)"):
        take(x[:3], y[:3])
    nn.SGD(model[:1].parameters(), lr=0.1)  # moves the parameters into an arena of its own
    with pytest.raises(RuntimeError, match="have moved"):
        take(x[:32], y[:32])


X, Y = blobs(20)
BAD = [
    (lambda: quiet_fit(net(), X[:0], Y[:0]), ValueError, "at least one row"),
    (lambda: quiet_fit(net(), X, Y[:5]), ValueError, "y has 5 rows, expected 20"),
    (lambda: quiet_fit(net(), X[:, :3], Y), ValueError, r"expected \(N, 5\)"),
    (lambda: quiet_fit(net(), X, Y + 1), ValueError, r"y\[\d+\] is 3, expected a label"),
    (lambda: quiet_fit(net(), X, Y - 1), ValueError, r"is -1, expected a label"),
    (lambda: quiet_fit(net(), X, Y + 0.5), ValueError, "expected a whole label"),
    (lambda: quiet_fit(net(), X, np.array(["a"] * 20)), TypeError, "y has dtype"),
    (lambda: quiet_fit(net(), X.astype(object), Y), TypeError, "x has dtype object"),
    (lambda: quiet_fit(net(), X[0], Y), ValueError, r"x has shape \(5,\), expected"),
    (lambda: quiet_fit(net(), X, Y, optimizer="adamm"), ValueError, "unknown optimizer 'adamm'"),
    (lambda: quiet_fit(net(), X, Y, loss="ce"), ValueError, "unknown loss 'ce'"),
    (lambda: quiet_fit(net(), X, Y, loss=3), TypeError, "loss is a int"),
    (lambda: quiet_fit(net(), X, Y, epochs=-1), ValueError, "epochs is -1"),
    (lambda: quiet_fit(net(), X, Y, batch_size=0), ValueError, "batch_size is 0"),
    (lambda: quiet_fit(net(), X, Y, validation=1.5), ValueError, "validation is 1.5"),
    (lambda: quiet_fit(net(), X, Y, validation=(X[:, :2], Y)), ValueError, r"expected \(N, 5\)"),
    (lambda: quiet_fit(net(), X, Y, validation=(X, Y[:3])), ValueError, "validation: y has 3 rows"),
    (lambda: quiet_fit(net(), X, Y, clip_norm=0), ValueError, "clip_norm is 0"),
    (lambda: quiet_fit(net(), X, Y, sample_weight=-np.ones(20)), ValueError, "negative"),
    (lambda: quiet_fit(net(), X, Y, sample_weight=np.ones(3)), ValueError, "weight has shape"),
    (lambda: quiet_fit(net(), X, Y, callbacks=[3]), TypeError, "callback is a int"),
    (lambda: nn.predict(net(), X[:, :2]), ValueError, r"expected \(N, 5\)"),
    (lambda: nn.evaluate(net(), X, Y[:3]), ValueError, "y has 3 rows"),
    (lambda: nn.step(net(), "mse", None, 0), ValueError, "batch_size is 0"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=range(len(BAD)))
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_softmax_under_cross_entropy_is_refused():
    model = nn.Sequential(nn.Linear(5, 3), nn.Softmax())
    with pytest.raises(ValueError, match="ends in Softmax, expected logits"):
        quiet_fit(model, X, Y)


def test_nan_is_named_when_asked_for():
    x = X.copy()
    x[7, 2] = np.nan
    with pytest.raises(ValueError, match=r"x\[7, 2\] is nan, expected finite numbers"):
        quiet_fit(net(), x, Y, check_finite=True)
