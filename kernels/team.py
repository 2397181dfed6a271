"""Walk a table of launches, alone or as a team of threads that claim chunks of each launch.

The rule: a launch is over when its chunks are done, not when every thread has come. A thread that
is late, or never comes, blocks nobody; a busy machine costs at most what one thread costs; and
since chunks are fixed by the size of the work alone, the bits do not depend on who did what.

A table has one row a launch: entry address, address of its words, size of its index space, chunks,
and the chunks of all rows before it. The state of a replay is one array of words, each in a cache
line of its own. NEXT holds launch * 256 + the next chunk to claim, and only grows: a thread that
slept through a whole replay finds its claim refused. DONE counts finished chunks since the
beginning of time.
"""

import contextlib
import os
import pathlib
import threading

import numpy as np

from .caching import jit
from .native import (
    atomic_add,
    atomic_exchange,
    atomic_load,
    atomic_store,
    call_entry,
    compare_and_swap,
    raise_code,
    thread_yield,
)

ADDRESS, WORDS, SIZE, CHUNKS, BEFORE, COLUMNS = range(6)
NEXT, DONE, END, FINAL, CODE, ERROR, STATE = 0, 8, 16, 24, 32, 40, 48
MAX_CHUNKS = 64  # < 256: the chunk takes the low byte of NEXT
SPINS = 4000  # about 4 us of waiting before the core is offered to others


def new_state():
    """Return the words that the threads of a replay share."""
    return np.zeros(STATE, np.int64)


@jit(cache=True)
def replay_alone(table, times):
    """Run every launch `times` times on the calling thread; raise what a kernel raised."""
    code = place = 0
    for _ in range(times):
        for row in range(np.uintp(table.shape[0])):
            code, place = call_entry(table[row, ADDRESS], 0, table[row, SIZE], table[row, WORDS])
            if code != 0:
                break
        if code != 0:
            break
    raise_code(code, place)


@jit(cache=True)
def run_one(address, size, words):
    """Run one launch on the calling thread; raise what the kernel raised."""
    code, place = call_entry(address, 0, size, words.ctypes.data)
    raise_code(code, place)


@jit(inner=True)
def _chunks_before(table, launch):
    """Return how many chunks all launches before this one have, counted from the first ever."""
    rows = table.shape[0]
    last = table[rows - 1, BEFORE] + table[rows - 1, CHUNKS]
    return launch // rows * last + table[launch % rows, BEFORE]


@jit(inner=True)
def _fail(table, state, launch, code, place):
    """Close the launch to further claims; the first to do so leaves its error."""
    end = atomic_load(state, END)
    found = atomic_exchange(state, NEXT, end << 8)
    if found >> 8 != end:
        state[CODE], state[ERROR] = code, place
        atomic_store(state, FINAL, _chunks_before(table, launch) + (found & 255))


@jit(inner=True)
def _claim_chunks(table, state):
    """Claim chunks and run them until the last launch is done or a kernel has failed."""
    rows = table.shape[0]
    spins = 0
    while True:
        ticket = atomic_load(state, NEXT)
        launch, chunk = ticket >> 8, ticket & 255
        if launch >= atomic_load(state, END):
            return
        row = launch % rows
        chunks = table[row, CHUNKS]
        if chunk >= chunks:
            spins += 1
            if spins > SPINS:
                thread_yield()
                spins = 0
            continue
        if not compare_and_swap(state, NEXT, ticket, ticket + 1):
            continue
        size = table[row, SIZE]
        start, stop = size * chunk // chunks, size * (chunk + 1) // chunks
        code, place = call_entry(table[row, ADDRESS], start, stop, table[row, WORDS])
        if code != 0:
            _fail(table, state, launch, code, place)
        if atomic_add(state, DONE, 1) + 1 == _chunks_before(table, launch + 1):
            compare_and_swap(state, NEXT, (launch << 8) + chunks, (launch + 1) << 8)


@jit(cache=True)
def work(table, state, times):
    """Lead: open `times` walks of the table, work till they are done, raise what a kernel raised.

    With times = 0, help: work at what another thread has opened. One function compiles once.
    """
    end = (atomic_load(state, NEXT) >> 8) + table.shape[0] * times
    if times > 0:
        atomic_store(state, END, end)
    _claim_chunks(table, state)
    if times == 0:
        return
    whole = _chunks_before(table, end)
    spins = 0
    while True:  # an error closes the table while chunks are still running
        done, final = atomic_load(state, DONE), atomic_load(state, FINAL)
        if done == whole or (final != 0 and done == final):
            break
        spins += 1
        if spins > SPINS:
            thread_yield()
            spins = 0
    code, place = state[CODE], state[ERROR]
    state[CODE] = 0
    atomic_store(state, FINAL, 0)
    atomic_store(state, DONE, whole)
    raise_code(code, place)


class _Helper:
    """A parked thread. Its lock is released once for each replay that it may join."""

    def __init__(self):
        self.job = None
        self.gate = threading.Lock()
        self.gate.acquire()
        # daemon: parked or not, it must never hold up the interpreter's exit
        threading.Thread(target=self._work, name="fonio-helper", daemon=True).start()

    def wake(self, table, state):
        self.job = (table, state)
        if self.gate.locked():
            self.gate.release()

    def _work(self):
        while True:
            self.gate.acquire()
            job, self.job = self.job, None
            if job is not None:
                work(*job, 0)
            job = None


class _Team:
    """The helpers of this process.

    One replay at a time has them; another runs on its own thread.
    """

    def __init__(self):
        self._busy = threading.Lock()
        self._helpers = []

    def replay(self, table, state, times, threads):
        if threads < 2 or not self._busy.acquire(blocking=False):
            replay_alone(table, times)
            return
        try:
            while len(self._helpers) < threads - 1:
                self._helpers.append(_Helper())
            for helper in self._helpers[: threads - 1]:
                helper.wake(table, state)
            work(table, state, times)
        finally:
            self._busy.release()


team = _Team()
_threads = 0
_local = threading.local()


def set_num_threads(n):
    """Let replays and large launches use up to `n` threads. Results do not depend on it."""
    global _threads
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise TypeError(f"set_num_threads: n is a {type(n).__name__}, expected an integer")
    if n < 1:
        raise ValueError(f"set_num_threads: n is {n}, expected at least 1")
    _threads = int(n)


def get_num_threads():
    """Return how many threads replays may use: by default the cores that this process may use."""
    global _threads
    if _threads == 0:
        _threads = _usable_cores()
    return min(_threads, getattr(_local, "most", _threads))


@contextlib.contextmanager
def at_most_threads(n):
    """Let what the calling thread runs in the block use up to `n` threads."""
    before = getattr(_local, "most", None)
    _local.most = n
    try:
        yield
    finally:
        del _local.most
        if before is not None:
            _local.most = before


def _usable_cores():
    """Count the cores of this process: its affinity, the quota of its container, its environment.

    NUMBA_NUM_THREADS and OMP_NUM_THREADS are what joblib and clusters give each of many workers.
    """
    told = [os.environ.get(name, "") for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS")]
    return min([_cores(), *(int(n) for n in told if n.isdecimal() and int(n) > 0)])


def _cores():
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _container_quota(pathlib.Path("/sys/fs/cgroup"))
    return max(1, min(cores or 1, quota or cores or 1))


def _container_quota(root):
    """Return the whole cores that a Linux container grants (cgroup v2 or v1), or None."""
    try:
        if (root / "cpu.max").exists():
            quota, period = (root / "cpu.max").read_text().split()
        else:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text()
            period = (root / "cpu/cpu.cfs_period_us").read_text()
        return max(1, int(quota) // int(period)) if int(quota) > 0 else None
    except (OSError, ValueError):
        return None


def _after_fork():
    """Forget the helpers in a forked child: threads do not survive a fork."""
    global team
    team = _Team()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
