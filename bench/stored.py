"""Results on disk: one JSON file a machine under bench/results, with a section for each survey.

    {"machine": {...}, "rows": {...}, "cases": {...}, "sweeps": {...}, "threads": {...}, ...}

The rule: four digits a figure, no path and no name of a host, and what one survey writes leaves the
other sections alone.
"""

import json
import math
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
DIGITS = 4


def load(name):
    """Read a machine's results; {} where there are none."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def update(name, section, figures, machine=None):
    """Put figures into a section, beside what is there; return the path."""
    stored = load(name)
    if machine is not None:
        stored["machine"] = machine
    stored.setdefault(section, {}).update(rounded(figures))
    RESULTS.mkdir(exist_ok=True)
    path, beside = RESULTS / f"{name}.json", RESULTS / f"{name}.json.new"
    beside.write_text(compact(stored), "utf-8")
    beside.replace(path)
    return path


def machines(section="cases"):
    """Names of the machines that have figures in a section, the latest first."""
    found = []
    for path in RESULTS.glob("*.json"):
        if not path.name.startswith(("gpu", "latest")):
            stored = json.loads(path.read_text("utf-8"))
            if stored.get(section):
                found.append((stored["machine"].get("date", ""), path.stem))
    return [name for _, name in sorted(found, reverse=True)]


def gpu_results():
    """Read the files that gpu_check left, {name: figures}."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in RESULTS.glob("gpu*.json")}


def rounded(value):
    """Round every float to four digits; a float that JSON has no word for becomes None."""
    if isinstance(value, dict):
        return {str(key): rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value


def compact(stored):
    """One line for each entry of a section: short, and a change shows where it is."""
    sections = []
    for section, entries in stored.items():
        lines = [
            f"  {json.dumps(key, ensure_ascii=False)}: {json.dumps(entry, ensure_ascii=False)}"
            for key, entry in entries.items()
        ]
        sections.append(f" {json.dumps(section)}: {{\n" + ",\n".join(lines) + "\n }")
    return "{\n" + ",\n".join(sections) + "\n}\n"
