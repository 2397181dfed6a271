"""The table of workloads under pytest-benchmark, as calls from Python.

In the ordinary run each is called once; `make bench` takes the time, of answers that are right.
"""

from itertools import cycle

import pytest

from bench.cases import cases
from bench.measuring import limited_to

TIMED = {case.name: case for case in cases() if case.figure is None}


def pytest_generate_tests(metafunc):
    """Every case where times are taken; in the ordinary run each kernel's first size, and steps."""
    names, seen = list(TIMED), set()
    if not metafunc.config.getoption("benchmark_enable"):
        kinds = [(name, getattr(case, "workload", case).name) for name, case in TIMED.items()]
        names = [name for name, kind in kinds if not (kind in seen or seen.add(kind))]
    metafunc.parametrize("name", names)


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
