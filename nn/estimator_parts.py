"""What the arguments of the estimators mean in terms of fonio.nn.

scikit-learn's losses sum over outputs, and halve squares; ours are means over all elements. The
rule: rates and penalties are scaled so that steps are the same, and losses are shown as theirs.
"""

import contextlib
import numbers
import threading

import numpy as np

from .. import kernels
from ..kernels import arrays
from ..kernels.team import at_most_threads
from . import activations, init
from .adaptive import Adam, AdamW, NAdam, RAdam, RMSprop
from .callbacks import Callback, restore, snapshot
from .dropouts import Dropout
from .inference import predict
from .layers import Linear
from .lbfgs import LBFGS
from .normalization import BatchNorm1d
from .optimizers import SGD
from .penalties import L2
from .schedules import LambdaLR
from .sequential import Sequential

NAMES = {"identity": None, "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
LEAST_RATE = 1e-6
KNOWN = {
    "solver": ("adam", "adamw", "sgd", "lbfgs", "rmsprop", "nadam", "radam"),
    "learning_rate": ("constant", "invscaling", "adaptive"),
    "dtype": (None, "float32", "float64", np.float32, np.float64),
}


def one_thread_in_a_pool():
    """Hold a fit to one thread where it runs in one of a pool's: the pool has taken the cores."""
    alone = threading.current_thread() is threading.main_thread()
    return contextlib.nullcontext() if alone else at_most_threads(1)


def activations_of(estimator):
    """Return the name of each hidden layer's activation, as fonio.kernels calls it, or None."""
    sizes, name = np.atleast_1d(estimator.hidden_layer_sizes), type(estimator).__name__
    if any(not isinstance(size, int | np.integer) or size < 1 for size in sizes.tolist()):
        raise ValueError(
            f"{name}: hidden_layer_sizes is {estimator.hidden_layer_sizes}, expected integers >= 1"
        )
    given = estimator.activation
    given = [given] * len(sizes) if given is None or isinstance(given, str) else list(given)
    if len(given) != len(sizes):
        raise ValueError(
            f"{name}: activation names {len(given)} layers, expected {len(sizes)} hidden ones"
        )
    for one in given:
        arrays.check_known(name, one, {**NAMES, **kernels.ACTIVATIONS}, "activation")
    return [NAMES.get(one, one) for one in given]


def check_arguments(estimator):
    """Refuse arguments of an estimator that mean nothing, before anything is fitted."""
    name = type(estimator).__name__
    for argument in ("max_iter", "n_iter_no_change"):
        value = getattr(estimator, argument)
        if not isinstance(value, numbers.Integral) or value < 1:
            raise ValueError(f"{name}: {argument} is {value!r}, expected an integer >= 1")
    for argument, known in KNOWN.items():
        if getattr(estimator, argument) not in known:
            raise ValueError(
                f"{name}: {argument} is {getattr(estimator, argument)!r}, expected one of "
                f"{list(known)}"
            )
    if not 0 < estimator.validation_fraction < 1:
        raise ValueError(
            f"{name}: validation_fraction is {estimator.validation_fraction}, expected "
            "0 < validation_fraction < 1"
        )
    for argument in ("alpha", "tol"):
        value = getattr(estimator, argument)
        if value < 0:
            raise ValueError(f"{name}: {argument} is {value}, expected {argument} >= 0")
    if not 0 <= estimator.momentum <= 1:
        raise ValueError(f"{name}: momentum is {estimator.momentum}, expected 0 <= momentum <= 1")
    size = estimator.batch_size
    if size != "auto" and (not isinstance(size, numbers.Integral) or size < 1):
        raise ValueError(f"{name}: batch_size is {size!r}, expected 'auto' or an integer >= 1")
    if not (callable(estimator.loss) or estimator.loss in estimator._losses):
        raise ValueError(
            f"{name}: loss is {estimator.loss!r}, expected one of {list(estimator._losses)} or a "
            "function (output, target) -> loss, doutput"
        )


def _modules():
    """Return {operation: class} of the activations."""
    found = {}
    for value in vars(activations).values():
        if isinstance(value, type) and issubclass(value, activations.Activation):
            found.setdefault(value.operation, value)
    gelu = {"gelu": activations.GELU, "gelu_tanh": lambda: activations.GELU("tanh")}
    return found | gelu


def build(estimator, inputs, outputs, seed):
    """Return the model of an estimator, its weights drawn as scikit-learn draws them."""
    names = activations_of(estimator)
    sizes = [int(size) for size in np.atleast_1d(estimator.hidden_layer_sizes)]
    dropout = estimator.dropout
    rates = [dropout] * len(sizes) if np.ndim(dropout) == 0 else list(dropout)
    if len(rates) != len(sizes):
        raise ValueError(
            f"{type(estimator).__name__}: dropout has {len(rates)} rates, expected {len(sizes)}"
        )
    dtype, classes = estimator._precision, _modules()
    rng = np.random.default_rng(seed)
    layers, before = [], inputs
    for size, name, rate in zip(sizes, names, rates, strict=True):
        layers.append(_linear(before, size, name, dtype, rng))
        layers += [BatchNorm1d(size, dtype=dtype)] if estimator.batchnorm else []
        if name is not None:
            layers.append(classes[name]())
        layers += [Dropout(rate)] if rate else []
        before = size
    last = names[-1] if names else None  # theirs goes by the hidden layers here too
    return Sequential(*layers, _linear(before, outputs, last, dtype, rng))


def _linear(inputs, outputs, activation, dtype, rng):
    """Glorot and Bengio 2010, biases too; the bound is smaller before a sigmoid."""
    layer = Linear(inputs, outputs, dtype=dtype)
    bound = np.sqrt((2.0 if activation == "sigmoid" else 6.0) / (inputs + outputs))
    for parameter in layer.parameters():
        init.uniform(parameter, -bound, bound, rng)
    return layer


def _sum_over_mean(estimator):
    """How many times the gradient of our loss scikit-learn's is."""
    if estimator._loss_name == "mse":
        return estimator.n_outputs_ / 2
    return 1.0 if estimator._loss_name == "cross_entropy" else float(estimator.n_outputs_)


def shown_loss(estimator, loss):
    """Return the loss as scikit-learn tells it."""
    each = estimator.n_outputs_
    times = {"mse": 0.5, "bce_with_logits": each, "poisson_nll": each}
    return loss * times.get(estimator._loss_name, 1.0)


def least_loss(estimator, targets, weights):
    """Return what scikit-learn's loss has over ours: that of Poisson is 0 where all is right."""
    if estimator._loss_name != "poisson_nll":
        return 0.0
    y = targets.astype(np.float64)
    return float(np.average(y * np.log(np.where(y > 0, y, 1)) - y, 0, weights).sum())


def make_fit_optimizer(estimator, batch_weight):
    """Return the optimizer of an estimator: alpha decays weights, not biases."""
    weights = [layer.weight for layer in estimator.model_ if isinstance(layer, Linear)]
    known = {id(weight) for weight in weights}
    others = [p for p in estimator.model_.parameters() if id(p) not in known]
    times, lr = _sum_over_mean(estimator), estimator.learning_rate_init
    decay = estimator.alpha / batch_weight / times
    groups = [{"params": weights, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    betas = (estimator.beta_1, estimator.beta_2)
    if estimator.solver == "lbfgs":
        return LBFGS(
            estimator.model_.parameters(), max_iter=estimator.max_iter,
            max_eval=estimator.max_fun, tolerance_grad=estimator.tol, history_size=10,
            tolerance_change=2.2e-9, line_search_fn="strong_wolfe",
        )  # fmt: skip
    if estimator.solver == "sgd":
        nesterov = bool(estimator.nesterovs_momentum and estimator.momentum > 0)
        return SGD(groups, lr * times, momentum=estimator.momentum, nesterov=nesterov)
    if estimator.solver == "rmsprop":
        return RMSprop(groups, lr, eps=estimator.epsilon)
    made = {"adam": Adam, "adamw": AdamW, "nadam": NAdam, "radam": RAdam}[estimator.solver]
    if made is AdamW:  # its decay is apart from the gradient: alpha itself
        groups[0]["weight_decay"] = estimator.alpha
    return made(groups, lr, betas=betas, eps=estimator.epsilon)


def penalties_of(estimator, weight):
    """Return the callbacks that add alpha's penalty where the optimizer does not."""
    if estimator.solver != "lbfgs" or estimator.alpha == 0:
        return []
    layers = [layer for layer in estimator.model_ if isinstance(layer, Linear)]
    strength = estimator.alpha / weight / _sum_over_mean(estimator)
    return [L2(strength, layers=[layer.weight for layer in layers])]


def rate_schedule(estimator, rows):
    """Return the schedule of "invscaling", or None: "adaptive" is the watcher's."""
    if estimator.solver != "sgd" or estimator.learning_rate != "invscaling":
        return None
    before, power = estimator.t_, estimator.power_t
    return LambdaLR(lambda epoch: 1.0 / (before + epoch * rows + 1) ** power)


class Watcher(Callback):
    """Keeps an estimator's curves, and ends its fit when they stand still."""

    def __init__(self, estimator, validation, incremental, least=0.0):
        self.estimator, self.validation, self.incremental = estimator, validation, incremental
        self.least = least
        self.still, self.converged, self.best = 0, False, None
        self.best_score = -np.inf

    def end_epoch(self, fit):
        estimator = self.estimator
        loss = shown_loss(estimator, fit.history.loss[-1]) + self._penalty(fit) + self.least
        estimator.loss_curve_.append(loss)
        estimator.n_iter_ += 1
        estimator.t_ += fit.rows
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {loss:.8f}")
        if self.validation is not None:
            score = self._score()
        if estimator.early_stopping and self.validation is not None:
            self._watch(score)
        else:
            self.still = self.still + 1 if loss > estimator.best_loss_ - estimator.tol else 0
        estimator.best_loss_ = min(loss, estimator.best_loss_)
        return self._is_over(fit.optimizer)

    def _penalty(self, fit):
        weights = [layer.weight.value for layer in fit.model if isinstance(layer, Linear)]
        total = sum(float((w.astype(np.float64) ** 2).sum()) for w in weights)
        return 0.5 * self.estimator.alpha * total / fit.batch_size

    def _score(self):
        """Add the score of the validation data to the estimator's, and return it."""
        estimator = self.estimator
        X, y = self.validation
        score = estimator._score_of(predict(estimator.model_, X), y)
        estimator.validation_scores_.append(score)
        if estimator.verbose:
            print(f"Validation score: {score:f}")
        return score

    def _watch(self, score):
        """Count the epochs that were no better, and keep the best weights."""
        estimator = self.estimator
        self.still = self.still + 1 if score < self.best_score + estimator.tol else 0
        if score > self.best_score:
            self.best_score = estimator.best_validation_score_ = score
            self.best = snapshot(estimator.model_)

    def _is_over(self, optimizer):
        estimator = self.estimator
        if self.incremental or self.still <= estimator.n_iter_no_change:
            return False
        adaptive = estimator.solver == "sgd" and estimator.learning_rate == "adaptive"
        if adaptive and optimizer.lr > LEAST_RATE:
            optimizer.lr = optimizer.lr / 5.0
            self.still = 0
            return False
        self.converged = True
        return True

    def end(self, fit):
        if self.best is not None:
            restore(fit.model, self.best)
