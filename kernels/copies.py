"""Copies between strided and contiguous arrays, by kernels, so that they are recorded too."""

from . import arrays
from .loops import for_each


@for_each(cost=3.0)
def _read_flat(i, out, x):
    """out[i] = the i-th element of x in C order."""
    out[i] = x.flat[i]


@for_each(cost=3.0)
def _write_flat(i, x, out):
    """The i-th element of out in C order = x[i]."""
    out.flat[i] = x[i]


def contiguous(x):
    """Return x as it is where it is C-contiguous, else a copy made by a recorded kernel."""
    if x.flags.c_contiguous:
        return x
    copy = arrays.scratch(x, x.shape)
    _read_flat(x.size, copy.reshape(-1), x)
    return copy


def copy_from_flat(out, x):
    """Copy the flat array x into `out`, of any strides."""
    _write_flat(out.size, x, out)
