"""The one table of workloads: what an operation is called with, what it answers, its peers.

A row is registered once, by the module of its family; tests and benchmarks read the same rows.

The rule: the table can be read beside an older fonio, too. A kernel that it lacks leaves its row
out.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import numpy as np

import fonio.kernels

_TABLE, _ABSENT = {}, {}


class _Kernels:
    """fonio.kernels, with None for what the installed one lacks."""

    def __getattr__(self, name):
        return getattr(fonio.kernels, name, None)


kernels = _Kernels()


class _Special:
    """The functions of scipy.special, which only references call: its import takes a while."""

    def __getattr__(self, name):
        def function(*args, **kwargs):
            from scipy import special

            return getattr(special, name)(*args, **kwargs)

        return function


special = _Special()


def _no_traffic(*size):
    return 0


@dataclass(frozen=True)
class Workload:
    """One operation with its inputs, its independent reference and its peers."""

    name: str  # the public function's name: "gelu_backward"
    group: str  # its family: "elementary", "activations", "matrix", ...
    call: Callable  # call(*inputs) -> an array or a tuple of arrays; takes out= where out_argument
    reference: (
        Callable  # reference(*inputs) -> the same structure, float64 inside, none of our code
    )
    inputs: Callable  # inputs(rng, size, dtype) -> tuple of arrays and numbers
    sizes: tuple  # benchmarked sizes, each a tuple of ints
    test_sizes: tuple  # odd, tiny and empty sizes for the tests
    forward: Callable | None = None  # of a backward: f(*inputs[1:]), whose gradients `call` returns
    before: Callable | None = None  # before(*inputs) -> forward's arguments, where it takes others
    peers: dict = field(
        default_factory=dict
    )  # "numpy" | "torch" | "jax" -> build(*inputs) -> call()
    tolerance: dict = field(default_factory=lambda: {"float32": 1e-5, "float64": 1e-12})
    flops: Callable = _no_traffic  # flops(*size)
    bytes: Callable = lambda size, itemsize: 0  # each input read, each output written, once
    checkable: Callable = lambda size: True  # whether the reference is quick enough at this size
    in_place: tuple = ()  # indices of inputs that may be `out` exactly
    out_argument: bool = True
    nan: bool = True  # a NaN in the first array comes out as NaN
    version: str = "1"  # another one begins a new line in the history of its figures

    def written(self):
        """Return the indices of the inputs that the operation writes in place."""
        operation = getattr(self.call, "operation", None)
        inputs = getattr(operation, "inputs", ())
        return [i for i, argument in enumerate(inputs) if argument.written]

    def draw(self, size, dtype, seed=0):
        """Draw inputs of this size."""
        return self.inputs(np.random.default_rng(seed), size, np.dtype(dtype).type)


def register(*rows):
    """Add rows to the table; a name that is taken is refused."""
    for row in rows:
        if row.call is None:
            _ABSENT[row.name] = row
            continue
        if row.name in _TABLE:
            raise ValueError(f"register: workload {row.name!r} is in the table already")
        _TABLE[row.name] = row


def workloads(pattern=""):
    """List the rows whose name or group contains `pattern` (or matches it, with wildcards)."""
    if any(c in pattern for c in "*?["):
        wanted = lambda row: fnmatchcase(row.name, pattern) or fnmatchcase(row.group, pattern)  # noqa: E731
    else:
        wanted = lambda row: pattern in row.name or pattern in row.group  # noqa: E731
    return [row for row in _TABLE.values() if wanted(row)]


def absent():
    """List the rows that the installed fonio lacks: a history shows them as not available."""
    return list(_ABSENT.values())
