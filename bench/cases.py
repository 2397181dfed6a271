"""Everything that is timed, in one listing: each row of the table at each size, and programs.

list, run, ab, asv, pytest-benchmark and the report read `cases()`. A case has

    name, group, version, unit       "matmul 128x784x512", "matrix", "1", "s" (or "bytes")
    flops, bytes                     of one call; 0 where the roof says nothing
    sides(package)                   {"fonio": side, ...}, of an installed fonio or another copy
    peers                            {"numpy": build() -> side, ...}, built by peers.build
    check(package)                   raises answers.WrongAnswer; what is wrong is not timed
    figure                           for what is measured in processes of its own: () -> number

The rule: a case is made without touching an array; what it costs is paid in sides, check, figure.
"""

import difflib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial

import numpy as np

from . import answers
from .commands import BenchError
from .measuring import SLICE
from .sides import recorded

# So much data passes before any of it comes again that no branch predictor learns it.
UNLEARNT, MOST_COPIES = 1 << 16, 32


@dataclass(frozen=True)
class KernelCase:
    """A row of the table at one size and precision."""

    workload: object
    size: tuple
    dtype: str = "float32"
    unit = "s"
    figure = None
    slice_seconds = SLICE

    @property
    def name(self):
        """The row, the size, and the precision unless it is float32."""
        suffix = "" if self.dtype == "float32" else f" {self.dtype}"
        return f"{self.workload.name} {answers.shown(self.size)}{suffix}"

    @property
    def group(self):
        return self.workload.group

    @property
    def version(self):
        return self.workload.version

    @property
    def flops(self):
        return self.workload.flops(*self.size)

    @property
    def bytes(self):
        return self.workload.bytes(self.size, np.dtype(self.dtype).itemsize)

    @property
    def in_place(self):
        """Whether the operation writes its inputs."""
        return bool(self.workload.written())

    def call(self, package=None):
        """Return the function of fonio, or of another copy of it; None where that lacks it."""
        if package is None:
            return self.workload.call
        return getattr(package.kernels, self.workload.name, None)

    def check(self, package=None):
        """Compare with the reference; return answers.Answer or raise answers.WrongAnswer."""
        return answers.check(self.workload, self.size, self.dtype, self.call(package))

    def drawn(self):
        """Several sets of inputs: small arrays would be learnt by a branch predictor."""
        return [self.workload.draw(self.size, self.dtype, seed) for seed in range(self.copies)]

    @property
    def copies(self):
        """How many sets of inputs take turns."""
        elements = max(1, int(np.prod(self.size)))
        return min(MOST_COPIES, max(1, UNLEARNT // elements))

    def calls(self, package=None, drawn=None, outs=None):
        """Return a call for each set of inputs, into outputs that exist where it takes them."""
        call, drawn = self.call(package), drawn or self.drawn()
        if not self.workload.out_argument:
            return [partial(call, *inputs) for inputs in drawn]
        outs = outs or self.outs(drawn, call)
        pairs = zip(drawn, outs, strict=True)
        return [partial(call, *inputs, out=out) for inputs, out in pairs]

    def outs(self, drawn, call):
        """Return the outputs of each set of inputs, or None where `out` is not taken."""
        return [call(*inputs) for inputs in drawn] if self.workload.out_argument else None

    def sides(self, package=None):
        """Two sides: the kernels replayed, and called from Python with all checks."""
        calls = self.calls(package)
        replayed = recorded(*calls, package=package)
        return {"fonio": replayed, "called": calls} if replayed else {"fonio": calls}

    def compared(self, packages):
        """Return one side for each copy of fonio, all on the same arrays; None where it lacks it.

        Arrays of their own would differ in alignment, which is worth some per cent.
        """
        drawn, outs, sides = self.drawn(), None, []
        for package in packages:
            call = self.call(package)
            if call is None:
                sides.append(None)
                continue
            outs = outs or self.outs(drawn, call)
            calls = self.calls(package, drawn, outs)
            sides.append(recorded(*calls, package=package) or calls)
        return sides

    @property
    def peers(self):
        """Builders of the peers' sides."""
        return {peer: partial(self._peer, peer) for peer in self.workload.peers}

    def _peer(self, peer):
        return [self.workload.peers[peer](*inputs) for inputs in self.drawn()]


def cases(pattern="", dtypes=("float32",)):
    """List the cases whose name or group contains `pattern`, or matches it with wildcards.

    Programs are float32 alone.
    """
    from .workloads import programs, workloads

    listed = [
        KernelCase(row, size, dtype)
        for row in workloads()
        for size in row.sizes
        for dtype in dtypes
    ]
    others = programs() if "float32" in dtypes else []
    return [case for case in (*listed, *others) if _wanted(case, pattern)]


def find(pattern="", dtypes=("float32",)):
    """Return `cases(pattern)`; where there are none, raise BenchError with the closest names."""
    found = cases(pattern, dtypes)
    if not found:
        raise unknown(pattern)
    return found


def unknown(pattern, others=()):
    """Return the error for a pattern that fits nothing: the closest names, of `others` too."""
    names = {*others, *(case.group for case in cases())}
    names |= {case.name.split(" ")[0] if hasattr(case, "size") else case.name for case in cases()}
    near = difflib.get_close_matches(pattern, sorted(names), n=3, cutoff=0.4)
    told = closest(near) or ";"
    return BenchError(f"no workload {pattern!r}{told} `python -m bench list` shows all")


def closest(names):
    """Words for the names that come nearest: ", did you mean 'x' or 'y'?"."""
    return f", did you mean {' or '.join(map(repr, names))}?" if names else ""


def _wanted(case, pattern):
    if any(c in pattern for c in "*?["):
        return fnmatchcase(case.name, pattern) or fnmatchcase(case.group, pattern)
    return pattern in case.name or pattern in case.group
