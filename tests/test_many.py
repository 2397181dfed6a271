"""fit_many: many nets at once have the bits of nn.fit, stop as it does, and lose nothing."""

import signal
import threading
import tracemalloc

import numpy as np
import pytest

from fonio import kernels, nn
from fonio.nn import many
from tests.test_training import blobs, net, quiet_fit, weights

X, Y = blobs(150)
HELD = blobs(90, seed=0)


def bits(model):
    return weights(model) + b"".join(buffer.tobytes() for buffer in model.buffers())


def together(models, *data, **options):
    return nn.fit_many(models, *(data or (X, Y)), **{"epochs": 4, "progress": False, **options})


def same(history, single):
    return all(history[name] == single[name] for name in history.columns)


def mlp(*layers, seed=0, width=8, outputs=3, dtype=np.float32):
    nn.manual_seed(seed)
    first, last = nn.Linear(5, width, dtype=dtype), nn.Linear(width, outputs, dtype=dtype)
    return nn.Sequential(first, *(layer() for layer in layers), last)


def half_frozen(seed):
    model = mlp(nn.GELU, seed=seed)
    model[0].freeze()
    return model


KINDS = {
    "batchnorm and dropout": lambda seed: net(seed),
    "alpha dropout": lambda seed: mlp(nn.SELU, lambda: nn.AlphaDropout(0.2), seed=seed),
    "gaussian dropout": lambda seed: mlp(lambda: nn.GaussianDropout(0.2), seed=seed),
    "dropconnect": lambda seed: mlp(lambda: nn.DropConnect(8, 8, 0.5), seed=seed),
    "weightnorm": lambda seed: mlp(lambda: nn.WeightNorm(nn.Linear(8, 8)), nn.Tanh, seed=seed),
    "residual": lambda seed: mlp(lambda: nn.ResidualBlock(8), nn.PReLU, seed=seed),
    "frozen": lambda seed: half_frozen(seed),
    "float64": lambda seed: mlp(nn.Swish, seed=seed, dtype=np.float64),
}


SLOT = many.Slot


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_nets_of_one_kind_have_the_bits_of_fit(make, monkeypatch):
    """They share a recording, so that the second tells whether all its numbers were put in."""
    made = []
    monkeypatch.setattr(many, "Slot", lambda *a, **k: made.append(1) or SLOT(*a, **k))
    nets, rates = [make(seed) for seed in range(3)], [1e-2, 3e-2, 1e-3]
    options = {"epochs": 4, "batch_size": 40, "validation": HELD}
    histories = together(nets, lr=rates, patience=2, seeds=5, threads=1, **options)
    assert len(made) == 1
    for i, model in enumerate(nets):
        twin = make(i)
        single = quiet_fit(
            twin, X, Y, optimizer=nn.Adam(twin.parameters(), lr=rates[i]), seed=5 + i,
            callbacks=[nn.EarlyStopping(patience=2)], **options,
        )  # fmt: skip
        assert bits(model) == bits(twin)
        assert same(histories[i], single)
        assert not model.training


LOSSES = {
    "numbers": ("mse", np.stack([Y, -Y], 1).astype(float), 2),
    "logits": ("bce_with_logits", np.stack([Y == 0, Y > 1], 1), 2),
    "shares": ("cross_entropy", np.eye(3)[Y] * 0.8 + 0.2 / 3, 3),
    "own": (lambda output, target: kernels.smooth_l1(output, target), X[:, :3], 3),
}


@pytest.mark.parametrize("loss, y, outputs", LOSSES.values(), ids=LOSSES)
def test_other_losses(loss, y, outputs):
    nets, twins = ([mlp(nn.Tanh, seed=i, outputs=outputs) for i in (0, 1)] for _ in range(2))
    weight = np.linspace(0, 1, 150)
    options = {"loss": loss, "validation": 0.2, "clip_norm": 0.5, "shuffle": False}
    if loss != LOSSES["own"][0]:
        options["sample_weight"] = weight
    histories = together(nets, X, y, optimizer="sgd", **options)
    for i, twin in enumerate(twins):
        single = quiet_fit(twin, X, y, epochs=4, optimizer="sgd", seed=i, **options)
        assert bits(nets[i]) == bits(twin)
        assert same(histories[i], single)
        assert set(single.columns) - set(histories[i].columns) == {"seconds"}


def sweep(threads):
    """Nets that differ in all that may differ, some stopped early."""
    nets = [mlp(nn.ReLU, seed=i, width=4 + 4 * (i % 3)) for i in range(7)]
    histories = together(
        nets, epochs=[9, 9, 9, 3, 9, 9, 0], batch_size=[16, 150, 40, 40, 40, 200, 8],
        lr=[0.3, 0.1, 0.01, 0.03, 1.0, 0.3, 0.1],
        optimizer=["adam", "sgd", nn.RMSprop, "adam", "adam", "adam", "adam"],
        seeds=[3, 1, 4, 1, 5, 9, 2], patience=[1, 2, 3, None, 1, 1, 1], validation=HELD,
        rows=[None, *(nn.bootstrap(150, i) for i in range(5)), [3, 3]], threads=threads,
    )  # fmt: skip
    return [bits(model) for model in nets], histories


def test_the_same_bits_for_any_number_of_threads_and_alone():
    found, histories = zip(*map(sweep, (1, 2, 3)), strict=True)
    assert found[0] == found[1] == found[2]
    assert all(same(a, b) for a, b in zip(histories[0], histories[2], strict=True))
    epochs = histories[0].epochs
    assert epochs[3] == 3 and epochs[6] == 0 and 0 < epochs[:3].min() < epochs[:3].max()
    alone = mlp(nn.ReLU, seed=4, width=8)
    rows = nn.bootstrap(150, 3)
    together([alone], lr=1.0, epochs=9, batch_size=40, seeds=[5], patience=1, validation=HELD,
             rows=[rows], threads=2)  # fmt: skip
    twin = mlp(nn.ReLU, seed=4, width=8)
    quiet_fit(twin, X[rows], Y[rows], optimizer=nn.Adam(twin.parameters(), lr=1.0), epochs=9,
              batch_size=40, seed=5, validation=HELD,
              callbacks=[nn.EarlyStopping(patience=1)])  # fmt: skip
    assert found[0][4] == bits(alone) == bits(twin)


def test_what_histories_tell():
    _, histories = sweep(2)
    curves = histories.curves("val_loss")
    assert curves.shape == (7, histories.epochs.max())
    assert np.array_equal(np.isfinite(curves).sum(1), histories.epochs)
    watched = [0, 1, 2, 4, 5]
    assert np.array_equal(np.nanargmin(curves[watched], 1), histories.best_epochs[watched])
    assert histories.best_epochs[3] == 2 and histories.best_epochs[6] == -1
    assert np.array_equal(histories.final("val_loss")[watched], np.nanmin(curves[watched], 1))
    assert np.isnan(histories.final("val_loss")[6])
    assert histories[0].stopped and not histories[3].stopped
    assert "7 nets" in repr(histories)


@pytest.mark.parametrize(
    "schedule",
    [
        nn.StepLR(2, 0.5),
        nn.CosineAnnealingLR(30, by="steps"),
        lambda epoch: 0.1 / (1 + epoch),
    ],
    ids=["epochs", "steps", "function"],
)
def test_schedules(schedule):
    nets, twins = ([net(i) for i in (0, 1)] for _ in range(2))
    histories = together(nets, schedule=schedule, lr=[1e-2, 2e-2], monitor="loss", patience=9)
    for i, twin in enumerate(twins):
        optimizer = nn.Adam(twin.parameters(), lr=[1e-2, 2e-2][i])
        single = quiet_fit(twin, X, Y, epochs=4, optimizer=optimizer, schedule=schedule, seed=i,
                           callbacks=[nn.EarlyStopping("loss", 9)])  # fmt: skip
        assert bits(nets[i]) == bits(twin)
        assert same(histories[i], single)


def test_a_second_fit_goes_on():
    nets, once = ([net(i) for i in range(3)] for _ in range(2))
    together(nets, epochs=2)
    together(nets, epochs=3, threads=2)
    together(once, epochs=5)
    assert [bits(model) for model in nets] == [bits(model) for model in once]
    assert [model.epochs_trained for model in nets] == [5, 5, 5]


def test_optimizers_that_are_there_already():
    """As objects, or from a function that makes none for another model: nothing is shared then."""
    nets, twins = ([mlp(nn.ReLU, seed=i) for i in range(4)] for _ in range(2))
    made = [nn.SGD(model.parameters(), lr=0.1, momentum=0.9) for model in nets]
    together(nets, optimizer=[lambda _, o=made[0]: o, made[1], lambda _, o=made[2]: o, nn.SGD])
    for i, twin in enumerate(twins):
        options = {"lr": 0.1, "momentum": 0.9} if i < 3 else {}
        quiet_fit(twin, X, Y, epochs=4, optimizer=nn.SGD(twin.parameters(), **options), seed=i)
        assert bits(nets[i]) == bits(twin)


def test_no_epochs_change_nothing():
    nets = [net(0), net(1)]
    before = [bits(model) for model in nets]
    histories = together(nets, epochs=0, schedule=nn.StepLR(2), validation=HELD, patience=1)
    assert [bits(model) for model in nets] == before
    assert histories.epochs.tolist() == [0, 0] and histories.curves("loss").shape == (2, 0)


class Twice(nn.Module):
    keeps_width = True

    def __init__(self, operation):
        self.operation = operation

    def forward(self, x):
        return self.operation(x, x), lambda dy: self.operation(dy, dy)


def test_a_layer_of_ones_own_is_recorded_for_each_net():
    nets, twins = ([mlp(lambda: Twice(kernels.add), seed=i) for i in (0, 1)] for _ in range(2))
    schedule = nn.CosineAnnealingLR(by="steps")
    together(nets, validation=HELD, schedule=schedule)
    for i, twin in enumerate(twins):
        quiet_fit(twin, X, Y, epochs=4, seed=i, schedule=schedule)
        assert bits(nets[i]) == bits(twin)


def test_a_layer_that_cannot_be_recorded_is_named_and_the_nets_stay_usable():
    nets = [mlp(nn.ReLU), mlp(lambda: Twice(np.add), seed=1)]
    before = bits(nets[1])
    with pytest.raises(RuntimeError, match="Twice: computes outside fonio.kernels"):
        together(nets, threads=1)
    assert bits(nets[1]) == before
    assert nn.evaluate(nets[0], X, Y)["loss"] < nn.evaluate(mlp(nn.ReLU), X, Y)["loss"]


def test_rows_are_not_copied():
    x = np.random.default_rng(0).standard_normal((4000, 100)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64)
    nets = [nn.Sequential(nn.Linear(100, 4), nn.ReLU(), nn.Linear(4, 2)) for _ in range(8)]
    rows = [nn.bootstrap(4000, i) for i in range(8)]
    together(nets[:1], x, y, epochs=1, rows=rows[:1])
    tracemalloc.start()
    try:
        together(nets, x, y, epochs=1, rows=rows, threads=2)
        assert tracemalloc.get_traced_memory()[1] < x.nbytes // 2
    finally:
        tracemalloc.stop()


def test_ctrl_c_leaves_usable_models_with_the_best_weights(ctrl_c):
    x, y = blobs(2000)
    nets = [mlp(nn.ReLU, seed=i) for i in range(4)]
    start = bits(nets[3])
    together([mlp(nn.ReLU)], x, y, epochs=1, validation=HELD, patience=1)  # compiled by now
    threading.Timer(1.0, signal.raise_signal, (signal.SIGINT,)).start()
    histories = together(nets, x, y, epochs=10**5, validation=HELD, patience=10**5, threads=2)
    assert histories.interrupted and histories[0].interrupted
    assert histories[0].epochs > 0 and histories[3].epochs == 0
    assert bits(nets[3]) == start
    for model, history in list(zip(nets, histories, strict=True))[:2]:
        assert not model.training
        found = nn.evaluate(model, *HELD)
        assert found["loss"] == history["val_loss"][history.best_epoch] == min(history["val_loss"])


@pytest.mark.parametrize("bagging", [False, True])
def test_ensembles_at_once_are_those_one_after_another(bagging):
    options = {"members": 3, "epochs": 3, "bagging": bagging, "seed": 4, "progress": False}
    one = nn.fit_ensemble(net, X, Y, **options)
    two = nn.fit_ensemble(net, X, Y, threads=2, **options)
    assert [bits(model) for model in one] == [bits(model) for model in two]
    assert np.array_equal(one.predict_proba(X), two.predict_proba(X))
    assert all(same(b, a) for a, b in zip(one.histories, two.histories, strict=True))


def shared_layer():
    layer = nn.Linear(5, 3)
    return [nn.Sequential(layer), nn.Sequential(layer, nn.ReLU())]


TWO = [mlp(nn.ReLU), mlp(nn.ReLU)]
BAD = [
    (dict(models=TWO[0]), TypeError, "fit_many: models is a Sequential, expected a list of Modul"),
    (dict(models=[]), ValueError, "fit_many: models is empty, expected at least one"),
    (dict(models=[TWO[0], 3]), TypeError, r"fit_many: models\[1\] is a int, expected a Module"),
    (dict(models=[TWO[0]] * 2), ValueError, r"models\[0\] and models\[1\] share Parameter"),
    (dict(models=shared_layer()), ValueError, r"models\[0\] and models\[1\] share Parameter"),
    (dict(epochs=[1]), ValueError, "fit_many: epochs has 1 elements, expected 2, one a net"),
    (dict(epochs=1.5), TypeError, "fit_many: epochs is a float, expected an integer"),
    (dict(batch_size=[8, 0]), ValueError, "fit_many: batch_size is 0, expected batch_size >= 1"),
    (dict(seeds=[1, -1]), ValueError, "fit_many: seeds is -1, expected seeds >= 0"),
    (dict(seeds=[1, 2**63]), ValueError, r"fit_many: seeds has an element .* below 2\*\*63"),
    (dict(seeds=True), TypeError, "fit_many: seeds is a bool, expected an integer"),
    (dict(lr=[0.1, -1]), ValueError, "fit_many: lr is -1, expected lr >= 0"),
    (dict(optimizer="adm"), ValueError, "fit_many: unknown optimizer 'adm', expected one of"),
    (dict(optimizer=3), TypeError, "fit_many: optimizer is a int, expected a name, an Optimizer"),
    (dict(optimizer=len), TypeError, "fit_many: optimizer made a int, expected an Optimizer"),
    (dict(optimizer="lbfgs"), ValueError, "fit_many: optimizer is LBFGS, whose line search"),
    (dict(optimizer=nn.LBFGS), ValueError, "fit_many: optimizer is LBFGS, whose line search"),
    (dict(optimizer=nn.SGD(mlp(nn.ReLU))), ValueError, r"optimizer of models\[0\] holds other"),
    (dict(rows=[None, [0, 150]]), ValueError, r"rows has an element 150, expected rows in \[0, 15"),
    (dict(rows=[None, [-1]]), ValueError, r"rows has an element -1, expected rows in \[0, 150\)"),
    (dict(rows=[None, [0.5]]), ValueError, r"rows has an element of shape \(1,\), dtype float64"),
    (dict(patience=0), ValueError, "fit_many: patience is 0, expected patience >= 1"),
    (dict(patience=2), ValueError, "monitor is 'val_loss', expected validation data"),
    (dict(monitor="f1"), ValueError, "fit_many: unknown monitor 'f1', expected one of"),
    (dict(patience=2, monitor="accuracy", loss="mse", y=X[:, :3]), ValueError,
     r"fit_many: monitor is 'accuracy', expected one of \['loss'\]"),
    (dict(min_delta=-1), ValueError, "fit_many: min_delta is -1, expected min_delta >= 0"),
    (dict(schedule=nn.ReduceLROnPlateau()), ValueError, "ReduceLROnPlateau, which decides in Py"),
    (dict(schedule=3), TypeError, "fit_many: schedule is a int, expected a schedule or a function"),
    (dict(threads=0), ValueError, "fit_many: threads is 0, expected threads >= 1"),
    (dict(loss=lambda output, y: (output, output), sample_weight=np.ones(99)), ValueError,
     "fit_many: sample_weight is given, and the loss is a function"),
    (dict(clip_norm=0), ValueError, "fit_many: clip_norm is 0, expected clip_norm > 0"),
    (dict(x=X[:, :4]), ValueError, r"x has shape \(2, 4\), expected \(N, 5\)"),
    (dict(x=X[:9]), ValueError, "fit_many: y has 150 rows, expected 9 as x has"),
    (dict(y=Y + 1), ValueError, r"fit_many: y\[\d+\] is 3, expected a label in \[0, 3\)"),
    (dict(validation=(X, Y[:9])), ValueError, "fit_many: validation: y has 9 rows, expected 150"),
    (dict(loss="crossentropy"), ValueError, "unknown loss 'crossentropy', expected one of"),
]  # fmt: skip


@pytest.mark.parametrize("options, kind, message", BAD)
def test_bad_input(options, kind, message):
    options = {"models": TWO, "x": X, "y": Y, "progress": False, **options}
    before = [bits(model) for model in TWO]
    with pytest.raises(kind, match=message):
        nn.fit_many(options.pop("models"), options.pop("x"), options.pop("y"), **options)
    assert [bits(model) for model in TWO] == before


def test_bagging_at_once_wants_its_own_validation_rows():
    with pytest.raises(ValueError, match=r"fit_ensemble: validation is 0.2, expected \(x, y\)"):
        nn.fit_ensemble(net, X, Y, bagging=True, threads=2, validation=0.2)
