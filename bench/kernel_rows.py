"""Rows for single kernels: launches, products, elementary functions, dropout, batch norm."""

import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial

import numpy as np

from .peers import AVX2
from .rows import Row
from .sides import normal, recorded, replayed_and_called, torch_or_none, with_threads

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


def _product(kind, n, i, o):
    """One of linear's three products, without a bias: the sides write into an array that exists."""
    from fonio import kernels

    x, weight, dy = normal(n, i), normal(o, i, seed=1), normal(n, o, seed=2)
    ours, (a, b) = {
        "forward": (partial(kernels.linear, x, weight), (x, weight.T)),
        "dx": (partial(kernels.linear_backward_input, dy, weight), (dy, weight)),
        "dweight": (partial(kernels.linear_backward_weight, dy, x), (dy.T, x)),
    }[kind]
    out = np.empty((a.shape[0], b.shape[1]), np.float32)
    return {"fonio": recorded(partial(ours, out=out)), **_product_peers(a, b)}


def _product_peers(a, b):
    out = np.empty((a.shape[0], b.shape[1]), a.dtype)
    return {
        "numpy": partial(np.matmul, a, b, out=out),
        "torch": torch_or_none(
            lambda torch, a, b, out: partial(torch.mm, a, b, out=out), a, b, out.copy()
        ),
    }


def _square(size, dtype):
    from fonio.kernels import matmul

    a, b = normal(size, size, dtype=dtype), normal(size, size, dtype=dtype, seed=1)
    out = np.empty_like(a)
    return {"fonio": recorded(partial(matmul, a, b, out=out)), **_product_peers(a, b)}


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
        sides = partial(_square, size, dtype)
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


def _numpy_sigmoid(x, out):
    np.negative(x, out=out)
    np.exp(out, out=out)
    np.add(out, 1, out=out)
    np.reciprocal(out, out=out)


def _numpy_gelu_tanh(x, out):
    np.multiply(x, x, out=out)
    np.multiply(out, np.float32(0.044715), out=out)
    np.add(out, 1, out=out)
    np.multiply(out, x, out=out)
    np.multiply(out, np.float32(0.7978845608), out=out)
    np.tanh(out, out=out)
    np.add(out, 1, out=out)
    np.multiply(out, x, out=out)
    np.multiply(out, np.float32(0.5), out=out)


# NumPy has no erf, hence no exact GELU
NUMPY = {"exp": np.exp, "tanh": np.tanh, "sigmoid": _numpy_sigmoid, "gelu_tanh": _numpy_gelu_tanh}
TORCH = {
    "exp": lambda torch, x, y: partial(torch.exp, x, out=y),
    "tanh": lambda torch, x, y: partial(torch.tanh, x, out=y),
    "sigmoid": lambda torch, x, y: partial(torch.sigmoid, x, out=y),
    "gelu": lambda torch, x, y: partial(torch.ops.aten.gelu.out, x, out=y),
    "gelu_tanh": lambda torch, x, y: partial(torch.ops.aten.gelu.out, x, approximate="tanh", out=y),
}


def _elementwise(name, size):
    from fonio import kernels

    x, out = normal(size), np.empty(size, np.float32)
    sides = replayed_and_called(partial(getattr(kernels, name), x, out=out))
    if name in NUMPY:
        sides["numpy"] = partial(NUMPY[name], x, out=out.copy())
    sides["torch"] = torch_or_none(TORCH[name], x, out.copy())
    return sides


def _elementwise_rows():
    rows = []
    for name in TORCH:
        for where, size in (("in cache", IN_CACHE), ("in memory", IN_MEMORY)):
            least = 1.0 if where == "in memory" else 1.2 if name == "gelu" else 1.5
            targets = {
                peer: least for peer in (("numpy", "torch") if name in NUMPY else ("torch",))
            }
            rows.append(
                Row(
                    f"{name} {where}",
                    "elementwise",
                    partial(_elementwise, name, size),
                    targets=targets,
                )
            )
    return rows


# ---- dropout and batch normalisation


def _dropout():
    from fonio.kernels import dropout

    x = normal(65536)
    out = np.empty_like(x)
    torch_side = lambda torch, x: partial(torch.nn.functional.dropout, x, 0.5, True)  # noqa: E731
    sides = replayed_and_called(partial(dropout, x, 0.5, out=out))
    return {**sides, "torch": torch_or_none(torch_side, x)}


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
    Row("dropout forward", "elementwise", _dropout, targets={"torch": 15.0}),
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
