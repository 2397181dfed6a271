"""Every row of the table: values against the reference, gradients, special values, completeness."""

import types

import numpy as np
import pytest

from bench.workloads import workloads
from fonio import kernels
from tests.checks import (
    assert_close,
    assert_same_bits,
    copies,
    draw,
    expected,
    is_elementwise,
    operation_of,
    rows,
    run,
    typical,
    written,
)

# public, and no operation on arrays that a row could describe
WITHOUT_ROWS = {
    *("record", "not_recorded", "set_num_threads", "get_num_threads"),
    *("set_matmul_precision", "get_matmul_precision", "to_device", "DeviceArray"),
    *("operation", "elementwise", "kernel"),
    *("for_each", "for_each_cell", "for_each_row", "sum_columns"),
    *("fused_mlp", "fused_mlp_backward"),  # lists of arrays: test_cuda_fused.py
}


@pytest.mark.parametrize("row, dtype", rows())
def test_value(row, dtype):
    """Odd, tiny and empty sizes; arguments stay as they were, but for those written in place."""
    for number, size in enumerate(row.test_sizes):
        inputs = draw(row, size, dtype, seed=number)
        given = copies(inputs)
        wanted = expected(row, copies(inputs))
        actual = run(row, inputs)
        what = f"{row.name} {size} {dtype}"
        assert_close(actual, wanted, row.tolerance[dtype], what)
        kept = [i for i in range(len(inputs)) if i not in written(row)]
        assert_same_bits([inputs[i] for i in kept], [given[i] for i in kept], f"{what}: arguments")


@pytest.mark.parametrize("row, dtype", rows())
def test_precision_of_the_result(row, dtype):
    inputs = draw(row, typical(row), dtype)
    for output in run(row, inputs):
        assert np.asarray(output).dtype.kind in "iub" or np.asarray(output).dtype == dtype


EPSILON = 1e-6
MOST_ELEMENTS = 20  # central differences for so many elements of each argument


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=row.name) for row in workloads() if row.forward]
)
def test_gradient(row):
    """Each gradient against central differences of sum(dy * forward), float64."""
    rng = np.random.default_rng(5)
    for size in row.test_sizes:
        dy, *rest = draw(row, size, "float64", seed=11)
        gradients = run(row, copies((dy, *rest)))
        if row.before is not None:
            rest = row.before(dy, *rest)
        for index, gradient in _paired(row, rest, gradients):
            _check_gradient(row, dy, rest, index, gradient, rng)


def _paired(row, rest, gradients):
    """(index into rest, gradient): by name where the declaration tells, else in order."""
    operation = operation_of(row)
    floats = [i for i, a in enumerate(rest) if isinstance(a, np.ndarray) and a.dtype.kind == "f"]
    if operation is not None and len(operation.outputs) == len(gradients):
        names = [argument.name for argument in operation.inputs][1:]
        outputs = [argument.name[1:] for argument in operation.outputs]
        if any(name in names for name in outputs):
            pairs = zip(outputs, gradients, strict=True)
            return [(names.index(n), g) for n, g in pairs if n in names]
    return list(zip(floats, gradients, strict=False))


def _check_gradient(row, dy, rest, index, gradient, rng):
    x = rest[index]
    assert gradient.shape == x.shape
    chosen = rng.permutation(x.size)[:MOST_ELEMENTS]
    scale = 1 + np.abs(gradient).max(initial=0.0)
    for element in chosen:
        place = np.unravel_index(element, x.shape)
        step = EPSILON * max(1.0, abs(x[place]))
        ends = []
        for sign in (1, -1):
            moved = list(copies(rest))
            moved[index][place] += sign * step
            ends.append(_loss(row, dy, moved))
        numeric = (ends[0] - ends[1]) / (2 * step)
        assert abs(numeric - gradient[place]) <= 1e-6 * scale, (
            f"{row.name}: argument {index + 1} at {place}: {gradient[place]} for {numeric}"
        )


def _loss(row, dy, rest):
    y = row.forward(*rest)
    return float(np.sum(dy * (y[0] if isinstance(y, tuple) else y)))


SPECIAL = (np.nan, np.inf, -np.inf)


@pytest.mark.parametrize("row, dtype", rows(where=lambda row: row.nan and not written(row)))
def test_nan_comes_out(row, dtype):
    inputs = draw(row, typical(row), dtype)
    first = inputs[0]
    place = tuple(n // 2 for n in first.shape)
    first[place] = np.nan
    outputs = run(row, inputs)
    if is_elementwise(row):
        found = np.flatnonzero(np.isnan(outputs[0])).tolist()
        assert found == [np.ravel_multi_index(place, first.shape)], f"{row.name}: NaN misplaced"
    assert any(np.isnan(output).any() for output in outputs), f"{row.name} loses a NaN"


@pytest.mark.parametrize("row, dtype", rows(where=lambda row: row.nan and is_elementwise(row)))
def test_infinity_and_zero(row, dtype):
    """Where the reference has an answer for infinities, zeros and tiny numbers, so have we."""
    inputs = draw(row, typical(row), dtype)
    tiny = np.finfo(dtype).smallest_subnormal
    values = np.array([np.inf, -np.inf, 0.0, -0.0, tiny, -tiny, 1e30, -1e30], dtype)
    x = inputs[len(operation_of(row).array_names) - 1]
    x.reshape(-1)[: values.size] = values[: x.size]
    wanted = expected(row, copies(inputs))
    (actual,) = run(row, inputs)
    assert_close((actual,), wanted, row.tolerance[dtype], row.name, each=True)


def test_every_public_function_has_a_row():
    known = {row.name for row in workloads()} | WITHOUT_ROWS
    public = [
        name
        for name in getattr(kernels, "__all__", dir(kernels))
        if not name.startswith("_")
        and callable(getattr(kernels, name))
        and not isinstance(getattr(kernels, name), type | types.ModuleType)
    ]
    assert public, "fonio.kernels has no public functions"
    assert not sorted(set(public) - known)


def test_every_row_bears_the_name_of_an_operation():
    assert not sorted(
        row.name
        for row in workloads()
        if not hasattr(kernels, row.name) and getattr(operation_of(row), "name", None) != row.name
    )
