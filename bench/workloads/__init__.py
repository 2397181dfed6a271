"""Every family's rows, in one table: importing this package fills it."""

from . import (
    activations,
    arithmetic,
    augmentation,
    averaging,
    dropouts,
    elementary,
    losses,
    masks,
    matrix,
    normalization,
    optimizers,
    other_normalization,
    penalties,
    pieces,
    row_normalization,
    statistics,
)
from .programs import programs
from .table import Workload, absent, register, workloads

FAMILIES = (
    elementary,
    arithmetic,
    averaging,
    activations,
    pieces,
    matrix,
    masks,
    dropouts,
    normalization,
    row_normalization,
    other_normalization,
    losses,
    optimizers,
    penalties,
    augmentation,
    statistics,
)

__all__ = ["FAMILIES", "Workload", "absent", "programs", "register", "workloads"]
