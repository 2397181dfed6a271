"""Whole programs as cases: training steps, fits, inference, cold start, memory.

The rule: of each the answer is known, a step's loss and a prediction from NumPy in float64.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from .. import cold, steps
from ..answers import Answer, WrongAnswer
from ..measuring import Repeats

STEPS_CHECKED = 1  # more, and a deep net in float32 goes its own way


@dataclass(frozen=True)
class Program:
    """A case (cases.py says what one has) that is no single kernel."""

    name: str
    group: str
    make: Callable | None = None  # make(package) -> side
    right: Callable | None = None  # right(package) -> (error, tolerance)
    peers: dict = field(default_factory=dict)
    figure: Callable | None = None
    unit: str = "s"
    flops: int = 0
    bytes: int = 0
    slice_seconds: float = 0.3e-3
    version: str = "1"

    def sides(self, package=None):
        """Return our side."""
        return {"fonio": self.make(_package(package))}

    def compared(self, packages):
        """Return one side for each copy of fonio."""
        return [self.make(package) for package in packages]

    def check(self, package=None):
        """Compare with the reference; return answers.Answer or raise answers.WrongAnswer."""
        if self.right is None:
            return None
        error, tolerance = self.right(_package(package))
        if not error <= tolerance:
            raise WrongAnswer(f"{self.name}: off by {error:.3g}, expected at most {tolerance:.3g}")
        return Answer(error, tolerance, error / np.finfo(np.float32).eps, ())


def _package(package):
    import fonio

    return fonio if package is None else package


# ---- steps


def _step_error(net, package):
    from .numpy_net import NumpyNet

    side, reference = steps.ours(net, package), NumpyNet(net, np.float64)
    side.run(STEPS_CHECKED)
    reference.run(steps.TAKEN + STEPS_CHECKED)
    return abs(side.result() - reference.loss) / (1 + abs(reference.loss)), 1e-3


def _numpy_steps(net):
    from .numpy_net import NumpyNet

    return Repeats(NumpyNet(net, np.float32).run)


def _peer_steps(builder, net):
    from .. import step_peers

    return getattr(step_peers, builder)(net)


def _step(name, net):
    weights = sum(i * o for i, o in net.layers())
    numbers = weights + sum(net.sizes[1:])
    first = net.sizes[0] * net.sizes[1]  # whose input needs no gradient
    state = {"sgd": 2, "adam": 6}[net.optimizer]  # numbers read and written for each parameter
    return Program(
        name=f"step {name}",
        group="steps",
        make=partial(steps.ours, net),
        right=partial(_step_error, net),
        peers={
            "numpy": partial(_numpy_steps, net),
            "torch": partial(_peer_steps, "torch_eager", net),
            "jax": partial(_peer_steps, "jax_jit", net),
        },
        flops=2 * net.batch * (3 * weights - first),
        bytes=4 * (state * numbers + net.batch * net.sizes[0]) + 8 * net.batch,
    )


# ---- fits

ROWS, CLASSES = 2048, 10
FITS = {  # name: (sizes, epochs, batch)
    "fit 64-64-10, 2048 rows, 5 epochs": ((64, 64, 10), 5, 32),
    "fit 784-256-10, 2048 rows, 1 epoch": ((784, 256, 10), 1, 64),
}


def blobs(features):
    """Draw rows around ten centres: (2048, features) float32, labels; a net learns them all."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, ROWS)
    centres = 2 * rng.standard_normal((CLASSES, features))
    return (centres[labels] + rng.standard_normal((ROWS, features))).astype(np.float32), labels


def _fitted(sizes, epochs, batch, package):
    x, labels = blobs(sizes[0])
    model = steps.model(steps.Net(sizes, batch), package)
    package.nn.fit(model, x, labels, epochs=epochs, batch_size=batch, progress=False)
    return model


def _misses(sizes, epochs, batch, package):
    x, labels = blobs(sizes[0])
    output = package.nn.predict_proba(_fitted(sizes, epochs, batch, package), x)
    return float(np.mean(output.argmax(1) != labels)), 0.05


def _fit_side(sizes, epochs, batch, package):
    return partial(_fitted, sizes, epochs, batch, package)


def _sklearn_fit(sizes, epochs, batch):
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    x, labels = blobs(sizes[0])
    options = {"batch_size": batch, "max_iter": epochs, "tol": 0.0, "alpha": 0.0}

    def call():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            MLPClassifier(sizes[1:-1], **options).fit(x, labels)

    return call


def _fit(name, sizes, epochs, batch):
    return Program(
        name=name,
        group="fits",
        make=partial(_fit_side, sizes, epochs, batch),
        right=partial(_misses, sizes, epochs, batch),
        peers={"sklearn": partial(_sklearn_fit, sizes, epochs, batch)},
    )


# ---- inference

INFERENCE_NETS = ("784-256-10, batch 64", "784-512-512-10, batch 128")


def _rows(net, rows):
    return np.random.default_rng(7).standard_normal((rows, net.sizes[0])).astype(np.float32)


def _predicting(net, rows, package):
    return partial(package.nn.predict_proba, steps.model(net, package).eval(), _rows(net, rows))


def _numpy_forward(net, rows, dtype):
    from .numpy_net import NumpyNet

    made, x = NumpyNet(net, dtype), _rows(net, rows).astype(dtype)

    def call():
        y = np.exp(made.forward(x)[0])
        return y / y.sum(1, keepdims=True)

    return call


def _predicted_error(net, rows, package):
    wanted = _numpy_forward(net, rows, np.float64)()
    return float(np.abs(_predicting(net, rows, package)() - wanted).max()), 1e-5


def _torch_forward(net, rows):
    import torch

    from ..step_peers import _torch_model

    model, x = _torch_model(torch, net).eval(), torch.from_numpy(_rows(net, rows))

    def call():
        with torch.inference_mode():
            return torch.softmax(model(x), 1)

    return call


def _inference(net, rows):
    sizes = "-".join(map(str, net.sizes))
    weights = sum(i * o for i, o in net.layers())
    return Program(
        name=f"predict {sizes}, {rows} row{'s' if rows > 1 else ''}",
        group="inference",
        make=partial(_predicting, net, rows),
        right=partial(_predicted_error, net, rows),
        peers={
            "numpy": partial(_numpy_forward, net, rows, np.float32),
            "torch": partial(_torch_forward, net, rows),
        },
        flops=2 * rows * weights,
        bytes=4 * (weights + sum(net.sizes[1:]) + rows * (net.sizes[0] + net.sizes[-1])),
    )


PROGRAMS = [
    *(_step(name, net) for name, net in steps.NETS.items()),
    *(_step(f"4-32-16-4 tanh Adam, batch {n}", steps.tanh_net(n)) for n in (1, 32, 200)),
    *(_fit(name, *what) for name, what in FITS.items()),
    *(_inference(steps.NETS[name], rows) for name in INFERENCE_NETS for rows in (1, 4096)),
    Program("import", "cold start", figure=cold.import_seconds),
    Program("first gelu, empty cache", "cold start", figure=cold.first_call_empty),
    Program("first gelu, filled cache", "cold start", figure=cold.first_call_filled),
    Program("first fit, empty cache", "cold start", figure=cold.first_fit_empty),
    Program("first fit, filled cache", "cold start", figure=cold.first_fit_filled),
    Program("peak memory of a fit", "memory", figure=cold.peak_bytes, unit="bytes"),
]


def programs():
    """List the programs, in the table's order."""
    from .estimators import estimators

    return [*PROGRAMS, *estimators()]
