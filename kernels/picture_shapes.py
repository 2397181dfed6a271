"""What pictures must look like, and the ranges that their movements are drawn from.

A batch of pictures is (N, C·H·W), its `shape` (H, W) or (C, H, W).

The rule: a shape that does not fit is refused before anything is written, inside njit too.
"""

import math

import numpy as np
from numba.extending import register_jitable

from . import arrays
from .drawing import check_key

MOST = 1 << 22  # pixels of a channel: places of float32 pixels are reckoned in float32


def check_picture(operation, columns, shape, name="shape"):
    """Refuse what is no shape of pictures, or none of so many columns."""
    sizes = shape if isinstance(shape, tuple | list) else ()
    if len(sizes) not in (2, 3):
        raise ValueError(
            f"{operation}: {name} is {shape}, expected (height, width) or (channels, height, width)"
        )
    for size in sizes:
        arrays.check_integer(operation, name, size, 1)
    pixels = sizes[-2] * sizes[-1]
    if pixels > MOST:
        raise ValueError(f"{operation}: {name} is {shape}, expected at most {MOST} pixels")
    if columns % pixels or (len(sizes) == 3 and columns != pixels * sizes[0]):
        wanted = f"{math.prod(sizes)} columns" if len(sizes) == 3 else f"a multiple of {pixels}"
        raise ValueError(
            f"{operation}: x has {columns} columns, expected {wanted} as {name} is {shape}"
        )


def check_size(operation, columns, shape, size):
    """Refuse what is no size of the output; return how many columns that has."""
    if size is None:
        return columns
    if not (isinstance(size, tuple | list) and len(size) == 2):
        raise ValueError(f"{operation}: size is {size}, expected (height, width)")
    height, width = size
    pixels = height * width if arrays.is_number(height) and arrays.is_number(width) else 0
    check_picture(operation, pixels, size, "size")
    return columns // (shape[-2] * shape[-1]) * pixels


def check_range(operation, name, limits, positive=False):
    """Refuse what is no (low, high) to draw from."""
    pair = limits if isinstance(limits, tuple | list) else ()
    if len(pair) == 2:
        for limit in pair:
            arrays.check_number(operation, name, limit)
        low, high = pair
        if math.isfinite(low) and math.isfinite(high) and low <= high and (low > 0 or not positive):
            return
    order = "0 < low <= high" if positive else "low <= high"
    raise ValueError(f"{operation}: {name} is {limits}, expected (low, high) with {order}")


def check_chance(operation, name, chance):
    """Refuse what is not in [0, 1]."""
    arrays.check_number(operation, name, chance)
    if not 0 <= chance <= 1:
        raise ValueError(f"{operation}: {name} is {chance}, expected 0 <= {name} <= 1")


def check_movement(operation, values):
    """Refuse ranges and chances that no movement can be drawn from."""
    for name in ("degrees", "shear", "right", "down"):
        check_range(operation, name, values[name])
    check_range(operation, "scale", values["scale"], positive=True)
    for name in ("horizontal", "vertical"):
        check_chance(operation, name, values[name])
    if values["whole"]:
        for name in ("right", "down"):
            low, high = values[name]
            if (high - low) % 1:
                raise ValueError(
                    f"{operation}: {name} is {values[name]}, expected whole steps from low to high"
                )
    check_key(operation, values["seed"], values["stream"])


@register_jitable
def sizes_of(columns, shape):
    """Return height and width of pictures that have so many columns."""
    height, width = shape[-2], shape[-1]
    pixels = height * width
    if height < 1 or width < 1 or pixels > MOST or columns % pixels != 0:
        raise ValueError("pictures: shape does not fit the array")
    return height, width


@register_jitable
def or_shape(size, shape):
    """Return the size of the output: that of the input where none is given."""
    if size is None:
        return shape[-2], shape[-1]
    return size[0], size[1]


@register_jitable
def as_many_channels(columns, height, width, out_columns, rows, across):
    """Refuse an output of more or fewer channels than the input."""
    if columns // (height * width) != out_columns // (rows * across):
        raise ValueError("pictures: shape does not fit the array")


@register_jitable
def threshold(chance):
    """Return how many of the 2³² words mean yes."""
    return int(np.float64(chance) * 4294967296.0 + 0.5)
