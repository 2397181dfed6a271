"""A function written for the CPU becomes one for CUDA: same code, other helpers.

Each name that the code looks up is replaced by its CUDA side: a jitted helper by a device function
of the same Python code, an elementwise operation by its formula, an intrinsic by the same code
generator registered for CUDA, `my_range` and the joins by those of the kernel's spread. So every
formula, and every share whose loops run over `my_range`, is written once.

The rule: code is never copied or edited, only the names it sees; a helper that has no CUDA side is
refused by name.
"""

import functools
import types as python_types

from numba import cuda
from numba.core.extending import _Intrinsic
from numba.core.registry import CPUDispatcher
from numba.cuda.extending import intrinsic

from . import models, ptx, spread


def device_function(function):
    """Return a CUDA device function, always inlined."""
    return cuda.jit(function, device=True, forceinline=True)


def retarget(function, team, **names):
    """Copy a function with its helpers' CUDA sides in place; `names` are bound as given."""
    scope = dict(function.__globals__)
    for name in _looked_up(function.__code__):
        if name in scope:
            scope[name] = convert(scope[name], team)
    cells = function.__closure__
    if cells is not None:
        cells = tuple(python_types.CellType(convert(cell.cell_contents, team)) for cell in cells)
    copy = python_types.FunctionType(
        function.__code__, scope | names, function.__name__, function.__defaults__, cells
    )
    copy.__module__, copy.__qualname__ = function.__module__, function.__qualname__
    return copy


def _looked_up(code):
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, python_types.CodeType):
            names |= _looked_up(constant)
    return names


def convert(value, team):
    """Return the CUDA side of what a function sees under a name."""
    if value is range:
        return team.my_range
    if isinstance(value, _Intrinsic):
        return _intrinsic(value, team)
    if isinstance(value, CPUDispatcher):
        return _device(spread.CUDA_SIDES.get(value, value.py_func), team)
    if isinstance(value, python_types.FunctionType):
        operation = getattr(value, "operation", None)
        if operation is not None:
            formula = getattr(operation, "formula", None)
            if formula is None:
                raise TypeError(f"{operation.name}: only elementwise operations are CUDA functions")
            return _device(formula, team)
        return _device(spread.CUDA_SIDES.get(value, value), team)
    return value


def _device(function, team):
    if function not in team.known:
        team.known[function] = device_function(retarget(function, team))
    return team.known[function]


def _intrinsic(value, team):
    if value is spread.join_sum:
        return team.join_sum
    if value is spread.join_max:
        return team.join_max
    if value is spread.leader:
        return team.leader
    if value is spread.my_place:
        return team.my_place
    loop = getattr(value, "fonio_loop", None)
    if loop is not None:
        key = ("loop", value)
        if key not in team.known:
            team.known[key] = device_function(
                retarget(_loop, team, body=_device(loop, team), my_range=team.my_range)
            )
        return team.known[key]
    return shared_intrinsic(value)


@functools.cache
def shared_intrinsic(value):
    """Return the same intrinsic registered for CUDA, with its Python model for the emulator."""
    copy = intrinsic(value._defn)
    model = models.SHARED.get(value._name)
    if model is None:
        raise TypeError(f"{value._name}: this intrinsic has no CUDA side")
    ptx.MODELS[copy] = ptx.Model(model, "plain")
    return copy


def _loop(start, stop, first, args):
    for i in my_range(start, stop):  # noqa: F821  (bound by retarget)
        body(*first, i, *args)  # noqa: F821
