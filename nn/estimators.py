"""MLPClassifier and MLPRegressor: scikit-learn's estimators, trained by fonio.

Arguments that scikit-learn's own have keep their names and meaning, so that switching is one
import; the others (dropout, batchnorm, an activation for each layer, class_weight, float32, losses,
callbacks, validation data) are what its users asked for. Needs `fonio[sklearn]`.

The rule: what scikit-learn can check it checks; the rest is said by fit of fonio.nn.
"""

import warnings

import numpy as np

from ..kernels import exp, sigmoid, softmax
from .estimator_parts import (
    Watcher,
    activations_of,
    build,
    check_arguments,
    least_loss,
    make_fit_optimizer,
    one_thread_in_a_pool,
    penalties_of,
    rate_schedule,
)
from .extras import needed
from .inference import predict as outputs_of
from .training import fit

with needed("MLPClassifier and MLPRegressor need scikit-learn", "sklearn", "sklearn"):
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
    from sklearn.metrics import r2_score
    from sklearn.preprocessing import LabelBinarizer
    from sklearn.utils import check_random_state, column_or_1d
    from sklearn.utils.class_weight import compute_sample_weight
    from sklearn.utils.multiclass import check_classification_targets, type_of_target
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data


class _Perceptron(BaseEstimator):
    """What both estimators share: fitting, going on, and answers for one row."""

    def _fit(self, X, y, sample_weight, validation, incremental):
        check_arguments(self)
        fresh = not hasattr(self, "model_") or not (self.warm_start or incremental)
        X, y = validate_data(
            self, X, y, multi_output=True, y_numeric=self._numeric, dtype=self._precisions(fresh),
            reset=fresh,
        )  # fmt: skip
        if fresh:
            self._precision = X.dtype
        targets, weights = self._targets(y, fresh, incremental), None
        if sample_weight is not None:
            weights = _check_sample_weight(sample_weight, X, dtype=X.dtype)
            if (weights < 0).any():
                name = type(self).__name__
                raise ValueError(
                    f"{name}: sample_weight has negative numbers, expected sample_weight >= 0"
                )
        if getattr(self, "class_weight", None) is not None:
            balance = compute_sample_weight(self.class_weight, y)
            weights = balance if weights is None else weights * balance
        if fresh:
            self._begin(X, targets)
        given = None
        if self.early_stopping and validation is None and not incremental:
            X, targets, weights, validation = self._hold_out(X, y, targets, weights)
        elif validation is not None:
            validation = self._checked_validation(validation)
            given = validation[0], self._targets(validation[1], False, False)
        self._train(X, targets, weights, validation, given, incremental)
        return self

    def _begin(self, X, targets):
        """Draw initial weights, and forget an earlier fit."""
        random_state = check_random_state(self.random_state)
        self._seed = int(random_state.randint(2**31 - 1))
        self.n_outputs_ = 1 if targets.ndim == 1 else targets.shape[1]
        if self._loss_name == "cross_entropy":
            self.n_outputs_ = len(self.classes_)
        self.model_ = build(self, X.shape[1], self.n_outputs_, self._seed)
        self.n_layers_ = len(activations_of(self)) + 2
        self.out_activation_ = self._out_activation
        self.loss_curve_, self.validation_scores_ = [], [] if self.early_stopping else None
        self.n_iter_ = self.t_ = 0
        self.best_loss_ = np.inf
        self._optimizer = None
        self.__dict__.pop("_handle", None)

    def _train(self, X, targets, weights, validation, given, incremental):
        """Run fonio's fit with what the arguments mean.

        validation: X, y to score; given: those of the user as targets, for callbacks to watch.
        """
        rows = len(X)
        batch = min(200, rows) if self.batch_size == "auto" else min(self.batch_size, rows)
        optimizer = self._optimizer
        if optimizer is None or not optimizer.at_home(self.model_.parameters()):
            weight = 1.0 if weights is None else float(weights.mean())
            optimizer = self._optimizer = make_fit_optimizer(self, batch * weight)
        penalties = penalties_of(self, rows if weights is None else float(weights.sum()))
        watcher = Watcher(self, validation, incremental, least_loss(self, targets, weights))
        epochs = 1 if incremental or self.solver == "lbfgs" else self.max_iter
        with one_thread_in_a_pool():
            history = fit(
                self.model_, X, targets, epochs=epochs, batch_size=batch, optimizer=optimizer,
                loss=self.loss if callable(self.loss) else self._loss_name, sample_weight=weights,
                schedule=rate_schedule(self, rows), shuffle=self.shuffle, seed=self._seed,
                callbacks=[*penalties, watcher, *self.callbacks], progress=self.progress,
                validation=given if self.callbacks else None,
            )  # fmt: skip
        self.__dict__.pop("_handle", None)
        self.loss_ = self.loss_curve_[-1] if self.loss_curve_ else np.inf
        if self.solver == "lbfgs":
            self.n_iter_ = int(optimizer.count[0])
            watcher.converged = self.n_iter_ < self.max_iter
        if not (incremental or watcher.converged or history.interrupted):
            warnings.warn(
                f"{type(self).__name__}: {self.max_iter} iterations were not enough to converge, "
                "raise max_iter",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _hold_out(self, X, y, targets, weights):
        from sklearn.model_selection import train_test_split

        stratify = y if self._stratified(y) else None
        rows = np.arange(len(X))
        kept, held = train_test_split(
            rows, test_size=self.validation_fraction, random_state=self._seed, stratify=stratify
        )
        part = None if weights is None else weights[kept]
        return X[kept], targets[kept], part, (X[held], y[held])

    def _checked_validation(self, validation):
        if not isinstance(validation, tuple | list) or len(validation) != 2:
            kind = type(validation).__name__
            raise ValueError(f"{type(self).__name__}: validation is a {kind}, expected (X, y)")
        if self.validation_scores_ is None:
            self.validation_scores_ = []
        X, y = validation
        return validate_data(
            self, X, y, multi_output=True, y_numeric=self._numeric, dtype=self._precision,
            reset=False,
        )  # fmt: skip

    def _precisions(self, fresh):
        """The dtypes that X may keep: that asked for, or its own."""
        if not fresh:
            return self._precision
        return (np.float64, np.float32) if self.dtype is None else np.dtype(self.dtype)

    def _outputs(self, X):
        """Return the model's outputs (N, O); quickly where X is one row of plain numbers."""
        one = self._one_row(X)
        if one is not None:
            return one
        check_is_fitted(self, "model_")
        X = validate_data(self, X, dtype=self._precision, reset=False)
        with one_thread_in_a_pool():
            return outputs_of(self.model_, X)

    def _one_row(self, X):
        """Answer for a (1, features) array without scikit-learn's checks, which cost 100 us."""
        handle = self.__dict__.get("_handle")
        if handle is None:
            if type(X) is not np.ndarray or not hasattr(self, "model_") or len(X) != 1:
                return None
            from .compiled import compile as compile_net

            if not hasattr(self, "feature_names_in_"):
                self._handle = compile_net(self.model_)
            return None
        if type(X) is not np.ndarray or X.shape != handle.x.shape or X.dtype.kind != "f":
            return None
        found = handle.answer(X)
        return found if np.isfinite(X.sum()) else None

    def __getstate__(self):
        state = dict(super().__getstate__())
        state.pop("_handle", None)
        return state

    @property
    def coefs_(self):
        """Weights of each layer, (in, out) as scikit-learn's."""
        return [layer.weight.value.T.copy() for layer in self._linears()]

    @property
    def intercepts_(self):
        """Biases of each layer."""
        return [layer.bias.value.copy() for layer in self._linears()]

    def _linears(self):
        from .layers import Linear

        if not hasattr(self, "model_"):
            raise AttributeError(f"{type(self).__name__} is not fitted yet")
        return [layer for layer in self.model_ if isinstance(layer, Linear)]


class MLPClassifier(ClassifierMixin, _Perceptron):
    """A multilayer perceptron for classes: scikit-learn's arguments, and more.

    Those that scikit-learn lacks: dropout (a rate, or one for each hidden layer), batchnorm,
    activation also a list with a name of fonio.kernels.ACTIVATIONS for each hidden layer,
    class_weight ("balanced" or {label: weight}), dtype (None: X's own; float32 is faster), loss (a
    function (output, target) -> loss, doutput; its targets are indicators (N, C), of two classes
    (N, 1)), callbacks (of nn.fit), progress. `fit` takes sample_weight, and validation=(X, y): for
    early stopping, for callbacks, and to be scored after each epoch (`validation_scores_`). One
    label a sample, or multi-label indicators (N, L).
    """

    _numeric = False
    _losses = (None,)

    def __init__(
        self, hidden_layer_sizes=(100,), activation="relu", *, solver="adam", alpha=0.0001,
        batch_size="auto", learning_rate="constant", learning_rate_init=0.001, power_t=0.5,
        max_iter=200, shuffle=True, random_state=None, tol=1e-4, verbose=False, warm_start=False,
        momentum=0.9, nesterovs_momentum=True, early_stopping=False, validation_fraction=0.1,
        beta_1=0.9, beta_2=0.999, epsilon=1e-8, n_iter_no_change=10, max_fun=15000, dropout=0.0,
        batchnorm=False, class_weight=None, dtype=None, loss=None, callbacks=(),
        progress=False,
    ):  # fmt: skip
        self.__dict__.update({name: value for name, value in locals().items() if name != "self"})

    def fit(self, X, y, sample_weight=None, validation=None):
        """Fit to X (N, features) and labels y (N,), or indicators (N, L); return self."""
        return self._fit(X, y, sample_weight, validation, incremental=False)

    def partial_fit(self, X, y, sample_weight=None, classes=None):
        """Train for one epoch more; the first call names all classes unless y holds them."""
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        if not hasattr(self, "classes_") and classes is not None:
            self._binarizer = LabelBinarizer().fit(
                classes if type_of_target(y).startswith("multilabel") else np.unique(classes)
            )
        return self._fit(X, y, sample_weight, None, incremental=True)

    @property
    def _loss_name(self):
        several = len(self.classes_) > 2 and not self._multilabel
        return "cross_entropy" if several else "bce_with_logits"

    @property
    def _out_activation(self):
        return "softmax" if self._loss_name == "cross_entropy" else "logistic"

    @property
    def _multilabel(self):
        return self._binarizer.y_type_.startswith("multilabel")

    @property
    def classes_(self):
        """The labels, in order."""
        if "_binarizer" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__} is not fitted yet")
        return self._binarizer.classes_

    def _stratified(self, y):
        return y.ndim == 1

    def _targets(self, y, fresh, incremental):
        if y.ndim == 2 and y.shape[1] == 1:
            warnings.warn(
                "A column-vector y was passed when a 1d array was expected. Please change the "
                "shape of y to (n_samples,), for example using ravel().",
                DataConversionWarning,
                stacklevel=5,
            )
            y = column_or_1d(y)
        check_classification_targets(y)
        named_before = incremental and not hasattr(self, "model_") and hasattr(self, "classes_")
        if fresh and not named_before:
            self._binarizer = LabelBinarizer().fit(y)
        else:
            unknown = np.setdiff1d(np.unique(y), self.classes_) if not self._multilabel else ()
            if len(unknown):
                raise ValueError(f"`y` has classes not in `self.classes_`: {list(unknown)}")
        if self._loss_name == "cross_entropy" and not callable(self.loss):
            return np.searchsorted(self.classes_, y)
        made = self._binarizer.transform(y).astype(self._precision)
        return made if made.ndim == 2 else made[:, None]

    def _labels(self, outputs):
        if self._loss_name == "cross_entropy":
            return self.classes_[outputs.argmax(axis=1)]
        if self._multilabel:
            return (outputs > 0).astype(int)
        chosen = (outputs[:, 0] > 0).astype(int)
        return self.classes_[np.minimum(chosen, len(self.classes_) - 1)]

    def _score_of(self, outputs, y):
        """The share of rows whose labels are all right."""
        right = self._labels(outputs) == y
        return float((right.all(axis=1) if right.ndim == 2 else right).mean())

    def predict(self, X):
        """Return the labels of X (N, features)."""
        return self._labels(self._outputs(X))

    def predict_proba(self, X):
        """Return the probability of each class (N, C), or of each label where there are several."""
        outputs = self._outputs(X)
        if self._loss_name == "cross_entropy":
            return softmax(np.array(outputs))
        found = sigmoid(np.array(outputs))
        if self._multilabel:
            return found
        return np.hstack([1 - found, found])[:, : max(len(self.classes_), 1)]

    def predict_log_proba(self, X):
        """Return the logarithms of predict_proba."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, _Perceptron):
    """A multilayer perceptron for numbers: scikit-learn's arguments, and more.

    loss: "squared_error", "poisson" (of counts; the answer is e to the net's output), a loss of
    nn.fit by name ("l1", "huber", "smooth_l1"), or a function (output, target) -> loss, doutput.
    The others as MLPClassifier's. y (N,) or (N, outputs).
    """

    _numeric = True
    _losses = ("squared_error", "poisson", "l1", "smooth_l1", "huber")

    def __init__(
        self, loss="squared_error", hidden_layer_sizes=(100,), activation="relu", *, solver="adam",
        alpha=0.0001, batch_size="auto", learning_rate="constant", learning_rate_init=0.001,
        power_t=0.5, max_iter=200, shuffle=True, random_state=None, tol=1e-4, verbose=False,
        warm_start=False, momentum=0.9, nesterovs_momentum=True, early_stopping=False,
        validation_fraction=0.1, beta_1=0.9, beta_2=0.999, epsilon=1e-8, n_iter_no_change=10,
        max_fun=15000, dropout=0.0, batchnorm=False, dtype=None, callbacks=(),
        progress=False,
    ):  # fmt: skip
        self.__dict__.update({name: value for name, value in locals().items() if name != "self"})

    def fit(self, X, y, sample_weight=None, validation=None):
        """Fit to X (N, features) and y (N,) or (N, outputs); return self."""
        return self._fit(X, y, sample_weight, validation, incremental=False)

    def partial_fit(self, X, y, sample_weight=None):
        """Train for one epoch more."""
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        return self._fit(X, y, sample_weight, None, incremental=True)

    @property
    def _loss_name(self):
        theirs = {"squared_error": "mse", "poisson": "poisson_nll"}
        return self.loss if callable(self.loss) else theirs.get(self.loss, self.loss)

    @property
    def _out_activation(self):
        return "exp" if self.loss == "poisson" else "identity"

    def _stratified(self, y):
        return False

    def _targets(self, y, fresh, incremental):
        if y.ndim == 2 and y.shape[1] == 1:
            warnings.warn(
                "A column-vector y was passed when a 1d array was expected. Please change the "
                "shape of y to (n_samples,), for example using ravel().",
                DataConversionWarning,
                stacklevel=5,
            )
        if self.loss == "poisson" and (y < 0).any():
            raise ValueError("MLPRegressor: y has negative numbers, expected y >= 0 under poisson")
        if fresh:
            self._flat = y.ndim == 1 or y.shape[1] == 1
        return np.asarray(y, self._precision).reshape(len(y), -1)

    def _score_of(self, outputs, y):
        return r2_score(y, self._answers(outputs))

    def predict(self, X):
        """Return the numbers for X (N, features): (N,) or (N, outputs)."""
        return self._answers(self._outputs(X))

    def _answers(self, outputs):
        outputs = exp(outputs) if self.loss == "poisson" else outputs
        return outputs[:, 0].copy() if self._flat else outputs
