"""Workloads of the table timed against their peers, size by size, in this process."""

from functools import partial

import numpy as np

from . import peers
from .measuring import compare
from .sides import recorded

COPIES = 4
COPIES_BYTES = 1 << 22  # beyond this the data is too long for a branch predictor to learn


HEADER = "| workload | size | fonio | peers' time over ours |\n|---|---|---|---|"


def line(workload, size, seconds):
    """One line of a markdown table: a workload at a size."""
    result = measure(workload, size, seconds)
    ratios = ", ".join(f"{peer} {ratio}" for peer, ratio in list(result.ratios.items())[1:])
    own = next(iter(result.seconds.values())).median
    return f"| {workload.name} | {'x'.join(map(str, size))} | {own * 1e6:.2f} us | {ratios} |"


def measure(workload, size, seconds=1.0, dtype=np.float32, threads=1):
    """Compare a workload, replayed and called, with its peers.

    Inputs take turns; `out` exists already where it is taken.
    """
    copies = [workload.inputs(np.random.default_rng(seed), size, dtype) for seed in range(COPIES)]
    if sum(a.nbytes for a in copies[0] if isinstance(a, np.ndarray)) > COPIES_BYTES:
        copies = copies[:1]
    calls = [_call(workload, inputs) for inputs in copies]
    replayed = recorded(*calls)
    sides = {"fonio": replayed, "called from Python": calls} if replayed else {"fonio": calls}
    for peer, build in workload.peers.items():
        if peers.find(peer):
            sides[peer] = [build(*inputs) for inputs in copies]
    return compare(sides, seconds, threads=threads)


def _call(workload, inputs):
    if not workload.out_argument:
        return partial(workload.call, *inputs)
    return partial(workload.call, *inputs, out=workload.call(*inputs))
