"""Checkpoints: a fit that was stopped, or killed, ends with the bits of an undisturbed one."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from fonio import nn
from tests.test_training import blobs, net, quiet_fit, weights

X, Y = blobs()


def options(**more):
    return {
        "epochs": 8, "batch_size": 24, "validation": 0.2, "schedule": nn.CosineAnnealingLR(),
        "callbacks": [nn.EMA(0.9), nn.SWA(2), nn.EarlyStopping(patience=50)], **more,
    }  # fmt: skip


class Stop(nn.Callback):
    """Ends a fit after some epochs, as a crash would."""

    def __init__(self, after):
        self.after = after

    def end_epoch(self, fit):
        if fit.epoch + 1 == self.after:
            raise RuntimeError("stopped")


def whole(model, history, callbacks):
    averages = [c.average.tobytes() for c in callbacks[:2]]
    return weights(model), history.loss, history.lr, averages, callbacks[2].best_epoch


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adam", "adamw"])
def test_a_fit_that_goes_on_ends_with_the_same_bits(optimizer, tmp_path):
    path, told = tmp_path / "checkpoint", options(optimizer=optimizer)
    model = net()
    wanted = whole(model, quiet_fit(model, X, Y, **told), told["callbacks"])
    told = options(optimizer=optimizer, checkpoint=path)
    told["callbacks"] = [*told["callbacks"][:3], Stop(5)]
    with pytest.raises(RuntimeError, match="stopped"):
        quiet_fit(net(), X, Y, **told)
    told = options(optimizer=optimizer, checkpoint=path, resume=path)
    told["callbacks"] = [*told["callbacks"], Stop(99)]
    model = net(seed=9)  # other weights, overwritten
    history = quiet_fit(model, X, Y, **told)
    assert history.epochs == 8
    assert whole(model, history, told["callbacks"]) == wanted


def test_a_schedule_by_steps_and_sparse_checkpoints(tmp_path):
    path = tmp_path / "checkpoint"
    told = {"epochs": 7, "schedule": nn.Warmup(9, nn.CosineAnnealingLR(by="steps"))}
    model = net()
    quiet_fit(model, X, Y, **told)
    with pytest.raises(RuntimeError, match="stopped"):
        quiet_fit(net(), X, Y, **told, callbacks=[Stop(6)], checkpoint=path, every=2)
    twin = net()
    history = quiet_fit(
        twin, X, Y, **told, callbacks=[Stop(99)], checkpoint=path, resume=path, every=2
    )
    assert history.epochs == 7
    assert weights(twin) == weights(model)


def test_what_does_not_fit_is_refused(tmp_path):
    path = tmp_path / "checkpoint"
    quiet_fit(net(), X, Y, checkpoint=path)
    before = weights(net(3))
    for more, message in (
        ({"optimizer": "sgd"}, "optimizer 'Adam', this fit 'SGD'"),
        ({"seed": 5}, "seed 0, this fit 5"),
        ({"callbacks": [nn.EMA()]}, "callback classes"),
        ({"validation": 0.5}, "rows 200, this fit 100"),
    ):
        model = net(3)
        with pytest.raises(ValueError, match=message):
            quiet_fit(model, X, Y, checkpoint=path, resume=path, **more)
        assert weights(model) == before
    with pytest.raises(ValueError, match="has unknown"):
        quiet_fit(nn.Sequential(nn.Linear(5, 3)), X, Y, checkpoint=path, resume=path)
    model = net(3)
    more = {"optimizer": nn.Adam(model.parameters(), amsgrad=True), "resume": path}  # no checkpoint
    with pytest.raises(ValueError, match="made with other options"):
        quiet_fit(model, X, Y, **more)
    assert weights(model) == before
    nn.save(net(), tmp_path / "model")
    with pytest.raises(ValueError, match="holds no checkpoint"):
        quiet_fit(net(), X, Y, resume=tmp_path / "model")
    with pytest.raises(ValueError, match="holds no fonio model"):
        nn.load(path)
    with pytest.raises(FileNotFoundError, match="is no file"):
        quiet_fit(net(), X, Y, resume=tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="is no folder"):
        quiet_fit(net(), X, Y, checkpoint=tmp_path / "no" / "where")
    with pytest.raises(ValueError, match="every is 0"):
        quiet_fit(net(), X, Y, checkpoint=path, every=0)


SCRIPT = """
import sys
import numpy as np
from fonio import nn
(x, y), _ = nn.datasets.digits()
nn.manual_seed(0)
hidden = nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2)
model = nn.Sequential(*hidden, nn.Linear(32, 10))
path = sys.argv[1]
told = {"callbacks": [nn.EMA()], "checkpoint": path, "resume": path}
nn.fit(model, x, y, epochs=60, progress=False, **told)
nn.save(model, path + ".done")
"""


def _digest(path):
    state = nn.load(path).state_dict()
    return hashlib.sha256(b"".join(a.tobytes() for a in state.values())).digest()


@pytest.mark.slow
def test_a_fit_killed_at_random_moments_ends_with_the_same_bits(tmp_path):
    """Twenty kills at least, spread over runs that are begun again until each has ended."""
    command = [sys.executable, "-c", SCRIPT]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    began = time.monotonic()
    subprocess.run([*command, str(tmp_path / "whole")], check=True, env=environment)
    seconds = time.monotonic() - began
    wanted = _digest(tmp_path / "whole.done")
    rng, kills, runs = random.Random(0), 0, 0
    while kills < 20:
        runs += 1
        path = tmp_path / f"run{runs}"
        for _ in range(200):
            process = subprocess.Popen([*command, str(path)], env=environment)
            try:
                process.wait(timeout=rng.uniform(0.5, 1.0) * seconds)
                assert process.returncode == 0
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
        assert _digest(f"{path}.done") == wanted
        left = [p.name for p in tmp_path.iterdir() if p.name.startswith(f"run{runs}")]
        assert set(left) == {path.name, f"{path.name}.done"}
