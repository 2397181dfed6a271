"""A stand-in for numba.cuda, cuda.core and the driver, as NumbaDevice calls them: no kernel runs.

Memory is the host's, so copies are real; launches and graphs are written down in order. What the
driver refuses is refused: calls of a thread without a context, use of a stream that is waited for
while another is captured, more memory than there is.
"""

import contextlib
import ctypes
import threading
import weakref
from types import SimpleNamespace
from unittest import mock

import numpy as np

from fonio.kernels import numba_device


class DriverError(Exception):
    """What the driver raises."""


class Stream:
    """A stream of cuda.core; `captured` is a list while a graph is built of it."""

    def __init__(self, fake, handle, nonblocking):
        self.fake, self.handle, self.nonblocking, self.captured = fake, handle, nonblocking, None

    def create_graph_builder(self):
        return Builder(self.fake, self)


class Builder:
    def __init__(self, fake, stream):
        self.fake, self.stream = fake, stream

    def begin_building(self, mode):
        assert mode == "relaxed" and self.stream.handle != 0  # the default stream has no capture
        self.stream.captured = []
        self.fake.capturing = self.stream
        return self

    def end_building(self):
        self.launches, self.stream.captured, self.fake.capturing = self.stream.captured, None, None
        return self

    def complete(self):
        return SimpleNamespace(launch=lambda stream: self.fake.graph(self.launches, stream))

    def close(self):
        self.stream.captured = self.fake.capturing = None
        self.fake.closed += 1


class FakeDriver:
    """The calls that arrived, in `log`, and the failures to come, in `fail`."""

    def __init__(self, total=1 << 20):
        self.log, self.fail, self.closed = [], {}, 0
        self.total = self.free = total
        self.capturing = None
        self._entered = threading.local()
        self.contexts = []  # of each thread that got one

    def check(self, name):
        """Refuse what the driver would, or what the test asks for."""
        assert getattr(self._entered, "yes", False), f"{name}: this thread has no context"
        if name in self.fail:
            raise self.fail.pop(name)
        return True

    def use_default_stream(self, name):
        self.check(name)
        if self.capturing is not None and not self.capturing.nonblocking:
            raise DriverError("CUDA_ERROR_STREAM_CAPTURE_IMPLICIT")

    def current_context(self, number=None):
        if not getattr(self._entered, "yes", False):
            self.contexts.append(threading.get_ident())
        self._entered.yes = True
        device = SimpleNamespace(id=0, MULTIPROCESSOR_COUNT=132, compute_capability=(9, 0))
        memory = SimpleNamespace(total=self.total, free=self.free)
        return SimpleNamespace(
            device=device, get_memory_info=lambda: _Info(memory.free, memory.total)
        )

    def device_array(self, size, dtype):
        self.check("allocate")
        if size > self.free:
            raise DriverError("Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY")
        self.free -= size
        memory = _Memory(size)
        weakref.finalize(memory, self._freed, size)
        self.log.append(("allocate", size))
        return memory

    def _freed(self, size):
        self.free += size
        self.log.append(("free", size))

    def copy(self, name):
        def copy(to, start, size):
            self.use_default_stream(name)
            ctypes.memmove(to, start, size)
            self.log.append((name, size))

        return copy

    def launch(self, stream, config, kernel, *flat):
        self.check("launch")
        where = self.log if stream.captured is None else stream.captured
        if stream.captured is None:
            self.use_default_stream("launch on the default stream")
        where.append(("launch", stream.handle, config.grid, config.block, kernel, flat))

    def graph(self, launches, stream):
        self.use_default_stream("graph")
        self.log.append(("graph", stream.handle, len(launches)))

    def synchronize(self):
        self.use_default_stream("synchronize")
        self.log.append(("synchronize",))

    def jit(self, function, **options):
        def compile(signature):
            self.check("compile")
            cufunc = SimpleNamespace(kernel=(function, signature, options))
            library = SimpleNamespace(get_cufunc=lambda: cufunc)
            return SimpleNamespace(_codelibrary=library)

        return SimpleNamespace(compile=compile)

    def make_stream(self, options):
        self.check("stream")
        return Stream(self, 7, options.nonblocking)

    def launches(self):
        return [entry for entry in self.log if entry[0] == "launch"]


class _Info(tuple):
    """(free, total), by place and by name."""

    def __new__(cls, free, total):
        self = super().__new__(cls, (free, total))
        self.free, self.total = free, total
        return self


class _Memory:
    def __init__(self, size):
        self._bytes = np.empty(size + 256, np.uint8)
        self._bytes[: 1 << 16] = 0xCD  # the system gives more only where it is touched
        self.__cuda_array_interface__ = {"data": (-(-self._bytes.ctypes.data // 256) * 256, False)}


@contextlib.contextmanager
def fake_device(**options):
    """Give (NumbaDevice, FakeDriver) that belong together."""
    numba_device.import_cuda()
    fake = FakeDriver(**options)
    cuda = SimpleNamespace(
        current_context=fake.current_context,
        device_array=fake.device_array,
        defer_cleanup=contextlib.nullcontext,
        synchronize=fake.synchronize,
        jit=fake.jit,
        external_stream=lambda handle: SimpleNamespace(
            synchronize=lambda: fake.log.append(("wait for", handle))
        ),
    )
    core = SimpleNamespace(
        set_current=lambda: None, create_stream=lambda options: fake.make_stream(options)
    )
    names = ("cuMemcpyHtoD", "cuMemcpyDtoH", "cuMemcpyDtoD")
    calls = SimpleNamespace(**{name: fake.copy(name) for name in names})
    calls.get_version = lambda: (12, 4)
    default = SimpleNamespace(from_handle=lambda handle: Stream(fake, handle, False))
    with (
        mock.patch.object(numba_device, "import_cuda", lambda: cuda),
        mock.patch.object(numba_device, "_check_available", lambda: None),
        mock.patch("cuda.core.Device", lambda number: core),
        mock.patch("cuda.core.Stream", default),
        mock.patch("cuda.core.launch", fake.launch),
        mock.patch("numba.cuda.cudadrv.driver.driver", calls),
    ):
        yield numba_device.NumbaDevice(), fake
