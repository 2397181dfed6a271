"""Augmentation of pictures: each moved, mirrored, cut or covered by numbers of its own.

The rule: what happens to picture i depends on seed, stream, step and i alone, so that a batch comes
out alike for any number of threads, on the CPU and on CUDA.
"""

import numpy as np
from numba.extending import register_jitable

from . import arrays
from .arrays import scratch
from .caching import jit
from .drawing import check_key
from .launch import kernel
from .native import independent_loop
from .operations import operation
from .picture_shapes import (
    as_many_channels,
    check_chance,
    check_movement,
    check_picture,
    check_size,
    sizes_of,
    threshold,
)
from .random_numbers import draw, halves
from .resampling import draw_matrices, resample


def _check_affine(operation, sizes, values):
    check_picture(operation, sizes["C"], values["shape"])
    check_movement(operation, values | {"horizontal": 0.0, "vertical": 0.0})
    arrays.check_number(operation, "fill", values["fill"])


@operation("x (N, C) -> y (N, C)", scalars={"step": "int64"}, check=_check_affine)
def affine(
    y, x, shape, degrees=(0.0, 0.0), scale=(1.0, 1.0), shear=(0.0, 0.0), right=(0.0, 0.0),
    down=(0.0, 0.0), whole=False, fill=0.0, seed=0, step=0, stream=0,
):  # fmt: skip
    """Turn, scale, shear and shift pictures at random, in one bilinear resampling.

    x (N, C·H·W), shape (H, W) or (C, H, W), each range (low, high) -> y (N, C·H·W)

    degrees: counter-clockwise. scale: the size of what is shown. shear: columns to the right for
    each row down. right, down: pixels, with `whole` whole steps from low to high. `fill` is all
    around.
    """
    height, width = sizes_of(x.shape[1], shape)
    T = x.dtype.type
    matrix = scratch(x, (x.shape[0], 6))
    draw_matrices(
        x.shape[0], matrix, T(degrees[0]), T(degrees[1]), T(scale[0]), T(scale[1]), T(shear[0]),
        T(shear[1]), T(right[0]), T(right[1]), T(down[0]), T(down[1]), 0, 0, whole, False, seed,
        step, stream,
    )  # fmt: skip
    resample(x.shape[0], y, x, matrix, height, width, height, width, T(fill))


def _check_flip(operation, sizes, values):
    check_picture(operation, sizes["C"], values["shape"])
    for name in ("horizontal", "vertical"):
        check_chance(operation, name, values[name])
    check_key(operation, values["seed"], values["stream"])


@operation("x (N, C) -> y (N, C)", scalars={"step": "int64"}, check=_check_flip)
def flip(y, x, shape, horizontal=0.5, vertical=0.0, seed=0, step=0, stream=0):
    """Mirror pictures: left and right, top and bottom change places with these chances.

    x (N, C·H·W), shape (H, W) or (C, H, W) -> y (N, C·H·W)
    """
    height, width = sizes_of(x.shape[1], shape)
    one, zero = x.dtype.type(1), x.dtype.type(0)
    matrix = scratch(x, (x.shape[0], 6))
    draw_matrices(
        x.shape[0], matrix, zero, zero, one, one, zero, zero, zero, zero, zero, zero,
        threshold(horizontal), threshold(vertical), False, False, seed, step, stream,
    )  # fmt: skip
    resample(x.shape[0], y, x, matrix, height, width, height, width, zero)


@register_jitable
def crop_range(have, want, padding, centre):
    """Return the range of shifts to the right (or down) that a crop draws from, in whole steps."""
    if centre:  # of what is left over the odd pixel lies right, or below
        odd = 0.5 * ((have - want) % 2)
        odd = odd if have > want else -odd
        return odd, odd
    room = 0.5 * (have + 2 * padding - want)
    return -room, room


def _check_crop(operation, sizes, values):
    shape, size, padding = values["shape"], values["size"], values["padding"]
    check_picture(operation, sizes["C"], shape)
    sizes["D"] = check_size(operation, sizes["C"], shape, () if size is None else size)
    arrays.check_integer(operation, "padding", padding, 0)
    if not values["centre"] and any(
        want > have + 2 * padding for want, have in zip(size, shape[-2:], strict=True)
    ):
        raise ValueError(
            f"{operation}: size is {size}, expected at most {tuple(shape[-2:])} and twice the "
            f"padding, {padding}"
        )
    arrays.check_number(operation, "fill", values["fill"])
    check_key(operation, values["seed"], values["stream"])


@operation("x (N, C) -> y (N, D)", scalars={"step": "int64"}, check=_check_crop)
def crop(y, x, shape, size, padding=0, centre=False, fill=0.0, seed=0, step=0, stream=0):
    """Cut a random part of `size` out of each picture, or its middle, with `padding` around it.

    x (N, C·H·W), shape (H, W) or (C, H, W), size (h, w) -> y (N, C·h·w)

    The middle of a larger size has the picture in it, and `fill` around.
    """
    height, width = sizes_of(x.shape[1], shape)
    rows, columns = sizes_of(y.shape[1], size)
    as_many_channels(x.shape[1], height, width, y.shape[1], rows, columns)
    T = x.dtype.type
    one, zero = T(1), T(0)
    right, down = (
        crop_range(width, columns, padding, centre),
        crop_range(height, rows, padding, centre),
    )
    matrix = scratch(x, (x.shape[0], 6))
    draw_matrices(
        x.shape[0], matrix, zero, zero, one, one, zero, zero, T(right[0]), T(right[1]), T(down[0]),
        T(down[1]), 0, 0, True, False, seed, step, stream,
    )  # fmt: skip
    resample(x.shape[0], y, x, matrix, height, width, rows, columns, T(fill))


def _cover_pixel(image, first, pixel, y, x, top, bottom, left, right, inverse, across, fill):
    T = type(fill)
    place = T(np.int32(pixel))
    row = T(np.int32((place + T(0.5)) * inverse))
    column = place - row * across
    value = x[image, first + pixel]
    hidden = (row >= top) & (row < bottom) & (column >= left) & (column < right)
    y[image, first + pixel] = fill if hidden else value


_cover_loop = independent_loop(jit(_cover_pixel, inner=True), leading=2)


@kernel(cost=lambda y, *_: 0.4 * y.shape[1], spread="cells")
def _cover(start, stop, y, x, height, width, side, chance, fill, seed, step, stream):
    T, pixels = x.dtype.type, np.uintp(height * width)
    words = (np.uint32(stream), *halves(step[0]), *halves(seed))
    for image in range(np.uintp(start), np.uintp(stop)):
        along, across, whether, _ = draw(np.uint32(image), *words)
        hidden = side if np.uint64(whether) < np.uint64(chance) else 0
        row = np.int64((np.uint64(along) * np.uint64(height)) >> np.uint64(32)) - side // 2
        column = np.int64((np.uint64(across) * np.uint64(width)) >> np.uint64(32)) - side // 2
        square = (T(row), T(row + hidden), T(column), T(column + hidden))
        for channel in range(np.uintp(x.shape[1]) // pixels):
            places = (image, channel * pixels)
            _cover_loop(
                np.uintp(0), pixels, places, (y, x, *square, T(1) / T(width), T(width), fill)
            )


def _check_cutout(operation, sizes, values):
    check_picture(operation, sizes["C"], values["shape"])
    arrays.check_integer(operation, "size", values["size"], 1)
    check_chance(operation, "chance", values["chance"])
    arrays.check_number(operation, "fill", values["fill"])
    check_key(operation, values["seed"], values["stream"])


@operation("x (N, C) -> y (N, C)", in_place=("x",), scalars={"step": "int64"}, check=_check_cutout)
def cutout(y, x, shape, size, chance=1.0, fill=0.0, seed=0, step=0, stream=0):
    """Cover a square of `size` pixels a side. DeVries and Taylor 2017, arXiv:1708.04552.

    x (N, C·H·W), shape (H, W) or (C, H, W) -> y (N, C·H·W)

    Its middle is any pixel, all alike, so that a part of it may lie outside the picture; all
    channels lose the same pixels.
    """
    height, width = sizes_of(x.shape[1], shape)
    _cover(
        x.shape[0], y, x, height, width, size, threshold(chance), x.dtype.type(fill), seed, step,
        stream,
    )  # fmt: skip
