"""Data-parallel fits: several processes take the steps of one, under mpirun."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fonio import kernels, nn
from fonio.nn.data_parallel import ParallelTrainer
from tests import parallel_fits
from tests.parallel_fits import CASES, X, Y

BESIDE = Path(sys.executable).parent
MPIRUN = shutil.which("mpirun", path=f"{BESIDE}{os.pathsep}{os.environ.get('PATH', '')}")
SCRIPT = Path(parallel_fits.__file__)

under_mpi = [pytest.mark.slow, pytest.mark.skipif(MPIRUN is None, reason="there is no mpirun")]


def mpirun(processes, *command, timeout=300):
    """Run a Python program in several processes; return what it printed."""
    done = subprocess.run(
        [MPIRUN, "-n", str(processes), sys.executable, *map(str, command)],
        capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=[2, 3])
def found(request, tmp_path_factory):
    pytest.importorskip("mpi4py")
    path = tmp_path_factory.mktemp("mpi") / "results.npz"
    mpirun(request.param, SCRIPT, path)
    with np.load(path) as arrays:
        return dict(arrays) | {"processes": request.param}


class TestUnderMPI:
    pytestmark = under_mpi

    @pytest.mark.parametrize("case", CASES)
    def test_processes_train_as_one_does(self, found, case):
        wanted = parallel_fits.train(case)
        for name, value in wanted.items():
            got = found[f"{case}/{name}"]
            np.testing.assert_allclose(got, value, rtol=1e-6, atol=1e-6, err_msg=name)

    def test_statistics_are_those_of_the_whole_batch(self, found):
        for name in ("y", "dx", "sums", "var"):
            got, wanted = found[f"statistics/{name}"], found[f"statistics/{name} whole"]
            np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=2e-6, err_msg=name)

    WRONG = {
        "weights": "before the fit rank 1 has other weights than rank 0",
        "model": "before the fit rank 1 has another model than rank 0",
        "data": "before the fit rank 1 has other data than rank 0",
        "seed": "before the fit rank 1 has another seed than rank 0",
        "rate": "before the fit rank 1 has another optimizer than rank 0",
        "apart": "after epoch 0 rank 1 has other weights than rank 0",
        "lbfgs": "expected one that takes a step a batch",
        "kind": "TypeError: fit: communicator is a str, expected mpi4py's",
        "message": "ZeroDivisionError",
    }

    @pytest.mark.parametrize("name", WRONG)
    def test_all_processes_say_what_is_wrong(self, found, name):
        said = json.loads(str(found["said"]))[name]
        assert len(said) == found["processes"]
        assert all(self.WRONG[name] in line for line in said), said

    def test_cores_are_shared_out_and_rank_0_leads(self, found):
        said, processes = json.loads(str(found["said"])), found["processes"]
        assert sum(said["threads"]) <= max(kernels.team._cores(), processes)
        assert said["stopped"] == [[2, 5]] * processes
        assert said["written"] == [True] + [False] * (processes - 1)

    @pytest.mark.parametrize("name", ["resumed", "alone"])
    def test_bits_are_those_of(self, found, name):
        """A fit that was never disturbed; and, of a communicator of one process, a plain fit."""
        assert json.loads(str(found["said"]))[name] == [True] * found["processes"]

    def test_the_example_finds_what_one_process_finds(self):
        pytest.importorskip("mpi4py")
        script = SCRIPT.parents[1] / "examples" / "mpi_train.py"
        one = subprocess.run(
            [sys.executable, script, "--quick"], capture_output=True, text=True, timeout=300
        )
        found, alone = (json.loads(out) for out in (mpirun(2, script, "--quick"), one.stdout))
        assert found == pytest.approx(alone, rel=1e-6)
        assert found["accuracy"] > 0.8


def test_models_on_cuda_are_refused():
    model = SimpleNamespace(device="cuda")
    with pytest.raises(ValueError, match="communicator: the model is on cuda"):
        ParallelTrainer(SimpleNamespace(rank=0), model, None, None, None, None)


def test_without_mpi4py_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ImportError, match=r"fonio\[mpi\]"):
        nn.fit(parallel_fits.net(), X, Y, communicator="world", progress=False)
