"""Matrix products, as the table does not ask: views, bits, infinities, accumulation, njit."""

import os
import pathlib
import subprocess
import sys

import llvmlite.binding as llvm
import numpy as np
import pytest
from numba import njit

from fonio.kernels.matrix import (
    linear,
    linear_backward,
    linear_backward_bias,
    linear_backward_input,
    linear_backward_weight,
    matmul,
)
from fonio.kernels.products import K_BLOCK
from fonio.kernels.recording import record

DTYPES = ("float32", "float64")
SHAPES = (
    *((1, 1, 1), (1, 40, 17), (9, 1, 50), (17, 33, 10), (130, 20, 100)),
    *((300, K_BLOCK + 20, 49), (47, K_BLOCK + 3, 10), (20, 19, 2)),
)


def _normal(shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def _views(array):
    """Yield arrays equal to this one, of other strides."""
    rows, columns = array.shape
    yield np.asfortranarray(array)
    for steps in ((2, 3), (-2, -3)):
        wide = np.full((2 * rows, 3 * columns), np.nan, array.dtype)
        view = wide[:: steps[0], :: steps[1]]
        view[...] = array
        yield view


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_views_give_the_bits_of_contiguous_copies(shape, dtype):
    m, k, n = shape
    a, b = _normal((m, k), dtype), _normal((k, n), dtype, 1)
    expected = matmul(a, b)
    assert np.allclose(expected, a.astype(np.float64) @ b, rtol=0, atol=k * 1e-5)
    for left in (a, *_views(a)):
        for right in (b, *_views(b)):
            assert np.array_equal(matmul(left, right), expected)
    for out in _views(np.zeros_like(expected)):
        matmul(a, b, out=out)
        assert np.array_equal(out, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_does_not_depend_on_the_other_rows(dtype):
    x, weight, bias = (
        _normal((300, 600), dtype),
        _normal((70, 600), dtype, 1),
        _normal(70, dtype, 2),
    )
    whole, product = linear(x, weight, bias), matmul(x, weight.T)
    for first, last in ((0, 1), (5, 7), (0, 17), (100, 133), (0, 299)):
        assert np.array_equal(linear(x[first:last], weight, bias), whole[first:last])
        assert np.array_equal(matmul(x[first:last], weight.T), product[first:last])
    for first, last in ((3, 9), (0, 10), (69, 70)):  # few columns: lanes run down the rows
        few = linear(x, weight[first:last], bias[first:last])
        assert np.array_equal(few, whole[:, first:last])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", (1, 4, 7, 8, 13))
def test_few_columns_have_the_bits_of_many(columns, dtype):
    dy, x = _normal((40, 70), dtype), _normal((40, 100), dtype, 1)
    whole = linear_backward_weight(dy, x)
    few = np.ascontiguousarray(x[:, :columns])
    assert np.array_equal(linear_backward_weight(dy, few), whole[:, :columns])
    total = _normal((70, columns), dtype, 2)
    expected = total + whole[:, :columns]
    linear_backward_weight(dy, few, accumulate=True, out=total)
    assert np.array_equal(total, expected)


@pytest.mark.parametrize("shape", ((3, 20, 5), (40, 20, 60), (64, 3, 10)))
def test_infinities_and_nan_go_where_they_belong(shape):
    n, i, o = shape
    x, weight = _normal((n, i), "float32"), _normal((o, i), "float32", 1)
    x[0, 0], x[-1, -1], weight[0, 0], weight[-1, -1] = np.inf, np.nan, 0, np.inf
    with np.errstate(invalid="ignore"):
        expected = np.einsum("ni,oi->no", x, weight)
        rectified = np.where(expected < 0, 0, expected)
    assert np.array_equal(np.isnan(linear(x, weight)), np.isnan(expected))
    assert np.array_equal(np.isinf(linear(x, weight)), np.isinf(expected))
    assert np.array_equal(np.isnan(linear(x, weight, None, "relu")), np.isnan(rectified))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ((33, 0, 17), (5, 4, 3), (33, 600, 17), (64, 3, 50)))
def test_linear_with_and_without_bias_and_relu(shape, dtype):
    n, i, o = shape
    x, weight, bias = _normal((n, i), dtype), _normal((o, i), dtype, 1), _normal(2 * o, dtype, 2)
    bare = linear(x, weight)
    for line in (bias[:o], bias[::2], bias[::-2]):
        y = linear(x, weight, line)
        assert np.array_equal(y, bare + line)
        assert np.array_equal(linear(x, weight, line, "relu"), np.maximum(y, 0))
        out = np.empty((o, n), dtype).T
        assert np.array_equal(linear(x, weight, line, "relu", out=out), np.maximum(y, 0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", (1, 64, 130))
def test_parts_of_the_backward_and_accumulation(rows, dtype):
    dy, x, weight = (
        _normal((rows, 10), dtype),
        _normal((rows, 20), dtype, 1),
        _normal((10, 20), dtype, 2),
    )
    dx, dweight, dbias = linear_backward(dy, x, weight)
    assert np.array_equal(linear_backward_input(dy, weight), dx)
    assert np.array_equal(linear_backward_weight(dy, x), dweight)
    assert np.array_equal(linear_backward_bias(dy), dbias)
    into = np.ones_like(dweight), np.ones_like(dbias)
    linear_backward_weight(dy, x, accumulate=True, out=into[0])
    linear_backward_bias(dy, accumulate=True, out=into[1])
    assert np.allclose(into[0], 1 + dweight, atol=1e-5)
    assert np.allclose(into[1], 1 + dbias, atol=1e-5)


def test_recorded_arrays_begin_at_a_cache_line():
    a, made = _normal((9, 7), "float32"), []
    with record():
        for _ in range(8):  # by chance one in four does
            made.append(matmul(a, a.T))
    assert all(array.ctypes.data % 64 == 0 for array in made)


def test_recorded_products_read_their_inputs_anew():
    x, weight, bias = (
        _normal((40, 50), "float32"),
        _normal((30, 50), "float32"),
        _normal(30, "float32"),
    )
    y = np.empty((40, 30), np.float32)
    with record() as step:
        linear(x, weight.copy(), bias[::-1], "relu", out=y)
    x[...] = _normal(x.shape, "float32", 7)
    bias[...] = 1
    step.replay()
    assert np.array_equal(y, linear(x, weight, bias, "relu"))


@njit
def _layer(y, dx, x, weight, bias):
    linear(x, weight, bias, "relu", out=y)
    matmul(y, weight, out=dx)


def test_inside_njit():
    x, weight, bias = (
        _normal((9, 20), "float32"),
        _normal((30, 20), "float32"),
        _normal(30, "float32"),
    )
    y, dx = np.empty((9, 30), np.float32), np.empty((20, 9), np.float32).T
    _layer(y, dx, x, weight, bias)
    assert np.array_equal(y, linear(x, weight, bias, "relu"))
    assert np.array_equal(dx, matmul(y, weight))


def test_refusals():
    x, weight = np.ones((2, 3)), np.ones((4, 3))
    with pytest.raises(ValueError, match="linear: unknown activation 'gellu', expected one of"):
        linear(x, weight, None, "gellu")
    with pytest.raises(ValueError, match="matmul: b has shape"):
        matmul(x, weight)
    with pytest.raises(ValueError, match="matmul: out overlaps a"):
        matmul(x, np.ones((3, 3)), out=x)


_PRODUCTS = """
import hashlib
import numpy as np
from fonio.kernels.matrix import linear, linear_backward, matmul
total = hashlib.sha256()
for dtype in ("float32", "float64"):
    for n, i, o in ((1, 1, 1), (3, 40, 17), (33, 3, 10), (70, 1100, 50), (47, 1030, 10)):
        r = np.random.default_rng(n)
        x, w, b, dy = (r.standard_normal(s).astype(dtype) for s in ((n, i), (o, i), o, (n, o)))
        for y in (linear(x, w, b, "relu"), *linear_backward(dy, x, w)[:2], matmul(x.T, dy)):
            total.update(y.tobytes())
print(total.hexdigest())
"""


def _digest_on(cpu):
    """Return the digest of some products by the vectors of a CPU (None: of this one)."""
    environment = {**os.environ, **({"NUMBA_CPU_NAME": cpu} if cpu else {})}
    root = pathlib.Path(__file__).resolve().parent.parent
    command = [sys.executable, "-c", _PRODUCTS]
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(
    not {"avx2", "fma"} <= {name for name, has in llvm.get_host_cpu_features().items() if has},
    reason="the CPUs named are older x86 ones, which this one must be able to follow",
)
def test_narrower_vectors_give_the_same_bits():
    here = _digest_on(None)
    assert _digest_on("haswell") == here
    assert _digest_on("nehalem") == here
