"""Whole training steps: the nets of the README's table, their data, and our side.

A step is what a training loop does for a batch: gather its rows from the data set, forward, loss,
backward, optimizer. All sides start from the same weights and walk the same batches in the same
order; the data set has 4096 rows, so that no branch predictor learns a batch.
"""

from dataclasses import dataclass
from functools import partial
from importlib import import_module

import numpy as np

from .measuring import Repeats

ROWS = 4096
TAKEN = 2  # steps that our side has taken when it is made


@dataclass(frozen=True)
class Net:
    """Linear layers with an activation, batch norm if asked, and cross-entropy at the end."""

    sizes: tuple
    batch: int
    batchnorm: bool = False
    activation: str = "relu"
    optimizer: str = "sgd"
    rate: float = 1e-2

    def layers(self):
        """[(inputs, outputs), ...]."""
        return list(zip(self.sizes[:-1], self.sizes[1:], strict=True))

    def weights(self, seed=0):
        """[(weight (O, I), bias (O,)), ...], float32."""
        rng = np.random.default_rng(seed)
        return [
            (
                (rng.standard_normal((o, i)) * np.sqrt(2 / i)).astype(np.float32),
                np.zeros(o, np.float32),
            )
            for i, o in self.layers()
        ]

    def data(self, seed=0):
        """Draw x (4096, I) float32, labels (4096,) int64, order (batches, batch) int64."""
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((ROWS, self.sizes[0])).astype(np.float32)
        labels = rng.integers(0, self.sizes[-1], ROWS)
        batches = ROWS // self.batch
        order = rng.permutation(ROWS)[: batches * self.batch].reshape(batches, self.batch)
        return x, labels, order


DISC = Net((2, *[32] * 17, 2), 100, batchnorm=True)
NETS = {
    "disc 2-(32x17, batchnorm)-2, batch 100": DISC,
    "4-64-64-2, batch 32": Net((4, 64, 64, 2), 32),
    "784-256-10, batch 64": Net((784, 256, 10), 64),
    "784-512-512-10, batch 128": Net((784, 512, 512, 10), 128),
    "784-1024-1024-1024-10, batch 128": Net((784, 1024, 1024, 1024, 10), 128),
}


def tanh_net(batch):
    """The small net whose whole loop JAX compiles."""
    return Net((4, 32, 16, 4), batch, activation="tanh", optimizer="adam", rate=1e-3)


def model(net, package=None):
    """The net as fonio.nn modules with the weights of `net.weights()`.

    package: another copy of fonio than the installed one.
    """
    nn = import_module(".nn", _name(package))
    last, stack = len(net.layers()) - 1, []
    for number, ((i, o), (weight, bias)) in enumerate(
        zip(net.layers(), net.weights(), strict=True)
    ):
        linear = nn.Linear(i, o)
        linear.weight.value = weight
        linear.bias.value = bias
        stack.append(linear)
        if number < last:
            stack += [nn.BatchNorm1d(o)] if net.batchnorm else []
            stack.append({"relu": nn.ReLU, "tanh": nn.Tanh}[net.activation]())
    return nn.Sequential(*stack)


def _name(package):
    return "fonio" if package is None else package.__name__


def ours(net, package=None):
    """Our side: the step as `fit` records it, gather and all, replayed."""
    recorded_step = import_module(".nn.steps", _name(package)).RecordedStep
    run, state, made, last = training_step(net, package=package)
    step = recorded_step(run, state, made)
    step(TAKEN)  # recorded and proven: a slow second call would be taken for a slice's length
    return Repeats(step, result=lambda: float(last[0]))


def training_step(net, target="cpu", package=None):
    """Return run() for one step, all that it changes, the model, and the array of its last loss."""
    name = _name(package)
    kernels, nn = import_module(".kernels", name), import_module(".nn", name)
    replay, taken = import_module(".nn.replay", name), import_module(".nn.steps", name)
    make_loss = import_module(".nn.losses", name).make_loss

    made, put = model(net, package), np.asarray
    if target != "cpu":
        made = made.to(target)
        put = partial(import_module(".kernels.arrays", name).put, made.anchor)
    x, labels, order = map(put, net.data())
    order, n = order.reshape(-1), net.batch
    batch, targets = put(np.empty((n, x.shape[1]), np.float32)), put(np.empty(n, np.int64))
    cursor, last = put(np.zeros(1, np.int64)), put(np.zeros(1, np.float32))
    loss, following = make_loss("cross_entropy"), kernels.kernel(_next_batch)
    optimizer = {"sgd": nn.SGD, "adam": nn.Adam}[net.optimizer](made.parameters(), lr=net.rate)

    def run():
        replay.gather_rows(n, batch, x, order, cursor)
        replay.gather_items(n, targets, labels, order, cursor)
        _, value = taken.train_once(made, loss, optimizer, batch, targets)
        kernels.copy(value, out=last)
        following(1, cursor, n, order.size)

    return run, [cursor, last, *taken.step_state(made, optimizer)], made, last


def _next_batch(start, stop, cursor, rows, length):
    for _ in range(start, stop):
        cursor[0] = (cursor[0] + rows) % length
