"""Two commits in one process: a slow one is found with its factor, an equal one is not."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from bench import comparing, gate
from bench.alone import alone
from bench.cases import cases
from bench.commands import BenchError
from bench.commits import ROOT, changed, commit, load, resolve, working_tree
from bench.comparing import Pair, Verdict, lesser
from bench.measuring import Comparison, Interval

SLOWED = "x * (T(0) if x < T(-8.5) else _normal_cdf(x))"


def _git(folder, *arguments):
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository of three commits: as we are, slower at gelu, and without a kernel."""
    folder = tmp_path_factory.mktemp("repository")
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("src", "kernels", "nn"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    _git(folder, "init", "-q", "-b", "main")
    _git(folder, "add", ".")
    _git(folder, "commit", "-qm", "First")
    path = folder / "kernels" / "activations.py"
    text = path.read_text()
    assert text.count(SLOWED) == 1
    path.write_text(text.replace(SLOWED, f"{SLOWED} + T(0) * tanh(x)"))
    _git(folder, "commit", "-qam", "Slow gelu")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def _cases(*names):
    from bench.cases import cases

    return [case for case in cases() if case.name in names]


def test_a_slow_commit_is_found_and_an_equal_kernel_is_not(repository):
    pair = Pair(commit("HEAD~1", repository), commit("HEAD", repository))
    equal, slowed = (pair.verdict(case, 0.3) for case in _cases("relu 64x256", "gelu 64x256"))
    assert slowed.slower()
    assert 1.3 < slowed.ratio.median < 2.5
    assert not slowed.faster()
    assert equal.ratio.median == pytest.approx(1.0, abs=0.1)


def test_each_side_runs_its_own_code(repository):
    old, new = (load(commit(name, repository)) for name in ("HEAD~1", "HEAD"))
    assert old is not new
    assert old.kernels.gelu is not new.kernels.gelu
    assert old.kernels.__name__ != new.kernels.__name__ != "fonio.kernels"
    assert load(commit("HEAD", repository)) is new


def test_a_fresh_process_measures_again(repository):
    ends = commit("HEAD~1", repository), commit("HEAD", repository)
    found = comparing.again(*ends, ["gelu 64x256"], 0.2)
    assert found["gelu 64x256"].slower()


def test_what_seems_to_differ_must_do_so_each_time(monkeypatch):
    answers = iter([_verdict(1.2, 1.1, 1.3), _verdict(1.0, 0.99, 1.01)])
    monkeypatch.setattr(comparing, "again", lambda *_: {"gelu 64x256": next(answers)})
    given = {"gelu 64x256": _verdict(1.5, 1.4, 1.6), "relu": Verdict("relu", why="new")}
    found = comparing.settled(None, None, given, 1.0)
    assert found["gelu 64x256"].ratio.median == 1.0
    assert found["relu"].why == "new"
    monkeypatch.setattr(comparing, "again", lambda *_: {"gelu 64x256": given["gelu 64x256"]})
    assert comparing.settled(None, None, given, 1.0)["gelu 64x256"].slower()


@pytest.mark.parametrize(
    ("heads", "bases", "word"),
    [
        ((2.0, 2.1), (1.0, 1.1), "slower"),
        ((0.9, 0.93), (1.0, 0.97), "faster"),
        ((1.05, 1.2), (1.0, 1.1), ""),
        ((0.9, 1.0), (1.0, 0.97), ""),
    ],
)
def test_recordings_that_contradict_each_other_are_no_difference(heads, bases, word):
    medians = {f"head {i}": m for i, m in enumerate(heads)}
    medians |= {f"base {i}": m for i, m in enumerate(bases)}
    samples = np.array([list(medians.values())] * 7)
    seconds = {name: Interval(m, m, m) for name, m in medians.items()}
    result = Comparison(seconds, {}, 7, {}, samples)
    case = next(iter(cases("gelu 64x256")))
    judged = comparing.Pair._judged(None, case, result)
    assert judged.ratio.median == pytest.approx(min(heads) / min(bases))
    assert (judged.slower(), judged.faster()) == (word == "slower", word == "faster")


def test_what_differs_between_commits(repository):
    base = resolve("HEAD~1", repository)
    assert changed(base, resolve("HEAD", repository), repository) == ["kernels/activations.py"]
    assert changed(resolve("HEAD", repository), "", repository) == []
    new = repository / "kernels" / "new.py"
    new.write_text("")
    assert changed(resolve("HEAD", repository), "", repository) == ["kernels/new.py"]
    new.unlink()


def test_an_unknown_commit_names_the_nearest(repository, tmp_path):
    with pytest.raises(BenchError, match="no commit 'mian', did you mean 'main'"):
        resolve("mian", repository)
    with pytest.raises(BenchError, match="not a git checkout"):
        resolve("main", tmp_path)


def test_the_commit_before(repository, tmp_path):
    assert gate.previous(repository) == resolve("HEAD~1", repository)
    _git(tmp_path, "init", "-q", "-b", "main")
    _git(tmp_path, "commit", "-q", "--allow-empty", "-m", "only")
    assert gate.previous(tmp_path) is None


def test_the_working_tree_is_a_commit_without_a_hash():
    assert working_tree().sha == ""
    assert working_tree().folder == ROOT


def _verdict(median, low, high, **more):
    return Verdict("gelu 64x256", Interval(median, low, high), **more)


def test_a_difference_counts_beyond_the_bound_and_the_interval():
    assert _verdict(1.03, 1.01, 1.05).slower()
    assert not _verdict(1.03, 0.99, 1.05).slower()
    assert not _verdict(1.01, 1.005, 1.02).slower()
    assert _verdict(0.9, 0.85, 0.95).faster()
    assert not Verdict("gelu", why="new").slower()
    assert lesser(_verdict(1.5, 1.4, 1.6), _verdict(1.1, 1.0, 1.2)).ratio.median == 1.1
    assert lesser(_verdict(1.5, 1.4, 1.6), Verdict("gelu", why="fails")).why == "fails"


def test_the_gate_fails_only_clear_of_its_wide_bound():
    assert not gate.failing(_verdict(1.3, 1.2, 1.4), [])
    assert gate.failing(_verdict(1.4, 1.3, 1.5), [])
    assert gate.failing(Verdict("gelu", why="wrong: off by 1", wrong=True), [])
    assert not gate.failing(Verdict("gelu", why="new"), [])


def test_a_slowdown_is_accepted_with_its_reason(tmp_path):
    path = tmp_path / "accepted.toml"
    path.write_text(
        '[[slower]]\nworkload = "gelu*"\nfactor = 1.5\ndate = 2026-01-02\nreason = "NaN"\n'
    )
    rows = gate.accepted(path)
    assert gate.allowed("gelu 64x256", rows) == (1.5, "NaN")
    assert gate.allowed("exp 64x256", rows) == (gate.BOUND, "")
    assert not gate.failing(_verdict(1.4, 1.3, 1.45), rows)
    assert gate.failing(_verdict(1.7, 1.6, 1.8), rows)
    path.write_text('[[slower]]\nworkload = "gelu*"\nfactor = 1.5\n')
    with pytest.raises(BenchError, match="needs date, factor, reason, workload"):
        gate.accepted(path)


def test_the_files_of_the_gate_are_right():
    assert len(_cases(*gate.KEYS)) == len(gate.KEYS)
    assert all(row.reason for row in gate.accepted())


def test_a_second_measurement_says_so_and_a_crash_releases(tmp_path):
    path = tmp_path / "lock"
    refused = pytest.raises(BenchError, match="another measurement is running .*the first")
    with alone("the first", path=path), refused, alone("the second", path=path):
        pass
    code = f"import os; from bench.alone import alone; alone('x', path={str(path)!r}).__enter__()"
    subprocess.run([sys.executable, "-c", f"{code}; os._exit(3)"], cwd=ROOT)
    with alone("the third", path=path):
        assert f"process {os.getpid()}" in path.read_text()
