"""asv reads the table: what it discovers, what a commit that lacks a kernel gets, what is kept."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench import asv_benchmarks, asv_plugin, history, metrics
from bench.stored import compact, rounded

ROOT = Path(__file__).parent.parent
CONFIGURATION = json.loads((ROOT / "asv.conf.json").read_text("utf-8"))
MADE = {f.benchmark_name: f for f in asv_benchmarks.MADE.values()}
INTERVAL = {"median": 2e-6, "low": 1e-6, "high": 3e-6}
COLD = {"compile": 1.5, "first_call": 0.2}
FIGURES = {
    "scalar": None,
    "against": {"median": 1.01, "low": 1.0, "high": 1.02},
    "sizes": {"64x256": {"seconds": {"fonio": INTERVAL}, "ulp": 0.6, "scratch": 4096}},
}


def _discovered():
    """What asv's own runner finds, in a process of its own as under asv."""
    code = (
        "import io, sys; from asv_runner.discovery import list_benchmarks;"
        f"out = io.StringIO(); list_benchmarks({str(ROOT / 'bench')!r}, out);"
        "print(out.getvalue()); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    listing, modules = done.stdout.strip().splitlines()[-2:]
    return {found["name"]: found for found in json.loads(listing)}, set(modules.split())


def test_asv_discovers_every_workload_and_nothing_else():
    pytest.importorskip("asv_runner")
    found, modules = _discovered()
    assert set(found) == set(MADE)
    for subject in metrics.subjects():
        name = asv_benchmarks._identifier(subject.name)
        group = asv_benchmarks._identifier(subject.group)
        assert any(key.startswith(f"{group}.{name}.track_") for key in found), subject.name
    heavy = {"torch", "jax", "sklearn", "matplotlib", "pytest", "numba_cuda", "numba.cuda"}
    assert not heavy & modules


def test_a_benchmark_bears_its_workload_and_its_unit():
    track = MADE["elementary.exp.track_time"]
    assert track.pretty_name == "exp: seconds"
    assert (track.type, track.unit) == ("time", "seconds")
    assert track.param_names == ["size", "side"]
    assert track.params[1] == ["fonio", "from Python", "NumPy", "roof"]
    assert track.version == MADE["elementary.exp.track_ulp"].version
    assert track.version != MADE["elementary.log.track_time"].version


@pytest.fixture
def under_asv(tmp_path, monkeypatch):
    monkeypatch.setattr(asv_benchmarks, "UNDER_ASV", str(tmp_path))
    monkeypatch.setattr(asv_benchmarks, "first_calls", lambda subject: COLD)
    return tmp_path


def test_the_first_benchmark_measures_and_the_others_read(under_asv, monkeypatch):
    asked = []

    def measured(subject, *_, **__):
        asked.append(subject.name)
        return FIGURES

    monkeypatch.setattr(asv_benchmarks, "measure", measured)
    time = MADE["elementary.exp.track_time"]("64x256", "fonio")
    assert time == {"samples": [1e-6, 2e-6, 3e-6], "number": 1}
    assert math.isnan(MADE["elementary.exp.track_time"]("64x256", "NumPy"))
    assert MADE["elementary.exp.track_ulp"]() == 0.6
    assert MADE["elementary.exp.track_scratch"]("64x256") == 4096
    assert MADE["elementary.exp.track_compile"]() == 1.5
    assert MADE["elementary.exp.track_ratio"]() == 1.01
    assert math.isnan(MADE["elementary.exp.track_scalar"]())
    assert asked == ["exp"]


def test_a_kernel_that_a_commit_lacks_is_not_available(under_asv, monkeypatch):
    def lacking(subject, *_, **__):
        raise AttributeError("module 'fonio.kernels' has no attribute 'exp'")

    monkeypatch.setattr(asv_benchmarks, "measure", lacking)
    assert math.isnan(MADE["elementary.exp.track_ulp"]())


def test_a_wrong_answer_fails(under_asv, monkeypatch):
    wrong = {"sizes": {"64x256": {"wrong": "exp 64x256: off by 3"}}}
    monkeypatch.setattr(asv_benchmarks, "measure", lambda *_, **__: wrong)
    with pytest.raises(asv_benchmarks.Failed, match="off by 3"):
        MADE["elementary.exp.track_ulp"]()


def test_what_dies_while_it_measures_is_not_measured_again(under_asv, monkeypatch):
    def killed(subject, *_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(asv_benchmarks, "measure", killed)
    with pytest.raises(KeyboardInterrupt):
        MADE["elementary.exp.track_ulp"]()
    with pytest.raises(asv_benchmarks.Failed, match="died"):
        MADE["elementary.exp.track_ratio"]()


def _cached(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(str(folder))


def test_a_first_call_finds_no_machine_code_and_what_follows_all_there_is(under_asv):
    code, kept = under_asv / "code" / "fonio", under_asv / "kept" / "fonio"
    _cached(code, "a.exp_12-3.py311.nbi", "a.exp_12-3.py311.1.nbc")  # what a first call leaves
    _cached(kept, "a.log_45-3.py311.nbi", "a.exp_12-3.py311.nbi", "a.exp_12-3.py311.7.nbc")
    with asv_benchmarks.all_machine_code():
        names = {path.name for path in code.iterdir()}
        # of the same function only one's files: an index with another's would name wrong code
        assert names == {"a.exp_12-3.py311.nbi", "a.exp_12-3.py311.1.nbc", "a.log_45-3.py311.nbi"}
        assert (code / "a.exp_12-3.py311.nbi").read_text() == str(code)
    assert not list(code.iterdir())
    assert {path.name for path in kept.iterdir()} == names


def test_asv_s_runner_finds_a_benchmark_without_looking_at_all():
    pytest.importorskip("asv_runner")
    code = (
        "import sys, asv_runner.run as run, asv_runner.discovery as discovery;"
        f"root = {str(ROOT / 'bench')!r}; discovery.update_sys_path(root);"
        "import bench.asv_benchmarks as made; wanted = 'elementary.exp.track_ulp';"
        "print(run.get_benchmark_from_name(root, wanted).name == wanted, len(vars(made)) < 100)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


def test_the_configuration_names_this_project_and_its_plugin():
    assert CONFIGURATION["project"] == "fonio"
    assert CONFIGURATION["benchmark_dir"] == "bench"
    assert CONFIGURATION["plugins"] == [".bench.asv_plugin"]
    # absolute times move with the neighbours' load: only ratios tell of regressions
    unwatched = CONFIGURATION["regressions_first_commits"]
    watched = [name for name in MADE if not any(re.match(p, name) for p in unwatched)]
    assert "elementary.exp.track_ratio" in watched
    assert "elementary.exp.track_time" not in watched
    pin = f"asv_runner=={CONFIGURATION['matrix']['req']['pip+asv_runner'][0].lstrip('=')}"
    assert pin in (ROOT / "pyproject.toml").read_text("utf-8")


def _asv_results(folder):
    """Write what asv leaves after a run of one benchmark at one commit."""
    name = "elementary.exp.track_time"
    about = {"name": name, "param_names": ["size", "side"], "pretty_name": "exp: seconds"}
    about |= {"params": [["'64x256'"], ["'fonio'", "'NumPy'"]], "type": "time", "unit": "seconds"}
    about |= {"version": "1", "code": "", "timeout": 300}
    machine = {"machine": "here", "os": "Linux", "arch": "x", "cpu": "c", "num_cpu": "2"}
    machine |= {"ram": "1GB", "version": 1}
    ours = folder / "here"
    ours.mkdir(parents=True)
    (folder / "benchmarks.json").write_text(json.dumps({name: about, "version": 2}))
    (ours / "machine.json").write_text(json.dumps(machine))
    for number, commit in enumerate(("a" * 40, "b" * 40)):
        found = {
            "commit_hash": commit,
            "env_name": "virtualenv-py3.11",
            "date": 1000 + number,
            "python": "3.11",
            "params": {"machine": "here", "python": "3.11"},
            "requirements": {"numpy": "2"},
            "env_vars": {},
            "result_columns": ["result", "params", "version", "stats_ci_99_a", "stats_ci_99_b"],
            "results": {name: [[1.23456e-6 + number, 2.0], [], "1", [1e-6, 2], [2e-6, 2]]},
        }
        (ours / f"{commit[:8]}-virtualenv.json").write_text(json.dumps(found))


def test_a_history_is_kept_and_restored(tmp_path, monkeypatch):
    monkeypatch.setattr(history, "FOLDER", tmp_path / "history")
    monkeypatch.setattr(history, "ASV", tmp_path / "asv")
    _asv_results(tmp_path / "asv")
    path, count = history.keep("here")
    assert count == 2
    assert history.lines("here") == {"exp": [1.235e-6, 1.0]}
    monkeypatch.setattr(history, "ASV", tmp_path / "fresh clone")
    history.restore("here")
    restored = tmp_path / "fresh clone" / "here"
    assert {file.name for file in restored.iterdir()} >= {"machine.json", "aaaaaaaa-history.json"}
    results = pytest.importorskip("asv.results")
    loaded = results.Results.load(str(restored / "bbbbbbbb-history.json"))
    assert loaded.commit_hash == "b" * 40
    params = history.load("here")["benchmarks"]["elementary.exp.track_time"]["params"]
    assert loaded.get_result_value("elementary.exp.track_time", params) == [1.0, 2.0]


def test_figures_are_packed_into_one_file(tmp_path):
    for name in ("index.json", "graphs/summary/exp.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("[[3, 1.23456789]]")
    asv_plugin.pack(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["data.js"]
    packed = json.loads((tmp_path / "data.js").read_text()[len("PACKED=") : -2])
    assert packed["graphs/summary"]["exp.json"] == [[3, 1.235]]
    assert "index.json" in packed[""]


def test_kept_results_name_no_place_and_no_host():
    kept = list((ROOT / "bench" / "results").rglob("*.json"))
    kept = [path for path in kept if path.name != "latest.json"]  # which git ignores
    assert kept
    for path in kept:
        text = path.read_text("utf-8")
        for place in ("/home/", "/root/", "/work/", "/tmp/", "hostname"):
            assert place not in text, f"{path.name} names {place}"


def test_figures_are_stored_short():
    assert rounded({"a": [1.23456789, 2], "b": math.nan}) == {"a": [1.235, 2], "b": None}
    stored = {"cases": {"exp 3": {"ulp": 0.5}}, "machine": {"cores": 2}}
    assert json.loads(compact(stored)) == stored


def test_a_nursery_prepares_once_and_forks_for_each_task():
    code = (
        "import os; from bench.forked import Nursery\n"
        "found = []\n"
        "def work(task):\n"
        "    if task == 'die': os._exit(3)\n"
        "    if task == 'fail': raise ValueError('wrong')\n"
        "    found.append(task); return [*found, os.getpid()]\n"
        "nursery = Nursery(lambda: found.append('prepared'), work)\n"
        "first, second = nursery.result('a'), nursery.result('b')\n"
        "assert first[:-1] == ['prepared', 'a'] and second[:-1] == ['prepared', 'b']\n"
        "assert len({first[-1], second[-1], os.getpid()}) == 3 and not found\n"
        "for task in ('die', 'fail'):\n"
        "    try: nursery.result(task)\n"
        "    except RuntimeError as error: print(error)\n"
        "print(nursery.result('c')[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.stdout.splitlines() == [
        *("a process died, with status 3", "ValueError: wrong", "c"),
    ], done.stderr
