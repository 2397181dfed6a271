"""What asv tracks, made from the table of workloads: one measurement of each, read as many metrics.

asv forks a process for each benchmark and each of its parameters. The first one of a workload
measures all of it and leaves the figures in a file, from which the others only pick theirs. What
is forked has the imports behind it and nothing compiled: so are first calls timed; the rest by a
fork of a process that holds all that measurements share. All figures are better when lower: asv
takes what rises for a regression.

The rule: a benchmark is named FAMILY.WORKLOAD.track_METRIC, whatever the commit. What a commit
lacks is n/a there; a wrong answer fails.
"""

import hashlib
import inspect
import json
import math
import sys
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from . import UNDER_ASV
from .forked import Nursery
from .metrics import (
    REFERENCE,
    VERSION,
    ends,
    find_roofs_compiled,
    first_calls,
    measure,
    subjects,
    warm_up,
)

VECTORISED = ("elementary", "activations", "arithmetic")  # families of formulas over elements
SECONDS = 0.1  # for one size
TIMEOUT = 120
PEERS = ("numpy",)  # the environments of the commits hold no other
SIDES = {"fonio": "fonio", "called": "from Python", "numpy": "NumPy", "roof": "roof"}


@dataclass(frozen=True)
class Metric:
    """A figure of a subject: `read(figures, *parameters)` -> a number, samples, or None."""

    name: str
    title: str
    unit: str
    read: Callable
    parameters: Callable = lambda subject: {}  # {name: values}, each a string
    where: Callable = lambda subject: subject.workload is not None


def _sizes(subject):
    return {"size": list(subject.cases)}


def _sides(subject):
    """The sides that there can be, for lines of one graph."""
    case = next(iter(subject.cases.values()))
    shown = ["fonio"]
    shown += ["called"] if subject.workload else []
    shown += [peer for peer in PEERS if peer in case.peers]
    shown += ["roof"] if case.flops or case.bytes else []
    sizes = _sizes(subject) if subject.workload else {}
    return {**sizes, "side": [SIDES[side] for side in shown]}


def _time(figures, *parameters):
    size, side = parameters if len(parameters) == 2 else ("", *parameters)
    key = next(key for key, shown in SIDES.items() if shown == side)
    return _samples(figures["sizes"][size]["seconds"].get(key))


def _samples(interval):
    return {"samples": [interval[end] for end in ENDS], "number": 1} if interval else None


ENDS = ("low", "median", "high")  # what asv takes a median and an interval of


def _against(figures):
    """The median alone: where there are intervals, asv weighs commits by them to find a step.

    What is slow is less exact, too: of a kernel twice as slow since three commits it said nothing.
    """
    return figures["against"] and figures["against"]["median"]


def _worst_ulp(figures):
    return max(size["ulp"] for size in figures["sizes"].values())


def _is_timed(subject):
    return not _is_figure(subject)


def _is_figure(subject):
    return next(iter(subject.cases.values())).figure is not None


METRICS = (
    Metric("time", "seconds", "seconds", _time, _sides, _is_timed),
    Metric(
        "ratio",
        "time over the reference commit’s",
        "times the reference’s",
        _against,
        where=_is_timed,
    ),
    Metric("compile", "first call, compiled", "seconds", lambda f: f["compile"]),
    Metric("first_call", "first call, from disk", "seconds", lambda f: f["first_call"]),
    Metric("scratch", "scratch", "bytes", lambda f, size: f["sizes"][size]["scratch"], _sizes),
    Metric("ulp", "error", "ulp", _worst_ulp),
    Metric(
        "scalar",
        "not vectorised",
        "share of arithmetic",
        lambda f: f["scalar"],
        where=lambda subject: subject.group in VECTORISED and subject.name != "copy",
    ),
    Metric("figure", "", "", lambda f: f["sizes"][""]["value"], where=_is_figure),
)


def _version(subject):
    """Another engine or another way of drawing inputs begins a new line in the history."""
    row = subject.workload
    source = inspect.getsource(getattr(row.inputs, "func", row.inputs)) if row else ""
    told = (VERSION, REFERENCE, subject.version, subject.name, list(subject.cases), source)
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def _identifier(name):
    return "_".join("".join(c if c.isalnum() else " " for c in name).split())


class Failed(Exception):
    """Why a workload has no figures at this commit: a wrong answer, a crash."""


def _figures(subject):
    """The subject's figures, measured by the first process that asks; {} where it is absent."""
    file = Path(UNDER_ASV) / "figures" / f"{_identifier(subject.name)}.json"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"failed": "the process died that measured it"}))
        file.write_text(json.dumps(_measured(subject)))
    found = json.loads(file.read_text())
    if "failed" in found:
        raise Failed(found["failed"])
    return found


def _measured(subject):
    """Measure a subject; {} where this commit lacks it."""
    try:
        first = first_calls(subject) if subject.workload else {}
        found = NURSERY.result(subject.name) if NURSERY else _by_name(subject.name)
    except (ImportError, AttributeError, TypeError) as error:
        print(f"{subject.name}: not at this commit: {error}")
        return {}
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}
    wrong = [size["wrong"] for size in found.get("sizes", {}).values() if "wrong" in size]
    return {"failed": wrong[0]} if wrong else found and found | first


def _by_name(name):
    """Measure all but the first calls, in this process."""
    find_roofs_compiled()
    (subject,) = (s for s in map(ends, subjects(absent=True)) if s.name == name)
    try:
        with all_machine_code():
            return measure(subject, SECONDS, cold=False, reference=REFERENCE)
    except (ImportError, AttributeError, TypeError) as error:
        print(f"{name}: not at this commit: {error}")
        return {}


def _warm():
    """Load what every measurement needs; a commit that lacks some of it does so later or not."""
    find_roofs_compiled()
    with all_machine_code(), suppress(Exception):
        warm_up()


@contextmanager
def all_machine_code():
    """Let what runs inside find what was compiled at this commit so far; outside it finds none."""
    code, kept = Path(UNDER_ASV) / "code", Path(UNDER_ASV) / "kept"
    _move(kept, code)
    try:
        yield
    finally:
        _move(code, kept)


def _move(here, there):
    """Move the files of functions that are not there yet; no others stay.

    A function's files belong together: its index tells their numbers.
    """
    known = {_function(path) for path in there.rglob("*") if path.is_file()}
    for path in [path for path in here.rglob("*") if path.is_file()]:
        to = there / path.relative_to(here)
        if _function(path) in known:
            path.unlink()
        else:
            to.parent.mkdir(parents=True, exist_ok=True)
            path.replace(to)


def _function(path):
    """What the files of a cached function have in common: NAME-LINE.py311.1.nbc -> NAME-LINE."""
    return path.name.split(".py")[0]


def _benchmark(subject, metric, version):
    def track(*parameters):
        figures = _figures(subject)
        found = metric.read(figures, *parameters) if figures else None
        return math.nan if found is None else found

    unit = metric.unit or next(iter(subject.cases.values())).unit
    unit = {"s": "seconds"}.get(unit, unit)
    parameters = metric.parameters(subject)
    group, name = _identifier(subject.group), _identifier(subject.name)
    track.benchmark_name = f"{group}.{name}.track_{metric.name}"
    track.pretty_name = ": ".join(filter(None, [subject.name, metric.title]))
    track.pretty_source = f"{track.pretty_name}, in {unit}"
    track.unit, track.version, track.timeout = unit, version, TIMEOUT
    track.type = "time" if unit == "seconds" else "track"
    track.param_names, track.params = list(parameters), list(parameters.values())
    return track


def __dir__():
    """Name nothing: asv searches the names of this module for each benchmark it looks at."""
    return []


def _make_all():
    made = {}
    for subject in map(ends, subjects(absent=True)):
        version = _version(subject)
        for metric in METRICS:
            if metric.where(subject):
                benchmark = _benchmark(subject, metric, version)
                made[_identifier(benchmark.benchmark_name)] = benchmark
    return made


def _hasten(runner):
    """Leave asv's runner, in the process that it forks for a benchmark, that benchmark alone.

    It looks at one after the other, 0.2 ms each, until it meets the name that it wants.
    """
    find = runner.get_benchmark_from_name

    def found(root, name, extra_params=None):
        wanted = _identifier(name.split("-")[0])
        if wanted in MADE:
            for other in MADE.keys() - {wanted}:
                del globals()[other]
        return find(root, name, extra_params)

    runner.get_benchmark_from_name = found


MADE = _make_all()
globals().update(MADE)
NURSERY = None
if UNDER_ASV and "run_server" in sys.argv:  # the process that asv forks all others from
    NURSERY = Nursery(_warm, _by_name)
if UNDER_ASV and "asv_runner.run" in sys.modules:
    _hasten(sys.modules["asv_runner.run"])
