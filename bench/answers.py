"""Whether an answer is right: our outputs against the reference's, at the size that is timed.

The rule: nothing is timed whose answer is wrong.
"""

from dataclasses import dataclass

import numpy as np

# a reference that takes longer than a second or two is asked for a smaller size
MOST_FLOPS, MOST_BYTES = 3e9, 1 << 28


class WrongAnswer(Exception):
    """A kernel's answer is not the reference's; says which kernel, where and by how much."""


@dataclass(frozen=True)
class Answer:
    """How far from the reference, at which size, all sizes of error in one."""

    error: float  # relative to the largest magnitude + 1, as the tolerance is
    tolerance: float
    ulp: float  # of each element for elementary functions, else of the largest magnitude
    size: tuple


def affordable(workload, size):
    """Tell whether the reference answers within a second or so."""
    traffic = workload.bytes(size, 8)
    return (
        workload.flops(*size) <= MOST_FLOPS and traffic <= MOST_BYTES and workload.checkable(size)
    )


def checked_size(workload, size):
    """Return the size, or the largest affordable one of the tests."""
    if affordable(workload, size):
        return size
    return max(filter(workload.checkable, workload.test_sizes), key=lambda s: int(np.prod(s)))


def check(workload, size, dtype="float32", call=None):
    """Compare one call with the reference; raise WrongAnswer beyond the tolerance.

    call: another function than the table's, such as the same of another commit.
    """
    size = checked_size(workload, size)
    inputs = workload.draw(size, dtype)
    with np.errstate(all="ignore"):
        wanted = workload.reference(*_copies(inputs))
    wanted = tuple(wanted) if isinstance(wanted, tuple | list) else (wanted,)
    actual = outputs(workload, inputs, call or workload.call)
    alone = workload.group == "elementary"  # others subtract: no element has digits of its own
    what = f"{workload.name} {shown(size)} {np.dtype(dtype).name}"
    if len(actual) != len(wanted):
        raise WrongAnswer(f"{what}: {len(actual)} outputs, expected {len(wanted)}")
    pairs = [(np.asarray(a), np.asarray(w)) for a, w in zip(actual, wanted, strict=True)]
    if any(a.shape != w.shape for a, w in pairs):
        shapes = [a.shape for a, _ in pairs], [w.shape for _, w in pairs]
        raise WrongAnswer(f"{what}: shapes {shapes[0]}, expected {shapes[1]}")
    tolerance = workload.tolerance[np.dtype(dtype).name]
    error = max(_error(*pair) for pair in pairs)
    if not error <= tolerance:
        raise WrongAnswer(f"{what}: off by {error:.3g}, expected at most {tolerance:.3g}")
    return Answer(error, tolerance, max(_ulp(*pair, alone) for pair in pairs), size)


def outputs(workload, inputs, call):
    """Call it and return a tuple: what it returned, or what it wrote in place."""
    result = call(*inputs)
    if result is None:
        return tuple(inputs[i] for i in workload.written())
    return result if isinstance(result, tuple) else (result,)


def shown(size):
    """A size as text: 128x784x512."""
    return "x".join(map(str, size))


def _copies(inputs):
    return [a.copy() if isinstance(a, np.ndarray) else a for a in inputs]


def _finite(actual, wanted):
    """Return both in float64 where the reference is finite, or None where others differ."""
    wanted = wanted.astype(actual.dtype).astype(np.float64)
    actual, finite = actual.astype(np.float64), np.isfinite(wanted)
    if not np.array_equal(actual[~finite], wanted[~finite], equal_nan=True):
        return None
    return actual[finite], wanted[finite]


def _error(actual, wanted):
    if actual.dtype.kind != "f":
        return 0.0 if np.array_equal(actual, wanted) else np.inf
    with np.errstate(all="ignore"):
        pair = _finite(actual, wanted)
    if pair is None:
        return np.inf
    scale = 1 + np.abs(pair[1]).max(initial=0.0)
    return float(np.abs(pair[0] - pair[1]).max(initial=0.0) / scale)


def _ulp(actual, wanted, alone):
    if actual.dtype.kind != "f" or not actual.size:
        return 0.0
    with np.errstate(all="ignore"):
        exact = wanted.astype(np.float64)
        near = exact.astype(actual.dtype)
        finite = np.isfinite(near)
        unit = np.spacing(np.abs(near[finite])).astype(np.float64)
        if not alone:
            unit = unit.max(initial=0.0)
        error = np.abs(actual[finite].astype(np.float64) - exact[finite]) / unit
    return float(error.max(initial=0.0))
