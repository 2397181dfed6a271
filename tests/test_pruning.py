"""Pruning and growing: what is out stays out, undoing is exact, growing changes no answer."""

import copy

import numpy as np
import pytest

from fonio import kernels, nn
from tests.test_training import blobs, net, quiet_fit, weights

X, Y = blobs(150)


def trained(seed=0, **options):
    model = net(seed, **options)
    quiet_fit(model, X, Y, epochs=8)
    return model


@pytest.mark.parametrize("by", ["magnitude", "taylor", "loss", "change", "random"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_pruned_weights_are_zero_and_stay_zero_while_the_rest_trains(by, scope):
    model = trained()
    pruning = nn.prune(model, 0.5, by=by, scope=scope, x=X, y=Y)
    assert pruning.fraction == pytest.approx(0.5, abs=0.01)
    out = [p.value == 0 for p in pruning.masks]
    if scope == "layer":
        assert [mask.mean() for mask in out] == pytest.approx([0.5, 0.5], abs=0.02)
    before = weights(model)
    quiet_fit(model, X, Y, callbacks=[pruning], optimizer="adam")
    assert weights(model) != before
    for p, mask in zip(pruning.masks, out, strict=True):
        assert np.array_equal(p.value == 0, mask)


def test_the_weights_that_go_are_the_smallest():
    model = trained()
    magnitudes = np.abs(
        np.concatenate([model[0].weight.value.ravel(), model[4].weight.value.ravel()])
    )
    nn.prune(model, 0.3)
    left = np.concatenate([model[0].weight.value.ravel(), model[4].weight.value.ravel()])
    assert magnitudes[left == 0].max() < magnitudes[left != 0].min()


def test_saliency_is_the_exact_rise_of_the_loss():
    model = trained(dropout=False)
    base = nn.evaluate(model, X, Y)["loss"]
    from fonio.nn.saliency import layers_of, score_neurons, score_weights

    rng = np.random.default_rng(0)
    rises = score_weights(model, layers_of(model), "loss", (X, Y, "cross_entropy"), rng)
    for layer, rise in zip(layers_of(model), rises, strict=True):
        place = (1, 2)
        twin, old = layer.weight.value, layer.weight.value[place]
        twin[place] = 0
        assert nn.evaluate(model, X, Y)["loss"] - base == pytest.approx(rise[place], abs=1e-6)
        twin[place] = old
    neurons = score_neurons(model, layers_of(model), "loss", (X, Y, "cross_entropy"), rng)
    column = model[3].weight.value[:, 4].copy()
    model[3].weight.value[:, 4] = 0
    assert nn.evaluate(model, X, Y)["loss"] - base == pytest.approx(neurons[0][4], abs=1e-6)
    model[3].weight.value[:, 4] = column


def test_change_is_the_size_of_the_rise():
    from fonio.nn.saliency import layers_of, score_neurons, score_weights

    model, rng = trained(dropout=False), np.random.default_rng(0)
    for score in (score_weights, score_neurons):
        rises, changes = (
            score(model, layers_of(model), by, (X, Y, "cross_entropy"), rng)
            for by in ("loss", "change")
        )
        assert min(rise.min() for rise in rises) < 0
        for rise, change in zip(rises, changes, strict=True):
            assert np.array_equal(change, abs(rise))


def test_undo_puts_every_bit_back():
    model = trained()
    before, statistics = weights(model), model[1].running_mean.copy()
    pruning = nn.prune(model, 0.5)
    quiet_fit(model, X, Y, callbacks=[pruning])
    assert weights(model) != before
    pruning.undo()
    assert weights(model) == before
    assert np.array_equal(model[1].running_mean, statistics)


@pytest.mark.parametrize("by", ["magnitude", "taylor", "loss"])
def test_neurons_go_whole_and_the_compact_model_answers_the_same(by):
    model = trained()
    pruning = nn.prune(model, 0.5, of="neurons", by=by, x=X, y=Y)
    quiet_fit(model, X, Y, callbacks=[pruning])
    small = nn.compact(model)
    assert (small[0].out_features, small[1].num_features, small[4].in_features) == (8, 8, 8)
    assert small[0].weight.shape == (8, 5)
    np.testing.assert_allclose(nn.predict(small, X), nn.predict(model, X), rtol=1e-5, atol=1e-5)
    quiet_fit(small, X, Y)
    assert model[0].weight.shape == (16, 5)


def test_rounds_end_with_the_last_that_kept_the_quality():
    model = trained()
    first = nn.evaluate(model, X, Y)["accuracy"]
    rounds = nn.prune_and_retrain(
        model, X, Y, validation=(X, Y), step=0.5, tolerance=0.02, epochs=3, progress=False
    )
    kept = [r for r in rounds if r["kept"]]
    assert [r["kept"] for r in rounds[:-1]] == [True] * (len(rounds) - 1)
    assert nn.evaluate(model, X, Y)["accuracy"] == kept[-1]["retrained"] >= first - 0.02
    zeros = sum((layer.weight.value == 0).sum() for layer in (model[0], model[4]))
    assert zeros / (16 * 5 + 16 * 3) == pytest.approx(kept[-1]["fraction"], abs=0.02)


def test_a_round_that_costs_too_much_is_undone():
    model = trained()
    before = weights(model)
    rounds = nn.prune_and_retrain(
        model, X, np.roll(Y, 1), validation=(X, Y), step=0.1, tolerance=0.0, epochs=20,
        progress=False,
    )  # fmt: skip
    assert [r["kept"] for r in rounds] == [False]  # retrained on wrong labels
    assert weights(model) == before


def test_a_copied_model_is_a_model_of_its_own():
    model = trained()
    twin, before = copy.deepcopy(model), weights(model)
    quiet_fit(twin, X, Y)
    assert weights(model) == before != weights(twin)


@pytest.mark.parametrize("how", ["worst", "subsample", "inputs", "restarts"])
def test_growing_trains_new_neurons_alone(how):
    model = trained()
    before = nn.predict(model, X)
    old = [model[0].weight.value.copy(), model[4].weight.value.copy(), model[4].bias.value.copy()]
    statistics = model[1].running_mean.copy()
    assert nn.grow(model, 0, 4, X, Y, how=how, epochs=0, progress=False) is model
    np.testing.assert_allclose(nn.predict(model, X), before, rtol=1e-5, atol=1e-6)
    nn.grow(model, 0, 2, X, Y, how=how, epochs=3, restarts=2, progress=False)
    assert model[0].weight.shape == (22, 5)
    assert model[4].weight.shape == (3, 22)
    assert np.array_equal(model[0].weight.value[:16], old[0])
    assert np.array_equal(model[4].weight.value[:, :16], old[1])
    assert np.array_equal(model[4].bias.value, old[2])
    assert np.array_equal(model[1].running_mean[:16], statistics)
    assert model[4].weight.value[:, 20:].all()
    assert not model[4].weight.value[:, 16:20].any()
    if how == "inputs":
        assert ((model[0].weight.value[20:] != 0).sum(axis=1) == 1).all()
    assert nn.evaluate(model, X, Y)["loss"] < kernels.cross_entropy(before, Y)[0][0] + 0.1
    quiet_fit(model, X, Y)


def test_growing_on_a_plateau():
    nn.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 1), nn.Tanh(), nn.Linear(1, 3))
    history = nn.fit_growing(
        model, 0, X, Y, units=3, rounds=2, epochs=30, grow_epochs=5, progress=False,
        optimizer="adam",
    )  # fmt: skip
    assert model[0].out_features == 7
    assert len(history.grown) == 2
    assert history.loss[-1] < min(history.loss[: history.grown[0]])


def test_the_loss_of_each_row():
    model = trained()
    found = nn.sample_losses(model, X, Y)
    assert found.shape == (150,)
    assert found.mean() == pytest.approx(nn.evaluate(model, X, Y)["loss"], rel=1e-5)


BAD = [
    (lambda: nn.prune(net(), 1.0), ValueError, "fraction is 1.0, expected 0 <= fraction < 1"),
    (lambda: nn.prune(net(), 0.999), ValueError, "would leave linear layer . without weights"),
    (lambda: nn.prune(net(), 0.99, of="neurons"), ValueError, "layer 0 without neurons"),
    (lambda: nn.prune(net(), 0.5, by="luck"), ValueError, "unknown by 'luck'"),
    (lambda: nn.prune(net(), 0.5, by="loss"), ValueError, "expected x and y"),
    (lambda: nn.prune(nn.Linear(2, 2), 0.5), TypeError, "model is a Linear, expected a Sequential"),
    (lambda: nn.prune(nn.Sequential(nn.ReLU()), 0.5), ValueError, "has no Linear layers"),
    (lambda: nn.grow(net(), 4, 2, X, Y), ValueError, "grow: layer 4 is the last Linear"),
    (lambda: nn.grow(net(), 1, 2, X, Y), TypeError, "layer 1 is BatchNorm1d"),
    (lambda: nn.grow(net(), 0, 0, X, Y), ValueError, "units is 0"),
    (lambda: nn.grow(net(), 0, 1, X, Y, how="magic"), ValueError, "unknown how 'magic'"),
    (lambda: nn.grow(net(), 0, 1, X, Y, share=2), ValueError, "share is 2, expected 0 < share"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=range(len(BAD)))
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
