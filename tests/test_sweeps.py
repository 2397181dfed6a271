"""Searches of scikit-learn by processes, by threads, and on a Dask cluster that loses a worker."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fonio import kernels, nn
from fonio.kernels import team
from tests.test_training import blobs

joblib = pytest.importorskip("joblib")
X, Y = blobs(600, features=64)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What a sweep of its own process tells, whose cluster ends with it whatever happens."""
    pytest.importorskip("distributed")
    script = Path(__file__).with_name("dask_sweep.py")
    process = subprocess.Popen(
        [sys.executable, script, tmp_path_factory.mktemp("sweep")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=300)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
class TestOnDask:
    def test_a_sweep_survives_a_killed_worker(self, told):
        assert told["killed"]
        assert len({process for process, *_ in told["notes"]}) >= 2
        assert told["scores"][0] == told["scores"][1]
        assert told["best"][0] == told["best"][1]
        assert told["weights equal"]
        assert told["numbers"][0] == told["numbers"][1]

    def test_a_fit_takes_one_thread_of_its_worker(self, told):
        assert len(told["notes"]) >= 18  # 3 folds of 6 points, but for the refit
        assert {(threads, helpers) for _, threads, helpers in told["notes"]} == {(1, 0)}
        assert {(threads, helpers) for _, threads, helpers in told["alone"]} >= {(2, 1)}

    def test_what_cannot_end_is_told(self, told):
        unpicklable, deadly = told["refused"]
        assert unpicklable.startswith("TypeError: on_dask: ")
        assert "Could not serialize" in unpicklable
        assert deadly.startswith("KilledWorker: ")


def make_job():
    """Return a job that fits and predicts, and tells (threads allowed, helpers that there are)."""

    def job(x, y):
        import threading

        seen = []
        callback = [lambda model, history: seen.append(kernels.get_num_threads())]
        net = nn.MLPClassifier((256,), max_iter=2, batch_size=300, callbacks=callback)
        net.fit(x, y).predict(x)
        names = [thread.name for thread in threading.enumerate()]
        return max(seen), names.count("fonio-helper")

    return job


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_threads_of_a_pool_take_one_each(monkeypatch):
    before = kernels.get_num_threads()
    kernels.set_num_threads(2)
    try:
        monkeypatch.setattr(team, "team", team._Team())
        joblib.Parallel(2, backend="threading")(joblib.delayed(make_job())(X, Y) for _ in range(4))
        assert len(team.team._helpers) == 0
        make_job()(X, Y)  # the same on the main thread has one
        assert len(team.team._helpers) == 1
    finally:
        kernels.set_num_threads(before)


@pytest.mark.slow
def test_processes_of_a_pool_share_out_the_cores():
    told = joblib.Parallel(2, backend="loky")(joblib.delayed(make_job())(X, Y) for _ in range(4))
    for threads, helpers in told:
        assert 2 * threads <= max(2, team._cores())
        assert helpers <= threads - 1


def test_on_dask_wants_a_client(monkeypatch):
    pytest.importorskip("distributed")
    with pytest.raises(TypeError, match="on_dask: client is a str, expected"), nn.on_dask("here"):
        pass
    with pytest.raises(ValueError, match="on_dask: client is None and there is no"), nn.on_dask():
        pass
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"fonio\[dask\]"), nn.on_dask():
        pass


def test_functions_that_name_the_kernels_go_to_other_processes():
    cloudpickle = pytest.importorskip("cloudpickle")

    def loss(output, target):
        return kernels.mse(output, target)

    twin = cloudpickle.loads(cloudpickle.dumps(loss))  # by value, as a notebook's are
    ones = np.ones((2, 3), np.float32)
    assert twin is not loss
    assert twin(ones, 0 * ones)[0] == 1
