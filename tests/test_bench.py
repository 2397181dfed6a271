"""The measuring engine, the table's door and the report."""

import subprocess
import sys
import time

import numpy as np
import pytest

from bench import peers, report, stored
from bench.measuring import Repeats, compare, median_interval, noise_floor, rotate
from bench.rows import ROOT, Row, verdict
from bench.workloads import Workload, register, workloads


def _spin(microseconds):
    def call():
        end = time.perf_counter() + microseconds * 1e-6
        while time.perf_counter() < end:
            pass

    return call


def test_a_side_twice_as_slow_measures_two():
    result = compare({"fonio": _spin(50), "peer": _spin(100)}, seconds=0.3)
    assert result.ratios["peer"].median == pytest.approx(2.0, rel=0.1)
    assert result.ratios["peer"].low <= result.ratios["peer"].median <= result.ratios["peer"].high
    assert result.repeats["fonio"] > result.repeats["peer"] >= 1
    assert str(result).startswith("fonio")


def test_the_noise_floor_is_about_one():
    assert noise_floor(_spin(50), seconds=0.3).median == pytest.approx(1.0, rel=0.1)


def test_a_repeating_side_counts_its_calls():
    call = _spin(50)

    def run(times):
        for _ in range(times):
            call(), call()

    result = compare({"one": call, "two": Repeats(run, calls=2)}, seconds=0.3)
    assert result.ratios["two"].median == pytest.approx(1.0, rel=0.1)


def test_several_calls_take_turns_across_slices():
    seen = []
    side = rotate([lambda i=i: seen.append(i) for i in range(3)])
    side.run(4)
    side.run(3)
    assert seen == [0, 1, 2, 0, 1, 2, 0]


def test_long_calls_get_fewer_rounds():
    result = compare({"a": _spin(60_000), "b": _spin(120_000)}, seconds=0.05)
    assert result.rounds == 3
    assert set(result.repeats.values()) == {1}
    assert result.ratios["b"].median == pytest.approx(2.0, rel=0.2)


def test_any_two_sides_are_compared_pair_by_pair():
    result = compare({"a": _spin(100), "b": _spin(200), "c": _spin(50)}, seconds=0.1)
    assert result.ratio("b", "c").median == pytest.approx(4.0, rel=0.3)


def test_median_interval_holds_the_median():
    values = np.random.default_rng(0).normal(3.0, 0.1, 200)
    found = median_interval(values)
    assert found.low < np.median(values) == found.median < found.high
    assert found.high - found.low < 0.1


def test_an_absent_peer_is_absent(monkeypatch):
    assert peers.find("a_library_that_nobody_has") is None
    monkeypatch.setitem(peers.PEERS, "nobody", "a-library-that-nobody-has")
    assert peers.versions()["nobody"] is None


def test_one_thread_is_asked_of_every_library():
    environment = peers.environment(1, {"NUMBA_CPU_NAME": "haswell"})
    assert environment["OMP_NUM_THREADS"] == environment["OPENBLAS_NUM_THREADS"] == "1"
    assert environment["NUMBA_CPU_NAME"] == "haswell"
    assert "multi_thread_eigen=false" in environment["XLA_FLAGS"]
    assert "multi_thread_eigen=false" not in peers.environment(2)["XLA_FLAGS"]


def _interval(median):
    return {"median": median, "low": median, "high": median}


FIGURES = {
    "seconds": {"fonio": _interval(2e-6), "torch": _interval(4e-6)},
    "ratios": {"torch": _interval(2.0)},
    "absent": ["jax"],
}


def test_verdicts():
    row = Row("a row", "a section", targets={"torch": 1.5, "jax": 9.0})
    assert verdict(row, FIGURES) is True
    assert verdict(Row("a row", "a section", targets={"torch": 2.5}), FIGURES) is False
    assert verdict(Row("a row", "a section", limit=1.0, unit="us"), FIGURES) is False
    assert verdict(row, {"error": "ImportError"}) is None


def test_the_page_names_what_is_missing():
    row = Row("a row", "a section", targets={"torch": 1.5, "jax": 9.0})
    *_, line = report.markdown([row], {"a row": FIGURES}).splitlines()
    assert line == "| a row | 2 us | PyTorch 2.00 (1.5), JAX not installed | yes |"


def test_results_are_kept_row_by_row(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "RESULTS", tmp_path)
    report.save("here", {"first": FIGURES})
    report.save("here", {"second": {"value": 1.0}})
    assert list(report.load("here")["rows"]) == ["first", "second"]
    assert report.machine_line(report.load("here")["machine"])


def test_a_name_is_registered_once():
    row = workloads()[0]
    with pytest.raises(ValueError, match="in the table already"):
        register(row)


def test_workloads_by_part_of_a_name_or_group():
    row = workloads()[0]
    assert row in workloads(row.name)
    assert row in workloads(row.group)
    assert workloads("no such workload") == []
    assert isinstance(row, Workload)


def test_listing_imports_no_peer():
    code = "import sys; from bench.commands import main; main(['list']); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert not {"torch", "jax", "sklearn"} & set(done.stdout.split())
