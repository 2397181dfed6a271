"""Every family's rows, in one table: importing this package fills it."""

from importlib import import_module
from importlib.util import find_spec

from .table import Workload, register, workloads

FAMILIES = (
    "elementary",
    "activations",
    "matrix",
    "masks",
    "normalization",
    "losses",
    "optimizers",
)

for _family in FAMILIES:
    if find_spec(f"{__name__}.{_family}"):
        import_module(f"{__name__}.{_family}")

__all__ = ["FAMILIES", "Workload", "register", "workloads"]
