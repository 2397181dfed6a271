"""Drawn shapes and values: an element's place does not matter; products are right in any layout."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from bench.workloads import workloads
from fonio import kernels
from tests.checks import assert_same_bits, is_elementwise

MANY = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


def _elementwise():
    return [pytest.param(row, id=row.name) for row in workloads() if is_elementwise(row)]


def _numbers(dtype):
    width = np.dtype(dtype).itemsize * 8
    return st.floats(width=width, allow_nan=True, allow_infinity=True, allow_subnormal=True)


@pytest.mark.parametrize("row", _elementwise())
@given(data=st.data())
@MANY
def test_an_element_does_not_depend_on_its_place(row, data):
    """Whether in a vector or in the rest of a loop: the same bits. Any shape, any value."""
    shape = data.draw(array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9))
    public = getattr(kernels, row.name)
    count = len(public.operation.array_names)
    xs = [data.draw(arrays(np.float32, shape, elements=_numbers("float32"))) for _ in range(count)]
    y = public(*xs)
    assert y.shape == shape
    assert y.dtype == np.float32
    shuffled = [np.concatenate([np.ones(3, np.float32), x.reshape(-1)[::-1]]) for x in xs]
    again = public(*shuffled)[3:][::-1].reshape(shape)
    assert_same_bits((again,), (y,), row.name)


SIDE = st.integers(0, 40)
LAYOUTS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "reversed": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "strided": lambda a: np.repeat(np.repeat(a, 2, 0), 3, 1)[::2, ::3],
}


@given(
    m=SIDE,
    k=SIDE,
    n=SIDE,
    layouts=st.tuples(st.sampled_from(sorted(LAYOUTS)), st.sampled_from(sorted(LAYOUTS))),
    seed=st.integers(0, 5),
)
@MANY
def test_matmul_of_any_shape_and_layout(m, k, n, layouts, seed):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((m, k)).astype(np.float32)
    b = rng.standard_normal((k, n)).astype(np.float32)
    c = kernels.matmul(a, b)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    np.testing.assert_allclose(c, exact, rtol=0, atol=1e-5 * (1 + np.abs(exact).max(initial=0)))
    views = [LAYOUTS[name](x) for name, x in zip(layouts, (a, b), strict=True)]
    assert_same_bits((kernels.matmul(*views),), (c,), f"matmul of {layouts}")
    assert_same_bits((kernels.matmul(a[:1], b),), (c[:1],), "the first row alone")
