"""The command line: help, examples, words for what the user got wrong; the roofs of the machine."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from bench import command_ab, command_run, commands, roofs
from bench.cases import cases
from bench.commits import ROOT
from bench.comparing import Verdict
from bench.measuring import Interval, compare
from bench.showing import amount, seconds, steps_shown


def _bench(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


def test_every_command_has_a_summary_and_examples():
    offered = commands.commands()
    assert {"list", "run", "ab", "gate", "machine", "readme"} <= {c.name for c in offered}
    assert len({command.name for command in offered}) == len(offered)
    for command in offered:
        assert command.summary.endswith(".")
        assert command.hidden or command.examples, command.name


def test_help_names_every_command_but_hidden_ones():
    text = commands.make_parser(commands.commands()).format_help()
    for command in commands.commands():
        assert (f"  {command.name} " in text) == (not command.hidden)
    assert "python -m bench run matmul" in text
    assert "2 % slower" in " ".join(text.split())


def test_what_is_not_installed_is_a_line_and_status_two(monkeypatch, capsys):
    def run(options):
        import a_module_that_is_not_there  # noqa: F401

    monkeypatch.setattr(commands, "commands", lambda: [commands.Command("x", "X.", run)])
    assert commands.main(["x"]) == 2
    assert "No module named 'a_module_that_is_not_there'; `make test`" in capsys.readouterr().err


def test_help_and_list_import_neither_numba_nor_peers_before_they_must():
    code = "import sys; from bench.commands import main; main([]); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert not {"numba", "numpy", "torch", "asv"} & set(done.stdout.split())


def test_an_unknown_workload_or_commit_is_a_line_and_status_two():
    for arguments, word in (
        (("list", "matmull"), "did you mean 'matmul'"),
        (("ab", "no-such-commit"), "no commit 'no-such-commit'"),
    ):
        done = _bench(*arguments)
        assert done.returncode == 2
        assert word in done.stderr
        assert "Traceback" not in done.stderr


def test_a_listing_shows_work_and_traffic():
    done = _bench("list", "matmul 128x784x512")
    assert done.stdout.split() == [
        *("matrix", "matmul", "128x784x512"),
        *("102.8", "Mflop", "2.269", "MB"),
    ]


def test_a_run_from_end_to_end(tmp_path):
    kept = tmp_path / "figures.json"
    options = ("--float64", "--seconds", "0.05", "--json", str(kept))
    done = _bench("run", "add 65536", *options, XDG_CACHE_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("add 65536 float64 ")]
    assert re.search(r"\d+% +\d+\.\d\dx", line)  # of the roof, NumPy's time over ours
    assert "noise floor (add 65536 float64 against itself): " in done.stdout
    figures = json.loads(kept.read_text())["add 65536 float64"]
    assert figures["bytes"] == 3 * 8 * 65536
    assert figures["seconds"]["fonio"]["median"] > 0
    assert (tmp_path / "fonio-bench" / "lock").exists()


FIGURES = {
    "name": "gelu 64x256",
    "seconds": {"fonio": {"median": 2e-6}, "called": {"median": 3e-6}, "roof": {"median": 1e-6}},
    "ratios": {"roof": {"median": 0.5}, "numpy": {"median": 4.0}},
    "absent": {"torch": "not installed, pip install 'fonio[peers]'"},
}


def test_a_row_of_the_live_table():
    cells = ["gelu 64x256", "2 us", "3 us", "50%", "4.00x", "not installed", "", ""]
    assert command_run._cells(FIGURES) == cells
    assert command_run._cells({"name": "import", "value": 0.25, "unit": "s"})[1] == "250 ms"
    assert command_run._cells({"name": "gelu", "wrong": "off by 1"})[1:] == ("WRONG", "off by 1")


def test_what_ab_says(capsys):
    verdicts = [
        Verdict("slow", Interval(1.7, 1.69, 1.71), 1e-6),
        Verdict("same", Interval(1.0, 0.99, 1.01), 1e-6),
        Verdict("new one", why="new"),
    ]
    command_ab._print(verdicts, [Interval(1.0, 0.999, 1.002)], everything=False)
    assert command_ab._status(verdicts) == 1
    text = capsys.readouterr().out
    assert "1.700 [1.690, 1.710]       1 us SLOWER" in text
    assert "same  " not in text
    assert "1 slower, 0 faster, 1 the same" in text
    assert "noise floor (the head against itself): 0.9990 to 1.0020" in text
    assert "slow: 1.70 times the base's time" in text
    assert command_ab._status(verdicts[1:]) == 0
    assert command_ab._status([Verdict("bad", why="wrong: off by 1", wrong=True)]) == 1


def test_times_and_sizes_in_words():
    assert [seconds(x) for x in (2.0, 1.5e-3, 2e-6, 3e-9)] == ["2 s", "1.5 ms", "2 us", "3 ns"]
    assert amount(2.5e6, "bytes") == "2.5 MB"
    assert list(steps_shown([1, 2, 3])) == [1, 2, 3]


def test_the_machine_has_a_peak_and_slower_levels():
    single, double = (roofs.peak(dtype, 0.02) for dtype in ("float32", "float64"))
    assert single / double == pytest.approx(2.0, rel=0.4)  # twice as many lanes
    assert roofs.bandwidth(1 << 14, 0.01) > 1e9


def test_a_roof_is_the_longer_of_its_two_times():
    arithmetic, traffic = roofs.roof(1e9, 1000), roofs.roof(10, 1 << 20)
    assert (arithmetic.bound, traffic.bound) == ("compute", "memory")
    assert arithmetic.seconds == pytest.approx(1e9 / roofs.peak())
    assert traffic.seconds == pytest.approx((1 << 20) / roofs.bandwidth(1 << 20))
    assert roofs.side(0, 0) is None


@pytest.mark.parametrize("work", [{"flops": 2e6, "traffic": 8}, {"flops": 0, "traffic": 1 << 16}])
def test_a_roof_s_work_takes_the_roof_s_time(work):
    side = roofs.side(**work)
    took = compare({"a": side, "b": side}, 0.1).seconds["a"]
    assert took.low < 5 * roofs.roof(**work).seconds
    double = roofs.side(2 * work["flops"], 2 * work["traffic"], working_set=work["traffic"])
    ratio = compare({"once": side, "twice": double}, 0.2).ratios["twice"]
    assert ratio.median == pytest.approx(2.0, rel=0.25)


def test_streams_go_through_the_whole_array():
    for name, stream in roofs.STREAMS.items():
        x, y = roofs._arrays(name, 1 << 12)
        x[:] = np.arange(x.size)
        before = x.copy()
        assert stream(x, y, 8, x.size) == 8  # once around
        if name == "copy":
            assert (y == before).all()
        if name == "read":
            assert y[0] == np.bitwise_or.reduce(before)
        assert (x != before).any() == (name == "update")


def test_no_kernel_is_twice_as_fast_as_its_roof():
    """Work and traffic of the table are not too large: nothing beats the machine."""
    for case in cases("64x256")[:6]:
        side, ours = roofs.of_case(case), case.sides()["fonio"]
        assert compare({"fonio": ours, "roof": side}, 0.05).ratios["roof"].median < 1.5, case.name
