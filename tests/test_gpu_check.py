"""The check that runs where a GPU is: here its device is emulated and its processes misbehave."""

import dataclasses
import json
import math
import os
import re
import socket
import sys
import time

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fonio[cuda]'")

from bench import gpu_check, gpu_values, gpu_worker  # noqa: E402
from bench.gpu_worker import Bench, Check, Skipped, Wrong  # noqa: E402
from bench.workloads import workloads  # noqa: E402
from fonio.kernels import device  # noqa: E402
from tests.cuda.device import EmulatedDevice  # noqa: E402

EMULATED = """
import sys
from bench import gpu_worker
from fonio.kernels import device
from tests import test_gpu_check
from tests.cuda.device import EmulatedDevice
{before}
with device.use(EmulatedDevice()):
    sys.exit(gpu_worker.main(tiny=True))
"""


def command(before=""):
    return [sys.executable, "-c", EMULATED.format(before=before)]


@pytest.fixture
def bench():
    with device.use(EmulatedDevice()) as gpu:
        yield Bench(gpu, tiny=True)


def test_without_a_device(monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu_check.main([]) == 2
    assert "no CUDA device is visible" in capsys.readouterr().err


SPEEDS = [c.name for c in gpu_worker.all_checks() if c.section == "speed" and "fused" not in c.name]
SOME = ["gelu float32", "adam float64", "dropout_mask float64", "bits of dropout", *SPEEDS]


@pytest.mark.slow
def test_from_the_command_line(tmp_path, monkeypatch, capsys):
    """Figures of all kinds, in a file without places and names of the machine it was made on."""
    monkeypatch.chdir(tmp_path)
    code = gpu_check.main(["--out", "found.json", "--only", *SOME], command())
    text = (tmp_path / "found.json").read_text()
    found = json.loads(text)
    assert code == 0, found
    assert sorted(found["checks"]) == sorted(SOME)
    assert found["device"]["name"] == "EmulatedDevice"
    assert {"python", "numba", "numba-cuda", "numpy"} <= set(found["versions"])
    for name in ("gelu float32", "adam float64"):
        figures = found["checks"][name]["figures"]
        assert 0 < figures["error"] <= figures["tolerance"]
    assert found["checks"]["dropout_mask float64"]["status"] == "skipped"
    assert found["checks"]["bandwidth of adam"]["figures"]["GB/s"] > 0
    assert found["checks"]["launches"]["figures"]["us of an eager call"] > 0
    assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", text)
    assert str(tmp_path) not in text
    assert os.path.dirname(os.path.dirname(gpu_check.__file__)) not in text
    assert list(tmp_path.iterdir()) == [tmp_path / "found.json"]
    shown = capsys.readouterr().out
    assert "bandwidth of gelu" in shown and "1 checks of values" not in shown


@pytest.mark.slow
def test_every_check_passes_on_the_emulated_device(bench):
    told = []
    names = [check.name for check in gpu_worker.all_checks()]
    assert gpu_worker.work(bench, names, told.append)
    ends = [message for message in told if "end" in message]
    assert [message["end"] for message in ends] == names
    failed = [message for message in ends if message["status"] == "failed"]
    assert failed == []


@pytest.mark.slow
def test_training_checks(bench):
    told = []
    assert gpu_worker.work(bench, ["graph replay against eager", "fit learns"], told.append)
    assert [m["status"] for m in told if "end" in m] == ["passed", "passed"]


def test_a_wrong_kernel_is_told_with_its_error(bench):
    (row,) = [row for row in workloads("gelu") if row.name == "gelu"]
    off = dataclasses.replace(row, reference=lambda x: row.reference(x) + 1e-3)
    with pytest.raises(Wrong, match="gelu: off by"):
        gpu_values._row(off, "float32", bench)
    (row,) = [row for row in workloads("dropout") if row.name == "dropout"]

    def call(x, rate, seed, *key):
        return row.call(x, rate, seed + isinstance(x, np.ndarray), *key)

    with pytest.raises(Wrong, match="elements differ"):
        gpu_values._bits(dataclasses.replace(row, call=call), bench)


def test_errors_count_what_is_out_of_place():
    x = np.array([1.0, np.nan], np.float32)
    assert gpu_values._worst([x], [x.astype(np.float64)]) == 0
    assert gpu_values._worst([np.array([True, False])], [np.array([True, True])]) == 1
    with pytest.raises(ValueError, match="NaN or infinity"):
        gpu_values._worst([x], [np.array([1.0, np.inf])])
    assert gpu_values._worst([x], [np.array([1.0, 1.0])]) == math.inf


def test_errors_are_told_without_folders():
    error = 'File "/home/someone/site-packages/numba_cuda/driver.py", line 3\n\nC:\\Users\\me\\a.py'
    assert gpu_worker.first_lines(error) == ['File "driver.py", line 3', "a.py"]
    assert gpu_worker.first_lines("a/b of 1/2 GB/s") == ["a/b of 1/2 GB/s"]


# ---- checks that misbehave ----


def wrong(bench):
    raise Wrong("off by 1", {"error": math.inf})


def skips(bench):
    raise Skipped("nothing to do")


def raises(bench):
    raise RuntimeError("cuda: elementwise.gelu failed: illegal address")


def ends(bench):
    print("a last word", flush=True)
    os._exit(139)


def hangs(bench):
    while True:
        pass


def ruins(bench):
    def failing(*_):
        raise RuntimeError("cuda: the context is lost")

    bench.gpu.allocate = failing
    raise RuntimeError("cuda: an illegal instruction")


def figures(bench):
    print("no newline", end="")
    return {"count": np.int64(3), "size": np.float32(0.5)}


CHECKS = [
    Check("first", "values", figures),
    Check("wrong", "values", wrong),
    Check("skips", "values", skips),
    Check("raises", "values", raises),
    Check("ends", "values", ends),
    Check("hangs", "values", hangs, limit=0.5),
    Check("ruins", "values", ruins),
    Check("last", "values", figures),
]
TAKEN = "gpu_worker.all_checks = lambda: test_gpu_check.CHECKS"


@pytest.fixture
def misbehaving(monkeypatch):
    monkeypatch.setattr(gpu_check, "all_checks", lambda: CHECKS)


def test_a_failing_check_stops_no_other(misbehaving, tmp_path, capsys):
    file = tmp_path / "found.json"
    assert gpu_check.main(["--out", str(file)], command(TAKEN)) == 1
    found = json.loads(file.read_text())
    told = {
        name: (result["status"], result.get("error")) for name, result in found["checks"].items()
    }
    assert told == {
        "first": ("passed", None),
        "wrong": ("failed", ["off by 1"]),
        "skips": ("skipped", ["nothing to do"]),
        "raises": ("failed", ["RuntimeError: cuda: elementwise.gelu failed: illegal address"]),
        "ends": ("failed", ["its process ended with exit status 139", "no newline", "a last word"]),
        "hangs": ("failed", ["not done in 0.5 s, stopped"]),
        "ruins": ("failed", ["RuntimeError: cuda: an illegal instruction"]),
        "last": ("passed", None),
    }
    assert found["checks"]["first"]["figures"] == {"count": 3, "size": 0.5}
    assert found["checks"]["wrong"]["figures"] == {"error": "inf"}
    assert found["summary"] == {"passed": 2, "failed": 5, "skipped": 1}
    assert "elementwise.gelu failed" in capsys.readouterr().out


def test_what_time_did_not_suffice_for_is_not_run(misbehaving):
    late = "test_gpu_check.CHECKS[5] = gpu_worker.Check('hangs', 'values', test_gpu_check.hangs)"

    def told(checks, name):
        checks.deadline = time.monotonic() + 0.3

    checks = gpu_check.Checks(
        5, command=command(f"{TAKEN}\n{late}"), told=told, names=["first", "hangs", "last"]
    )
    assert checks.run()
    statuses = {name: result["status"] for name, result in checks.results.items()}
    assert statuses == {"first": "passed", "hangs": "not run", "last": "not run"}
    assert checks.figures()["summary"] == {"passed": 1, "not run": 2}


def test_a_process_that_cannot_begin(misbehaving):
    checks = gpu_check.Checks(1, command=command("raise SystemExit('the driver is too old')"))
    assert not checks.run()
    assert checks.reason == ["the driver is too old"]


def test_the_most_important_come_first():
    names = [check.name for check in gpu_worker.all_checks()]
    assert len(set(names)) == len(names)
    order = ["relu float32", "bits of dropout", "graph replay against eager", "copy"]
    places = [names.index(name) for name in [*order, "matmul 4096³ float32", "relu float64"]]
    assert places == sorted(places)
    rows = {f"{row.name} {dtype}" for row in workloads() for dtype in ("float32", "float64")}
    assert rows <= set(names)
