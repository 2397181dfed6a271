"""Fits that one process or several make: run by mpirun from test_data_parallel.py, which compares.

mpirun -n 2 python tests/parallel_fits.py results.npz
"""

import faulthandler
import json
import os
import sys

import numpy as np

from fonio import kernels, nn
from fonio.nn.exchange import Exchange, sharing
from fonio.nn.shared_statistics import forward

ROWS = 131  # in batches of 64: the last has 3 rows, of which some processes have one
rng = np.random.default_rng(0)
X = rng.normal(size=(ROWS, 5)).astype(np.float32)
Y = (X[:, 0] > 0) + (X[:, 1] > 0.5).astype(np.int64)
Z = np.stack([X[:, 0] * X[:, 1], np.sin(X[:, 2])], axis=1)
WEIGHTS = rng.uniform(0.5, 2, ROWS)


def net(outputs=3, batchnorm=True, dtype="float64", seed=0):
    nn.manual_seed(seed)
    first = [nn.Linear(5, 16)] + ([nn.BatchNorm1d(16)] if batchnorm else [])
    second = [nn.Linear(16, 8)] + ([nn.BatchNorm1d(8, momentum=None)] if batchnorm else [])
    tail = [nn.Tanh(), nn.Linear(8, outputs)]
    return nn.Sequential(*first, nn.ReLU(), *second, *tail).to(dtype)


def cubic(output, target):
    """A loss of one's own: mean |output - target|³ over rows and outputs, through kernels."""
    away = kernels.add(output, kernels.multiply(target, np.full_like(target, -1)))
    size = np.full_like(away, 1 / away.size)
    square = kernels.multiply(away, kernels.multiply(away, size))
    slope = kernels.multiply(square, np.full_like(away, 3))
    sign = kernels.hard_tanh(kernels.multiply(away, np.full_like(away, 1e30)))
    whole = kernels.column_sum(kernels.multiply(square, kernels.multiply(away, sign)))
    value = kernels.column_sum(whole[:, None])
    return value, kernels.multiply(slope, sign)


class Stop(nn.Callback):
    """Ends the fit after two epochs, in one process."""

    def __init__(self, here):
        self.here = here

    def end_epoch(self, fit):
        return self.here and fit.epoch == 1


def sgd(model):
    return nn.SGD(model.parameters(), lr=0.1, momentum=0.9)


CASES = {
    "plain": ((net, {"batchnorm": False, "dtype": "float32"}), Y, {"optimizer": sgd}),
    "batchnorm": ((net, {"dtype": "float32"}), Y, {"optimizer": sgd}),
    "weights": ((net, {}), Y, {
        "sample_weight": WEIGHTS, "class_weight": [0.5, 1.0, 3.0], "clip_norm": 0.1,
        "callbacks": [nn.L2(1e-2)], "schedule": nn.OneCycleLR(0.05),
    }),
    "numbers": ((net, {"outputs": 2}), Z, {"loss": "mse", "sample_weight": WEIGHTS}),
    "own loss": ((net, {"outputs": 2}), Z, {"loss": cubic}),
    "one row": ((net, {"batchnorm": False}), Y, {"batch_size": 65}),
    "stopped": ((net, {}), Y, {
        "validation": 0.2, "callbacks": [nn.EarlyStopping(patience=1, min_delta=0.5)], "epochs": 9,
    }),
}  # fmt: skip


def train(case, communicator=None):
    """Return the arrays of a case's model and its history."""
    (make, told), y, options = CASES[case]
    model = make(**told)
    optimizer = options.get("optimizer", nn.Adam)(model)
    told = {"epochs": 4, "batch_size": 64, "progress": False, "seed": 3, **options}
    told |= {"optimizer": optimizer, "communicator": communicator}
    history = nn.fit(model, X, y, **told)
    columns = {name: values for name, values in history.columns.items() if name != "seconds"}
    return {**model.state_dict(), **{name: np.array(column) for name, column in columns.items()}}


def statistics(communicator):
    """Return the batchnorm of (N, C, L), whose means are large, by processes; and the whole's."""
    x = np.random.default_rng(1).normal(1e5, 1, (70, 3, 5)).astype(np.float32)
    dy = np.random.default_rng(2).normal(size=x.shape).astype(np.float32)
    exchange, layer = Exchange(communicator), nn.BatchNorm1d(3)
    bounds = exchange.parts(len(x))
    own = slice(bounds[exchange.rank], bounds[exchange.rank + 1])
    with sharing(exchange, len(x)):
        y, backward = forward(layer, x[own], True, (exchange, len(x)))
        dx = backward(dy[own])
    sums = np.stack([layer.weight.grad, layer.bias.grad])
    exchange.add_up(sums)
    parts = communicator.allgather((y, dx))
    whole = nn.BatchNorm1d(3)
    right, back = whole.forward_fused(x, "relu")
    found = {"y": np.concatenate([y for y, _ in parts]), "sums": sums}
    found |= {"dx": np.concatenate([dx for _, dx in parts]), "var": layer.running_var}
    wanted = {"y": right, "dx": back(dy), "var": whole.running_var}
    wanted["sums"] = np.stack([whole.weight.grad, whole.bias.grad])
    return {**found, **{f"{name} whole": value for name, value in wanted.items()}}


class Move(nn.Callback):
    """Moves a weight in one process alone."""

    def __init__(self, here):
        self.here = here

    def after_step(self, fit):
        if self.here:
            one = np.ones_like(fit.optimizer.values)
            kernels.add(fit.optimizer.values, one, out=fit.optimizer.values)


def errors(communicator):
    """Return what each process says to a fit that cannot be right, by name."""
    rank = communicator.Get_rank()
    model, shifted = net(), net(seed=rank)

    def fit(model, x=X, **options):
        told = {"communicator": communicator, "epochs": 2, "progress": False, **options}
        nn.fit(model, x, Y, **told)

    def broken():
        exchange = Exchange(communicator)
        with exchange.raising():
            exchange._launch(lambda: 1 / 0)

    tried = {
        "weights": lambda: fit(shifted),
        "model": lambda: fit(net(batchnorm=rank == 0)),
        "data": lambda: fit(net(), x=X + rank),
        "seed": lambda: fit(net(), seed=rank),
        "rate": lambda: fit(model, optimizer=nn.SGD(model.parameters(), lr=0.1 + rank)),
        "apart": lambda: fit(net(), callbacks=[Move(rank == 1)]),
        "lbfgs": lambda: fit(net(), optimizer=nn.LBFGS(net().parameters())),
        "kind": lambda: fit(net(), communicator="world"),
        "message": broken,
    }
    found = {}
    for name, run in tried.items():
        try:
            run()
            told = "nothing"
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
        found[name] = communicator.allgather(told)
    return found


def others(communicator):
    """Return threads, stops and files of fits, as each process sees them."""
    from mpi4py import MPI

    rank, threads = communicator.Get_rank(), []
    nn.fit(
        net(), X, Y, epochs=1, progress=False, communicator=communicator,
        callbacks=[lambda model, history: threads.append(kernels.get_num_threads())],
    )  # fmt: skip
    path = f"{sys.argv[1]}.{rank}.checkpoint"
    told = {"epochs": 5, "progress": False, "communicator": communicator}
    stopped = nn.fit(net(), X, Y, callbacks=[Stop(rank == 0)], checkpoint=path, **told).epochs
    went_on = nn.fit(net(), X, Y, callbacks=[Stop(rank == 1)], **told).epochs
    first, whole, alone = net(), net(), net()
    resume = f"{sys.argv[1]}.0.checkpoint"
    nn.fit(first, X, Y, callbacks=[Stop(False)], resume=resume, **told)
    nn.fit(whole, X, Y, callbacks=[Stop(False)], **told)
    nn.fit(alone, X, Y, **{**told, "communicator": MPI.COMM_SELF})
    by_itself = net()
    nn.fit(by_itself, X, Y, **{**told, "communicator": None})
    return {
        "threads": communicator.allgather(threads[0]),
        "stopped": communicator.allgather([stopped, went_on]),
        "written": communicator.allgather(os.path.exists(path)),
        "resumed": communicator.allgather(bits(first) == bits(whole)),
        "alone": communicator.allgather(bits(alone) == bits(by_itself)),
    }


def bits(model):
    return b"".join(array.tobytes() for array in model.state_dict().values())


def main():
    from mpi4py import MPI

    faulthandler.dump_traceback_later(280, exit=True)
    communicator, found = MPI.COMM_WORLD, {}
    for case in CASES:
        found |= {f"{case}/{k}": v for k, v in train(case, communicator).items()}
    found |= {f"statistics/{name}": value for name, value in statistics(communicator).items()}
    said = {**errors(communicator), **others(communicator)}
    if communicator.Get_rank() == 0:
        np.savez(sys.argv[1], said=np.array(json.dumps(said)), **found)


if __name__ == "__main__":
    main()
