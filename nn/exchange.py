"""What the processes of a data-parallel fit send each other in a recorded step, by MPI.

A recording is replayed with no Python in between, and a message is a launch like others: its kernel
calls a Python function by address, which takes the GIL and calls MPI: 0.1 us beside the 3 to 15 of
a small message on one machine. So the step stays one recording, and is proven as it is.

The rule: every process sends the same messages in the same order. What raises in one is kept and
raised again outside the recording.
"""

import contextlib
import ctypes
import os
import platform
import threading

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..kernels.launch import kernel
from ..kernels.team import at_most_threads

_local = threading.local()
_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_int)


@intrinsic
def _call(typing, address):
    """Call the C function `int f()` at an address."""

    def codegen(context, builder, signature, args):
        shape = ir.FunctionType(ir.IntType(32), [])
        return builder.call(builder.inttoptr(args[0], shape.as_pointer()), [])

    return types.int32(types.int64), codegen


@kernel
def call_python(start, stop, address):
    """Call the function at an address; it returns 0 where all went well."""
    for _ in range(start, stop):
        if _call(address) != 0:
            raise RuntimeError("a message between processes failed")


class Exchange:
    """The processes of a communicator of mpi4py, and the messages of a step."""

    def __init__(self, communicator):
        from mpi4py import MPI

        self.communicator = communicator.Dup()  # a user's own messages are never taken for ours
        self.rank, self.size = communicator.Get_rank(), communicator.Get_size()
        self.error = None
        self._in_place, self._functions = MPI.IN_PLACE, []
        self._any_thread = MPI.Query_thread() >= MPI.THREAD_SERIALIZED

    def parts(self, rows):
        """Return where each process's part of a batch begins, and the end of the last."""
        return [rows * rank // self.size for rank in range(self.size + 1)]

    def add_up(self, array):
        """Launch: array = the sum of the arrays of all processes."""
        self._launch(lambda: self.communicator.Allreduce(self._in_place, array))

    def gather(self, found, own):
        """Launch: found[rank] = the array `own` of each process."""
        self._launch(lambda: self.communicator.Allgather(own, found))

    def _launch(self, send):
        def run():
            try:
                send()
            except BaseException as error:
                self.error = error
                return 1
            return 0

        function = _FUNCTION(run)
        self._functions.append(function)  # for as long as a recording may call it
        call_python(1, np.int64(ctypes.cast(function, ctypes.c_void_p).value))

    @contextlib.contextmanager
    def raising(self):
        """Raise what stopped a message in the block, instead of what stopped its kernel."""
        try:
            yield
        except RuntimeError:
            if self.error is None:
                raise
            error, self.error = self.error, None
            raise error from None

    @contextlib.contextmanager
    def held(self):
        """Hold this process to its share of the machine's cores; free the communicator at the end.

        A core that n processes may use counts 1/n for each. Helpers send messages too, which an MPI
        without threads does not allow.
        """
        cores = _own_cores()
        machine = platform.node()
        everyone = self.communicator.allgather((machine, cores))
        here = [other for name, other in everyone if name == machine]
        share = sum(1 / sum(core in other for other in here) for core in cores)
        with at_most_threads(max(1, int(share + 1e-9)) if self._any_thread else 1):
            yield
        self.communicator.Free()


def _own_cores():
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@contextlib.contextmanager
def sharing(exchange, rows):
    """Let layers know in the block that a batch of `rows` is shared by several processes."""
    _local.shared = exchange, rows
    try:
        yield
    finally:
        _local.shared = None


def processes():
    """Return (exchange, rows of the whole batch) where several processes share it, or None."""
    return getattr(_local, "shared", None)
