"""What a report shows beside the single workloads: curves over size, threads, noise, ceilings.

The rule: each survey is measured in a process of its own and gives a dictionary for JSON.
"""

from functools import partial

# name: (sizes from n, values of n, exponent that the arithmetic says)
SWEEPS = {
    "matmul, n x n": ("matmul", lambda n: (n, n, n), (32, 64, 128, 256, 512, 1024), 3),
    "exp, n elements": ("exp", lambda n: (n,), tuple(4**k for k in range(4, 12)), 1),
    "linear, n x 256 x 256": ("linear", lambda n: (n, 256, 256), tuple(4**k for k in range(6)), 1),
    "cross_entropy, n x 10": ("cross_entropy", lambda n: (n, 10), tuple(4**k for k in range(8)), 1),
    "batchnorm, n x 64": ("batchnorm", lambda n: (n, 64), tuple(4**k for k in range(1, 8)), 1),
    "adam, n parameters": ("adam", lambda n: (n,), tuple(4**k for k in range(3, 11)), 1),
}
THREADED = {
    "matmul 1024x1024x1024": ("matmul", (1024, 1024, 1024)),
    "linear 256x1024x1024": ("linear", (256, 1024, 1024)),
    "linear_backward 256x1024x1024": ("linear_backward", (256, 1024, 1024)),
    "gelu 1000000": ("gelu", (1_000_000,)),
    "batchnorm 4096x512": ("batchnorm", (4096, 512)),
    "dropout 1000000": ("dropout", (1_000_000,)),
    "exp 64x256": ("exp", (64, 256)),
}
SECONDS = 0.4


def _case(workload, size):
    from .cases import KernelCase
    from .workloads import workloads

    (row,) = (row for row in workloads(workload) if row.name == workload)
    return KernelCase(row, size)


def sweep(name, seconds=SECONDS):
    """Times over n, ours and of the peers that are installed."""
    from .figures import measure

    workload, size_of, counts, expected = SWEEPS[name]
    sides = {}
    for n in counts:
        found = measure(_case(workload, size_of(n)), seconds, with_roof=False)["seconds"]
        for side, interval in found.items():
            sides.setdefault(side, {})[n] = interval["median"]
    lines = {side: [times.get(n) for n in counts] for side, times in sides.items()}
    return {"expected": expected, "n": list(counts), "sides": lines}


def threads(name, seconds=SECONDS):
    """Seconds with each number of threads up to that of the cores, interleaved."""
    import os

    from .measuring import compare
    from .sides import with_threads

    side = _case(*THREADED[name]).sides()["fonio"]
    counts = sorted({1, 2, *(2**k for k in range(2, 8) if 2**k <= os.cpu_count())})
    counts = [count for count in counts if count <= os.cpu_count()]
    sides = {str(count): with_threads(side, count) for count in counts}
    result = compare(sides, seconds, slice_seconds=2e-3, threads=None)
    return {count: value.median for count, value in result.seconds.items()}


def noise(name="exp 64x256", seconds=1.0):
    """The ratio of a kernel to itself: what a difference must exceed to mean anything."""
    from dataclasses import asdict

    from .measuring import noise_floor

    return asdict(noise_floor(_case("exp", (64, 256)).sides()["fonio"], seconds))


def ceilings(name=""):
    """Peaks and bandwidths of one thread."""
    from . import roofs

    found = roofs.machine()
    levels = {level: found[level] for level in roofs.LEVELS}
    return {"peak": found["float32"], "peak64": found["float64"], "bandwidths": levels}


def listed():
    """All surveys: [(section, entry, call)]."""
    rows = [("sweeps", name, partial(sweep, name)) for name in SWEEPS]
    rows += [("threads", name, partial(threads, name)) for name in THREADED]
    return [*rows, ("noise", "A against A", noise), ("ceilings", "one thread", ceilings)]
