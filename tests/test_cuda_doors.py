"""Users' own @cuda.jit kernels: our scalar functions by their public names, block reductions."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fonio[cuda]'")

from numba import cuda, float32, float64, int32, njit, uint32  # noqa: E402
from numba.core.errors import TypingError  # noqa: E402

from fonio import kernels  # noqa: E402
from fonio.kernels import ptx  # noqa: E402
from fonio.kernels.cuda_blocks import (  # noqa: E402
    block_max,
    block_sum,
    block_tile,
    warp_max,
    warp_sum,
)
from fonio.kernels.cuda_loops import TEAMS  # noqa: E402
from fonio.kernels.retarget import retarget  # noqa: E402
from tests.cuda.emulator import EmulationError, emulate  # noqa: E402
from tests.cuda.offline import resources  # noqa: E402

exp, gelu, leaky_relu, philox = kernels.exp, kernels.gelu, kernels.leaky_relu, kernels.philox
VOLTA_ON = (7, 5)  # the oldest architecture: what it compiles, the newer ones do


def emulated(kernel, grid, block, *args, seed=None):
    """Run a user's kernel: public names lead to the same device functions as in the compiler."""
    retargeted = retarget(kernel, TEAMS["item"])
    emulate(retargeted, grid, block, args, seed=seed, models=ptx.MODELS)


def normal(*shape, dtype=np.float32):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def unary(operation):
    def kernel(out, x):
        i = cuda.grid(1)
        if i < x.size:
            out[i] = operation(x[i])

    return kernel


def binary(operation):
    def kernel(out, x):
        i = cuda.grid(1)
        if i < x.size:
            out[i] = operation(x[i], x[i] + x[i])

    return kernel


def scalar_functions():
    public = [getattr(kernels, name) for name in kernels.__all__]
    return [f for f in public if hasattr(getattr(f, "operation", None), "formula")]


@pytest.mark.parametrize("function", scalar_functions(), ids=lambda f: f.operation.name)
def test_every_scalar_function(function):
    """Compiled in float32, and emulated against the same function on an array."""
    one = len(function.operation.array_names) == 1
    kernel = unary(function) if one else binary(function)
    made = resources(kernel, (float32[::1], float32[::1]), VOLTA_ON)
    assert made.doubles_in_ptx() == []
    assert made.stack == 0
    x = normal(40)
    out = np.empty_like(x)
    emulated(kernel, 2, 32, out, x)
    wanted = function(x) if one else function(x, x + x)
    np.testing.assert_allclose(out, wanted, rtol=2e-6, atol=2e-6)


def activate(out, x):
    i = cuda.grid(1)
    if i < x.size:
        out[0, i] = gelu(x[i])
        out[1, i] = leaky_relu(x[i])
        out[2, i] = leaky_relu(x[i], 0.2)
        out[3, i] = leaky_relu(x[i], slope=0.5)


def test_numbers_left_out_and_given():
    """A left-out slope, a literal and a keyword: none makes float32 code float64."""
    made = resources(activate, (float32[:, ::1], float32[::1]), VOLTA_ON)
    assert made.doubles_in_ptx() == []
    x = normal(40)
    out = np.empty((4, 40), np.float32)
    emulated(retarget(activate, TEAMS["item"]), 2, 32, out, x)
    wanted = [gelu(x), leaky_relu(x), leaky_relu(x, 0.2), leaky_relu(x, 0.5)]
    np.testing.assert_allclose(out, wanted, rtol=1e-6)


@pytest.mark.parametrize("kind", [float64, int32])
def test_all_but_float32_is_float64(kind):
    made = resources(unary(exp), (float64[::1], kind[::1]), VOLTA_ON)
    assert made.doubles_in_ptx()


def test_float64_values():
    x = normal(40, dtype=np.float64)
    out = np.empty_like(x)
    emulated(unary(exp), 2, 32, out, x)
    np.testing.assert_allclose(out, exp(x), rtol=1e-14)


@kernels.elementwise
def bump(x, height=2.0):
    """y = height·exp(-x²)."""
    return height * exp(-x * x)


def test_an_operation_of_the_user():
    """A new formula is callable at once, and in float32 stays there."""
    made = resources(unary(bump), (float32[::1], float32[::1]), VOLTA_ON)
    assert made.doubles_in_ptx() == []


def test_njit_and_cuda_in_one_process():
    """The two targets share a function's declaration, not its code."""
    resources(unary(gelu), (float32[::1], float32[::1]), VOLTA_ON)
    inside = njit(lambda x: gelu(x))
    x = np.float32(0.7)
    assert inside(x) == gelu(x)
    resources(unary(gelu), (float64[::1], float64[::1]), VOLTA_ON)


def test_arrays_are_refused():
    def on_array(out, x):
        gelu(x, out)

    def of_rows(out, x):
        kernels.softmax(x, out)

    with pytest.raises(TypingError, match="gelu: inside cuda.jit it takes numbers, not arrays"):
        resources(on_array, (float32[::1], float32[::1]), VOLTA_ON)
    with pytest.raises(TypingError, match="softmax: inside cuda.jit only functions of numbers"):
        resources(of_rows, (float32[:, ::1], float32[:, ::1]), VOLTA_ON)


def words(out, seed):
    i = cuda.grid(1)
    if i < out.shape[0]:
        a, b, c, d = philox((i, 1, 2, 3), (seed, 0))
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = a, b, c, d


def test_philox_gives_the_same_words():
    made = resources(words, (uint32[:, ::1], uint32), VOLTA_ON)
    assert made.doubles_in_ptx() == []
    out = np.empty((40, 4), np.uint32)
    emulated(words, 2, 32, out, np.uint32(7))
    counter = np.array([[i, 1, 2, 3] for i in range(40)], np.uint32)
    np.testing.assert_array_equal(out, philox(counter, np.array([7, 0], np.uint32)))


def reduce(out, x):
    row, i = cuda.blockIdx.x, cuda.threadIdx.x + cuda.blockDim.x * cuda.threadIdx.y
    value = x[row, i]
    out[0, row, i] = block_sum(value)
    out[1, row, i] = block_max(value)
    out[2, row, i] = warp_sum(value)
    out[3, row, i] = warp_max(value)


@pytest.mark.parametrize("block", [32, 96, (8, 12), 1024])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_block_reductions(block, dtype):
    size = int(np.prod(block))
    x = (100 * normal(2, size)).astype(dtype)
    out = np.empty((4, 2, size), dtype)
    emulated(reduce, 2, block, out, x, seed=1)
    again = np.empty_like(out)
    emulated(reduce, 2, block, again, x, seed=2)
    assert out.tobytes() == again.tobytes()
    close = {"rtol": 1e-6 if dtype is np.float32 else 1e-13, "atol": 1e-3}
    warps = x.reshape(2, size // 32, 32)
    ones = np.ones((2, size), dtype)
    np.testing.assert_allclose(out[0], x.sum(1, keepdims=True) * ones, **close)
    np.testing.assert_array_equal(out[1], x.max(1, keepdims=True) * ones)
    np.testing.assert_allclose(out[2], np.repeat(warps.sum(2), 32, 1), **close)
    np.testing.assert_array_equal(out[3], np.repeat(warps.max(2), 32, 1))
    assert all(len(set(row)) == 1 for row in out[0].tolist())


@pytest.mark.parametrize("kind", [float32, float64, int32])
def test_block_reductions_compile(kind):
    made = resources(reduce, (kind[:, :, ::1], kind[:, ::1]), VOLTA_ON)
    assert made.spill_stores == made.stack == 0
    assert kind is float64 or made.doubles_in_ptx() == []
    assert made.shared <= 2 * 32 * 8


def test_the_largest_of_signed_zeros_and_nan():
    x = np.array([[-0.0, 0.0] * 32, [1.0] * 63 + [np.nan]], np.float32)
    out = np.empty((4, 2, 64), np.float32)
    emulated(reduce, 2, 64, out, x)
    assert len({row.tobytes() for row in out[1, 0]}) == 1
    assert np.isnan(out[1, 1]).all()


def parted(out, x):
    i = cuda.threadIdx.x
    if i < 32:
        out[i] = block_sum(x[i])


def test_a_call_that_not_all_threads_make_is_caught():
    with pytest.raises(EmulationError, match="diverge"):
        emulated(parted, 1, 64, np.empty(64, np.float32), normal(64))


TILE = block_tile(32, 32, 8)
SUMS, add_product, place = TILE.sums, TILE.add_product, TILE.place


def activated_product(c, total, a, b):
    """C = gelu(AᵀB) and its sum, for a and b (8, 32)."""
    left = cuda.shared.array((8, 32), float32, 16)
    right = cuda.shared.array((8, 32), float32, 16)
    sums = cuda.local.array(SUMS, float32)
    thread, mine = cuda.threadIdx.x, float32(0)
    for i in range(thread, 256, cuda.blockDim.x):
        left[i // 32, i % 32], right[i // 32, i % 32] = a[i // 32, i % 32], b[i // 32, i % 32]
    for i in range(SUMS):
        sums[i] = float32(0)
    cuda.syncthreads()
    add_product(sums, left, right)
    for i in range(SUMS):
        row, column = place(i)
        value = gelu(sums[i])
        c[row, column] = value
        mine += value
    total[thread] = block_sum(mine)


def test_a_tile_a_formula_and_a_reduction():
    a, b = normal(2, 8, 32)
    c, total = np.empty((32, 32), np.float32), np.empty(TILE.threads, np.float32)
    emulated(activated_product, 1, TILE.threads, c, total, a, b, seed=4)
    np.testing.assert_allclose(c, gelu(a.T @ b), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(total, c.sum(dtype=np.float64), rtol=1e-5)
    matrix = float32[:, ::1]
    made = resources(activated_product, (matrix, float32[::1], matrix, matrix), VOLTA_ON)
    assert made.stack == made.spill_stores == 0
    assert made.doubles_in_ptx() == []


LATE = """
from numba import cuda, float32
from tests.cuda.offline import resources

def other(out, x):
    out[0] = x[0]

resources(other, (float32[::1], float32[::1]), (7, 5))
from fonio.kernels import gelu

def mine(out, x):
    out[0] = gelu(x[0])

print(resources(mine, (float32[::1], float32[::1]), (7, 5)).doubles_in_ptx())
"""
ALONE = """
import sys
import fonio.kernels
print(*[name for name in ("numba_cuda", "numba.cuda") if name in sys.modules])
"""


@pytest.mark.parametrize("program, told", [(LATE, "[]"), (ALONE, "")], ids=["late", "alone"])
def test_order_of_imports(program, told):
    """fonio may come after numba-cuda has compiled, and never imports it by itself."""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, told), done.stderr
