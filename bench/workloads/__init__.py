"""Every family's rows, in one table: importing this package fills it."""

from . import (
    activations,
    arithmetic,
    averaging,
    dropouts,
    elementary,
    losses,
    masks,
    matrix,
    normalization,
    optimizers,
)
from .programs import programs
from .table import Workload, absent, register, workloads

FAMILIES = (
    elementary,
    arithmetic,
    averaging,
    activations,
    matrix,
    masks,
    dropouts,
    normalization,
    losses,
    optimizers,
)

__all__ = ["FAMILIES", "Workload", "absent", "programs", "register", "workloads"]
