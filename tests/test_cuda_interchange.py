"""Arrays of other libraries on CUDA, and numba-cuda itself, however it was installed."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fonio[cuda]'")

from fonio.kernels import device, numba_device  # noqa: E402
from tests.cuda.driver import fake_device  # noqa: E402


def test_arrays_of_other_streams_are_waited_for():
    with fake_device() as (gpu, fake), device.use(gpu):
        x = device.from_host(gpu, np.ones(3, np.float32))
        adopt_from_streams(x, fake)


def adopt_from_streams(x, fake):
    class Theirs:
        def __init__(self, stream):
            told = {**x.__cuda_array_interface__, "stream": stream}
            self.__cuda_array_interface__ = told

    for stream in (None, 1):
        assert device.adopt(Theirs(stream)).pointer == x.pointer
    assert ("wait for", 1) not in fake.log
    device.adopt(Theirs(12345))
    assert fake.log[-1] == ("wait for", 12345)


@pytest.mark.parametrize("make", [lambda x: x, lambda x: x.T, lambda x: x[1:, ::2]])
def test_dlpack_tells_the_layout(make):
    array = make(np.arange(20, dtype=np.float32).reshape(4, 5))
    told = numba_device.interface_by_dlpack(array, stream=-1)
    pointer, _ = told["data"]
    layout = np.asarray(device._At(pointer, told["shape"], told["strides"], told["typestr"]))
    np.testing.assert_array_equal(layout, array)


UNREAD = """
import sys
sys.meta_path[:] = [f for f in sys.meta_path if type(f).__name__ != "NumbaCudaFinder"]
sys.modules.pop("_numba_cuda_redirector", None)
from fonio.kernels.numba_device import import_cuda
"""


@pytest.mark.parametrize("late", [False, True])
def test_numba_cuda_is_found_where_its_pth_file_was_not_read(late):
    """As with pip install --target and PYTHONPATH, where `numba.cuda` is Numba's own."""
    lines = ["from numba import cuda", "import_cuda()"] if late else ["import_cuda()"]
    text = "\n".join([UNREAD, *lines, "print(import_cuda().__file__)"])
    command = [sys.executable, "-W", "ignore", "-c", text]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if late:
        assert "was imported before numba-cuda could take its place" in done.stderr
    else:
        assert "numba_cuda" in done.stdout, done.stderr
