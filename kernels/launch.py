"""Run a kernel now, or record it and replay it later with no Python in between.

A kernel is a *share*: `body(start, stop, *args)` does the items [start, stop) of an index space. A
launch is the address of the kernel's entry, the size of the index space, and the arguments
flattened to machine words. A recording is a table of launches; team.py walks it.

On CUDA arrays the same kernel runs on the GPU: its share, retargeted, is spread over threads as its
`spread` says (spread.py).

The rule: a kernel trusts its arguments. Everything is checked before, at the public function.
"""

import functools

import numpy as np
from numba import types
from numba.extending import typeof_impl
from numba.np.numpy_support import from_dtype

from . import team
from .caching import jit, specialise
from .compiling import collector_paused
from .device import DeviceArray
from .recording import CHUNK_NS, current
from .spread import SPREADS

EAGER_CHUNKS = 50  # an eager launch wakes helpers (10 us) only for more than 200 us of work


def _serial(size, *args):
    share(0, size, *args)  # noqa: F821


def kernel(share=None, *, cost=None, identity=(), spread="item", columns=None, cuda=None):
    """Make a share `body(start, stop, *args)` a Kernel; `cost(*args)` estimates ns for one item.

    On CUDA `spread` says which threads do an item together, and with "cells" `columns(*args)` how
    many columns they share (else the last size of the first argument); `cuda` is another share for
    CUDA, where the text for the CPU does not suit it.
    """
    if share is None:
        return functools.partial(
            kernel, cost=cost, identity=identity, spread=spread, columns=columns, cuda=cuda
        )
    device_share = None if cuda is None else lambda: cuda
    return Kernel(share, lambda: share, cost, identity, spread, columns, device_share)


class Kernel:
    """A compiled loop over an index space: `kernel(size, *args)`, from Python or from njit.

    From Python it runs on as many threads as the work is worth and, inside `with record()`, is
    written down. From njit it runs on the calling thread. Arguments are arrays, numbers, booleans
    and None; with CUDA arrays it runs on the GPU.
    """

    def __init__(
        self, owner, make_share, cost=None, identity=(), spread="item", columns=None,
        make_device_share=None,
    ):  # fmt: skip
        self._owner, self._make_share, self._cost, self._identity = (
            owner,
            make_share,
            cost,
            identity,
        )
        if spread not in SPREADS:
            raise ValueError(f"{owner.__name__}: unknown spread {spread!r}, expected {SPREADS}")
        self.spread, self._columns = spread, columns
        self._make_device_share = make_device_share or make_share
        self._addresses, self._on_device = {}, {}
        self.__name__, self.__doc__ = owner.__name__, owner.__doc__
        self.__module__, self.__qualname__ = owner.__module__, owner.__qualname__

    @functools.cached_property
    def _body(self):
        """The share as Python; made on first use, so that importing the library stays quick."""
        return self._make_share()

    @functools.cached_property
    def share(self):
        """The jitted share, for other compiled code to call."""
        return jit(self._body, inner=True, identity=self._identity)

    @functools.cached_property
    def entry(self):
        """The share with an entry, which unpacks its arguments for replays; cached on disk."""
        return self._make_entry(cache=True)

    def _make_entry(self, cache):
        named = specialise(self._body, self._owner, "entry", self._identity)
        named.fonio_parts = (self.fonio_identity, "entry")
        return jit(named, cache=cache, entry=True, identity=self._identity)

    @functools.cached_property
    def serial(self):
        """The function that njit code calls: serial(size, *args)."""
        copy = specialise(_serial, self._owner, "serial", self._identity, share=self.share)
        copy.fonio_parts = (self.fonio_identity, "serial")
        return jit(copy, inner=True, identity=self._identity)

    @property
    def fonio_identity(self):
        return self.share.fonio_identity

    def __call__(self, size, *args):
        if DeviceArray in map(type, args):
            self._launch_on_device(size, args)
            return
        address = self.address(args)
        words = _words(args)
        chunks = self._chunks(size, args)
        recording = current()
        if recording is not None:
            recording.add(address, words, size, chunks, args)
        _run(address, words, size, chunks)

    def address(self, args):
        """Return the address of the entry for arguments of these kinds; compile it if need be."""
        key = tuple(map(kind_key, args))
        found = self._addresses.get(key)
        if found is None:
            found = self._addresses[key] = self._compile(tuple(map(kind_of, args)))
        return found

    def _compile(self, kinds):
        compiled = _compile(self.entry, kinds)
        return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_cfunc_wrapper_name)

    def _chunks(self, size, args):
        """Return into how many chunks a launch is cut: fixed by its size, never by the threads."""
        if size < 2 or self._cost is None:
            return 1
        worth = int(size * self._cost(*args) / CHUNK_NS)
        return max(1, min(worth, size, team.MAX_CHUNKS))

    def _launch_on_device(self, size, args):
        if size == 0:
            return
        run_launch(self.prepare(size, args), args)

    def prepare(self, size, args):
        """Return a launch on the device of `args`, with a method run(); compile it if need be."""
        from .cuda_loops import TEAMS

        device = next(arg.device for arg in args if isinstance(arg, DeviceArray))
        variant = self.device_variant(args)
        key = (device, variant, *map(kind_key, args))
        found = self._on_device.get(key)
        if found is None:
            kinds = tuple(map(kind_of, args))
            code = device.compile(self.device_entry(variant), {}, kinds)
            found = self._on_device[key] = code, kinds
        code, kinds = found
        columns = self._columns(*args) if self._columns else _columns_of(args[0])
        grid, block = TEAMS[self.spread].shape(device, size, columns)
        name = f"{self.__module__.rpartition('.')[2]}.{self.__name__}"
        return device.prepare(name, code, grid, block, kinds, size, args)

    def use_on_device(self, other):
        """Let CUDA arrays go to another kernel of the same arguments."""
        self.prepare = other.prepare

    def device_variant(self, args):
        """Return which of its CUDA texts suits these arguments; None where there is one alone."""
        return None

    def device_entry(self, variant=None):
        """Return the CUDA kernel as plain Python: entry(size, *args)."""
        from .cuda_loops import TEAMS

        return TEAMS[self.spread].entry(self.__name__, self._make_device_share())

    def assembly(self, *args):
        """Return the machine code for arguments like these, compiled afresh."""
        compiled = _compile(self._make_entry(cache=False), tuple(map(kind_of, args)))
        return compiled.library.get_asm_str()

    def __repr__(self):
        return f"<kernel {self.__module__}.{self.__qualname__}>"


def _compile(entry, kinds):
    """Compile for arguments of these types, or load from the cache; return Numba's result."""
    with collector_paused():
        folded = entry.get_call_template((types.intp, types.intp, *kinds), {})[2]
    return entry.overloads[tuple(folded)]


@typeof_impl.register(Kernel)
def _typeof_kernel(value, context):
    return types.Dispatcher(value.serial)


def run_launch(launch, args):
    """Run a launch on a device now, and write it down where a recording is in progress."""
    recording = current()
    if recording is not None:
        recording.add_launch(launch, args)
    launch.run()


def _columns_of(array):
    shape = getattr(array, "shape", ())
    return shape[-1] if shape else 1


def kind_key(arg):
    """Return what decides an argument's Numba type, quicker than making the type (10 us)."""
    if isinstance(arg, _ARRAYS):
        return arg.dtype, arg.ndim, arg.flags.c_contiguous
    return type(arg)


_ARRAYS = (np.ndarray, DeviceArray)
_SCALARS = {int: types.int64, float: types.float64, bool: types.boolean}


def kind_of(arg):
    """Return the Numba type of an argument. Arrays are always mutable ones: the doors check."""
    if isinstance(arg, _ARRAYS):
        return _array_type(arg.dtype, arg.ndim, "C" if arg.flags.c_contiguous else "A")
    if arg is None:
        return types.none
    if isinstance(arg, np.generic):
        return from_dtype(arg.dtype)
    return _SCALARS[type(arg)]


@functools.cache
def _array_type(dtype, ndim, layout):
    return types.Array(from_dtype(dtype), ndim, layout)


def _words(args):
    """Flatten arguments to the words that an entry reads."""
    words = []
    for arg in args:
        if isinstance(arg, np.ndarray):
            address = arg.__array_interface__["data"][0]
            words += (0, 0, arg.size, arg.itemsize, address, *arg.shape, *arg.strides)
        elif arg is not None:  # zero-padded: a boolean or float32 takes a whole word
            raw = np.asarray(arg).tobytes()
            words.append(int.from_bytes(raw + bytes(8 - len(raw)), "little", signed=True))
    return np.array(words, np.int64)


def _run(address, words, size, chunks):
    """Run one launch now."""
    if chunks < EAGER_CHUNKS or team.get_num_threads() == 1:
        team.run_one(address, size, words)
        return
    threads = min(team.get_num_threads(), chunks)
    table = np.array([[address, words.ctypes.data, size, chunks, 0]], np.int64)
    team.team.replay(table, team.new_state(), 1, threads)
