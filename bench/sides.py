"""Makers of sides: calls recorded and replayed, a side at so many threads, PyTorch if present."""

import numpy as np

from . import peers
from .measuring import Repeats


def recorded(*calls, package=None):
    """One side: the calls recorded in order and replayed; None where they launch no kernels.

    package: the copy of fonio that the calls are of, if not the installed one.
    """
    if package is None:
        import fonio as package

    with package.kernels.record() as recording:
        for call in calls:
            call()
    return Repeats(recording.replay, calls=len(calls)) if len(recording) else None


def with_threads(side, threads):
    """The side, run with so many threads of ours whatever was set before."""
    from fonio.kernels import set_num_threads

    def run(times):
        set_num_threads(threads)
        side.run(times)

    return Repeats(run, side.calls)


def normal(*shape, dtype=np.float32, seed=0):
    """Draw an array of standard normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def torch_or_none(build, *arrays):
    """build(torch, *the arrays as tensors), or None without PyTorch."""
    torch = peers.find("torch")
    if torch is None:
        return None
    return build(torch, *(torch.from_numpy(a) for a in arrays))
