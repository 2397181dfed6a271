"""Elementary functions: the last digits, the ends of the range, one's own njit loops."""

import platform
import re

import llvmlite.binding
import numpy as np
import pytest
from numba import njit

from bench import ulp
from fonio import kernels

DTYPES = ("float32", "float64")
NAMES = tuple(ulp.FUNCTIONS)
INF, NAN = np.inf, np.nan

# name: what comes out at (0, infinity, -infinity), and at some other arguments with an exact answer
EXACT = {
    "exp": ((1, INF, 0), {-1e4: 0, 1e4: INF}),
    "exp2": ((1, INF, 0), {3: 8, -3: 0.125, 120: 2.0**120, -126: 2.0**-126, -140: 2.0**-140}),
    "expm1": ((0, INF, -1), {-1e4: -1, 1e4: INF}),
    "log": ((-INF, INF, NAN), {1: 0, -1: NAN, -1e-40: NAN}),
    "log1p": ((0, INF, NAN), {-1: -INF, -1.5: NAN, -1e30: NAN}),
    "tanh": ((0, 1, -1), {30: 1, -30: -1, 1e30: 1}),
    "sigmoid": ((0.5, 1, 0), {50: 1, -1e4: 0, 1e30: 1}),
    "softplus": ((None, INF, 0), {100: 100, -1e4: 0, 1e30: 1e30}),
    "erf": ((0, 1, -1), {7: 1, -7: -1, 1e30: 1}),
    "erfc": ((1, 0, 2), {30: 0, -7: 2, 1e30: 0}),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_two_ulp(name, dtype, record_property):
    error, x = ulp.worst(name, dtype, count=1000, step=20_011)
    record_property("worst_ulp", error)
    print(f"{name} {dtype}: {error:.2f} ulp at {x!r}")
    assert error <= 2, f"{name}({x!r}) is {error} ulp off"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_ulp_in_small_steps(name):
    error, x = ulp.every_single(name, 61)
    assert error <= 2, f"{name}({x!r}) is {error} ulp off"


# where the worst errors were found: every float32 there is tried, and more of float64
TIGHT = {
    "tanh": (0.5, 0.56),
    "sigmoid": (-4e-4, -3e-4),
    "erf": (0.95, 1.05),
    "erfc": (1.7, 1.8),
}


@pytest.mark.parametrize("name", TIGHT)
def test_two_ulp_where_it_is_tight(name, rng):
    ends = np.array(TIGHT[name], np.float32).view(np.uint32).astype(np.int64)
    x = np.arange(min(ends), max(ends), dtype=np.uint32).view(np.float32)
    assert ulp.single_errors(name, x).max() <= 2
    assert ulp.double_errors(name, rng.uniform(*TIGHT[name], 4000)).max() <= 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_exact_answers(name, dtype):
    (zero, infinity, minus_infinity), others = EXACT[name]
    wanted = {0.0: zero, INF: infinity, -INF: minus_infinity, **others}
    x = np.array([*wanted, -0.0, NAN, -NAN], dtype)
    y = getattr(kernels, name)(x)
    assert y.dtype == x.dtype
    if zero is None:  # no float
        wanted[0.0] = zero = y[0]
    np.testing.assert_array_equal(y[:-3], np.array(list(wanted.values()), dtype))
    assert y[-3] == zero
    assert np.isnan(y[-2:]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["expm1", "log1p", "tanh"])
def test_the_smallest_numbers_stay_themselves(name, dtype):
    kind = np.finfo(dtype)
    x = kind.smallest_subnormal * np.array([1, 2, 3, 101, 12345], dtype)
    x = np.concatenate([x, -x, [kind.tiny, -kind.tiny]]).astype(dtype)
    np.testing.assert_array_equal(getattr(kernels, name)(x), x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["tanh", "erf"])
def test_odd_functions_are_odd_to_the_bit(name, dtype, rng):
    x = np.concatenate([[0.0], 2.0 ** rng.uniform(-40, 5, 1000)]).astype(dtype)
    function = getattr(kernels, name)
    np.testing.assert_array_equal(function(-x), -function(x))
    np.testing.assert_array_equal(np.signbit(function(-x)), True)


def test_powers_of_two_are_exact():
    for dtype, lowest in (("float32", -149), ("float64", -1074)):
        n = np.arange(lowest, np.finfo(dtype).maxexp)
        np.testing.assert_array_equal(
            kernels.exp2(n.astype(dtype)), np.ldexp(np.ones(n.size, dtype), n)
        )


def _loop(name):
    function = getattr(kernels, name)

    @njit(error_model="numpy", fastmath={"contract", "nsz"})
    def loop(x, y):
        for i in range(x.size):
            y[i] = function(x[i])

    return loop


LIBRARY = re.compile(r"\$_*(numba_)?(exp2?|expm1|log|log1p|tanh|erfc?|pow|ldexp|floor|rint)f?\b")


@pytest.mark.parametrize("name", NAMES)
def test_a_loop_of_ones_own(name, rng):
    """The same bits as of arrays; whole vectors, nothing called, no float64 among float32."""
    loop = _loop(name)
    for dtype in DTYPES:
        x = np.abs(rng.standard_normal(103)).astype(dtype)
        y = np.empty_like(x)
        loop(x, y)
        np.testing.assert_array_equal(y, getattr(kernels, name)(x))
    if platform.machine() not in ("x86_64", "AMD64"):
        return
    single, double = (loop.inspect_asm(signature) for signature in loop.signatures)
    assert not LIBRARY.search(single + double)
    assert re.search(r"v?mulps\s.*[xyz]mm", single) and re.search(r"v?mulpd\s.*[xyz]mm", double)
    assert not re.search(r"^\s*v?(add|sub|mul|div|f\w+|cvt\w+)[sp]d\b", single, re.M)
    if llvmlite.binding.get_host_cpu_features().get("avx2"):
        assert re.search(r"vmulps\s.*[yz]mm", single) and re.search(r"vmulpd\s.*[yz]mm", double)


@pytest.mark.parametrize("name", NAMES)
def test_numbers(name):
    """From Python, float32 stays float32 and integers are float64; inside njit too."""
    function = getattr(kernels, name)

    @njit
    def call(x):
        return function(x)

    single = function(np.float32(0.75))
    assert isinstance(single, np.float32) and call(np.float32(0.75)) == single
    assert call(0.75) == function(0.75) == function(np.array([0.75]))[0]
    assert call(2) == function(2) == function(2.0)
