"""What the table-driven tests share: draw a row's inputs, call it, compare values and bits."""

import numpy as np
import pytest

from bench.workloads import workloads
from fonio import kernels

DTYPES = ("float32", "float64")


def rows(*groups, where=lambda row: True):
    """The table's rows of these groups (all where none is named), as (row, dtype) parameters."""
    return [
        pytest.param(row, dtype, id=f"{row.name}-{dtype}")
        for row in workloads()
        if (not groups or row.group in groups) and where(row)
        for dtype in DTYPES
    ]


def operation_of(row):
    """What the decorator knows of a row's function, or None for a function of another make."""
    return getattr(getattr(kernels, row.name, row.call), "operation", None)


def is_elementwise(row):
    return hasattr(operation_of(row), "formula")


def direct(row):
    """Whether the row calls its public operation itself, argument for argument."""
    return operation_of(row) is not None and row.call is operation_of(row).public


def draw(row, size, dtype, seed=0):
    return row.inputs(np.random.default_rng(seed), size, np.dtype(dtype).type)


def typical(row):
    """The largest of a row's test sizes."""
    return max(row.test_sizes, key=lambda size: int(np.prod(size)))


def written(row):
    """Indices of the inputs that the operation writes in place."""
    operation = operation_of(row) if direct(row) else None
    inputs = operation.inputs if operation else ()
    return [i for i, argument in enumerate(inputs) if argument.written]


def run(row, inputs, **options):
    """Call the row: its outputs as a tuple; of an operation in place, what it wrote."""
    result = row.call(*inputs, **options)
    if result is None:
        return tuple(inputs[i] for i in written(row))
    return result if isinstance(result, tuple) else (result,)


def expected(row, inputs):
    with np.errstate(all="ignore"):
        result = row.reference(*inputs)
    return tuple(result) if isinstance(result, tuple | list) else (result,)


def copies(inputs):
    return tuple(a.copy() if isinstance(a, np.ndarray) else a for a in inputs)


def as_out(arrays):
    return arrays[0] if len(arrays) == 1 else tuple(arrays)


def assert_close(actual, reference, tolerance, what, *, each=False):
    """Within tolerance * (largest magnitude + 1), or each + 1; NaN and infinity in their places."""
    assert len(actual) == len(reference), what
    for number, (a, e) in enumerate(zip(actual, reference, strict=True)):
        a, e = np.asarray(a), np.asarray(e)
        where = f"{what}, output {number}"
        assert a.shape == e.shape, where
        if a.dtype.kind != "f":
            np.testing.assert_array_equal(a, e, err_msg=where)
            continue
        e = e.astype(a.dtype).astype(np.float64)
        a = a.astype(np.float64)
        finite = np.isfinite(e)
        np.testing.assert_array_equal(a[~finite], e[~finite], err_msg=where)
        assert np.isfinite(a[finite]).all(), f"{where}: not finite where the reference is"
        a, e = a[finite], e[finite]
        scale = 1 + (np.abs(e) if each else np.abs(e).max(initial=0.0))
        worst = (np.abs(a - e) / scale).max(initial=0.0)
        assert worst <= tolerance, f"{where}: off by {worst:.3g}, relative to magnitude plus 1"


def assert_same_bits(actual, wanted, what):
    assert len(actual) == len(wanted), what
    for number, (a, w) in enumerate(zip(actual, wanted, strict=True)):
        a, w = np.ascontiguousarray(a), np.ascontiguousarray(w)
        assert a.dtype == w.dtype, f"{what}, output {number}"
        assert a.shape == w.shape, f"{what}, output {number}"
        if a.tobytes() != w.tobytes():
            differ = np.count_nonzero(a.reshape(-1) != w.reshape(-1))
            pytest.fail(f"{what}, output {number}: {differ} of {a.size} elements differ")
