"""The tools that prove CUDA kernels without a GPU: they pass what is right, catch what is not."""

import math
import re
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fonio[dev]'")

from numba import cuda, float32  # noqa: E402

from tests.cuda import faulty, offline, small  # noqa: E402
from tests.cuda.emulator import EmulationError, emulate  # noqa: E402

SEEDS = (None, 0, 1)
VECTOR, MATRIX = float32[::1], float32[:, ::1]
VALUES = np.arange(faulty.N, dtype=np.float32)

needs_disassembler = pytest.mark.skipif(
    offline.disassembler() is None, reason="neither nvdisasm nor cuobjdump is installed"
)


EXPECTED = {
    "block_sum": VALUES.sum(),
    "mirrored": VALUES[::-1],
    "twice_mirrored": VALUES,
    "beyond_by_guard": np.append(VALUES[1:], 0),
    "before_by_guard": np.append(0, VALUES[:-1]),
    "lanes_sum": VALUES.sum(),
    "modelled_sum": VALUES.sum(),
    "swapped_in_warp": VALUES.reshape(-1, 2)[:, ::-1].reshape(-1),
    "counted": np.full(faulty.N, 2 * faulty.N),
    "staged": VALUES[::-1],
    "own_registers": 2 * VALUES,
}


def launch(kernel, seed=None, **options):
    x, y = VALUES.copy(), np.zeros_like(VALUES)
    emulate(kernel, 1, faulty.N, (x, y), seed=seed, models=faulty.MODELS, **options)
    np.testing.assert_array_equal(x, VALUES)
    return y


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "kernel", dict.fromkeys(f[0] for f in faulty.FAULTS), ids=lambda k: k.__name__
)
def test_a_right_kernel_passes(kernel, seed):
    y, expected = launch(kernel, seed), EXPECTED[kernel.__name__]
    np.testing.assert_array_equal(y if np.ndim(expected) else y[0], expected)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("kernel", "message"), [pytest.param(f, m, id=f.__name__) for _, f, m in faulty.FAULTS]
)
def test_a_fault_is_caught(kernel, message, seed):
    with pytest.raises(EmulationError, match=message) as caught:
        launch(kernel, seed)
    first = kernel.__code__.co_firstlineno
    last = max(line for *_, line in kernel.__code__.co_lines() if line)
    where = rf"kernel {kernel.__name__}, block \(0, 0, 0\), thread \(\d+, 0, 0\), line (\d+): "
    line = int(re.match(where, str(caught.value))[1])
    assert first < line <= last


def test_without_the_detector_only_a_race_passes():
    assert launch(faulty.counted_plainly, races=False)[0] == 2 * faulty.N
    with pytest.raises(EmulationError, match="outside"):
        launch(faulty.beyond, races=False)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("m, n, k", [(16, 16, 16), (40, 33, 21), (1, 50, 0)])
def test_a_tiled_product(m, n, k, seed, rng):
    a = rng.standard_normal((m, k), dtype=np.float32)
    b = rng.standard_normal((k, n), dtype=np.float32)
    c = np.full((m, n), np.nan, np.float32)
    grid = (-(-n // small.TILE), -(-m // small.TILE))
    emulate(small.product, grid, (small.TILE, small.TILE), (c, a, b), seed=seed)
    expected = np.zeros((m, n), np.float32)
    for i in range(k):  # in the kernel's order, each product and sum rounded to float32
        expected += a[:, i : i + 1] * b[i]
    np.testing.assert_array_equal(c, expected)


def test_a_template_with_functions_bound_and_star_arguments():
    @cuda.jit(device=True)
    def scaled(i, x, factor):
        return x[i] * np.float32(factor)

    x, y = VALUES.copy(), np.zeros(faulty.N, np.float32)
    for factor in (2, 3):
        emulate(small.with_body(scaled), 2, 32, (y, x, factor))
        np.testing.assert_array_equal(y, factor * x)


def test_integers_wrap_where_they_are_cast_and_only_there():
    x, y = np.arange(1, 65, dtype=np.uint32), np.zeros((64, 4), np.uint32)
    emulate(small.words, 1, 64, (x, y))
    wide = x.astype(np.uint64) * np.uint64(0xFFFFFFFF)
    np.testing.assert_array_equal(y[:, 0], wide.astype(np.uint32))
    np.testing.assert_array_equal(y[:, 1], wide >> np.uint64(32))
    np.testing.assert_array_equal(y[:, 2], [int(v).bit_count() for v in x])
    np.testing.assert_array_equal(y[:, 3], np.uint32(0xFFFFFFFF) - x)


def test_lanes_vote_and_halves_meet_apart():
    def votes(x, y):
        t, lane = cuda.threadIdx.x, cuda.laneid
        y[t] = cuda.popc(cuda.ballot_sync(faulty.ALL, x[t] > 40))
        if cuda.all_sync(faulty.ALL, x[t] >= 32) and cuda.any_sync(faulty.ALL, x[t] == 63):
            y[t] += 100
        if lane < 16:
            y[t] += cuda.shfl_sync(0x0000FFFF, x[t], 3)
        else:
            y[t] += cuda.shfl_sync(0xFFFF0000, x[t], 20)

    first = np.where(np.arange(32) < 16, 3, 20)
    expected = np.append(first, 123 + first + 32)
    np.testing.assert_array_equal(launch(votes), expected)


def test_block_counts_and_atomics_on_device_memory():
    def counts(x, y):
        t = cuda.threadIdx.x
        y[t] = cuda.syncthreads_count(x[t] < 10) + 100 * cuda.syncthreads_and(x[t] < 63)
        cuda.syncthreads()
        cuda.atomic.max(y, 0, x[t] + 500)
        cuda.atomic.cas(y, 1, float32(10), float32(7))

    np.testing.assert_array_equal(launch(counts, 1), [563, 7, *[10] * 62])


def test_mathematics_keeps_the_precision_of_its_arguments():
    def exponentials(y, x):
        t = cuda.grid(1)
        y[t] = math.exp(x[t]) * math.log(x[t]) + cuda.fma(x[t], x[t], x[t])

    x = np.array([0.5, 1, 3, 200, -1, 0], np.float32)
    for dtype in (np.float32, np.float64):
        y = np.empty(6, dtype)
        emulate(exponentials, 3, 2, (y, x.astype(dtype)))
        with np.errstate(all="ignore"):
            expected = np.exp(x.astype(dtype)) * np.log(x.astype(dtype)) + (x * x + x)
        np.testing.assert_allclose(y, expected, rtol=3e-7)
    assert np.isinf(y[5]) and np.isnan(y[4])


def test_dynamic_shared_memory_ends_where_the_launch_says():
    def through(x, y):
        part, t = cuda.shared.array(0, float32), cuda.threadIdx.x
        part[t] = x[t]
        cuda.syncthreads()
        y[t] = part[faulty.N - 1 - t]

    np.testing.assert_array_equal(launch(through, dynamic_shared=4 * faulty.N), VALUES[::-1])
    with pytest.raises(EmulationError, match="index 63 is outside dynamic shared memory"):
        launch(through, dynamic_shared=4 * faulty.N - 4)


def test_an_intrinsic_without_a_model_is_refused():
    def kernel(x, y):
        y[0] = cuda.cbrt(x[0])

    with pytest.raises(EmulationError, match="no model of cuda.cbrt"):
        launch(kernel)


# ---- compiled offline ----


def test_every_architecture_compiles_and_tells_its_figures():
    for cc in offline.ARCHITECTURES:
        made = offline.resources(small.product, (MATRIX,) * 3, cc)
        assert 16 <= made.registers <= 64
        assert made.shared >= 2 * 4 * small.TILE * small.TILE
        assert made.stack == made.spill_stores == made.spill_loads == 0
        assert f".target sm_{''.join(map(str, cc))}" in made.ptx


@needs_disassembler
def test_machine_code_is_read():
    made = offline.resources(small.product, (MATRIX,) * 3, (8, 0))
    assert (
        made.count("FFMA") >= small.TILE
        and made.count("BAR") == 2
        and made.count(r"LDS") >= small.TILE
    )
    assert not made.local() and not made.doubles() and not made.doubles_in_ptx()


@needs_disassembler
def test_a_double_constant_in_a_float32_kernel_is_seen():
    bad = offline.resources(small.halved_in_double, (VECTOR,), (8, 0))
    assert "DMUL" in bad.doubles() and any("mul" in line for line in bad.doubles_in_ptx())
    good = offline.resources(small.halved, (VECTOR,), (8, 0))
    assert not good.doubles() and not good.doubles_in_ptx()
    assert good.count("FMUL")


@needs_disassembler
@pytest.mark.parametrize("options", [{"max_registers": 32}, {"launch_bounds": (1024, 2)}])
def test_a_forced_spill_is_seen(options):
    free = offline.resources(small.many_registers, (MATRIX, VECTOR), (8, 0))
    assert free.registers > 96 and free.spill_stores == free.spill_loads == 0 and not free.local()
    tight = offline.resources(small.many_registers, (MATRIX, VECTOR), (8, 0), **options)
    assert tight.registers <= 32 and tight.spill_stores > 0 and tight.spill_loads > 0
    assert tight.local()


@needs_disassembler
def test_local_memory_is_seen():
    made = offline.resources(small.indexed, (VECTOR, VECTOR), (8, 0))
    assert made.stack >= 4 * 256 and made.local() and not made.spill_stores


def test_options_of_a_dispatcher_hold():
    made = offline.resources(
        cuda.jit(max_registers=32)(small.many_registers), (MATRIX, VECTOR), (8, 0)
    )
    assert made.registers <= 32


def test_a_missing_disassembler_is_said(monkeypatch):
    monkeypatch.setattr(offline, "disassembler", lambda: None)
    with pytest.raises(FileNotFoundError, match="nvidia-cuda-nvdisasm"):
        offline.disassemble(b"")


def test_compiling_needs_no_row_stack_of_numpy():
    code = (
        "import numpy as np; vars(np).pop('row_stack', None)\n"
        "from tests.cuda.offline import resources\n"
        "from numba import cuda, float32\n"
        "def kernel(x):\n    x[0] = x[1]\n"
        "print(resources(kernel, (float32[::1],), (8, 0)).registers)"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0
