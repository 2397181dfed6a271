"""MLPClassifier as cases, beside scikit-learn's own with the same arguments; and a model's file.

The rule: of a fit the share of wrong answers is checked, of a prediction the labels by NumPy.
"""

import shutil
import tempfile
import warnings
import weakref
from functools import partial
from importlib import util
from pathlib import Path

import numpy as np

from .programs import Program, blobs

# name: (hidden widths, epochs, data, whether rows are float64, as loaders mostly give them; fonio
# is then asked for float32, which scikit-learn's own cannot be)
FITS = {
    "MLPClassifier.fit digits, 200 epochs": ((100,), 200, "digits", False),
    "MLPClassifier.fit digits, 200 epochs, rows in float64": ((100,), 200, "digits", True),
    "MLPClassifier.fit 784-100-10, 20 epochs": ((100,), 20, 784, False),
    "MLPClassifier.fit 784-100-10, 20 epochs, rows in float64": ((100,), 20, 784, True),
}
WIDE = (784, 1000, 205)  # a million weights, about
TRIED = 200  # rows whose single answers are checked


def _data(what, double, package):
    x, labels = package.nn.datasets.digits()[0] if what == "digits" else blobs(what)
    return x.astype(np.float64 if double else np.float32), labels


def _theirs():
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier


def _fitted(made, hidden, epochs, x, labels):
    """Fit for so many epochs, however little the last ones gain."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it does not converge is meant
        told = {"max_iter": epochs, "tol": 0.0, "n_iter_no_change": epochs, "random_state": 0}
        return made(hidden, **told).fit(x, labels)


def _own_fit(hidden, epochs, what, double, package):
    made = partial(package.nn.MLPClassifier, dtype="float32")
    return partial(_fitted, made, hidden, epochs, *_data(what, double, package))


def _their_fit(hidden, epochs, what, double):
    import fonio

    return partial(_fitted, _theirs(), hidden, epochs, *_data(what, double, fonio))


def _misses(hidden, epochs, what, double, package):
    x, labels = _data(what, double, package)
    return 1 - _own_fit(hidden, epochs, what, double, package)().score(x, labels), 0.05


def _fit(name, *what):
    return Program(
        name=name,
        group="estimators",
        make=partial(_own_fit, *what),
        right=partial(_misses, *what),
        peers={"sklearn": partial(_their_fit, *what)},
    )


# ---- one row


def _one_row(made):
    """Return predict on one row, of an estimator that was fitted for a moment."""
    x, labels = blobs(64)
    return partial(_fitted(made, (64,), 2, x, labels).predict, x[:1])


def _own_row(package):
    return _one_row(package.nn.MLPClassifier)


def _their_row():
    return _one_row(_theirs())


def _row_misses(package):
    x, labels = blobs(64)
    fitted = _fitted(package.nn.MLPClassifier, (64,), 2, x, labels)
    first, last = fitted.coefs_
    hidden = np.maximum(x[:TRIED].astype(np.float64) @ first + fitted.intercepts_[0], 0)
    wanted = fitted.classes_[(hidden @ last + fitted.intercepts_[1]).argmax(1)]
    found = np.concatenate([fitted.predict(x[i : i + 1]) for i in range(TRIED)])
    return float(np.mean(found != wanted)), 0.0


# ---- files


def _wide(package):
    package.nn.manual_seed(0)
    return package.nn.Sequential(package.nn.Linear(*WIDE[:2]), package.nn.Linear(*WIDE[1:]))


def _writing(write, name):
    """Return a call that writes a file into a folder of its own, which goes when the call does."""
    folder = tempfile.mkdtemp()

    def call():
        write(Path(folder) / name)

    weakref.finalize(call, shutil.rmtree, folder, ignore_errors=True)
    return call


def _saving(package):
    return _writing(partial(package.nn.save, _wide(package)), "model.safetensors")


def _torch_saving():
    import torch

    model = torch.nn.Sequential(*(torch.nn.Linear(*pair) for pair in (WIDE[:2], WIDE[1:])))
    return _writing(lambda path: torch.save(model.state_dict(), path), "model.pt")


def _saved_wrongly(package):
    model = _wide(package)
    with tempfile.TemporaryDirectory() as folder:
        package.nn.save(model, Path(folder) / "model.safetensors")
        back = package.nn.load(Path(folder) / "model.safetensors")
    pairs = zip(model.parameters(), back.parameters(), strict=True)
    return float(max(np.abs(p.value - q.value).max() for p, q in pairs)), 0.0


FILES = [
    Program(
        name="save a million weights",
        group="estimators",
        make=_saving,
        right=_saved_wrongly,
        peers={"torch": _torch_saving},
        bytes=4 * (WIDE[0] * WIDE[1] + WIDE[1] * WIDE[2]),
    )
]
ESTIMATORS = [
    *(_fit(name, *what) for name, what in FITS.items()),
    Program(
        name="MLPClassifier.predict, 1 row",
        group="estimators",
        make=_own_row,
        right=_row_misses,
        peers={"sklearn": _their_row},
    ),
]


def estimators():
    """List these cases; those of scikit-learn's interface where it is installed."""
    return [*(ESTIMATORS if util.find_spec("sklearn") else []), *FILES]
