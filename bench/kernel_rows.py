"""Rows for single kernels: launches, products, elementary functions, dropout, batch norm."""

import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial

import numpy as np

from .peers import AVX2
from .rows import Row
from .sides import normal, recorded, torch_or_none, with_threads

# ---- launches

LAUNCHES = 100


def _nothing(start, stop):
    return


def _empty_launches(chunks):
    from fonio.kernels.launch import Kernel

    # the cost of an item is that of a whole chunk: as many chunks as items
    kernel = Kernel(_nothing, lambda: _nothing, cost=lambda: 4000.0)
    return {"fonio": recorded(*[partial(kernel, chunks)] * LAUNCHES)}


@contextmanager
def _busy_core():
    """A process that keeps one core busy, as another user's would."""
    pin = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    with subprocess.Popen([sys.executable, "-c", pin + "while True: pass"]) as hog:
        time.sleep(0.3)
        try:
            yield
        finally:
            hog.kill()


def _two_threads_and_one():
    from fonio.kernels import exp

    x, y = normal(65536), normal(65536)
    side = recorded(*[partial(exp, x, out=y)] * 50)
    return {"2 threads": with_threads(side, 2), "1 thread": with_threads(side, 1)}


LAUNCH_ROWS = [
    Row(
        "empty launch, 1 thread",
        "launch",
        partial(_empty_launches, 1),
        limit=15.0,
        unit="ns",
    ),
    Row(
        "empty launch, 2 threads",
        "launch",
        partial(_empty_launches, 2),
        limit=150.0,
        unit="ns",
        threads=2,
        slice_seconds=3e-3,
    ),
    Row(
        "2 threads over 1, one core being busy",
        "launch",
        _two_threads_and_one,
        targets={"1 thread": 1.0},
        around=_busy_core,
        threads=2,
        slice_seconds=5e-3,
        seconds=6.0,
    ),
]

# ---- matrix products

PRODUCTS = ("forward", "dx", "dweight")
LINEAR_SHAPES = (
    (64, 784, 256),
    (128, 784, 512),
    (256, 1024, 1024),
    (100, 32, 32),
    (32, 64, 64),
    (64, 256, 10),
    (128, 512, 10),
)


def _of_the_table(name, size, dtype="float32", called=False):
    """The sides of a workload: ours replayed, if asked for called from Python, and its peers."""
    from . import peers
    from .cases import KernelCase
    from .measuring import Repeats
    from .workloads import workloads

    (workload,) = [row for row in workloads(name) if row.name == name]
    case = KernelCase(workload, size, dtype)
    ours = case.sides()
    sides = {"fonio": ours["fonio"]}
    if called and "called" in ours:
        sides["called from Python"] = ours["called"]
    for peer, make in case.peers.items():
        built = peers.build(peer, make)
        sides[peer] = built if isinstance(built, Repeats) else None
    return sides


def _forward(n, i, o):
    """A linear layer without bias and activation, the product alone, into an array that exists."""
    from fonio.kernels import linear

    x, weight = normal(n, i), normal(o, i, seed=1)
    out = np.empty((n, o), np.float32)
    torch_side = lambda torch, x, weight, out: partial(torch.mm, x, weight.T, out=out)  # noqa: E731
    return {
        "fonio": recorded(partial(linear, x, weight, out=out)),
        "numpy": partial(np.matmul, x, weight.T, out=out.copy()),
        "torch": torch_or_none(torch_side, x, weight, out.copy()),
    }


def _product(kind, *shape):
    """One of linear's three products."""
    if kind == "forward":
        return _forward(*shape)
    name = {"dx": "linear_backward_input", "dweight": "linear_backward_weight"}[kind]
    return _of_the_table(name, shape)


def _both(target):
    return {"numpy": target, "torch": target}


def _matrix_rows(suffix="", target=None, **options):
    """The products and squares; `target` stands in for every row's own."""
    rows = []
    for shape in LINEAR_SHAPES:
        least = target or (1.0 if min(shape) == 10 else 1.1)
        for kind in PRODUCTS:
            name = f"linear {kind} {'x'.join(map(str, shape))}{suffix}"
            rows.append(
                Row(
                    name, "matrix", partial(_product, kind, *shape), targets=_both(least), **options
                )
            )
    for size, dtype, least in SQUARES:
        name = f"matmul {size}³ {dtype}{suffix}"
        sides = partial(_of_the_table, "matmul", (size,) * 3, dtype)
        rows.append(Row(name, "matrix", sides, targets=_both(target or least), **options))
    return rows


SQUARES = (
    (1024, "float32", 1.0),
    (2048, "float32", 1.0),
    (1024, "float64", 0.95),
    (2048, "float64", 0.95),
)
MATRIX_ROWS = _matrix_rows() + _matrix_rows(", AVX2", 0.85, environment=AVX2)

# ---- elementary functions and activations

IN_CACHE, IN_MEMORY = 32768, 16_777_216
FUNCTIONS = {  # name: the peers of its row
    "exp": ("numpy", "torch"),
    "tanh": ("numpy", "torch"),
    "sigmoid": ("numpy", "torch"),
    "gelu": ("torch",),
    "gelu_tanh": ("numpy", "torch"),
}


def _elementwise_rows():
    rows = []
    for name, compared in FUNCTIONS.items():
        for where, size in (("in cache", IN_CACHE), ("in memory", IN_MEMORY)):
            least = 1.0 if where == "in memory" else 1.2 if name == "gelu" else 1.5
            targets = dict.fromkeys(compared, least)
            rows.append(
                Row(
                    f"{name} {where}",
                    "elementwise",
                    partial(_of_the_table, name, (size,), called=True),
                    targets=targets,
                )
            )
    return rows


# ---- dropout and batch normalisation


def _torch_batchnorm(torch, x, gamma, beta, dy):
    x, gamma, beta = (a.clone().requires_grad_() for a in (x, gamma, beta))

    def forward_backward():
        y = torch.nn.functional.batch_norm(x, None, None, gamma, beta, training=True)
        torch.autograd.grad(y, (x, gamma, beta), dy)

    return forward_backward


def _batchnorm(n, c):
    from fonio.kernels import batchnorm, batchnorm_backward

    x, dy = normal(n, c), normal(n, c, seed=1)
    gamma, beta = normal(c, seed=2), normal(c, seed=3)

    def forward_backward():
        _, mean, rstd = batchnorm(x, gamma, beta)
        batchnorm_backward(dy, x, gamma, mean, rstd)

    return {
        "fonio": recorded(forward_backward),
        "torch": torch_or_none(_torch_batchnorm, x, gamma, beta, dy),
    }


ROWS = [
    *LAUNCH_ROWS,
    *MATRIX_ROWS,
    *_elementwise_rows(),
    Row(
        "dropout forward",
        "elementwise",
        partial(_of_the_table, "dropout", (65536,), called=True),
        targets={"torch": 15.0},
    ),
    Row(
        "batchnorm forward and backward 4096x512",
        "normalization",
        partial(_batchnorm, 4096, 512),
        targets={"torch": 2.0},
    ),
    Row(
        "batchnorm forward and backward 100x32",
        "normalization",
        partial(_batchnorm, 100, 32),
        targets={"torch": 10.0},
    ),
]
