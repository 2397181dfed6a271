"""The GPU by numba-cuda: memory, compiling, launches by flat arguments, and captured graphs.

A launch is prepared once: the compiled kernel and its arguments flattened as Numba's calling
convention wants them. Running it then costs one call of the driver, and a list of prepared launches
becomes one CUDA graph.

The rule: everything runs on the legacy default stream, or on a stream ordered with it, so that
arrays shared with other libraries are read when they are written.
"""

import ctypes
import functools
import inspect
import os
import warnings

import numpy as np
from numba import types

from .device import DeviceArray

_MISSING = (
    "cuda: numba-cuda is not installed; pip install 'fonio[cuda]' brings it "
    "(the CUDA driver comes with the system)"
)


def import_cuda():
    """Import numba.cuda, or raise a RuntimeError that says what to install."""
    os.environ.setdefault("NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS", "0")
    if not hasattr(np, "row_stack"):  # numba-cuda 0.30 asks for it, NumPy 2.5 has it no more
        np.row_stack = np.vstack
    try:
        import numba_cuda  # noqa: F401  (numba.cuda alone may be the built-in, deprecated one)
        from numba import cuda
    except ImportError as error:
        raise RuntimeError(f"{_MISSING} ({error})") from None
    return cuda


def flatten(kinds, args):
    """Return the words and numbers that a compiled kernel takes for these arguments."""
    flat = []
    for kind, arg in zip(kinds, args, strict=True):
        if isinstance(arg, DeviceArray):
            flat += (0, 0, arg.size, arg.itemsize, arg.pointer, *arg.shape, *arg.strides)
        elif arg is None:
            flat.append(0)
        elif isinstance(arg, bool | np.bool_):
            flat.append(bool(arg))
        else:
            flat.append(getattr(ctypes, _C_NAMES[str(kind)])(arg.item() if _numpy(arg) else arg))
    return flat


def signature_of(function, kinds):
    """Return the signature of a kernel: that of (size, *args) where it takes any number of them."""
    if function.__code__.co_flags & inspect.CO_VARARGS:
        return types.int64, types.StarArgTuple.from_types(tuple(kinds))
    return tuple(kinds)


_C_NAMES = {
    "float32": "c_float",
    "float64": "c_double",
    **{f"{sign}int{bits}": f"c_{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


def _numpy(value):
    return isinstance(value, np.generic)


class Launch:
    """A kernel ready to run: its name, grid, block and flat arguments."""

    def __init__(self, device, name, code, grid, block, flat):
        from cuda.core import LaunchConfig

        self.name, self._device, self._flat = name, device, flat
        self._kernel = code._codelibrary.get_cufunc().kernel
        self._config = LaunchConfig(grid=grid, block=block)

    def run(self, stream=None):
        """Launch on a stream, or into a graph that is being built."""
        device = self._device
        with device.reporting(self.name):
            device.core_launch(
                device.stream if stream is None else stream,
                self._config,
                self._kernel,
                *self._flat,
            )


class NumbaDevice:
    """The current CUDA device of this process."""

    name = "cuda"

    def __init__(self):
        self.cuda = import_cuda()
        if not self.cuda.is_available():
            raise RuntimeError("cuda: no CUDA device is visible (driver, CUDA_VISIBLE_DEVICES)")
        from cuda.core import Device, Stream, StreamOptions, launch

        self.cuda.current_context()  # the primary context, which other libraries share
        core = Device()
        core.set_current()
        self.core_launch = launch
        self.stream = Stream.from_handle(0)  # the legacy default stream, as numba-cuda takes it
        # a blocking stream: ordered with the default one, and it can be captured
        self.graph_stream = core.create_stream(options=StreamOptions(nonblocking=False))
        self.multiprocessors = self.cuda.get_current_device().MULTIPROCESSOR_COUNT
        self.capability = tuple(self.cuda.get_current_device().compute_capability)
        self._last = None

    def interface_of(self, value):
        """Return the CUDA array interface of another library's array, once it is written."""
        if not hasattr(value, "__cuda_array_interface__"):
            value = self.cuda.as_cuda_array(value)
        told = value.__cuda_array_interface__
        stream = told.get("stream")
        if stream not in (None, 1):
            self.cuda.external_stream(stream).synchronize()
        return told

    def allocate(self, size):
        """Return (owner, pointer) of new memory of `size` bytes."""
        if size == 0:
            return None, 0
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

    def _flat(self, array):
        return self.cuda.as_cuda_array(array.reshape(-1), sync=False)

    def copy_in(self, array, host):
        """Copy a contiguous NumPy array into a contiguous device array of its shape."""
        if array.size:
            with self.reporting("copy to the device"):
                self._flat(array).copy_to_device(host.reshape(-1))

    def copy_out(self, host, array):
        """Copy a contiguous device array into a contiguous NumPy array of its shape."""
        if array.size:
            with self.reporting("copy to the host"):
                self._flat(array).copy_to_host(host.reshape(-1))

    def copy(self, target, source):
        """Copy between contiguous device arrays of one shape and dtype."""
        if target.size:
            with self.reporting("copy"):
                self._flat(target).copy_to_device(self._flat(source))

    def compile(self, function, options, kinds):
        """Compile a function, of (size, *args) or of these args alone, for these Numba types."""
        code = self.cuda.jit(function, **options).compile(signature_of(function, kinds))
        code.bind()
        return code

    def prepare(self, name, code, grid, block, kinds, size, args):
        """Return a Launch of compiled code with these arguments; `size` None for one without."""
        flat = [*([] if size is None else [ctypes.c_int64(size)]), *flatten(kinds, args)]
        return Launch(self, name, code, grid, block, flat)

    def capture(self, launches, times=1):
        """Return a graph of the launches, `times` over, with a method launch(); or None."""
        stream = self.graph_stream
        try:
            with self.cuda.defer_cleanup():
                builder = stream.create_graph_builder()
                builder.begin_building("relaxed")
                for _ in range(times):
                    for launch in launches:
                        launch.run(builder)
                graph = builder.end_building().complete()
            graph.upload(stream)
        except Exception as error:  # a driver or a cuda.core that cannot: launches one by one
            warnings.warn(
                f"fonio: no CUDA graph ({type(error).__name__}: {error}); kernels are launched "
                "one by one",
                RuntimeWarning,
                stacklevel=2,
            )
            return None
        return functools.partial(graph.launch, stream)

    def synchronize(self):
        """Wait for all work; an error of a kernel is raised here, with the last kernel's name."""
        with self.reporting(None):
            self.cuda.synchronize()

    def reporting(self, name):
        """Name the kernel in errors raised in the block."""
        return _Reporting(self, name)


class _Reporting:
    def __init__(self, device, name):
        self.device, self.name = device, name

    def __enter__(self):
        if self.name is not None:
            self.device._last = self.name

    def __exit__(self, kind, error, trace):
        if error is None or isinstance(error, KeyboardInterrupt | MemoryError | RuntimeWarning):
            return False
        name = self.device._last
        raise RuntimeError(f"cuda: {name}, or a kernel before it, failed: {error}") from error
