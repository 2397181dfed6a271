"""Run a kernel now, or record it and replay it later with no Python in between.

A kernel is a *share*: `body(start, stop, *args)` does the items [start, stop) of an index space. A launch is
the address of the kernel's entry, the size of the index space, and the arguments flattened to machine words.
A recording is a table of launches; team.py walks it.

The rule: a kernel trusts its arguments. Everything is checked before, at the public function.
"""

import contextlib
import functools
import os
import threading
import time
import weakref

import numpy as np
from numba import types
from numba.extending import typeof_impl

from . import team
from .caching import jit, specialise
from .native import unpack, words_of

_local = threading.local()
CHUNK_NS = 4000.0  # a chunk worth claiming: a claim and the wait at its end cost about 100 ns
LAUNCH_NS = 150.0  # what the team pays for each launch, shared or not
PIECE_SECONDS = 0.1  # Ctrl-C is seen between pieces of a replay


def _entry(start, stop, words, kinds):
    share(start, stop, *unpack(words, kinds))  # noqa: F821  (bound by specialise)


def _serial(size, *args):
    share(0, size, *args)  # noqa: F821


def kernel(share=None, *, cost=None, identity=()):
    """Make a share `body(start, stop, *args)` a Kernel; `cost(*args)` estimates ns for one item."""
    if share is None:
        return functools.partial(kernel, cost=cost, identity=identity)
    return Kernel(share, lambda: share, cost, identity)


class Kernel:
    """A compiled loop that runs over an index space: `kernel(size, *args)`, from Python or from njit.

    From Python it runs on as many threads as the work is worth and, inside `with record()`, is written down.
    From njit it runs on the calling thread. Arguments are arrays, numbers, booleans and None.
    """

    def __init__(self, owner, make_share, cost=None, identity=()):
        self._owner, self._make_share, self._cost, self._identity = (
            owner,
            make_share,
            cost,
            identity,
        )
        self._addresses = {}
        self.__name__, self.__doc__ = owner.__name__, owner.__doc__
        self.__module__, self.__qualname__ = owner.__module__, owner.__qualname__

    @functools.cached_property
    def share(self):
        """The jitted share; made on first use, so that importing the library stays quick."""
        return jit(self._make_share(), identity=self._identity)

    @functools.cached_property
    def entry(self):
        """The function that replays call: unpacks its own arguments, and is cached on disk."""
        return jit(self._specialise(_entry, "entry"), cache=True)

    @functools.cached_property
    def serial(self):
        """The function that njit code calls: serial(size, *args)."""
        return jit(self._specialise(_serial, "serial"))

    def _specialise(self, template, role):
        copy = specialise(template, self._owner, role, share=self.share)
        copy.fonio_parts = (self.fonio_identity, role)
        return copy

    @property
    def fonio_identity(self):
        return self.share.fonio_identity

    def __call__(self, size, *args):
        address = self.address(args)
        words = _words(args)
        chunks = self._chunks(size, args)
        recording = getattr(_local, "recording", None)
        if recording is not None:
            recording._add(address, words, size, chunks, args)
        _run(address, words, size, chunks)

    def address(self, args):
        """Return the address of the entry for arguments of these kinds; compile it if need be."""
        key = tuple(map(_kind_key, args))
        found = self._addresses.get(key)
        if found is None:
            found = self._addresses[key] = self._compile(tuple(map(_kind, args)))
        return found

    def _compile(self, kinds):
        signature = (types.intp,) * 3 + (types.TypeRef(types.Tuple(kinds)),)
        self.entry.compile(signature)
        compiled = self.entry.overloads[signature]
        return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)

    def _chunks(self, size, args):
        """Return into how many chunks a launch is cut: fixed by its size, never by the threads."""
        if size < 2 or self._cost is None:
            return 1
        worth = int(size * self._cost(*args) / CHUNK_NS)
        return max(1, min(worth, size, team.MAX_CHUNKS))

    def assembly(self, *args):
        """Return the machine code for arguments like these, compiled afresh."""
        fresh = jit(self.entry.py_func)
        signature = (types.intp,) * 3 + (types.TypeRef(types.Tuple(tuple(map(_kind, args)))),)
        fresh.compile(signature)
        return fresh.inspect_asm(signature)

    def __repr__(self):
        return f"<kernel {self.__module__}.{self.__qualname__}>"


@typeof_impl.register(Kernel)
def _typeof_kernel(value, context):
    return types.Dispatcher(value.serial)


def _kind_key(arg):
    if isinstance(arg, np.ndarray):
        return arg.dtype, arg.ndim, arg.flags.c_contiguous
    return type(arg)


_SCALARS = {int: types.int64, float: types.float64, bool: types.boolean}


def _kind(arg):
    """Return the Numba type of an argument. Arrays are always mutable ones: the doors check."""
    if isinstance(arg, np.ndarray):
        layout = "C" if arg.flags.c_contiguous else "A"
        return types.Array(_numba_dtype(arg.dtype), arg.ndim, layout)
    if arg is None:
        return types.none
    if isinstance(arg, np.generic):
        return _numba_dtype(arg.dtype)
    return _SCALARS[type(arg)]


def _numba_dtype(dtype):
    from numba.np.numpy_support import from_dtype

    return from_dtype(dtype)


def _words(args):
    """Flatten arguments to the words that `native.unpack` reads."""
    words = []
    for arg in args:
        if isinstance(arg, np.ndarray):
            address = arg.__array_interface__["data"][0]
            words += (0, 0, arg.size, arg.itemsize, address, *arg.shape, *arg.strides)
        elif arg is not None:  # zero-padded: a boolean or float32 takes a whole word
            raw = np.asarray(arg).tobytes()
            words.append(int.from_bytes(raw + bytes(8 - len(raw)), "little", signed=True))
    return np.array(words, np.int64)


def _table(rows):
    table = np.zeros((len(rows), team.COLUMNS), np.int64)
    for i, row in enumerate(rows):
        table[i, : team.BEFORE] = row
    table[1:, team.BEFORE] = np.cumsum(table[:-1, team.CHUNKS])
    return table


def _run(address, words, size, chunks):
    """Run one launch now."""
    threads = min(team.get_num_threads(), chunks) if chunks >= 8 else 1
    table = np.array([[address, words.ctypes.data, size, chunks, 0]], np.int64)
    if threads > 1:
        team.team.replay(table, team.new_state(), 1, threads)
    else:
        team.replay_alone(table, 1)


class Recording:
    """A list of launches to run again: `replay()` from Python, and from njit code that takes it as an argument.

    It keeps alive every array that it names. One lock each: two threads that replay the same recording
    take turns; two recordings run at the same time.
    """

    def __init__(self):
        self._rows, self._kept, self._guards = [], [], []
        self._work = 0.0
        self._seconds = 0.0  # of one walk, as last seen
        self._table = None
        self._state = team.new_state()
        self._lock = threading.Lock()
        _recordings.add(self)

    def _add(self, address, words, size, chunks, args):
        self._rows.append((address, words.ctypes.data, size, chunks))
        self._kept.append((words, args))

    def _close(self):
        self._table = _table(self._rows)

    def __len__(self):
        return len(self._rows)

    def guard(self, check):
        """Call `check()` before each replay; it raises where the recording has become stale."""
        self._guards.append(check)

    @property
    def threads(self):
        """How many threads a replay uses: more than one only where they save more than they cost."""
        if self._table is None or not len(self):
            return 1
        most = min(team.get_num_threads(), int(self._table[:, team.CHUNKS].max()))
        chunks = self._table[:, team.CHUNKS]
        saved = (chunks * (1 - 1 / np.minimum(chunks, max(most, 1)))).sum() * CHUNK_NS
        return most if saved > 2 * LAUNCH_NS * len(self) else 1

    def replay(self, times=1):
        """Run the recorded launches `times` times, in order, with no Python in between.

        Ctrl-C stops it within about a tenth of a second, between two walks. An error in a kernel stops it
        at once and is raised here.
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

    def __repr__(self):
        return f"<Recording of {len(self)} launches>"


_recordings = weakref.WeakSet()


@contextlib.contextmanager
def record():
    """Write down every kernel launched in the block, besides running it: `with record() as step: ...`."""
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


def is_recording():
    return getattr(_local, "recording", None) is not None


def keep(array):
    """Keep `array` alive for as long as the recording in progress, if any."""
    if is_recording():
        _local.recording._kept.append(array)
    return array


def _after_fork():
    """Give every recording a lock and a state of its own in a forked child."""
    _local.__dict__.clear()
    for recording in list(_recordings):
        recording._lock, recording._state = threading.Lock(), team.new_state()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
