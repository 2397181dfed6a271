"""Pre-training, transfer and ensembles: parts of models, and several of them."""

import numpy as np
import pytest

from fonio import nn
from tests.test_training import blobs, net, quiet_fit, weights

X, Y = blobs(150)


def deep():
    nn.manual_seed(2)
    return nn.Sequential(
        nn.Linear(5, 12), nn.BatchNorm1d(12), nn.Tanh(), nn.Linear(12, 6), nn.Sigmoid(),
        nn.Linear(6, 3),
    )  # fmt: skip


@pytest.mark.parametrize("corruption", [0.0, 0.3])
def test_pretraining_trains_the_hidden_layers_as_autoencoders(corruption):
    model = deep()
    head, first = model[5].weight.value.copy(), model[0].weight.value.copy()
    histories = nn.pretrain(
        model, X, corruption=corruption, epochs=12, batch_size=25, progress=False
    )
    assert [history.epochs for history in histories] == [12, 12]
    assert all(history.loss[-1] < 0.9 * history.loss[0] for history in histories)
    assert np.array_equal(model[5].weight.value, head)
    assert not np.array_equal(model[0].weight.value, first)
    quiet_fit(model, X, Y, epochs=20)
    assert nn.evaluate(model, X, Y)["accuracy"] > 0.8


def test_the_second_layer_learns_the_codes_of_the_first():
    model, twin, head = deep(), deep(), nn.Linear(12, 3)
    for each in (model, nn.Sequential(*twin[:3], head)):
        nn.manual_seed(7)  # of the decoder
        nn.pretrain(each, X, epochs=3, progress=False)
    assert weights(model[:3]) == weights(twin[:3])


def test_transfer_keeps_the_body_and_trains_the_head():
    model = net()
    quiet_fit(model, X, Y)
    moved = nn.replace_head(model, 2)
    assert moved[0] is model[0]
    assert moved[4].weight.shape == (2, 16)
    moved[:-1].freeze()
    before = weights(model[:2])
    quiet_fit(moved, X, (Y > 0).astype(int), epochs=20)
    assert weights(moved[:2]) == before
    assert nn.evaluate(moved, X, (Y > 0).astype(int))["accuracy"] > 0.85
    moved.unfreeze()
    quiet_fit(moved, X, (Y > 0).astype(int), epochs=1)
    assert weights(moved[:2]) != before


def test_an_ensembles_answers_are_the_means_of_its_members():
    ensemble = nn.fit_ensemble(net, X, Y, members=3, epochs=3, progress=False)
    each = np.stack([nn.predict_proba(model, X) for model in ensemble])
    assert len({weights(model) for model in ensemble}) == 3
    np.testing.assert_allclose(ensemble.predict_proba(X), each.mean(0), rtol=1e-6)
    geometric = np.exp(np.log(each.astype(np.float64)).mean(0))
    geometric /= geometric.sum(1, keepdims=True)
    np.testing.assert_allclose(ensemble.predict_proba(X, "geometric"), geometric, rtol=2e-5)
    votes = ensemble.predict_proba(X, "vote")
    assert np.array_equal(votes * 3, np.eye(3)[each.argmax(2)].sum(0))
    mean, sd = ensemble.predict(X)
    outputs = np.stack([nn.predict(model, X) for model in ensemble])
    np.testing.assert_allclose(mean, outputs.mean(0), rtol=1e-6)
    np.testing.assert_allclose(sd, outputs.std(0), rtol=1e-6)
    found = ensemble.evaluate(X, Y)
    assert found["accuracy"] == (each.mean(0).argmax(1) == Y).mean()
    picked = each.mean(0)[np.arange(len(Y)), Y]
    assert found["loss"] == pytest.approx(-np.log(picked).mean(), rel=1e-6)


def test_an_ensemble_is_the_same_again_and_bagging_draws_with_replacement():
    one, two = (
        nn.fit_ensemble(net, X, Y, members=2, bagging=True, seed=5, epochs=2, progress=False)
        for _ in range(2)
    )
    assert [weights(model) for model in one] == [weights(model) for model in two]
    share = np.mean([len(np.unique(nn.bootstrap(1000, seed))) for seed in range(20)]) / 1000
    assert share == pytest.approx(1 - np.exp(-1), abs=0.01)


BAD = [
    (lambda: nn.pretrain(nn.Linear(2, 2), X), TypeError, "model is a Linear"),
    (lambda: nn.pretrain(nn.Sequential(nn.Linear(5, 2)), X), ValueError, "1 Linear layers"),
    (lambda: nn.pretrain(deep(), X, corruption=1.0), ValueError, "corruption is 1.0"),
    (lambda: nn.replace_head(nn.Sequential(nn.ReLU()), 3), ValueError, "has no Linear"),
    (lambda: nn.replace_head(net(), 0), ValueError, "out_features is 0"),
    (lambda: nn.Ensemble([]), ValueError, "models is empty"),
    (lambda: nn.Ensemble([net()]).predict_proba(X, "mode"), ValueError, "unknown average 'mode'"),
    (lambda: nn.Ensemble([net()]).evaluate(X, Y[:2]), ValueError, "y has 2 rows"),
    (lambda: nn.fit_ensemble(net(), X, Y), TypeError, "is a Sequential, expected a function"),
    (lambda: nn.fit_ensemble(net, X, Y, members=0), ValueError, "members is 0"),
    (lambda: nn.bootstrap(0), ValueError, "rows is 0"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=range(len(BAD)))
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
