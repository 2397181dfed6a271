"""The arrays that emulated kernels see: bounds are checked, shared and local cells are watched.

Integers of up to 32 bits are read as Python's: compiled code computes with them in 64 bits, where
NumPy would wrap at their own width.
"""

import numpy as np

from tests.cuda.memory import Cells


def dtype_of(kind):
    """Return the NumPy dtype of a Numba type, a NumPy scalar type or a dtype."""
    if hasattr(kind, "bitwidth") or type(kind).__module__.startswith("numba"):
        return np.dtype(kind.name if kind.name != "bool" else np.bool_)
    return np.dtype(kind)


def wrapped(value, dtype):
    """Convert to an integer dtype as a C cast does: drop the fraction and the high bits."""
    bits = 8 * dtype.itemsize
    value = int(value) & ((1 << bits) - 1)
    return value - (1 << bits) if dtype.kind == "i" and value >> (bits - 1) else value


class _Flat:
    """An array by the places of its elements in C order."""

    def __init__(self, array):
        self.array = array

    def place(self, i):
        if not 0 <= i < self.array.size:
            raise self.array.position.error(f"index {i} is outside {self.array.name}.flat")
        return tuple(map(int, np.unravel_index(int(i), self.array.shape)))

    def __getitem__(self, i):
        return self.array[self.place(i)]

    def __setitem__(self, i, value):
        self.array[self.place(i)] = value


class Array:
    """An array of device memory, or the base of a watched one: bounds checked, no wrap-around."""

    __slots__ = ("values", "name", "position", "shape", "ndim", "dtype", "whole_numbers", "_get")

    def __init__(self, values, name, position):
        self.values, self.name, self.position = values, name, position
        self.shape, self.ndim, self.dtype = values.shape, values.ndim, values.dtype
        self.whole_numbers = self.dtype.kind in "iu"
        narrow = self.dtype.kind in "iub" and self.dtype.itemsize <= 4
        self._get = values.item if narrow else values.__getitem__

    size = property(lambda self: self.values.size)
    itemsize = property(lambda self: self.dtype.itemsize)
    nbytes = property(lambda self: self.values.nbytes)
    strides = property(lambda self: self.values.strides)
    T = property(lambda self: self._like(self.values.T))

    flat = property(lambda self: _Flat(self))

    def __len__(self):
        return self.shape[0]

    def reshape(self, *shape):
        return self._like(self.contiguous(f"reshape{shape}").reshape(*shape))

    def ravel(self):
        return self.reshape(-1)

    def view(self, kind):
        return self._like(self.values.view(dtype_of(kind)))

    def contiguous(self, what):
        """Return the NumPy array, which `what` needs in C order."""
        if not self.values.flags.c_contiguous:
            raise self.position.error(f"{what}: {self.name} is not contiguous")
        return self.values

    def check(self, index):
        """Raise where an index leaves the array; return whether it names one element."""
        items = index if type(index) is tuple else (index,)
        if len(items) > self.ndim:
            raise self.position.error(f"index {index} of {self.name}, which has {self.ndim} axes")
        whole = len(items) == self.ndim
        for item, length in zip(items, self.shape, strict=False):
            if isinstance(item, slice):
                whole = False
            elif not 0 <= item < length:
                shape = "x".join(map(str, self.shape))
                raise self.position.error(f"index {index} is outside {self.name} ({shape})")
        return whole

    def _inside(self, index):
        if type(index) is tuple:
            if self.ndim == 2 and len(index) == 2:
                i, j = index
                if type(i) is not slice and type(j) is not slice:
                    rows, columns = self.shape
                    if 0 <= i < rows and 0 <= j < columns:
                        return True
        elif self.ndim == 1 and type(index) is not slice and 0 <= index < self.shape[0]:
            return True
        return self.check(index)

    def __getitem__(self, index):
        return self._get(index) if self._inside(index) else self._like(self.values[index])

    def __setitem__(self, index, value):
        if not self._inside(index):
            raise self.position.error(f"{self.name}: whole rows cannot be assigned")
        self.values[index] = wrapped(value, self.dtype) if self.whole_numbers else value

    def update(self, index, change):
        """Replace one element by change(element), as one atomic operation; return the old one."""
        if not self._inside(index):
            raise self.position.error(f"{self.name}: an atomic operation needs one element")
        old = self._get(index)
        value = change(old)
        self.values[index] = wrapped(value, self.dtype) if self.whole_numbers else value
        return old

    def span(self, start, count, step=1, aligned=False, what="access"):
        """Return the flat indices of a run of elements, all inside and, if asked, aligned."""
        start, count = int(start), int(count)
        last = start + (count - 1) * step
        if count and not (0 <= start < self.size and 0 <= last < self.size):
            raise self.position.error(
                f"{what} of elements {start} to {last} is outside {self.name} ({self.size} in all)"
            )
        if aligned and (self._byte() + start * self.itemsize) % (count * self.itemsize):
            raise self.position.error(
                f"{what} of {count} elements from {start} of {self.name} is not aligned "
                f"to {count * self.itemsize} bytes"
            )
        return slice(start, last + step if last + step >= 0 else None, step)

    def load(self, start, count, step=1, aligned=False):
        """Return a run of elements, counted in C order, as a NumPy array."""
        place = self.span(start, count, step, aligned, "load")
        return self.contiguous("load").reshape(-1)[place].copy()

    def store(self, start, values, aligned=False):
        """Write a run of elements, counted in C order."""
        place = self.span(start, len(values), 1, aligned, "store")
        self.contiguous("store").reshape(-1)[place] = values

    def _byte(self):
        """Return how far the array starts from the start of its allocation."""
        root = self.values
        while isinstance(root.base, np.ndarray):
            root = root.base
        return self.values.ctypes.data - root.ctypes.data

    def _like(self, values):
        return Array(values, self.name, self.position)


class Watched(Array):
    """An array of shared or local memory: each cell knows who touched it."""

    __slots__ = ("cells", "places", "_place")

    def __init__(self, cells, values, places):
        super().__init__(values, cells.name, cells.position)
        self.cells, self.places = cells, places
        self._place = places.item

    @classmethod
    def new(cls, name, shape, dtype, position, races):
        """Allocate memory that nobody has written."""
        size = int(np.prod(shape))
        cells = Cells(name, size, dtype, position, races)
        places = np.arange(size).reshape(shape)
        return cls(cells, cells.flat.reshape(shape), places)

    def __getitem__(self, index):
        if not self._inside(index):
            return Watched(self.cells, self.values[index], self.places[index])
        self.cells.read(self._place(index))
        return self._get(index)

    def __setitem__(self, index, value):
        if self._inside(index):
            self.cells.write(self._place(index))
            self.values[index] = wrapped(value, self.dtype) if self.whole_numbers else value
        else:
            super().__setitem__(index, value)

    def update(self, index, change):
        if self._inside(index):
            self.cells.update(self._place(index))
        return super().update(index, change)

    def load(self, start, count, step=1, aligned=False):
        values = super().load(start, count, step, aligned)
        for cell in self.run(start, count, step):
            self.cells.read(cell)
        return values

    def store(self, start, values, aligned=False):
        place = self.span(start, len(values), 1, aligned, "store")
        for cell in self.run(start, len(values)):
            self.cells.write(cell)
        self.contiguous("store").reshape(-1)[place] = values

    def run(self, start, count, step=1):
        """Return the cells of a run of elements."""
        return self.places.reshape(-1)[self.span(start, count, step)].tolist()

    def _byte(self):
        return int(self.places.flat[0]) * self.itemsize if self.size else 0

    def view(self, kind):
        dtype = dtype_of(kind)
        if dtype.itemsize != self.itemsize:
            raise self.position.error(f"{self.name}: a view with another item size")
        return Watched(self.cells, self.values.view(dtype), self.places)

    def reshape(self, *shape):
        values = self.contiguous(f"reshape{shape}").reshape(*shape)
        return Watched(self.cells, values, self.places.reshape(*shape))

    T = property(lambda self: Watched(self.cells, self.values.T, self.places.T))


def guarded(argument, name, position):
    """Wrap the arrays of an argument, also inside tuples."""
    if isinstance(argument, np.ndarray):
        return Array(argument, name, position)
    if type(argument) is tuple:
        return tuple(guarded(a, f"{name}[{i}]", position) for i, a in enumerate(argument))
    return argument
