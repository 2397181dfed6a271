"""Figures on disk and on the page: a JSON file with machine and versions, and markdown from it."""

import math
import os
import platform
import time
from pathlib import Path

from . import peers, stored
from .rows import SCALES, own_figure, verdict

PEER_NAMES = {"numpy": "NumPy", "torch": "PyTorch", "jax": "JAX", "sklearn": "scikit-learn"}


def machine():
    """What the figures hold for: processor, cores, system, versions."""
    from importlib.metadata import version

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numba": version("numba"),
        "peers": peers.versions(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    models = {line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")}
    return ", ".join(sorted(models)) or platform.processor()


def save(name, results):
    """Write results/NAME.json, {"machine": ..., "rows": {name: figures}}; all else there stays."""
    return stored.update(name, "rows", results, machine())


def load(name):
    """Read what `save` wrote."""
    return stored.load(name)


def markdown(rows, results):
    """One line a row: our time, each peer's time over it with its target, and the verdict."""
    lines = ["| | fonio | ratio (at least) | reached |", "|---|---|---|---|"]
    lines += [_line(row, results[row.name]) for row in rows if row.name in results]
    return "\n".join(lines)


def _line(row, figures):
    if "error" in figures:
        return f"| {row.name} | - | {figures['error']} | - |"
    own = own_figure(row, figures)
    text = _seconds(own) if row.limit is None else f"{own:.3g} {row.unit} (at most {row.limit:g})"
    reached = {True: "yes", False: "no", None: "-"}[verdict(row, figures)]
    return f"| {row.name} | {text} | {_ratios(row, figures)} | {reached} |"


def _ratios(row, figures):
    parts = []
    for peer, ratio in figures.get("ratios", {}).items():
        target = f" ({row.targets[peer]:g})" if peer in row.targets else ""
        # rounded down: 1.096 does not reach 1.1, and should not look as if it did
        shown = math.floor(ratio["median"] * 100) / 100
        parts.append(f"{PEER_NAMES.get(peer, peer)} {shown:.2f}{target}")
    parts += [f"{PEER_NAMES.get(peer, peer)} not installed" for peer in figures.get("absent", [])]
    return ", ".join(parts)


def _seconds(value):
    for unit in ("s", "ms", "us"):
        if value * SCALES[unit] >= 1:
            return f"{value * SCALES[unit]:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def machine_line(about):
    """The machine and the versions in one line."""
    versions = {"Python": about["python"], "Numba": about["numba"]}
    versions |= {PEER_NAMES[peer]: number for peer, number in about["peers"].items() if number}
    listed = ", ".join(f"{name} {number}" for name, number in versions.items())
    place = f"{about['processor']}, {about['cores']} cores, {about['system']}"
    return f"{place}; {listed}; {about['date']}"
