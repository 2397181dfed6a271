"""Numba kernels for CPU: checked functions on arrays, the same names inside your own njit code.

The rule: a name is imported when it is first asked for; `__init__.pyi` lists them all.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
