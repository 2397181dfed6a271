"""A fit by several processes over MPI: `mpirun -n 2 python examples/mpi_train.py [--quick]`.

Without mpirun, or without mpi4py, one process does all; the figures are the same up to rounding.
"""

import argparse
import json
import sys
import time

from fonio import nn


def communicator():
    """Return MPI's world, or None where mpi4py is not installed."""
    try:
        from mpi4py import MPI
    except ModuleNotFoundError:
        return None
    return MPI.COMM_WORLD


def train(world, quick):
    """Train on digits, the same in each process; return figures of the fit and of the test rows."""
    (x, y), (x_test, y_test) = nn.datasets.digits()
    nn.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(64, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 10)
    ).to("float64")
    began = time.perf_counter()
    history = nn.fit(
        model, x, y, epochs=3 if quick else 30, batch_size=100, schedule=nn.CosineAnnealingLR(),
        communicator=world, progress=not quick,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    return {"loss": history.loss[-1], **nn.evaluate(model, x_test, y_test)}, seconds


def main(arguments=None):
    """Train, and let the first process tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few epochs")
    options = parser.parse_args(arguments)
    world = communicator()
    found, seconds = train(world, options.quick)
    if world is None or world.Get_rank() == 0:
        size = 1 if world is None else world.Get_size()
        print(f"processes: {size}, seconds: {seconds:.2f}", file=sys.stderr)
        print(json.dumps(found))


if __name__ == "__main__":
    main()
