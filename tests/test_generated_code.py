"""The machine code of elementwise kernels: vectors, and no float64 in a float32 kernel."""

import math
import platform
import re

import numpy as np
import pytest

from bench.workloads import workloads
from fonio.kernels import elementwise
from tests.checks import is_elementwise, operation_of

# arithmetic, conversions and comparisons; moves and shuffles do not tell the type of what they move
_ARITHMETIC = (
    "add|sub|mul|div|sqrt|max|min|fn?madd[0-9]*|fn?msub[0-9]*|rndscale|round|u?comi|cmp\\w*|scalef"
)
MACHINES = {
    "x86_64": {
        "double": re.compile(
            rf"^\s*v?(?:{_ARITHMETIC})(?:sd|pd)\b|^\s*v?cvt\w*(?:sd|pd)\w*\b", re.M
        ),
        "vector": re.compile(rf"^\s*v?(?:{_ARITHMETIC}|and|or|xor|blendv)ps\b.*[xyz]mm", re.M),
    },
    "aarch64": {
        "double": re.compile(r"^\s*f\w+\s+(?:d\d+|v\d+\.2d)", re.M),
        "vector": re.compile(r"^\s*f\w+\s+v\d+\.4s|^\s*\w+\s+v\d+\.16b", re.M),
    },
}

ALWAYS = {"exp", "tanh", "gelu", "gelu_backward", "relu", "relu_backward"}


def _rows():
    for row in workloads():
        if is_elementwise(row) and row.name != "copy":  # which has no arithmetic
            marks = () if row.name in ALWAYS else pytest.mark.slow
            yield pytest.param(row, id=row.name, marks=marks)


def _float32_code(operation):
    x = np.zeros(8, np.float32)
    numbers = [np.float32(0.5)] * len(operation.number_names)
    return operation.kernel.assembly(x, *[x] * len(operation.array_names), *numbers)


def _faults(operation):
    """What is wrong with the code of an elementwise operation on float32, in words."""
    code, machine = _float32_code(operation), MACHINES[platform.machine()]
    double = machine["double"].search(code)
    if double is not None:
        return f"computes in float64: {double.group().strip()}"
    return None if machine["vector"].search(code) else "has no vector instructions"


readable = pytest.mark.skipif(
    platform.machine() not in MACHINES, reason="reads x86-64 and AArch64 code"
)


@readable
@pytest.mark.parametrize("row", list(_rows()))
def test_float32_kernels_are_vectors_of_float32(row):
    assert _faults(operation_of(row)) is None


@elementwise
def _tenth(x):
    return x * 0.1  # 0.5 would be narrowed: half of a number is exact in either precision


@elementwise
def _library_tanh(x):
    return type(x)(math.tanh(x))


@readable
def test_a_bare_literal_and_a_scalar_call_are_seen():
    """The check itself."""
    assert "float64" in _faults(_tenth.operation)
    assert "vector" in _faults(_library_tanh.operation)
