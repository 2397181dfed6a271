"""The history of speed, kept small: one file a machine under bench/results/history, for asv and us.

asv keeps a file for each commit, with samples and paths; here a machine's commits stand in one
file, three figures a value (median and the ends of its interval), no path, no name of a host.

The rule: what `restore` writes, asv reads as its own.
"""

import json
from pathlib import Path

from .stored import RESULTS, compact, rounded

FOLDER = RESULTS / "history"
ROOT = Path(__file__).parent.parent
ASV = ROOT / ".asv" / "results"
API = 2  # of asv's files of results
KEPT = ("name", "param_names", "params", "pretty_name", "type", "unit", "version", "code")
PUBLIC = ("arch", "cpu", "machine", "num_cpu", "os", "ram")


def load(machine):
    """Read a machine's history; {} where there is none."""
    path = FOLDER / f"{machine}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def machines():
    """Names of the machines that have a history."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def keep(machine):
    """Add asv's results of this machine to its history; return the path and how many commits."""
    described = json.loads((ASV / "benchmarks.json").read_text("utf-8"))
    history = load(machine)
    for section in ("machine", "environment", "benchmarks", "commits"):
        history.setdefault(section, {})
    about = json.loads((ASV / machine / "machine.json").read_text("utf-8"))
    history["machine"] = {key: about[key] for key in PUBLIC if key in about}
    for path in sorted((ASV / machine).glob("*.json")):
        if path.name == "machine.json":
            continue
        found = json.loads(path.read_text("utf-8"))
        if "virtualenv" not in found["env_name"]:
            continue  # measured in the tree as it stood: no commit
        figures = _figures(found)
        if figures:
            history["environment"] = _environment(found)
            kept = history["commits"].setdefault(found["commit_hash"], {"date": found["date"]})
            kept.setdefault("figures", {}).update(figures)
    named = {name for commit in history["commits"].values() for name in commit["figures"]}
    history["benchmarks"] |= {
        name: {key: about[key] for key in KEPT if key in about}
        for name, about in described.items()
        if name in named
    }
    history["commits"] = dict(sorted(history["commits"].items(), key=lambda c: c[1]["date"]))
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{machine}.json"
    path.write_text(compact(rounded_figures(history)), "utf-8")
    return path, len(history["commits"])


def rounded_figures(history):
    """Round the figures, not the dates."""
    for commit in history["commits"].values():
        commit["figures"] = rounded(commit["figures"])
    return history


def _environment(found):
    return {key: found[key] for key in ("python", "params", "requirements", "env_vars")}


def _figures(found):
    """{benchmark: [version, [median, ...], [low, ...], [high, ...]]} of what has a value."""
    figures = {}
    for name, values in found["results"].items():
        row = dict(zip(found["result_columns"], values, strict=False))
        medians = row.get("result")
        if medians and any(isinstance(value, int | float) for value in medians):
            ends = [row.get(f"stats_ci_99_{end}") or [None] * len(medians) for end in "ab"]
            figures[name] = [row["version"], medians, *ends]
    return figures


def restore(machine):
    """Write asv's files for this machine's history, beside what asv measured here since."""
    history = load(machine)
    if not history:
        return
    folder = ASV / machine
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "machine.json", {**history["machine"], "version": 1}, replace=False)
    path = ASV / "benchmarks.json"
    known = json.loads(path.read_text("utf-8")) if path.exists() else {"version": API}
    _write(path, {**history["benchmarks"], **known})
    for commit, kept in history["commits"].items():
        file = folder / f"{commit[:8]}-history.json"
        if not set(folder.glob(f"{commit[:8]}-*.json")) - {file}:
            _write(file, _asv_file(commit, kept, history))


def _asv_file(commit, kept, history):
    benchmarks = history["benchmarks"]
    columns = ["result", "params", "version", "stats_ci_99_a", "stats_ci_99_b"]
    results = {
        name: [medians, benchmarks[name]["params"], version, low, high]
        for name, (version, medians, low, high) in kept["figures"].items()
    }
    environment = history["environment"]
    return {
        "commit_hash": commit,
        "env_name": "history",
        "date": kept["date"],
        **environment,
        "result_columns": columns,
        "results": results,
        "durations": {},
        "version": API,
    }


def _write(path, content, replace=True):
    if replace or not path.exists():
        path.write_text(json.dumps(content), "utf-8")


def commits(machine=None):
    """Hashes of the commits in a machine's history, the oldest first."""
    machine = machine or next(iter(machines()), None)
    return list(load(machine)["commits"]) if machine else []


def lines(machine=None):
    """{benchmark's name: [our seconds at each commit, or None]} at the largest size, for a picture.

    The oldest commit is first; benchmarks with fewer than two figures are left out.
    """
    machine = machine or next(iter(machines()), None)
    history = load(machine) if machine else {}
    found = {}
    for name, about in history.get("benchmarks", {}).items():
        if not name.endswith("track_time"):
            continue
        place = _place_of_ours(about)
        values = [
            commit["figures"].get(name, [None, {}])[1:2] for commit in history["commits"].values()
        ]
        row = [value[0][place] if value and value[0] else None for value in values]
        if sum(value is not None for value in row) > 1:
            found[about["pretty_name"].removesuffix(": seconds")] = row
    return found


def _place_of_ours(about):
    """The place of fonio's figure at the largest size, in asv's order of parameters."""
    *sizes, sides = about["params"]
    sides = [side.strip("'") for side in sides]
    last = len(sizes[0]) - 1 if sizes else 0
    return last * len(sides) + sides.index("fonio")
