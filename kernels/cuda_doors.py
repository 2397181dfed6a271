"""The cuda.jit side of scalar functions: users' own kernels call them by their public names.

numba-cuda adopts what other packages declare to Numba, so the doors of doors.py are asked there as
well; on numbers they lead to the formula, retargeted as for our own kernels.

The rule: numba-cuda is imported only when one of its kernels asks.
"""

from numba.core import errors
from numba.core.typing.context import Context


def is_cuda(context):
    """Tell whether a typing context is that of cuda.jit: every other one is njit's."""
    return not isinstance(context, Context)


def device_side(public):
    """Return the device function of an elementwise operation's formula."""
    from .cuda_loops import TEAMS
    from .retarget import convert

    return convert(public, TEAMS["item"])


def refuse_arrays(operation, context):
    """Raise where cuda.jit code calls what only Python and njit can."""
    if not is_cuda(context):
        return
    if hasattr(operation, "resolve_scalar"):
        raise errors.TypingError(f"{operation.name}: inside cuda.jit it takes numbers, not arrays")
    raise errors.TypingError(
        f"{operation.name}: inside cuda.jit only functions of numbers can be called"
    )
