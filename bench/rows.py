"""A row of the README's table of ratios: what is compared, and the least that fonio must reach.

Each row runs in a process of its own (peers.py says why) and comes back as figures for JSON.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field

from . import peers
from .measuring import SLICE, compare

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROW_TIMEOUT = 300


@dataclass(frozen=True)
class Row:
    """`sides()` -> {"fonio": side, peer: side or None if absent}, or `figure()` -> a number."""

    name: str
    section: str
    sides: Callable | None = None
    figure: Callable | None = None
    targets: dict = field(default_factory=dict)  # {peer: its time over ours, at least}
    limit: float | None = None  # ours, at most, in `unit`
    unit: str = "s"
    threads: int = 1
    slice_seconds: float = SLICE
    seconds: float = 3.0
    rest: float = 0.0  # seconds of silence before a slice
    environment: dict = field(default_factory=dict)
    around: Callable = nullcontext  # what goes on meanwhile


def measure(row):
    """Measure a row in this process: a dictionary of figures."""
    if row.figure is not None:
        return {"value": row.figure()}
    sides = row.sides()
    present = {name: side for name, side in sides.items() if side is not None}
    with row.around():
        result = compare(present, row.seconds, row.slice_seconds, row.threads, row.rest)
    return {
        "seconds": {name: asdict(value) for name, value in result.seconds.items()},
        "ratios": {name: asdict(value) for name, value in list(result.ratios.items())[1:]},
        "absent": [name for name, side in sides.items() if side is None],
        "rounds": result.rounds,
    }


def measure_apart(row):
    """Measure a row in a fresh process; a failure there is a figure too: {"error": ...}."""
    command = [sys.executable, "-m", "bench", "row", row.name]
    environment = peers.environment(row.threads, row.environment)
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=ROW_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not done in {ROW_TIMEOUT} s"}
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        return {"error": last[0]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def verdict(row, figures):
    """Whether every target that could be measured is reached; None without figures."""
    if "error" in figures:
        return None
    reached = []
    if row.limit is not None:
        reached.append(own_figure(row, figures) <= row.limit)
    for peer, target in row.targets.items():
        if peer in figures.get("ratios", {}):
            reached.append(figures["ratios"][peer]["median"] >= target)
    return all(reached) if reached else None


SCALES = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


def own_figure(row, figures):
    """Our own figure in the row's unit."""
    if "value" in figures:
        return figures["value"]
    first = next(iter(figures["seconds"].values()))
    return first["median"] * SCALES[row.unit]
