"""Recordings: kernels written down while they run, to be replayed with no Python in between.

The rule: a recording keeps alive every array that it names, and replays exactly what it saw. What
must change from replay to replay lies in arrays.
"""

import contextlib
import os
import threading
import time
import weakref

import numpy as np
from numba import types
from numba.core import cgutils, errors
from numba.core.typing.typeof import Purpose
from numba.extending import (
    NativeValue,
    make_attribute_wrapper,
    models,
    overload_method,
    register_model,
    typeof_impl,
    unbox,
)

from . import team
from .device import DeviceArray

_local = threading.local()
CHUNK_NS = 4000.0  # a chunk worth claiming: a claim and the wait at its end cost about 100 ns
LAUNCH_NS = 150.0  # what the team pays for each launch, shared or not
WALKS = 16  # of a recording in one CUDA graph, where it is replayed that often
PIECE_SECONDS = 0.1  # Ctrl-C is seen between pieces of a replay


def make_table(rows):
    """Return the table that team.py walks, from (address, words, size, chunks) of each launch."""
    table = np.zeros((len(rows), team.COLUMNS), np.int64)
    for i, row in enumerate(rows):
        table[i, : team.BEFORE] = row
    table[1:, team.BEFORE] = np.cumsum(table[:-1, team.CHUNKS])
    return table


class Recording:
    """A list of launches to run again: `replay()` from Python and from njit code that is given it.

    It keeps alive every array that it names. One lock each: two threads that replay the same
    recording take turns; two recordings run at the same time. What was recorded on a CUDA device is
    replayed as one CUDA graph.
    """

    def __init__(self):
        self._rows, self._kept, self._guards = [], [], []
        self._graph = None
        self._work = 0.0
        self._seconds = 0.0  # of one walk, as last seen
        self._table = None
        self._state = team.new_state()
        self._lock = threading.Lock()
        _recordings.add(self)

    def add(self, address, words, size, chunks, args):
        """Write down one launch."""
        self._rows.append((address, words.ctypes.data, size, chunks))
        self._kept.append((words, args))

    def add_launch(self, launch, args):
        """Write down one launch on a device."""
        self._rows.append(launch)
        self._kept.append(args)

    def _close(self):
        on_device = [row for row in self._rows if not isinstance(row, tuple)]
        if on_device and len(on_device) < len(self._rows):
            raise RuntimeError(
                f"record: {on_device[0].name} ran on cuda and other kernels on NumPy arrays, "
                "expected one device"
            )
        if on_device:
            device = next(a.device for a in self._kept[0] if isinstance(a, DeviceArray))
            self._graph = Graph(device, self._rows)
        self._table = make_table([] if on_device else self._rows)
        self._threads = {}

    def __len__(self):
        return len(self._rows)

    def places_of(self, number):
        """Return [(words, index)] of where launches hold a whole number: the words may be set."""
        return [
            (words, int(index))
            for words, *_ in self._kept
            if isinstance(words, np.ndarray) and words.ndim == 1
            for index in np.flatnonzero(words == number)
        ]

    def guard(self, check):
        """Call `check()` before each replay; it raises where the recording has become stale."""
        self._guards.append(check)

    @property
    def threads(self):
        """How many threads a replay uses: several only where they save more than they cost."""
        allowed = team.get_num_threads()
        if self._table is None or not len(self) or self._graph is not None:
            return 1
        if allowed not in self._threads:
            self._threads[allowed] = self._useful_threads(allowed)
        return self._threads[allowed]

    def _useful_threads(self, allowed):
        chunks = self._table[:, team.CHUNKS]
        most = min(allowed, int(chunks.max()))
        saved = (chunks * (1 - 1 / np.minimum(chunks, most))).sum() * CHUNK_NS
        return most if saved > 2 * LAUNCH_NS * len(self) else 1

    def replay(self, times=1):
        """Run the recorded launches `times` times, in order, with no Python in between.

        Ctrl-C stops it within about a tenth of a second, between two walks. An error in a kernel
        stops it at once and is raised here.
        """
        if self._table is None:
            raise RuntimeError("replay: the recording is not finished, leave `with record()` first")
        if times < 0:
            raise ValueError(f"replay: times is {times}, expected 0 or more")
        for check in self._guards:
            check()
        if not len(self):
            return
        with self._lock:
            if self._graph is not None:
                self._graph.replay(times)
                return
            threads = self.threads
            while times > 0:
                piece = times
                if times > 1:
                    piece = max(1, min(times, int(PIECE_SECONDS / max(self._seconds, 1e-9))))
                    if self._seconds == 0.0:
                        piece = 1
                before = time.perf_counter()
                team.team.replay(self._table, self._state, piece, threads)
                self._seconds = max((time.perf_counter() - before) / piece, 1e-9)
                times -= piece

    @property
    def native_table(self):
        """The table that njit code walks; asked for when the recording is passed to it."""
        if self._table is None:
            raise RuntimeError("replay: the recording is not finished, leave `with record()` first")
        if self._graph is not None:
            raise RuntimeError("replay: a recording on cuda is replayed from Python, not from njit")
        for check in self._guards:
            check()
        return self._table

    def __repr__(self):
        return f"<Recording of {len(self)} launches>"


class Graph:
    """The launches of a recording on a device, captured: one call runs one walk, or many."""

    def __init__(self, device, launches):
        self._device, self._launches = device, launches
        self._captured = {}
        self._seconds = 0.0  # of one walk, as last seen

    def replay(self, times):
        """Run all launches `times` times; Ctrl-C is seen about ten times a second."""
        while times > 0:
            piece = 1
            if self._seconds > 0:
                piece = max(1, min(times, int(PIECE_SECONDS / self._seconds)))
            before = time.perf_counter()
            self._run(piece)
            self._device.synchronize()
            self._seconds = max((time.perf_counter() - before) / piece, 1e-9)
            times -= piece

    def _run(self, times):
        many, rest = divmod(times, WALKS)
        for _ in range(many):
            self._walk(WALKS)
        for _ in range(rest):
            self._walk(1)

    def _walk(self, walks):
        if walks not in self._captured:
            self._captured[walks] = self._device.capture(self._launches, walks)
        graph = self._captured[walks]
        if graph is not None:
            graph()
            return
        for launch in self._launches * walks:
            launch.run()


_recordings = weakref.WeakSet()


@contextlib.contextmanager
def record():
    """Write down every kernel launched in the block, besides running it."""
    if getattr(_local, "recording", None) is not None:
        raise RuntimeError("record: this thread is recording already")
    recording = _local.recording = Recording()
    try:
        yield recording
        recording._close()
    finally:
        _local.recording = None


@contextlib.contextmanager
def not_recorded():
    """Run kernels in the block without writing them down."""
    recording, _local.recording = getattr(_local, "recording", None), None
    try:
        yield
    finally:
        _local.recording = recording


def current():
    """Return the recording in progress on this thread, or None."""
    return getattr(_local, "recording", None)


def _after_fork():
    """Give every recording a lock and a state of its own in a forked child."""
    _local.__dict__.clear()
    for recording in list(_recordings):
        recording._lock, recording._state = threading.Lock(), team.new_state()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class RecordingType(types.Type):
    """The type of a Recording that njit code takes as an argument."""

    def __init__(self):
        super().__init__("Recording")


_recording_type = RecordingType()
_table_type = types.Array(types.int64, 2, "C")


@typeof_impl.register(Recording)
def _typeof(value, context):
    if context.purpose is Purpose.constant:
        raise errors.NumbaTypeError(
            "Recording: a global or closure variable would leave dead addresses in a cached "
            "function, pass the recording as an argument"
        )
    return _recording_type


@register_model(RecordingType)
class _Model(models.StructModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, [("table", _table_type)])


make_attribute_wrapper(RecordingType, "table", "_table")


@unbox(RecordingType)
def _unbox(kind, value, context):
    table = context.pyapi.object_getattr_string(value, "native_table")
    native = context.unbox(_table_type, table)
    struct = cgutils.create_struct_proxy(kind)(context.context, context.builder)
    struct.table = native.value
    context.pyapi.decref(table)
    failed = cgutils.is_not_null(context.builder, context.pyapi.err_occurred())
    return NativeValue(struct._getvalue(), is_error=failed)


@overload_method(RecordingType, "replay")
def _replay_inside(recording, times=1):
    """Replay on the calling thread, without the lock: no other thread may replay it meanwhile."""

    def replay(recording, times=1):
        team.replay_alone(recording._table, times)

    return replay
