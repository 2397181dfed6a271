"""Checks of values on a GPU: every row of the table against its reference, masks bit for bit."""

import time
from functools import partial

import numpy as np

from .gpu_worker import Check, Skipped, Wrong

MOST = 1 << 24  # elements of a benchmarked size that is checked as well
SECONDS = 2.0  # after which a row takes no further size
PRODUCTS = ((64, 64, 64), (517, 769, 1031), (1, 4096, 10), (2048, 33, 5))
# as a part of the largest magnitude: TF32 keeps 11 bits of an input, bfloat16 8
PRECISIONS = {None: 1e-5, "tf32": 3e-3, "bf16": 2e-2}


def checks(dtype):
    """List a check for each row in this precision, and with float32 those of bits."""
    from .workloads import workloads

    rows = [
        Check(f"{row.name} {dtype}", "values", partial(_row, row, dtype)) for row in workloads()
    ]
    if dtype == "float64":
        return rows
    masks = [
        Check(f"bits of {row.name}", "bits", partial(_bits, row)) for row in workloads("dropout*")
    ]
    products = [
        Check(f"products {precision or 'float32'}", "values", partial(_products, precision))
        for precision in PRECISIONS
    ]
    foreign = [
        Check(f"arrays of {name}", "values", partial(_foreign, name)) for name in ("torch", "cupy")
    ]
    return [*rows, *masks, *products, *foreign]


def _sizes(row, bench):
    """Return the sizes to check: small odd ones first, then those of the benchmarks."""
    if bench.tiny:
        by_elements = sorted(row.test_sizes, key=lambda size: int(np.prod(size)))
        return [size for size in by_elements if 0 < np.prod(size) <= 150][-1:] or by_elements[:1]
    large = [size for size in row.sizes if np.prod(size) <= MOST]
    return [*row.test_sizes, *large]


def _row(row, dtype, bench):
    """Compare one row with its reference at several sizes; figures: sizes, the worst error."""
    worst, tolerance, done = 0.0, row.tolerance[dtype], []
    started = time.perf_counter()
    for number, size in enumerate(_sizes(row, bench)):
        if done and time.perf_counter() - started > SECONDS:
            break
        inputs = row.inputs(np.random.default_rng(number), size, np.dtype(dtype).type)
        if dtype == "float64" and not _has(inputs, np.float64):
            raise Skipped("no array of this row depends on the precision")
        host = [a.copy() if isinstance(a, np.ndarray) else a for a in inputs]
        with np.errstate(all="ignore"):
            wanted = row.reference(*host)
        wanted = tuple(wanted) if isinstance(wanted, tuple | list) else (wanted,)
        error = _worst(call_row(row, inputs, bench), wanted)
        worst = max(worst, error)
        done.append(list(size))
        if not error <= tolerance:
            figures = {"error": worst, "tolerance": tolerance, "sizes": done}
            raise Wrong(f"{row.name}: off by {error:.3g} at {size}", figures)
    return {"error": worst, "tolerance": tolerance, "sizes": done}


def _has(inputs, dtype):
    return any(isinstance(a, np.ndarray) and a.dtype == dtype for a in inputs)


def call_row(row, inputs, bench):
    """Call a row on the device; return what it made or wrote in place, as NumPy arrays."""
    if not any(isinstance(a, np.ndarray) for a in inputs):  # a mask, by its shape alone
        out = bench.put(np.zeros(inputs[0], np.bool_))
        return (row.call(*inputs, out=out).copy_to_host(),)
    given = [bench.put(a) for a in inputs]
    result = row.call(*given)
    if result is None:
        operation = row.call.operation
        result = tuple(
            array
            for argument, array in zip(operation.inputs, given, strict=False)
            if argument.written
        )
    result = result if isinstance(result, tuple) else (result,)
    return tuple(array.copy_to_host() for array in result)


def _worst(actual, wanted):
    """Return the largest error relative to magnitude plus 1; NaN and infinity must be in place."""
    if len(actual) != len(wanted):
        raise ValueError(f"{len(actual)} outputs, expected {len(wanted)}")
    worst = 0.0
    for a, e in zip(actual, map(np.asarray, wanted), strict=True):
        if a.shape != e.shape:
            raise ValueError(f"an output has shape {a.shape}, expected {e.shape}")
        if a.dtype.kind != "f":
            worst = max(worst, float(np.count_nonzero(a != e)))
            continue
        e = e.astype(a.dtype).astype(np.float64)
        finite = np.isfinite(e)
        if not np.array_equal(a[~finite], e[~finite].astype(a.dtype), equal_nan=True):
            raise ValueError("NaN or infinity is not where the reference has it")
        a, e = a[finite].astype(np.float64), e[finite]
        error = np.abs(a - e).max(initial=0.0) / (1 + np.abs(e).max(initial=0.0))
        worst = max(worst, float(error) if np.isfinite(error) else np.inf)
    return worst


def _bits(row, bench):
    """The CPU and the device draw the same mask: not one bit differs."""
    sizes = ((65,), (7, 33)) if bench.tiny else ((1,), (65,), (33, 5), (1_000_003,), (4096, 512))
    compared = 0
    for number, size in enumerate(sizes):
        inputs = row.inputs(np.random.default_rng(number), size, np.float32)
        for rate, step in ((0.5, number), (0.1, 2**32 + 7)):
            key = (inputs[0], rate, 2**40 + number, step, number)
            on_host = row.call(*key)
            on_device = call_row(row, key, bench)[0]
            if on_host.tobytes() != on_device.tobytes():
                differing = int(np.count_nonzero(on_host != on_device))
                raise Wrong(f"{differing} elements differ at {size}", {"differing": differing})
            compared += on_host.size
    return {"elements": compared}


def _products(precision, bench):
    """Large and odd products in all transposes, and linear with bias and activation."""
    from inspect import signature

    from fonio import kernels

    options = {} if precision is None else {"precision": precision}
    if options and "precision" not in signature(kernels.matmul).parameters:
        raise Skipped("matmul has no precision")
    worst, allowed = 0.0, PRECISIONS[precision]
    rng = np.random.default_rng(0)
    for m, k, n in ((20, 17, 9),) if bench.tiny else PRODUCTS:
        for transposed in range(4):
            a, b = rng.standard_normal((m, k)), rng.standard_normal((k, n))
            x, y = (_laid_out(bench, v, transposed >> i & 1) for i, v in enumerate((a, b)))
            wanted = a.astype(np.float32).astype(np.float64) @ b.astype(np.float32)
            made = kernels.matmul(x, y, **options).copy_to_host()
            worst = max(worst, float(np.abs(made - wanted).max() / np.abs(wanted).max()))
    if not worst <= allowed:
        raise Wrong(f"off by {worst:.3g}", {"error": worst, "tolerance": allowed})
    return {"error": worst, "tolerance": allowed}


def _laid_out(bench, matrix, transposed):
    """Put a matrix on the device, its columns or its rows side by side."""
    matrix = matrix.astype(np.float32)
    return bench.put(matrix.T.copy()).T if transposed else bench.put(matrix)


def _foreign(name, bench):
    """Another library's arrays are read and written where they lie."""
    from importlib import import_module

    from fonio import kernels

    try:
        library = import_module(name)
    except ImportError as error:
        raise Skipped(str(error)) from None
    if name == "torch":
        if not library.cuda.is_available():
            raise Skipped("this PyTorch sees no CUDA device")
        x = library.linspace(-3, 3, 1001, device="cuda")
        out, to_host = library.empty_like(x), lambda a: a.cpu().numpy()
    else:
        x = library.linspace(-3, 3, 1001, dtype="float32")
        out, to_host = library.empty_like(x), library.asnumpy
    kernels.gelu(x, out=out)
    bench.gpu.synchronize()
    error = float(np.abs(to_host(out) - kernels.gelu(to_host(x))).max())
    if not error <= 1e-5:
        raise Wrong(f"off by {error:.3g}", {"error": error})
    return {"error": error}
