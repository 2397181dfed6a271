"""Ways of calling every operation on CUDA arrays: layouts, in place, NaN, and replayed."""

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fonio[cuda]'")

from fonio import kernels  # noqa: E402
from fonio.kernels import device  # noqa: E402
from tests.checks import as_out, assert_same_bits, copies, draw, rows, run  # noqa: E402
from tests.cuda.device import EmulatedDevice  # noqa: E402
from tests.cuda.launched import emulated_sizes, on_device, on_host  # noqa: E402


def float32(where=lambda row: True):
    return [p for p in rows(where=where) if p.values[1] == "float32"]


@pytest.fixture
def gpu():
    with device.use(EmulatedDevice()) as gpu:
        yield gpu


def size_of(row):
    """A size that is quick to emulate, not the smallest."""
    return emulated_sizes(row)[min(2, len(emulated_sizes(row)) - 1)]


def strided(gpu, array):
    """A view on the device of every second element along each axis."""
    room = device.from_host(gpu, np.full([2 * n for n in array.shape], 7, array.dtype))
    view = room[tuple(slice(None, None, 2) for _ in array.shape)]
    view[...] = array
    return view


@pytest.mark.parametrize("row, dtype", float32())
def test_strided_inputs_and_outputs(gpu, row, dtype):
    inputs = draw(row, size_of(row), dtype)
    wanted = on_host(run(row, on_device(gpu, copies(inputs))))
    given = [strided(gpu, a) if isinstance(a, np.ndarray) and a.ndim > 1 else a for a in inputs]
    given = on_device(gpu, given)
    options = {}
    if row.out_argument:
        options["out"] = as_out([strided(gpu, np.zeros_like(w)) for w in wanted])
    close(on_host(run(row, given, **options)), wanted, row, dtype)


def close(actual, wanted, row, dtype):
    """Alike to some roundings: another layout takes other kernels, that sum in another order."""
    for a, w in zip(actual, wanted, strict=True):
        if w.dtype.kind != "f":
            assert (a == w).all(), row.name
            continue
        limit = 10 * row.tolerance[dtype] * (1 + np.abs(w).max(initial=0))
        np.testing.assert_allclose(a, w, rtol=0, atol=limit, err_msg=row.name)


@pytest.mark.parametrize("row, dtype", float32(lambda row: row.in_place and row.out_argument))
def test_in_place(gpu, row, dtype):
    for index in row.in_place:
        inputs = on_device(gpu, draw(row, size_of(row), dtype))
        wanted = on_host(run(row, on_device(gpu, draw(row, size_of(row), dtype))))
        (actual,) = run(row, inputs, out=inputs[index])
        assert actual is inputs[index]
        assert_same_bits(on_host((actual,)), wanted, f"{row.name}, out is input {index}")


@pytest.mark.parametrize("row, dtype", float32())
def test_replay(gpu, row, dtype):
    """Recorded, inputs changed in place, replayed: the bits of a fresh call."""
    first, second = (draw(row, size_of(row), dtype, seed) for seed in (0, 1))
    numbers = [[a for a in x if not isinstance(a, np.ndarray)] for x in (first, second)]
    if numbers[0] != numbers[1]:
        pytest.skip("the row draws its numbers, which are fixed when it is recorded")
    inputs = on_device(gpu, first)
    with kernels.record() as recording:
        outputs = run(row, inputs)
    for array, new in zip(inputs, second, strict=True):
        if isinstance(new, np.ndarray):
            array[...] = new
    recording.replay()
    assert_same_bits(on_host(outputs), on_host(run(row, on_device(gpu, second))), row.name)


@pytest.mark.parametrize("row, dtype", float32(lambda row: row.nan))
def test_nan_comes_out(gpu, row, dtype):
    inputs = draw(row, size_of(row), dtype)
    if not inputs[0].size:
        pytest.skip("no element to be NaN")
    inputs[0][tuple(n // 2 for n in inputs[0].shape)] = np.nan
    wanted = run(row, copies(inputs))
    actual = on_host(run(row, on_device(gpu, inputs)))
    for a, w in zip(actual, wanted, strict=True):
        assert (np.isnan(a) == np.isnan(w)).all(), row.name


SPECIAL = np.array([np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38, 88.7, -104], np.float32)


@pytest.mark.parametrize("name", sorted({*kernels.ACTIVATIONS, "exp", "log", "log1p", "expm1"}))
def test_infinity_and_zero(gpu, name):
    function = getattr(kernels, name)
    actual = function(device.from_host(gpu, SPECIAL)).copy_to_host()
    np.testing.assert_allclose(actual, function(SPECIAL), rtol=1e-6, atol=1e-44)
