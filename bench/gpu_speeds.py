"""Speeds of single kernels on a GPU: against the bandwidth of a copy, and against PyTorch.

What is timed is a recorded call, replayed as a CUDA graph: the kernels' own time, as in training.
"""

import inspect
from functools import partial

import numpy as np

from .gpu_timing import recorded, repeated, seconds_of, torch_on_cuda
from .gpu_worker import Check, Skipped

LARGE = 1 << 25  # float32 elements, 128 MB: beyond every cache
# operation: (shape, share of the copy's bandwidth that it should reach)
STREAMING = {
    "gelu": ((LARGE,), 0.90),
    "add": ((LARGE,), 0.90),
    "dropout": ((LARGE,), 0.90),
    "sgd": ((LARGE,), 0.90),
    "adam": ((LARGE,), 0.90),
    "column_sum": ((65536, 512), 0.85),
    "column_moments": ((65536, 512), 0.85),
    "batchnorm": ((65536, 512), None),
    "batchnorm_backward": ((65536, 512), None),
    "softmax": ((32768, 1024), None),
    "gelu_backward": ((LARGE,), 0.90),
    "exp": ((LARGE,), 0.90),
}
SQUARES = (4096, 2048, 1024)
SHARES = {None: 0.80, "tf32": None, "bf16": 0.60}  # of cuBLAS, at 4096
LAUNCHES = 64


def checks():
    """List the checks of speed, the most important first."""
    products = [
        Check(
            f"matmul {size}³ {precision or 'float32'}", "speed", partial(_square, size, precision)
        )
        for precision in SHARES
        for size in SQUARES
    ]
    streaming = [
        Check(f"bandwidth of {name}", "speed", partial(_streaming, name)) for name in STREAMING
    ]
    first = [Check("copy", "speed", _copy), Check("launches", "speed", _launches)]
    return [*first, *streaming[:10], *products, *streaming[10:]]


def measure_copy(bench):
    """Return the bytes a second that a device copy of 512 MB reads and writes."""
    size = 1 << 10 if bench.tiny else 1 << 27
    source = bench.put(np.ones(size, np.float32))
    target = bench.put(np.zeros(size, np.float32))
    took = seconds_of(bench, repeated(lambda: bench.gpu.copy(target, source)))
    return 2 * source.nbytes / took


def _copy(bench):
    figures = {"GB/s": round(bench.copy_bandwidth / 1e9, 1)}
    torch = torch_on_cuda()
    if torch is not None:
        x = torch.ones(1 << 27, device="cuda")
        y = torch.empty_like(x)
        took = seconds_of(bench, repeated(lambda: y.copy_(x)))
        figures["GB/s of PyTorch"] = round(2 * x.nbytes / took / 1e9, 1)
    return figures


def _row(name):
    from .workloads import workloads

    return next(row for row in workloads(name) if row.name == name)


def _streaming(name, bench):
    """The share of the copy's bandwidth that one operation reaches, by its compulsory traffic."""
    row, (size, target) = _row(name), STREAMING[name]
    if bench.tiny:
        size = (64,) if len(size) == 1 else (8, 16)
    inputs = row.inputs(np.random.default_rng(0), size, np.float32)
    given = [bench.put(a) for a in inputs]
    options = {}
    first = row.call(*given)
    if first is not None and row.out_argument:
        options["out"] = first
    took = seconds_of(bench, recorded(lambda: row.call(*given, **options)))
    speed = row.bytes(size, 4) / took
    figures = {"us": took * 1e6, "GB/s": speed / 1e9, "of copy": speed / bench.copy_bandwidth}
    return _judged(figures, "of copy", target)


def _judged(figures, name, target):
    """Add whether a target is reached; speed alone never fails a check."""
    if target is None or name not in figures:
        return figures
    return {**figures, "target": target, "reached": figures[name] >= target}


def _launches(bench):
    """What an eager call from Python takes, and a kernel in a replayed graph."""
    from fonio.kernels import add, record

    x, out = (bench.put(np.zeros(256, np.float32)) for _ in range(2))
    call = partial(add, x, x, out=out)
    eager = seconds_of(bench, repeated(call))
    launches = 2 if bench.tiny else LAUNCHES
    replayed = seconds_of(bench, recorded(call, launches)) / launches
    with record() as one:
        call()
    single = seconds_of(bench, repeated(one.replay))
    return {
        "us of an eager call": eager * 1e6,
        "us of a kernel in a graph": replayed * 1e6,
        "us of replay(), waiting": single * 1e6,
    }


def _square(size, precision, bench):
    """A square product against PyTorch, that is cuBLAS, in the same precision."""
    from fonio import kernels

    options = {} if precision is None else {"precision": precision}
    if options and "precision" not in inspect.signature(kernels.matmul).parameters:
        raise Skipped("matmul has no precision")
    n = 16 if bench.tiny else size
    rng = np.random.default_rng(0)
    a, b = (bench.put(rng.standard_normal((n, n), np.float32)) for _ in range(2))
    out = kernels.matmul(a, b, **options)
    took = seconds_of(bench, recorded(partial(kernels.matmul, a, b, out=out, **options)))
    figures = {"us": took * 1e6, "TFLOP/s": 2 * n**3 / took / 1e12}
    torch = torch_on_cuda()
    if torch is not None:
        theirs = seconds_of(bench, repeated(_torch_square(torch, n, precision)))
        figures |= {"us of PyTorch": theirs * 1e6, "of PyTorch": theirs / took}
    return _judged(figures, "of PyTorch", SHARES[precision] if size == SQUARES[0] else None)


def _torch_square(torch, n, precision):
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(n, n, device="cuda").to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    return partial(torch.mm, a, b, out=out)
