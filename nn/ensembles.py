"""Ensembles: several models, one answer. Breiman 1996 (bagging).

The rule: members are fitted from seeds of their own, so that an ensemble is the same whenever it is
made again, and however many of them are fitted at once.
"""

import numpy as np

from ..kernels import arrays
from . import init
from .inference import predict, predict_proba
from .module import Module
from .training import fit

AVERAGES = ("arithmetic", "geometric", "vote")


class Ensemble:
    """Models whose answers are averaged."""

    def __init__(self, models, histories=()):
        self.models, self.histories = list(models), list(histories)
        if not self.models:
            raise ValueError("Ensemble: models is empty, expected at least one")

    def __len__(self):
        return len(self.models)

    def __iter__(self):
        return iter(self.models)

    def predict(self, x):
        """Return (mean, standard deviation) of the members' outputs, each (N, O)."""
        outputs = np.stack([predict(model, x) for model in self.models])
        return outputs.mean(axis=0), outputs.std(axis=0)

    def predict_proba(self, x, average="arithmetic"):
        """Return class probabilities (N, C).

        average: "arithmetic" or "geometric" mean of the members' probabilities, or "vote", the
        share of members for each class.
        """
        arrays.check_known("Ensemble", average, AVERAGES, "average")
        each = np.stack([predict_proba(model, x) for model in self.models])
        if average == "arithmetic":
            return each.mean(axis=0)
        if average == "vote":
            classes = np.arange(each.shape[2])
            return (each.argmax(axis=2)[..., None] == classes).mean(axis=0, dtype=each.dtype)
        logs = np.log(np.maximum(each, np.finfo(each.dtype).tiny)).mean(axis=0)
        raised = np.exp(logs - logs.max(axis=1, keepdims=True))
        return raised / raised.sum(axis=1, keepdims=True)

    def evaluate(self, x, y, average="arithmetic"):
        """Return {"loss", "accuracy"} on labels y (N,), the loss as cross-entropy."""
        found = self.predict_proba(x, average)
        y = np.asarray(y).reshape(-1)
        if len(y) != len(found):
            raise ValueError(f"Ensemble: y has {len(y)} rows, expected {len(found)} as x has")
        right = found[np.arange(len(y)), y.astype(np.int64)]
        loss = -np.log(np.maximum(right, np.finfo(found.dtype).tiny)).mean()
        return {"loss": float(loss), "accuracy": float((found.argmax(axis=1) == y).mean())}


def bootstrap(rows, seed=0):
    """Return `rows` indices drawn with replacement: about 63 % of the rows, the rest duplicates."""
    arrays.check_integer("bootstrap", "rows", rows, 1)
    return np.random.default_rng(seed).integers(0, rows, rows)


def fit_ensemble(make_model, x, y, members=5, bagging=False, seed=0, threads=None, **options):
    """Fit `members` models made by `make_model()`; return the Ensemble.

    bagging: each on a bootstrap sample of the rows of its own. Member i has initial weights and
    shuffling of seed + i. threads: fit so many at once by fit_many, to the same bits; None: one
    after another by fit. options: those of fit_many, or of fit.
    """
    arrays.check_integer("fit_ensemble", "members", members, 1)
    if isinstance(make_model, Module) or not callable(make_model):
        kind = type(make_model).__name__
        raise TypeError(f"fit_ensemble: make_model is a {kind}, expected a function")
    if threads is not None:
        return _fit_at_once(make_model, x, y, members, bagging, seed, threads, options)
    models, histories = [], []
    for i in range(members):
        init.manual_seed(seed + i)
        model = make_model()
        rows = bootstrap(len(x), seed + i) if bagging else slice(None)
        histories.append(fit(model, x[rows], y[rows], seed=seed + i, **options))
        models.append(model)
    return Ensemble(models, histories)


def _fit_at_once(make_model, x, y, members, bagging, seed, threads, options):
    from .many import fit_many

    models, rows = [], None
    for i in range(members):
        init.manual_seed(seed + i)
        models.append(make_model())
    validation = options.get("validation")
    if bagging and arrays.is_number(validation):
        raise ValueError(
            f"fit_ensemble: validation is {validation}, expected (x, y): with bagging and threads "
            "the held out rows would be those of all members"
        )
    if bagging:
        rows = [bootstrap(len(x), seed + i) for i in range(members)]
    histories = fit_many(models, x, y, seeds=seed, rows=rows, threads=threads, **options)
    return Ensemble(models, histories)
