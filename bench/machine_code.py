"""Whether a kernel's machine code works on vectors: arithmetic instructions, counted by kind."""

import platform
import re

_NAMES = "add|sub|mul|div|sqrt|max|min|fn?madd[0-9]*|fn?msub[0-9]*"
# (on vectors, on single numbers), of float32
_INSTRUCTIONS = {
    "x86_64": (rf"^\s*v?(?:{_NAMES})ps\b", rf"^\s*v?(?:{_NAMES})ss\b"),
    "aarch64": (r"^\s*f\w+\s+v\d+\.[24]s", r"^\s*f\w+\s+s\d+"),
}


def scalar_share(operation):
    """Return the share of float32 arithmetic that is not vectorised, 0 to 1.

    None where the operation is no formula over elements, or for a machine whose code is not read.
    A loop that is vectorised keeps a scalar tail: it shows about 0.5, one that is not shows 1.
    """
    import numpy as np

    patterns = _INSTRUCTIONS.get(platform.machine())
    if patterns is None or not hasattr(operation, "formula"):
        return None
    x = np.zeros(8, np.float32)
    numbers = [np.float32(0.5)] * len(operation.number_names)
    code = operation.kernel.assembly(x, *[x] * len(operation.array_names), *numbers)
    vectors, singles = (len(re.findall(pattern, code, re.M)) for pattern in patterns)
    return singles / (vectors + singles) if vectors + singles else 0.0
