"""Launches, recordings and the team of threads: replay, errors, Ctrl-C, fork, exit, two at once."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from numba import njit

from fonio import kernels
from fonio.kernels import get_num_threads, record, set_num_threads, team
from fonio.kernels.launch import kernel
from fonio.kernels.loops import for_each

pytestmark = pytest.mark.usefixtures("own_threads")


@pytest.fixture
def own_threads():
    before = get_num_threads()
    yield
    set_num_threads(before)


@for_each
def axpy(i, y, x, a):
    y[i] += a * x[i]


@kernel(cost=lambda *args: 1e5)
def refuse_negative(start, stop, x, done):
    for i in range(start, stop):
        if x[i] < 0:
            raise ValueError("negative at", i)
        done[i] += 1


@kernel(cost=lambda *args: 2e4)
def busy(start, stop, x):
    for i in range(start, stop):
        for k in range(20000):
            x[i] += 1.0 / (k + 1.0)


@kernel
def read_scalars(start, stop, out, flag, small, single, whole, nothing):
    for i in range(start, stop):
        out[i] = small + single + whole + (1.0 if flag else 0.0)
        if nothing is not None:
            out[i] = -1.0


def recorded(size=64, launches=10, body=busy):
    x = np.zeros(size)
    with record() as recording:
        for _ in range(launches):
            body(size, x)
    return recording, x


def run_script(code, timeout=60, **env):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **env},
    )


def test_replay_does_the_recorded_work_again():
    y, x = np.zeros(5), np.arange(5.0)
    with record() as recording:
        axpy(5, y, x, 2.0)
    assert len(recording) == 1
    recording.replay(times=3)
    assert y.tolist() == (8 * x).tolist()
    x[:] = 1
    recording.replay(0)
    recording.replay()
    assert y.tolist() == [2.0, 10.0, 18.0, 26.0, 34.0]


def test_scalars_of_all_kinds_reach_the_kernel():
    out = np.zeros(3)
    read_scalars(3, out, True, np.int8(-7), np.float32(0.5), 100, None)
    assert out.tolist() == [94.5] * 3
    read_scalars(3, out, False, np.uint8(200), np.float32(0.5), 2**40, None)
    assert out.tolist() == [2**40 + 200.5] * 3


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_an_error_stops_the_replay_and_is_raised_with_type_and_message(threads):
    set_num_threads(threads)
    x, done = np.ones(64), np.zeros(64)
    with record() as recording:
        for _ in range(3):
            refuse_negative(64, x, done)
    recording.replay(5)
    assert done.tolist() == [18.0] * 64
    x[40] = -1
    for _ in range(3):  # the recording stays usable after an error
        with pytest.raises(ValueError, match="negative at"):
            recording.replay(5)
    assert done[40] == 18
    assert done.max() <= 21
    x[40], before = 1, done.copy()
    recording.replay(2)
    assert (done - before).tolist() == [6.0] * 64


def test_an_error_in_the_block_is_raised_there():
    with pytest.raises(ValueError, match="negative at"), record():
        refuse_negative(1, -np.ones(1), np.zeros(1))
    with record() as recording:  # recording is over, and may begin anew
        axpy(1, np.zeros(1), np.ones(1), 1.0)
    assert len(recording) == 1


def test_misuse_is_refused():
    with record() as recording:
        with pytest.raises(RuntimeError, match="recording already"), record():
            pass
        with pytest.raises(RuntimeError, match="not finished"):
            recording.replay()
    with pytest.raises(ValueError, match="times is -1"):
        recording.replay(-1)
    for n, error in ((0, ValueError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match="set_num_threads: n is"):
            set_num_threads(n)


def test_a_kernel_that_returns_something_is_refused():
    @kernel
    def leaky(start, stop, x):
        return x

    with pytest.raises(TypeError, match="leaky: a kernel returns None"):
        leaky(1, np.zeros(1))


def test_bits_do_not_depend_on_threads():
    results = []
    for threads in (1, 2, 3):
        set_num_threads(threads)
        recording, x = recorded()
        assert recording.threads == threads
        recording.replay(3)
        results.append(x.tobytes())
    assert results[0] == results[1] == results[2]


def test_small_work_gets_one_thread():
    set_num_threads(2)
    y, x = np.zeros(100), np.ones(100)
    with record() as recording:
        for _ in range(50):
            axpy(100, y, x, 1.0)
    assert recording.threads == 1
    assert recorded()[0].threads == 2


def test_two_recordings_replay_at_once_and_one_takes_turns():
    set_num_threads(2)
    first, x = recorded()
    second, y = recorded()
    workers = [threading.Thread(target=r.replay, args=(5,)) for r in (first, second, first)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    expected, z = recorded()
    expected.replay(10)
    assert x.tobytes() == z.tobytes()
    expected, z = recorded()
    expected.replay(5)
    assert y.tobytes() == z.tobytes()


def test_a_thread_that_never_comes_blocks_nobody(monkeypatch):
    set_num_threads(3)
    own = team._Team()
    monkeypatch.setattr(team, "team", own)
    recording, x = recorded()
    for helper in own._helpers:
        monkeypatch.setattr(helper, "wake", lambda *job: None)
    recording.replay(4)
    assert x.min() == x.max() > 0


def test_a_late_thread_finds_nothing_to_do():
    recording, x = recorded()
    recording.replay(2)
    before = x.copy()
    team.work(recording._table, recording._state, 0)
    assert x.tobytes() == before.tobytes()


def test_ctrl_c_stops_a_long_replay(ctrl_c):
    recording, x = recorded()
    recording.replay(1)
    timer = threading.Timer(0.3, signal.raise_signal, (signal.SIGINT,))
    timer.start()
    began = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        recording.replay(1_000_000)
    assert time.perf_counter() - began < 20
    assert x.min() == x.max()  # whole walks only
    recording.replay(1)


def test_a_recording_is_an_argument_of_njit_code():
    y, x = np.zeros(3), np.ones(3)
    with record() as recording:
        axpy(3, y, x, 1.0)

    @njit
    def drive(step, x):
        for _ in range(4):
            step.replay(2)
            x += 1.0

    drive(recording, x)
    assert y.tolist() == [1 + 2 * (1 + 2 + 3 + 4)] * 3


def test_a_recording_as_a_global_is_refused():
    with record() as held:
        axpy(3, np.zeros(3), np.ones(3), 1.0)

    @njit
    def drive():
        held.replay()

    with pytest.raises(Exception, match="pass the recording as an argument"):
        drive()


def test_an_error_reaches_the_njit_caller():
    x, done = np.ones(4), np.zeros(4)
    with record() as recording:
        refuse_negative(4, x, done)

    @njit
    def drive(step):
        step.replay(3)

    x[2] = -1
    with pytest.raises(ValueError, match="negative at"):
        drive(recording)


SCRIPT = """
import os, sys
sys.path.insert(0, {tests!r})
from test_launch import *
set_num_threads(2)
recording, x = recorded()
recording.replay(3)
"""


def script(more):
    return SCRIPT.format(tests=os.path.dirname(__file__)) + more


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_parked_team_survives_a_fork():
    code = script("""
child = os.fork()
recording.replay(3)
if child == 0:
    os._exit(0 if x.min() == x.max() and get_num_threads() == 2 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), x.min() == x.max())
""")
    done = run_script(code, PYTHONWARNINGS="ignore")
    assert done.stdout.strip() == "0 True", done.stderr


@pytest.mark.parametrize(
    "more",
    ["", "threading.Thread(target=recording.replay, args=(10**7,), daemon=True).start()"],
    ids=["parked", "replaying"],
)
def test_the_team_never_holds_up_exit(more):
    done = run_script(script(more + "\nprint('end')\n"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "end"


def test_container_quotas_are_respected(tmp_path):
    assert team._container_quota(tmp_path) is None
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert team._container_quota(tmp_path) is None
    (tmp_path / "cpu.max").write_text("250000 100000\n")
    assert team._container_quota(tmp_path) == 2
    assert 1 <= team._usable_cores() <= (os.cpu_count() or 1)


def test_a_stale_recording_raises():
    recording, _ = recorded(launches=1)

    def stale():
        raise RuntimeError("moved")

    recording.guard(stale)
    with pytest.raises(RuntimeError, match="moved"):
        recording.replay()


def test_kernels_run_inside_njit():
    @njit
    def use(y, x):
        axpy(y.size, y, x, 2.0)
        return y.sum()

    assert use(np.ones(3), np.ones(3)) == 9.0


def test_names_are_exported():
    for name in kernels.__all__:
        assert getattr(kernels, name) is not None
