"""What runs beside the GPU: checks one after the other, each told to the parent as it ends.

A kernel that reads where it may not ruins the CUDA context of its process: every later call fails.
So the checks run in a process of their own (gpu_check.py starts another for those that are left),
and tell their figures as lines on the standard output.

The rule: a check is a function of a Bench; it returns figures, or raises.
"""

import functools
import json
import math
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

MARK = "@fonio "  # begins a line that is meant for the parent
LINES = 6  # of an error that are kept
_PATH = re.compile(r"(?:[A-Za-z]:)?(?:[/\\][^/\\\s:'\"<>|]+)+[/\\](?=[^/\\\s])")


class Skipped(Exception):
    """Raised by a check that has nothing to do here; says why."""


class Wrong(Exception):
    """Raised by a check whose figures are not as they must be; carries them."""

    def __init__(self, message, figures):
        super().__init__(message)
        self.figures = figures


@dataclass(frozen=True)
class Check:
    """One check: `run(bench)` -> {name: figure}."""

    name: str
    section: str
    run: Callable
    limit: float = 60.0  # seconds until it counts as hung


@dataclass
class Bench:
    """What checks are given: the device, and how large they may be."""

    gpu: object
    tiny: bool = False  # sizes for the emulator
    mnist: str | None = None

    def put(self, array):
        """Return a copy of a NumPy array on the device; other values as they are."""
        import numpy as np

        from fonio.kernels import device

        return device.from_host(self.gpu, array) if isinstance(array, np.ndarray) else array

    @functools.cached_property
    def copy_bandwidth(self):
        """Bytes a second that a copy on the device reads and writes."""
        from .gpu_speeds import measure_copy

        return measure_copy(self)


def all_checks():
    """List the checks, the most important first."""
    from . import gpu_fused, gpu_nets, gpu_speeds, gpu_steps, gpu_values

    return [
        *gpu_values.checks("float32"),
        *gpu_steps.checks(),
        *gpu_nets.checks(),
        *gpu_speeds.checks(),
        *gpu_steps.speeds(),
        *gpu_fused.checks(),
        *gpu_values.checks("float64"),
    ]


def work(bench, names, tell):
    """Run the checks of these names and tell of each; return whether the device still answers."""
    known = {check.name: check for check in all_checks()}
    for name in names:
        check = known[name]
        tell({"begin": name, "limit": check.limit})
        started = time.perf_counter()
        told = _attempt(check, bench)
        tell({"end": name, "seconds": round(time.perf_counter() - started, 3), **told})
        if told["status"] == "failed" and not _alive(bench):
            return False
    return True


def _attempt(check, bench):
    try:
        figures = check.run(bench)
        bench.gpu.synchronize()  # an error of a kernel that ran on belongs here
        return {"status": "passed", "figures": figures or {}}
    except Skipped as reason:
        return {"status": "skipped", "error": [str(reason)]}
    except Wrong as error:
        return {"status": "failed", "error": first_lines(str(error)), "figures": error.figures}
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        return {"status": "failed", "error": first_lines(text)}


def first_lines(text):
    """Return the first lines of an error, without the folders of paths."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return [_PATH.sub("", line)[:300] for line in lines[:LINES]]


def _alive(bench):
    """Whether the device still copies and computes."""
    import numpy as np

    from fonio.kernels import add

    try:
        one = bench.put(np.ones(64, np.float32))
        return add(one, one).copy_to_host().tolist() == [2.0] * 64
    except Exception:
        return False


def tell_parent(message):
    """Write one line for the parent."""
    print("\n" + MARK + json.dumps(_plain(message)), flush=True)


def _plain(value):
    """Return what JSON can hold: Python's numbers, and the names of those that are not finite."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def main(tiny=False):
    """Run the checks that the parent asks for on the standard input."""
    from fonio.kernels import device

    from .gpu_about import about

    asked = json.loads(sys.stdin.read())
    try:
        gpu = device.get_device()
    except RuntimeError as error:
        tell_parent({"no device": first_lines(str(error))})
        return 2
    tell_parent({"about": about(gpu)})
    bench = Bench(gpu, tiny=tiny, mnist=asked.get("mnist"))
    return 0 if work(bench, asked["names"], tell_parent) else 3


if __name__ == "__main__":
    sys.exit(main())
