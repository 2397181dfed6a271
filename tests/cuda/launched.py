"""Every CUDA kernel that the public functions launch: found by calling them all, emulated."""

import functools

import numpy as np

from bench.workloads import workloads
from fonio import kernels, nn
from fonio.kernels import device
from tests.checks import draw, run
from tests.cuda.device import EmulatedDevice

MOST = 4000  # elements of the largest size that is emulated: each thread is a Python generator
emulated = set()  # names of the kernels that ran, for the summary of the tests


def on_device(gpu, inputs):
    """Return the inputs with each NumPy array copied to the device."""
    return [device.from_host(gpu, a) if isinstance(a, np.ndarray) else a for a in inputs]


def on_host(outputs):
    """Return the outputs with each device array copied back."""
    return tuple(a.copy_to_host() if isinstance(a, device.DeviceArray) else a for a in outputs)


def emulated_sizes(row):
    """The smallest sizes, empty ones among them, and the largest that are worth the wait."""
    by_elements = sorted(row.test_sizes, key=lambda size: int(np.prod(size)))
    small = [size for size in by_elements if np.prod(size) <= MOST]
    return [*small[:2], *small[-2:]] if len(small) > 4 else small or by_elements[:1]


@functools.cache
def launched(dtype):
    """Return {name: [(function, kinds, options)]} of all kernels of a precision."""
    gpu = EmulatedDevice()
    with device.use(gpu):
        for row in workloads():
            for size in emulated_sizes(row):
                run(row, on_device(gpu, draw(row, size, dtype)))
        _call_what_no_row_does(gpu, np.dtype(dtype))
    found = {}
    for function, kinds, options in gpu.launched:
        found.setdefault(function.__name__, []).append((function, kinds, options))
    emulated.update(found)
    return found


def _call_what_no_row_does(gpu, dtype):
    """Variants of operations that the table leaves out, and the kernels of a training loop."""
    x = device.from_host(gpu, np.linspace(-1, 1, 24, dtype=dtype).reshape(6, 4))
    g = device.from_host(gpu, np.ones(24, dtype))
    state = device.from_host(gpu, np.zeros(24, dtype))
    kernels.relu(x.T)  # not contiguous: copied by kernels
    kernels.relu(x, out=x.T.copy().T)
    kernels.sgd(g, state)
    kernels.rmsprop(g, state, state.copy())
    kernels.rmsprop_centered(g, state, state.copy(), state.copy())
    kernels.dropout_mask(24, out=device.from_host(gpu, np.zeros(24, bool)))
    kernels.mse(x, x, reduction="none")
    deep = device.from_host(gpu, np.ones((3, 1100), dtype))
    kernels.matmul(deep, deep.T)  # split along k
    if dtype == np.float32:
        for precision in ("tf32", "bf16"):
            kernels.matmul(x, x.T, precision=precision)
    kernels.cross_entropy(x, kernels.softmax(x))
    norms = nn.BatchNorm1d(4), nn.BatchNorm1d(4, momentum=None)
    model = nn.Sequential(*norms, nn.Dropout(0.5)).to(dtype).to("cuda")
    values, labels = x.copy_to_host(), np.arange(6) % 4
    nn.fit(model, values, values, epochs=1, batch_size=3, loss="mse", progress=False)
    by_steps = {
        "schedule": nn.StepLR(1, by="steps"),
        "callbacks": [nn.EMA(), nn.Inspector(histograms=1)],
    }
    nn.fit(model, values, labels, epochs=1, batch_size=3, progress=False, **by_steps)
