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
REPEATED = (
    *("exp2", "gelu_backward", "matmul", "linear", "softmax", "batchnorm", "adam", "dropout"),
    *("column_sum", "column_moments", "update_running"),  # whose traffic neighbours disturb most
    *("step 4-64-64-2, batch 32", "predict 784-512-512-10, 4096 rows"),
)
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


def repeated(seconds=0.5):
    """How far the ratios of one run lie from those of the next, each in processes of its own.

    {"ratios": how many, "half", "most": the difference that half and 19 of 20 stay below}.
    """
    import numpy as np

    from .command_site import measure_apart

    first, second = (
        [measure_apart("subject", name, seconds) for name in REPEATED] for _ in range(2)
    )
    apart = differences(first, second)
    half, most = np.quantile(apart, [0.5, 0.95])
    return {"ratios": len(apart), "half": float(half), "most": float(most)}


def differences(first, second):
    """|a / b - 1| of every ratio to a peer or to the roof in two lists of figures."""
    found = []
    for one, other in zip(first, second, strict=True):
        for size, case in one.get("sizes", {}).items():
            ratios, again = case.get("ratios", {}), other["sizes"][size].get("ratios", {})
            sides = ratios.keys() & again.keys() - {"called"}
            found += [abs(again[s]["median"] / ratios[s]["median"] - 1) for s in sides]
    return found


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
    rows += [("noise", "A against A", noise), ("noise", "run against run", repeated)]
    return [*rows, ("ceilings", "one thread", ceilings)]
