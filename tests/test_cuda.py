"""The CUDA side of every operation: emulated, it answers as the CPU does."""

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fonio[cuda]'")

from fonio.kernels import device  # noqa: E402
from tests.checks import assert_close, copies, draw, expected, rows, run  # noqa: E402
from tests.cuda.device import EmulatedDevice  # noqa: E402

MOST = 4000  # elements of the largest size that is emulated: each thread is a Python generator


def on_device(gpu, inputs):
    return [device.from_host(gpu, a) if isinstance(a, np.ndarray) else a for a in inputs]


def on_host(outputs):
    return tuple(a.copy_to_host() if isinstance(a, device.DeviceArray) else a for a in outputs)


def emulated_sizes(row):
    """The smallest sizes, empty ones among them, and the largest that is worth the wait."""
    by_elements = sorted(row.test_sizes, key=lambda size: int(np.prod(size)))
    small = [size for size in by_elements if np.prod(size) <= MOST]
    return [*small[:2], *small[-2:]] if len(small) > 4 else small or by_elements[:1]


@pytest.mark.parametrize("row, dtype", rows())
def test_value_on_cuda(row, dtype):
    """Also in a random order of blocks, warps and lanes."""
    for number, size in enumerate(emulated_sizes(row)):
        inputs = draw(row, size, dtype, seed=number)
        wanted = expected(row, copies(inputs))
        with device.use(EmulatedDevice(seed=number or None)) as gpu:
            actual = on_host(run(row, on_device(gpu, inputs)))
        assert_close(actual, wanted, row.tolerance[dtype], f"{row.name} {size} {dtype}")
