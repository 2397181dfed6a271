"""CUDA arrays: what the public functions take and return beside NumPy's.

A DeviceArray is a pointer with a shape. Its *layout* is a NumPy array at the device's address,
which is never read: NumPy's own indexing, reshaping and overlap checks then hold for it too.

The rule: nothing here needs a GPU or imports numba-cuda; the device does, when the first array
meets it. A test may put another device in its place (`use`).
"""

import contextlib
import math

import numpy as np

_devices = []


class _At:
    """What NumPy asks for the array at an address."""

    def __init__(self, pointer, shape, strides, dtype, writable=True):
        self.__array_interface__ = {
            "version": 3,
            "data": (pointer or np.dtype(dtype).alignment, not writable),
            "shape": tuple(shape),
            "strides": strides,
            "typestr": np.dtype(dtype).str,
        }


class DeviceArray:
    """An array on a CUDA device; NumPy's attributes, views and assignments.

    `copy_to_host()` returns a NumPy array; numba, CuPy and PyTorch read it without a copy, through
    `__cuda_array_interface__`.
    """

    __slots__ = ("__weakref__", "_pointer", "device", "layout", "owner")
    __array_ufunc__ = None  # NumPy does not try to compute with it

    def __init__(self, device, owner, layout):
        self.device, self.owner, self.layout, self._pointer = device, owner, layout, None

    shape = property(lambda self: self.layout.shape)
    strides = property(lambda self: self.layout.strides)
    dtype = property(lambda self: self.layout.dtype)
    ndim = property(lambda self: self.layout.ndim)
    size = property(lambda self: self.layout.size)
    itemsize = property(lambda self: self.layout.itemsize)
    nbytes = property(lambda self: self.layout.nbytes)
    flags = property(lambda self: self.layout.flags)

    @property
    def pointer(self):
        """The address of the first element; asking NumPy costs a microsecond, so it is kept."""
        if self._pointer is None:
            self._pointer = self.layout.__array_interface__["data"][0]
        return self._pointer

    @property
    def T(self):
        """The transposed view."""
        return self._view(self.layout.T)

    @property
    def __cuda_array_interface__(self):
        layout = self.layout
        return {
            "version": 3,
            "data": (self.pointer if self.size else 0, not layout.flags.writeable),
            "shape": layout.shape,
            "strides": None if layout.flags.c_contiguous else layout.strides,
            "typestr": layout.dtype.str,
            "stream": 1,  # the legacy default stream, on which all of our launches are ordered
        }

    def _view(self, layout):
        return DeviceArray(self.device, self.owner, layout)

    def reshape(self, *shape):
        """Return a view of another shape; a contiguous array always has one."""
        if not self.flags.c_contiguous:
            raise ValueError(
                f"reshape: the array on cuda has strides {self.strides}, copy it first"
            )
        return self._view(self.layout.reshape(*shape))

    def view(self, dtype):
        """Return a view of the same memory as another type."""
        return self._view(self.layout.view(dtype))

    def __getitem__(self, index):
        index = index if isinstance(index, tuple) else (index,)
        for part in index:
            if not (part is None or part is ... or isinstance(part, int | np.integer | slice)):
                kind = type(part).__name__
                raise TypeError(f"an array on cuda is indexed by integers and slices, not a {kind}")
        if ... not in index:
            index = (*index, ...)  # a view of no dimensions, where NumPy would read the number
        return self._view(self.layout[index])

    def __setitem__(self, index, value):
        self[index].assign(value)

    def assign(self, value):
        """Copy a number, a NumPy array or another device array into this one; never recorded."""
        from .recording import not_recorded

        if isinstance(value, DeviceArray) and value.device is not self.device:
            value = value.copy_to_host()
        with not_recorded():
            if not isinstance(value, DeviceArray):
                self._assign_host(np.asarray(value))
            elif value.shape == self.shape and value.dtype == self.dtype:
                self._assign_alike(value)
            else:
                self._assign_host(value.copy_to_host())

    def _assign_host(self, host):
        host = np.ascontiguousarray(np.broadcast_to(host, self.shape), self.dtype)
        if self.flags.c_contiguous:
            self.device.copy_in(self, host)
        else:
            self._assign_alike(from_host(self.device, host.reshape(self.shape)))

    def _assign_alike(self, value):
        from .copies import contiguous, copy_from_flat

        if self._meets(value):
            value = value.copy()  # as NumPy does: the driver's copies and kernels do not look out
        value = contiguous(value)
        if self.flags.c_contiguous:
            self.device.copy(self, value)
        else:
            copy_from_flat(self, value.reshape(-1))

    def _meets(self, other):
        """Tell whether an array of this shape may share memory with this one, elsewhere in it."""
        same = self.pointer == other.pointer and self.strides == other.strides
        return not same and np.may_share_memory(self.layout, other.layout)

    def copy_to_host(self):
        """Return a NumPy array with the same values, after all work so far is done."""
        source = self
        if not self.flags.c_contiguous:
            from .copies import contiguous
            from .recording import not_recorded

            with not_recorded():
                source = contiguous(self)
        host = np.empty(self.shape, self.dtype)
        self.device.copy_out(host, source)
        return host

    def copy(self):
        """Return a contiguous copy on the device."""
        new = empty(self.device, self.shape, self.dtype)
        new.assign(self)  # memory of its own: they do not overlap
        return new

    def tobytes(self):
        """Return the bytes of the values in C order."""
        return self.copy_to_host().tobytes()

    def __len__(self):
        if not self.ndim:
            raise TypeError("len() of an array on cuda with no dimensions")
        return self.shape[0]

    def __float__(self):
        return float(self.copy_to_host().item())

    def __int__(self):
        return int(self.copy_to_host().item())

    def __array__(self, dtype=None, copy=None):
        raise TypeError("an array on cuda does not turn into a NumPy array, call .copy_to_host()")

    def __repr__(self):
        return f"<DeviceArray {self.shape} {self.dtype}>"


def phantom(array):
    """Return what NumPy may know of an array's layout, for NumPy and device arrays alike."""
    return array.layout if isinstance(array, DeviceArray) else array


def empty(device, shape, dtype):
    """Return a new array on the device; its values are whatever lay there."""
    shape = (shape,) if isinstance(shape, int | np.integer) else tuple(map(int, shape))
    dtype = np.dtype(dtype)
    owner, pointer = device.allocate(math.prod(shape) * dtype.itemsize)
    return DeviceArray(device, owner, np.asarray(_At(pointer, shape, None, dtype)))


def from_host(device, array):
    """Return a copy of a NumPy array on the device."""
    array = np.ascontiguousarray(array)
    new = empty(device, array.shape, array.dtype)
    device.copy_in(new, array)
    return new


def to_device(array):
    """Return a copy of an array on the CUDA device; a DeviceArray as it is.

    array (...): NumPy's, or a list; of another CUDA library: the same memory, not a copy
    """
    if isinstance(array, DeviceArray):
        return array
    if is_foreign(array):
        return adopt(array)
    return from_host(get_device(), np.asarray(array))


def is_foreign(value):
    """Tell whether `value` is a CUDA array of another library."""
    if isinstance(value, DeviceArray | np.ndarray) or value is None:
        return False
    if hasattr(value, "__cuda_array_interface__"):
        return True
    kind = getattr(value, "__dlpack_device__", None)
    return kind is not None and int(kind()[0]) in (2, 13)  # CUDA, and CUDA's managed memory


def adopt(value):
    """Return another library's CUDA array as a DeviceArray over the same memory."""
    device = get_device()
    told = device.interface_of(value)
    pointer, read_only = told["data"]
    layout = np.asarray(
        _At(pointer, told["shape"], told.get("strides"), told["typestr"], not read_only)
    )
    return DeviceArray(device, told.get("owner", value), layout)


def get_device():
    """Return the CUDA device, or raise a RuntimeError that says what is missing."""
    if not _devices:
        from .numba_device import NumbaDevice

        _devices.append(NumbaDevice())
    return _devices[-1]


@contextlib.contextmanager
def use(device):
    """Let `device` be the CUDA device in the block: an emulator, in tests."""
    _devices.append(device)
    try:
        yield device
    finally:
        _devices.remove(device)
