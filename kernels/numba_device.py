"""The GPU by numba-cuda: memory, compiling, launches by flat arguments, and captured graphs.

A launch is prepared once: the compiled kernel and its arguments flattened as Numba's calling
convention wants them. Running it then costs one call of the driver, and a list of prepared launches
becomes one CUDA graph.

The rule: all work is ordered on the legacy default stream, graphs and copies included, so that
memory is used again without waiting, and arrays shared with other libraries are read when they are
written.
"""

import contextlib
import functools
import os
import threading
import warnings

import numpy as np

from .calling import flatten, signature_of
from .pool import Pool

_MISSING = (
    "cuda: numba-cuda is not installed; pip install 'fonio[cuda]' brings it "
    "(the CUDA driver comes with the system)"
)

_TOO_NEW = ("UNSUPPORTED_PTX_VERSION", "NO_BINARY_FOR_GPU", "INVALID_IMAGE")


def import_cuda():
    """Import numba.cuda of numba-cuda, or raise a RuntimeError that says what to install."""
    os.environ.setdefault("NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS", "0")
    if not hasattr(np, "row_stack"):  # numba-cuda 0.30 asks for it, NumPy 2.5 has it no more
        np.row_stack = np.vstack
    try:
        # puts numba-cuda in the place of Numba's own, deprecated numba.cuda; a .pth file does so
        # only in a site folder, not in one of PYTHONPATH (pip install --target)
        import _numba_cuda_redirector  # noqa: F401
        from numba import cuda
    except ImportError as error:
        raise RuntimeError(f"{_MISSING} ({error})") from None
    if "numba_cuda" not in cuda.__file__:
        raise RuntimeError(
            "cuda: Numba's own numba.cuda was imported before numba-cuda could take its place; "
            "import fonio.kernels.numba_device and call import_cuda() first"
        )
    return cuda


class Code:
    """A kernel compiled and loaded: what Numba made of it, and what the driver launches."""

    def __init__(self, made):
        self.made, self.kernel = made, made._codelibrary.get_cufunc().kernel


class Launch:
    """A kernel ready to run: its name, grid, block and flat arguments."""

    __slots__ = ("_config", "_device", "_flat", "_kernel", "name")

    def __init__(self, device, name, code, grid, block, flat):
        self.name, self._device, self._flat = name, device, flat
        self._kernel, self._config = code.kernel, device.config(grid=grid, block=block)

    def run(self, stream=None):
        """Launch on a stream, or on one that is being captured."""
        device = self._device
        device.last = self.name
        try:
            device.core_launch(
                device.stream if stream is None else stream,
                self._config,
                self._kernel,
                *self._flat,
            )
        except Exception as error:
            raise device.failure(error) from error


class NumbaDevice:
    """The current CUDA device of this process."""

    name = "cuda"

    def __init__(self):
        self.cuda = import_cuda()
        _check_available()
        from cuda.core import Device, LaunchConfig, Stream, StreamOptions, launch
        from numba.cuda.cudadrv import driver

        self._driver, self.core_launch = driver.driver, launch
        self._threads, self._forked = threading.local(), False
        os.register_at_fork(after_in_child=self._after_fork)
        context = self.cuda.current_context()  # the primary context, which other libraries share
        self.number = context.device.id
        self._core = Device(self.number)
        self._core.set_current()
        self._capturing = StreamOptions(nonblocking=True)
        self.stream = Stream.from_handle(0)  # the legacy default stream, as numba-cuda takes it
        self.config = functools.lru_cache(4096)(LaunchConfig)
        self.multiprocessors = context.device.MULTIPROCESSOR_COUNT
        self.capability = tuple(context.device.compute_capability)
        total = context.get_memory_info().total
        self.pool = Pool(self._allocate, lambda memory: memory[1], total)
        self.last = None  # the kernel launched last, for messages

    def enter_thread(self):
        """Make this device's context current in the calling thread: the driver keeps one each."""
        if getattr(self._threads, "entered", False):
            return
        if self._forked:
            raise RuntimeError(
                "cuda: this process was forked from one that used CUDA, where it cannot go on; "
                "start it by 'spawn'"
            )
        if self.cuda.current_context().device.id != self.number:
            self.cuda.current_context(self.number)
        self._threads.entered = True

    def _after_fork(self):
        self._threads, self._forked = threading.local(), True

    def interface_of(self, value):
        """Return the CUDA array interface of another library's array, once it is written."""
        self.enter_thread()
        told = getattr(value, "__cuda_array_interface__", None)
        if told is None:
            return interface_by_dlpack(value)
        stream = told.get("stream")
        if stream not in (None, 1):
            self.cuda.external_stream(stream).synchronize()
        return told

    def allocate(self, size):
        """Return (owner, pointer) of memory of `size` bytes, new or used before."""
        if size == 0:
            return None, 0
        self.enter_thread()
        return self.pool.take(size)

    def _allocate(self, size):
        """Return (owner, pointer) of new memory, which is freed when the owner is dropped."""
        try:
            owner = self.cuda.device_array(size, np.uint8)
        except Exception as error:
            if "OUT_OF_MEMORY" not in str(error).upper():
                raise
            free, total = self.cuda.current_context().get_memory_info()
            raise MemoryError(
                f"cuda: asked for {size} bytes of device memory, {free} are free of {total}"
            ) from None
        return owner, owner.__cuda_array_interface__["data"][0]

    def copy_in(self, array, host):
        """Copy a contiguous NumPy array into a contiguous device array of its shape."""
        self._copy("cuMemcpyHtoD", array.pointer, _address(host), array.nbytes)

    def copy_out(self, host, array):
        """Copy a contiguous device array into a contiguous NumPy array of its shape."""
        self._copy("cuMemcpyDtoH", _address(host), array.pointer, array.nbytes)

    def copy(self, target, source):
        """Copy between contiguous device arrays of one shape and dtype that do not overlap."""
        self._copy("cuMemcpyDtoD", target.pointer, source.pointer, target.nbytes)

    def _copy(self, function, to, start, size):
        """Copy on the default stream; host memory may change as soon as this returns."""
        if size == 0:
            return
        self.enter_thread()
        with self.reporting():
            getattr(self._driver, function)(to, start, size)

    def compile(self, function, options, kinds):
        """Compile a function, of (size, *args) or of these args alone, for these Numba types."""
        self.enter_thread()
        try:
            return Code(self.cuda.jit(function, **options).compile(signature_of(function, kinds)))
        except Exception as error:
            if not any(reason in str(error) for reason in _TOO_NEW):
                raise
            version = ".".join(map(str, self._driver.get_version()))
            raise RuntimeError(
                f"cuda: the driver, of CUDA {version}, cannot load what a newer compiler wrote "
                f"({error}): install numba-cuda[cu{version.partition('.')[0]}] and "
                f"cuda-toolkit=={version}.*, or a newer driver"
            ) from error

    def prepare(self, name, code, grid, block, kinds, size, args):
        """Return a Launch of compiled code with these arguments; `size` None for one without."""
        self.enter_thread()
        flat = flatten(kinds, args)
        if size is not None:
            flat.insert(0, size)  # the driver's wrapper takes a Python integer as 64 bits
        return Launch(self, name, code, grid, block, flat)

    def capture(self, launches, times=1):
        """Return a function that runs the launches, `times` over, as one graph; or None."""
        self.enter_thread()
        builder = None
        try:
            with self.cuda.defer_cleanup():
                # a stream that the default one does not wait for: other threads work on meanwhile
                stream = self._core.create_stream(options=self._capturing)
                builder = stream.create_graph_builder()
                builder.begin_building("relaxed")
                for _ in range(times):
                    for launch in launches:
                        launch.run(stream)
                graph = builder.end_building().complete()
        except Exception as error:  # a driver or a cuda.core that cannot: launches one by one
            warnings.warn(
                f"fonio: no CUDA graph ({type(error).__name__}: {error}); kernels are launched "
                "one by one",
                RuntimeWarning,
                stacklevel=2,
            )
            return None
        finally:
            if builder is not None:
                with contextlib.suppress(Exception):  # ends a capture that failed
                    builder.close()
        return functools.partial(self._launch_graph, graph)

    def _launch_graph(self, graph):
        self.enter_thread()
        with self.reporting():
            graph.launch(self.stream)

    def synchronize(self):
        """Wait for all work; an error of a kernel is raised here, with the last kernel's name."""
        self.enter_thread()
        with self.reporting():
            self.cuda.synchronize()

    @contextlib.contextmanager
    def reporting(self):
        """Name the last kernel in errors raised in the block: kernels fail after their launch."""
        try:
            yield
        except Exception as error:
            raise self.failure(error) from error

    def failure(self, error):
        """Return the error to raise for one of the driver's."""
        if self.last is None:
            return RuntimeError(f"cuda: {error}")
        return RuntimeError(f"cuda: {self.last}, or a kernel before it, failed: {error}")


def _address(host):
    return host.__array_interface__["data"][0]


def _check_available():
    """Raise a RuntimeError that says which part is missing."""
    from numba.cuda.cudadrv import driver, error, nvvm

    found = driver.driver
    with contextlib.suppress(error.CudaSupportError):
        found.ensure_initialized()
    if found.initialization_error is not None:
        reason = " ".join(str(found.initialization_error).split())
        raise RuntimeError(
            f"cuda: no CUDA device is visible (driver, CUDA_VISIBLE_DEVICES): {reason}"
        )
    if not nvvm.is_available():
        raise RuntimeError(
            "cuda: NVIDIA's compiler library libnvvm is not found; pip install 'fonio[cuda]', or "
            "set CUDA_HOME to a CUDA toolkit"
        )


def interface_by_dlpack(value, stream=1):
    """Return what a CUDA array interface would tell of an array that only speaks DLPack.

    stream: the one on which the array will be read, by default the legacy default stream.
    """
    from cuda.core.utils import StridedMemoryView

    view = StridedMemoryView.from_dlpack(value, stream_ptr=stream)
    size = view.dtype.itemsize
    strides = None if view.strides is None else tuple(size * step for step in view.strides)
    return {
        "data": (view.ptr, view.readonly),
        "shape": tuple(view.shape),
        "strides": strides,
        "typestr": view.dtype.str,
        "owner": view,
    }
