"""MLPClassifier and MLPRegressor: scikit-learn's own checks, its meaning, and what it lacks."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from sklearn import neural_network as theirs
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import check_estimator

from fonio import kernels, nn
from tests.test_training import blobs

X, Y = blobs(240)
Z = np.sin(X[:, :2]) + 0.1 * X[:, 2:4]

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def classifier(**more):
    told = {"hidden_layer_sizes": (16,), "max_iter": 60, "learning_rate_init": 0.01, **more}
    return nn.MLPClassifier(random_state=0, **told)


def regressor(**more):
    return nn.MLPRegressor(
        hidden_layer_sizes=(16,), random_state=0,
        **{"max_iter": 100, "learning_rate_init": 0.01, **more},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("make", [nn.MLPClassifier, nn.MLPRegressor])
def test_scikit_learns_own_checks_pass(make):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = check_estimator(make(max_iter=60), on_fail=None)
    failed = [result["check_name"] for result in found if result["status"] == "failed"]
    assert failed == []
    assert sum(result["status"] == "passed" for result in found) > 50


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs", "adamw", "rmsprop", "nadam", "radam"])
def test_solvers_learn_classes_and_numbers(solver):
    more = {"solver": solver, "learning_rate_init": 0.02}
    assert classifier(**more).fit(X, Y).score(X, Y) > 0.95
    assert regressor(**more).fit(X, Z).score(X, Z) > 0.6


TASKS = {"classes": Y, "two": Y > 0, "labels": np.eye(3, dtype=int)[Y], "numbers": Z}
TASKS["counts"] = np.round(np.exp(Z))


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("task", TASKS)
def test_epochs_are_those_of_scikit_learn(solver, task):
    """From equal weights and without shuffling, coefficients and losses agree."""
    x, y = X.astype(np.float64), TASKS[task]
    name = "MLPRegressor" if task in ("numbers", "counts") else "MLPClassifier"
    told = {
        "hidden_layer_sizes": (7,), "solver": solver, "alpha": 0.3, "batch_size": 60,
        "shuffle": False, "max_iter": 1, "random_state": 0, "epsilon": 1e-14, "momentum": 0.8,
        "learning_rate_init": 0.01, "nesterovs_momentum": False, "warm_start": True,
        **({"loss": "poisson"} if task == "counts" else {}),
    }  # fmt: skip
    ours, other = getattr(nn, name)(**told), getattr(theirs, name)(**told)
    other.fit(x, y)
    ours.set_params(learning_rate_init=0.0).fit(x, y)
    ours.set_params(learning_rate_init=0.01)
    for layer, w, b in zip(ours._linears(), other.coefs_, other.intercepts_, strict=True):
        layer.weight.value, layer.bias.value = w.T, b
    ours._optimizer = None  # as theirs does, begin each fit at rest
    ours.set_params(max_iter=3).fit(x, y)
    other.set_params(max_iter=3).fit(x, y)
    for w, v in zip(ours.coefs_ + ours.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        np.testing.assert_allclose(w, v, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(ours.loss_curve_[-3:], other.loss_curve_[-3:], rtol=0.02)


def test_one_column_of_the_answer_for_two_classes():
    y = np.array(["no", "yes"])[(Y > 0).astype(int)]
    model = classifier().fit(X, y)
    assert model.out_activation_ == "logistic"
    assert model.coefs_[-1].shape == (16, 1)
    found = model.predict_proba(X)
    assert found.shape == (240, 2)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
    assert (model.predict(X) == model.classes_[found.argmax(1)]).all()
    assert model.score(X, y) > 0.95
    assert list(model.classes_) == ["no", "yes"]


def test_several_labels_a_sample_and_several_numbers():
    y = np.stack([Y > 0, X[:, 0] > 0, Y == 1], axis=1).astype(int)
    model = classifier(max_iter=200).fit(X, y)
    assert model.predict(X).shape == y.shape
    assert model.score(X, y) > 0.8
    assert model.predict_proba(X).shape == y.shape
    assert regressor().fit(X, Z).predict(X).shape == Z.shape
    assert regressor().fit(X, Z[:, 0]).predict(X).shape == (240,)


def test_attributes_are_scikit_learns():
    told = {"hidden_layer_sizes": (16, 8), "max_iter": 12, "random_state": 0}
    ours, other = nn.MLPClassifier(**told).fit(X, Y), theirs.MLPClassifier(**told).fit(X, Y)
    assert [w.shape for w in ours.coefs_] == [w.shape for w in other.coefs_]
    assert [b.shape for b in ours.intercepts_] == [b.shape for b in other.intercepts_]
    for name in ("n_iter_", "n_layers_", "n_outputs_", "out_activation_", "t_", "n_features_in_"):
        assert getattr(ours, name) == getattr(other, name), name
    assert len(ours.loss_curve_) == 12
    assert ours.loss_ == ours.loss_curve_[-1]
    assert ours.loss_curve_[0] == pytest.approx(other.loss_curve_[0], rel=0.5)
    bound = np.sqrt(6 / (5 + 16))
    start = nn.MLPClassifier(**{**told, "learning_rate_init": 1e-30, "max_iter": 1}).fit(X, Y)
    assert 0.8 * bound < np.abs(start.coefs_[0]).max() <= bound


@pytest.mark.parametrize("activation", ["relu", "logistic"])
@pytest.mark.parametrize("y", [Y, Y > 0], ids=["three", "two"])
def test_initial_weights_have_scikit_learns_bounds(activation, y):
    told = {"hidden_layer_sizes": (80,), "max_iter": 1, "random_state": 0, "solver": "sgd"}
    told |= {"activation": activation, "learning_rate_init": 1e-30}
    ours, other = nn.MLPClassifier(**told).fit(X, y), theirs.MLPClassifier(**told).fit(X, y)
    for a, b in zip(ours.coefs_, other.coefs_, strict=True):
        assert np.abs(a).max() == pytest.approx(np.abs(b).max(), rel=0.1)


def test_ends_when_the_loss_stands_still():
    model = classifier(max_iter=2000, tol=1e-3, n_iter_no_change=5).fit(X, Y)
    assert model.n_iter_ < 2000
    with pytest.warns(ConvergenceWarning, match="2 iterations were not enough"):
        classifier(max_iter=2).fit(X, Y)


def test_early_stopping_keeps_the_best_weights():
    noise = np.random.default_rng(0).permutation(Y)
    model = classifier(early_stopping=True, max_iter=300, learning_rate_init=0.05).fit(X, noise)
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert model.n_iter_ < 300
    held = X[:60], Y[:60]
    model = classifier(early_stopping=True).fit(X[60:], Y[60:], validation=held)
    assert model.score(*held) == pytest.approx(model.best_validation_score_)


def test_what_scikit_learn_lacks():
    seen = []
    model = classifier(
        hidden_layer_sizes=(16, 8), activation=["gelu", "tanh"], dropout=[0.1, 0], batchnorm=True,
        class_weight="balanced", dtype="float32", callbacks=[lambda model, history: seen.append(1)],
    )  # fmt: skip
    model.fit(X.astype(np.float64), Y, sample_weight=np.ones(240))
    names = [type(layer).__name__ for layer in model.model_]
    assert names == [
        "Linear", "BatchNorm1d", "GELU", "Dropout", "Linear", "BatchNorm1d", "Tanh", "Linear",
    ]  # fmt: skip
    assert model.model_.dtype == np.float32
    assert len(seen) == 60
    assert model.score(X, Y) > 0.95


def test_class_weights_are_sample_weights():
    told = {"shuffle": False, "max_iter": 5}
    weighted = classifier(class_weight={0: 3.0, 1: 1.0, 2: 0.5}, **told).fit(X, Y)
    sampled = classifier(**told).fit(X, Y, sample_weight=np.array([3.0, 1.0, 0.5])[Y])
    assert all((a == b).all() for a, b in zip(weighted.coefs_, sampled.coefs_, strict=True))


def test_a_loss_of_ones_own():
    def asymmetric(output, target):
        loss, slope = kernels.mse(output, target)
        return loss, slope

    assert regressor(loss=asymmetric).fit(X, Z).score(X, Z) > 0.7
    assert regressor(loss="huber").fit(X, Z).score(X, Z) > 0.7
    own = classifier(loss=lambda output, target: kernels.cross_entropy(output, target)).fit(X, Y)
    for a, b in zip(own.coefs_, classifier().fit(X, Y).coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)  # targets are indicators
    two = classifier(loss=lambda output, target: kernels.bce_with_logits(output, target))
    assert two.fit(X, Y > 0).score(X, Y > 0) > 0.95
    with pytest.raises(ValueError, match="sample_weight is given, and the loss is a function"):
        two.fit(X, Y > 0, sample_weight=np.ones(240))


def test_validation_data_are_scored_and_watched():
    held = X[:60], Y[:60]
    model = classifier(max_iter=5).fit(X[60:], Y[60:], validation=held)
    assert len(model.validation_scores_) == 5
    assert model.validation_scores_[-1] == model.score(*held)
    watched = nn.EarlyStopping(patience=3)
    model = classifier(max_iter=500, tol=0, learning_rate_init=0.05, callbacks=[watched])
    noise = np.random.default_rng(0).permutation(Y)
    model.fit(X[60:], noise[60:], validation=(X[:60], noise[:60]))
    assert watched.stopped
    twin = pickle.loads(pickle.dumps(model))
    assert (twin.predict(X) == model.predict(X)).all()


def test_counts_are_answered_by_their_rate():
    counts = np.random.default_rng(0).poisson(np.exp(1 + 0.5 * X[:, 0]))
    model = regressor(loss="poisson").fit(X, counts)
    assert model.out_activation_ == "exp"
    found = model.predict(X)
    assert (found > 0).all()
    np.testing.assert_allclose(model.predict(X[:1]), found[:1], rtol=1e-6)
    assert np.corrcoef(found, np.exp(0.5 * X[:, 0]))[0, 1] > 0.9
    with pytest.raises(ValueError, match="y has negative numbers, expected y >= 0 under poisson"):
        model.fit(X, -counts)


def test_partial_fit_and_warm_start_go_on():
    model = classifier()
    model.partial_fit(X[:50], Y[:50], classes=[0, 1, 2])
    for _ in range(30):
        model.partial_fit(X, Y)
    assert model.n_iter_ == 31
    assert model.score(X, Y) > 0.9
    with pytest.raises(ValueError, match="classes not in"):
        model.partial_fit(X, Y + 5)
    warm = classifier(warm_start=True, max_iter=10).fit(X, Y)
    first = warm.loss_
    assert warm.fit(X, Y).loss_ < first
    cold = classifier(max_iter=10).fit(X, Y)
    assert cold.fit(X, Y).loss_ == cold.loss_ == pytest.approx(first)


def test_seeds_repeat():
    one, two = classifier().fit(X, Y), classifier().fit(X, Y)
    assert all((a == b).all() for a, b in zip(one.coefs_, two.coefs_, strict=True))
    other = clone(one).set_params(random_state=1).fit(X, Y)
    assert not (one.coefs_[0] == other.coefs_[0]).all()


def test_pickles_clones_and_copies():
    model = classifier().fit(X, Y)
    model.predict(X[:1])
    model.predict(X[:1])
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert (twin.predict_proba(X) == model.predict_proba(X)).all()
        twin.partial_fit(X, Y)
    assert not hasattr(clone(model), "model_")


def test_one_row_is_answered_as_among_many():
    model = classifier().fit(X, Y)
    whole = model.predict_proba(X)
    for row in range(5):
        assert (model.predict_proba(X[row : row + 1]) == whole[row]).all()
        assert model.predict(X[row : row + 1]) == whole[row].argmax()
    for bad in (np.nan, np.inf):
        x = X[:1].copy()
        x[0, 2] = bad
        with pytest.raises(ValueError, match="NaN|infinity"):
            model.predict(x)
    with pytest.raises(ValueError, match="features"):
        model.predict(X[:1, :3])
    assert model.fit(X, (Y + 1) % 3).predict(X[:1]) == (Y[0] + 1) % 3  # the handle is the new one's
