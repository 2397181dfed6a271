"""fonio: small, fast kernels for neural networks, and a thin `nn` layer that composes them.

The rule: importing fonio costs nothing; `fonio.kernels` and `fonio.nn` wait until first asked for.
"""

import importlib

__version__ = "0.1.0"
__all__ = ["__version__", "kernels", "nn"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name):
    if name in ("kernels", "nn"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
