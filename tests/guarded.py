"""Run rows of the table on arrays that touch protected pages: what leaves its bounds is ended.

`python -m tests.guarded DTYPE NAME...` prints "start NAME" and "done NAME" around each row; what it
was at when it died has read or written where it must not.
"""

import ctypes
import mmap
import sys

import numpy as np

from bench.workloads import workloads
from fonio import kernels
from tests.checks import as_out, assert_same_bits, copies, draw, run, written

PAGE = mmap.PAGESIZE
NO_ACCESS = 0
_libc = ctypes.CDLL(None, use_errno=True)
_kept = []  # mappings stay for good: a late access must fault too


def guarded(values, *, at_end):
    """Copy `values` to an array that ends where a protected page begins, or begins behind one."""
    size = values.nbytes
    pages = max(1, -(-size // PAGE))
    region = mmap.mmap(-1, (pages + 2) * PAGE)
    _kept.append(region)
    base = ctypes.addressof(ctypes.c_char.from_buffer(region))
    for page in (0, pages + 1):
        address = ctypes.c_void_p(base + page * PAGE)
        if _libc.mprotect(address, ctypes.c_size_t(PAGE), NO_ACCESS):
            raise OSError(ctypes.get_errno(), "mprotect")
    offset = PAGE + (pages * PAGE - size if at_end else 0)
    flat = np.frombuffer(region, values.dtype, values.size, offset) if size else values.reshape(-1)
    array = flat.reshape(values.shape)
    array[...] = values
    return array


def check(row, size, dtype):
    """Run a row with every input and output beside a protected page: the bits are as elsewhere."""
    inputs = draw(row, size, dtype)
    wanted = [np.array(w) for w in run(row, copies(inputs))]
    for at_end in (True, False):
        place = [guarded(a, at_end=at_end) if isinstance(a, np.ndarray) else a for a in inputs]
        options = {}
        if row.out_argument and not written(row):
            options["out"] = as_out([guarded(np.zeros_like(w), at_end=at_end) for w in wanted])
        assert_same_bits(run(row, place, **options), wanted, f"{row.name} {size}")


def main(dtype, *names):
    """Check the rows named, in order."""
    kernels.set_num_threads(1)
    table = {row.name: row for row in workloads()}
    for name in names:
        print("start", name, flush=True)
        for size in table[name].test_sizes:
            check(table[name], size, dtype)
        print("done", name, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
