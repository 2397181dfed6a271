"""What MLPClassifier and MLPRegressor refuse, and how they say it."""

import numpy as np
import pytest

from tests.test_estimators import X, Y, Z, classifier, regressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BAD = [
    ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes is"),
    ({"activation": "gellu"}, "unknown activation 'gellu'"),
    ({"activation": ["relu", "tanh"]}, "activation names 2 layers, expected 1"),
    ({"solver": "adamm"}, "solver is 'adamm'"),
    ({"dropout": [0.1, 0.2]}, "dropout has 2 rates, expected 1"),
    ({"dropout": 1.5}, "p is 1.5"),
    ({"max_iter": 0}, "max_iter is 0"),
    ({"alpha": -1}, "alpha is -1"),
    ({"validation_fraction": 1.5}, "validation_fraction is 1.5"),
    ({"dtype": "float16"}, "dtype is 'float16'"),
    ({"batch_size": 0}, "batch_size is 0, expected 'auto'"),
    ({"batch_size": "all"}, "batch_size is 'all', expected 'auto'"),
    ({"tol": -1}, "tol is -1"),
    ({"momentum": 2}, "momentum is 2"),
    ({"loss": "hinge"}, "loss is 'hinge', expected one of"),
    ({"class_weight": {"no": 1}}, "not in class_weight"),
]


@pytest.mark.parametrize(("told", "message"), BAD, ids=range(len(BAD)))
def test_bad_arguments_are_refused(told, message):
    with pytest.raises(ValueError, match=message):
        classifier(**told).fit(X, Y)


BAD_FITS = [
    ({"sample_weight": -np.ones(240)}, "sample_weight has negative numbers"),
    ({"sample_weight": np.ones(3)}, "sample_weight.shape"),
    ({"validation": 0.2}, "validation is a float, expected .X, y."),
    ({"validation": (X, Y + 7)}, "classes not in"),
    ({"validation": (X[:, :2], Y)}, "features"),
]


@pytest.mark.parametrize(("told", "message"), BAD_FITS, ids=range(len(BAD_FITS)))
def test_bad_weights_and_validation_are_refused(told, message):
    with pytest.raises(ValueError, match=message):
        classifier().fit(X, Y, **told)


def test_losses_that_a_regressor_lacks_are_named():
    with pytest.raises(ValueError, match="loss is 'tweedie', expected one of .'squared_error'"):
        regressor(loss="tweedie").fit(X, Z)
