"""Declarations of operations: the names, shapes and kinds of their arrays, as text.

Inputs stand before the arrow and outputs after it:

    "x (N, C), gamma (C), labels (N) int64, bias? (C) -> y (N, C), mean (C)"

`(...)` is any shape, the same wherever it stands; such arrays reach the kernels flat. `?` marks an
array that may be None, `!` one that is written in place; `(N, C, L?)` is `(N, C)` or `(N, C, L)`,
the same wherever it stands.
"""

import re
from dataclasses import dataclass

import numpy as np

_ITEM = re.compile(r"\s*(\w+)([?!]*)\s*\(([^)]*)\)\s*(\w*)\s*(?:,|$)")


@dataclass(frozen=True)
class Argument:
    """One array of a declaration. `dims` is None for any shape."""

    name: str
    dims: tuple | None
    dtype: np.dtype | None  # None: float32 or float64, the same as the others
    optional: bool = False
    written: bool = False


def parse(declaration):
    """Parse a declaration into its inputs and its outputs, two tuples of Arguments."""
    inputs, _, outputs = declaration.partition("->")
    return _parse_side(inputs), _parse_side(outputs)


def _parse_side(text):
    found, end = [], 0
    for item in _ITEM.finditer(text):
        name, mark, dims, dtype = item.groups()
        shape = None if dims.strip() == "..." else _dims(dims)
        kind = np.dtype(dtype) if dtype else None
        found.append(Argument(name, shape, kind, "?" in mark, "!" in mark))
        end = item.end()
    if text[end:].strip():
        raise ValueError(f"cannot read the declaration at {text[end:]!r}")
    return tuple(found)


def _dims(text):
    parts = (part.strip() for part in text.split(",") if part.strip())
    return tuple(int(part) if part.isdigit() else part for part in parts)
