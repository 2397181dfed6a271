"""Small nets inside a kernel of one's own, a row a thread: right on a GPU, and how fast."""

import numpy as np

from .gpu_timing import repeated, seconds_of
from .gpu_worker import Check, Wrong

BLOCK = 128


def checks():
    """List the checks of nn.device_function."""
    return [Check("a net of one thread", "own kernels", _one_thread)]


def _answers(net):
    """Return a kernel that gives each thread a row."""
    from numba import cuda

    def answers(weights, x, out):
        row = cuda.grid(1)
        if row < x.shape[0]:
            net(weights, x[row], out[row])

    return answers


def _one_thread(bench):
    """A million rows of a policy 4-32-32-2 by one thread each, against predict on the CPU."""
    from fonio import nn
    from fonio.kernels.launch import kind_of

    nn.manual_seed(0)
    hidden, rows = (5, 40) if bench.tiny else (32, 1 << 20)
    model = nn.Sequential(
        nn.Linear(4, hidden), nn.BatchNorm1d(hidden), nn.Tanh(), nn.Linear(hidden, hidden),
        nn.GELU(), nn.Linear(hidden, 2),
    ).eval()  # fmt: skip
    net, weights = nn.device_function(model)
    x = np.random.default_rng(0).standard_normal((rows, 4), np.float32)
    given = [bench.put(array) for array in (weights, x, np.zeros((rows, 2), np.float32))]
    kinds = tuple(map(kind_of, given))
    code = bench.gpu.compile(_answers(net), {}, kinds)
    grid = (-(-rows // BLOCK), 1, 1), (BLOCK, 1, 1)
    launch = bench.gpu.prepare("answers", code, *grid, kinds, None, given)
    seconds = seconds_of(bench, repeated(launch.run))
    error = float(np.abs(given[2].copy_to_host() - nn.predict(model, x)).max())
    figures = {"largest error": error, "ns a row": 1e9 * seconds / rows}
    if not error <= 1e-5:
        raise Wrong(f"off by {error:.3g}, expected at most 1e-5", figures)
    return figures
