"""The teams of threads that share an item: every spread computes what one thread does."""

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fonio[cuda]'")

from fonio.kernels import device  # noqa: E402
from fonio.kernels.launch import kernel  # noqa: E402
from fonio.kernels.spread import join_max, join_sum, leader, my_range  # noqa: E402
from tests.cuda.device import EmulatedDevice  # noqa: E402


def _measure(start, stop, sums, tops, x):
    for row in range(np.uintp(start), np.uintp(stop)):
        total, top = x.dtype.type(0), x[row, np.uintp(0)]
        for column in my_range(np.uintp(0), np.uintp(x.shape[1])):
            total += x[row, column]
            top = max(top, x[row, column])
        total, top = join_sum(total), join_max(top)
        total += join_sum(top - top)  # joins in a row use the same shared memory
        if leader():
            sums[row], tops[row] = total, top


by_warp = kernel(_measure, spread="warp")
by_block = kernel(_measure, spread="block")


@pytest.mark.parametrize("run", [by_warp, by_block])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_sums_and_maxima_are_joined(run, dtype):
    rng = np.random.default_rng(5)
    for seed, (rows, columns) in enumerate([(1, 1), (3, 40), (2, 1100)]):
        x = rng.integers(-99, 99, (rows, columns)).astype(dtype)
        wanted = np.zeros(rows, dtype), np.zeros(rows, dtype)
        run(rows, *wanted, x)
        with device.use(EmulatedDevice(seed=seed or None)) as gpu:
            outputs = [device.from_host(gpu, np.zeros(rows, dtype)) for _ in range(2)]
            run(rows, *outputs, device.from_host(gpu, x))
            actual = [output.copy_to_host() for output in outputs]
        for given, want, numpys in zip(actual, wanted, (x.sum(1), x.max(1)), strict=True):
            np.testing.assert_array_equal(given, want)
            np.testing.assert_array_equal(want, numpys)
