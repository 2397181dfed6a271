"""The table of workloads under pytest-benchmark, as calls from Python.

In the ordinary run each is called once; `make bench` takes the time, of answers that are right.
"""

from itertools import cycle

import pytest

from bench.cases import cases
from bench.measuring import limited_to

TIMED = {case.name: case for case in cases() if case.figure is None}


def _parameters():
    """Every case by its name; beyond the first size of a kernel, and of programs, it is slow."""
    seen = set()
    for name, case in TIMED.items():
        kind = case.workload.name if hasattr(case, "workload") else name
        again = kind in seen or not hasattr(case, "workload")
        seen.add(kind)
        yield pytest.param(name, marks=pytest.mark.slow) if again else name


@pytest.mark.parametrize("name", list(_parameters()))
@pytest.mark.benchmark(max_time=0.2, min_rounds=5)
def test_speed(benchmark, name):
    case = TIMED[name]
    benchmark.group = case.group
    if benchmark.enabled:
        case.check()
        benchmark.extra_info.update(flops=case.flops, bytes=case.bytes, version=case.version)
    with limited_to(1):
        benchmark(_call(case, many=benchmark.enabled))


def _call(case, many):
    """One call of a kernel, its inputs taking turns, or one of a program."""
    if not hasattr(case, "workload"):
        side = case.sides()["fonio"]
        return side if callable(side) else lambda: side.run(1)
    drawn = case.drawn() if many else [case.workload.draw(case.size, case.dtype)]
    turn = cycle(case.calls(drawn=drawn))
    return lambda: next(turn)()
