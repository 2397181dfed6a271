"""What asv tracks, made from the table of workloads: one measurement of each, read as many metrics.

asv runs `setup_cache` of a workload in a process of its own and hands its figures to the functions
here, which only pick one. All figures are better when lower: asv takes what rises for a regression.

The rule: a benchmark is named FAMILY.WORKLOAD.track_METRIC, whatever the commit. What a commit
lacks is n/a there; a wrong answer fails.
"""

import hashlib
import inspect
import math
import shutil
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass

from . import MACHINE_CODE
from .answers import WrongAnswer
from .metrics import REFERENCE, VERSION, ends, find_roofs_compiled, measure, subjects

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
        lambda figures: _samples(figures["against"]),
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


def _measurement(subject):
    """The subject's setup_cache, which asv tells from others by module and line.

    asv reads its source for each benchmark that it looks at, so it is as short as can be.
    """

    def setup_cache():
        return _measured(subject)

    module = f"{__package__}.{_identifier(subject.group)}.{_identifier(subject.name)}"
    setup_cache.__module__, sys.modules[module] = module, types.ModuleType(module)
    setup_cache.timeout, setup_cache.pretty_source = TIMEOUT, ""
    return setup_cache


def _measured(subject):
    """Measure a subject; {} where this commit lacks it."""
    try:
        return _right(measure(subject, SECONDS, reference=REFERENCE))
    except (ImportError, AttributeError, TypeError) as error:
        print(f"{subject.name}: not at this commit: {error}")
        return {}
    finally:
        if MACHINE_CODE:
            shutil.rmtree(MACHINE_CODE, ignore_errors=True)


def _right(figures):
    for found in figures["sizes"].values():
        if "wrong" in found:
            raise WrongAnswer(found["wrong"])
    return figures


def _benchmark(subject, metric, setup_cache, version):
    def track(figures, *parameters):
        found = metric.read(figures, *parameters) if figures else None
        return math.nan if found is None else found

    unit = metric.unit or next(iter(subject.cases.values())).unit
    unit = {"s": "seconds"}.get(unit, unit)
    parameters = metric.parameters(subject)
    group, name = _identifier(subject.group), _identifier(subject.name)
    track.benchmark_name = f"{group}.{name}.track_{metric.name}"
    track.pretty_name = ": ".join(filter(None, [subject.name, metric.title]))
    track.pretty_source = f"{track.pretty_name}, in {unit}"
    track.unit, track.version, track.setup_cache = unit, version, setup_cache
    track.type = "time" if unit == "seconds" else "track"
    track.param_names, track.params = list(parameters), list(parameters.values())
    return track


def __dir__():
    """Name nothing: asv searches the names of this module for each benchmark it looks at."""
    return []


def _make_all():
    made = {}
    for subject in map(ends, subjects(absent=True)):
        setup_cache, version = _measurement(subject), _version(subject)
        for metric in METRICS:
            if metric.where(subject):
                benchmark = _benchmark(subject, metric, setup_cache, version)
                made[_identifier(benchmark.benchmark_name)] = benchmark
    return made


if MACHINE_CODE:
    find_roofs_compiled()
globals().update(_make_all())
