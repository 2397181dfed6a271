"""Numba kernels for CPU: checked functions on arrays, the same names inside your own njit code.

The rule: a name is imported when it is first asked for; `__init__.pyi` lists them all.
"""

import copyreg
import importlib
import sys
import types

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def _by_name(module):
    return importlib.import_module, (module.__name__,)


_kind = type(sys.modules[__name__])
if (
    _kind is not types.ModuleType
):  # lazy_loader's own, which pickle does not know: a user's function
    copyreg.pickle(_kind, _by_name)  # that names this package goes to other processes by value
