"""Pictures turned, scaled, sheared, shifted, mirrored and cut: each resampled once.

How picture i moves is a row (a, b, e, c, d, f) of a matrix (N, 6): what is seen at (column, row) of
the output lies in the input at

    a·column + b·row + e,   c·column + d·row + f

both counted from the middle of the picture. Movements compose as matrices do, so that however many
there are a picture is interpolated once: between four pixels, and `fill` is all around.

The rule: how picture i moves depends on seed, stream, step and i alone. It has the counters 2i and
2i + 1 of its stream (random_numbers.py).
"""

import numpy as np

from . import arrays
from .caching import jit
from .gaussians import COS_DOUBLE, COS_SINGLE, SIN_DOUBLE, SIN_SINGLE
from .launch import kernel
from .native import independent_loop
from .operations import operation
from .picture_shapes import (
    as_many_channels,
    check_movement,
    check_picture,
    check_size,
    or_shape,
    sizes_of,
    threshold,
)
from .precision import choose, fused, polynomial
from .random_numbers import draw, halves


@jit(inner=True)
def fraction(word):
    """Return the upper 24 bits of a word as a float32 of [0, 1)."""
    return np.float32(word >> np.uint32(8)) * np.float32(2.0**-24)


@jit(inner=True)
def _between(word, low, high, whole):
    """Return a number of [low, high), or one of low, low + 1, ... high, all alike."""
    T = type(low)
    if whole:
        count = np.uint64(high - low + T(0.5)) + np.uint64(1)
        return low + T((np.uint64(word) * count) >> np.uint64(32))
    return fused(high - low, T(fraction(word)), low)


@jit(inner=True)
def cosine_and_sine(degrees):
    """Return cos and sin, exact where the angle is a whole number of quarters."""
    T = type(degrees)
    quarters = degrees / T(90)
    turned = np.int64(quarters + (T(0.5) if quarters > T(0) else T(-0.5)))
    rest = quarters - T(turned)
    cosine = polynomial(rest * rest, choose(rest, COS_SINGLE, COS_DOUBLE))
    sine = rest * polynomial(rest * rest, choose(rest, SIN_SINGLE, SIN_DOUBLE))
    if turned & 1:
        cosine, sine = -sine, cosine
    if turned & 2:
        cosine, sine = -cosine, -sine
    return cosine, sine


@jit(inner=True)
def _dot(a, b, c, d):
    """Return a·b + c·d, its bits the same wherever it is inlined."""
    return fused(a, b, c * d)


@jit(inner=True)
def _put_matrix(matrix, i, a, b, e, c, d, f, after):
    """Set matrix[i], or let what was drawn follow the movement that stands there."""
    if after:
        a0, b0, e0 = matrix[i, 0], matrix[i, 1], matrix[i, 2]
        c0, d0, f0 = matrix[i, 3], matrix[i, 4], matrix[i, 5]
        e, f = e0 + _dot(a0, e, b0, f), f0 + _dot(c0, e, d0, f)
        a, b, c, d = _dot(a0, a, b0, c), _dot(a0, b, b0, d), _dot(c0, a, d0, c), _dot(c0, b, d0, d)
    matrix[i, 0], matrix[i, 1], matrix[i, 2] = a, b, e
    matrix[i, 3], matrix[i, 4], matrix[i, 5] = c, d, f


@kernel(cost=lambda *_: 80.0)
def draw_matrices(
    start, stop, matrix, degrees0, degrees1, scale0, scale1, shear0, shear1, right0, right1,
    down0, down1, horizontal, vertical, whole, after, seed, step, stream,
):  # fmt: skip
    """The inverse of: mirror, scale, shear, turn, shift."""
    T = matrix.dtype.type
    words = (np.uint32(stream), *halves(step[0]), *halves(seed))
    for i in range(np.uintp(start), np.uintp(stop)):
        turn, size, slant, across = draw(np.uint32(i + i), *words)
        along, mirror, flip, _ = draw(np.uint32(i + i + np.uintp(1)), *words)
        cosine, sine = cosine_and_sine(_between(turn, degrees0, degrees1, False))
        shear = _between(slant, shear0, shear1, False)
        right = _between(across, right0, right1, whole)
        down = _between(along, down0, down1, whole)
        shrink = T(1) / _between(size, scale0, scale1, False)
        by_column = -shrink if np.uint64(mirror) < np.uint64(horizontal) else shrink
        by_row = -shrink if np.uint64(flip) < np.uint64(vertical) else shrink
        a, b = (
            by_column * fused(-shear, sine, cosine),
            -by_column * fused(shear, cosine, sine),
        )
        c, d = by_row * sine, by_row * cosine
        e, f = -_dot(a, right, b, down), -_dot(c, right, d, down)
        _put_matrix(matrix, i, a, b, e, c, d, f, after)


@jit(inner=True)
def _tap(x, image, source, place, inside, fill):
    # load before you choose: a select vectorises, a branch does not
    value = x[image, source + np.uintp(np.int32(place if inside else type(place)(0)))]
    return value if inside else fill


def _resample_pixel(
    image, source, target, pixel, y, x, a, b, left, c, d, top, height, width, inverse, across, fill
):
    """Interpolate between four pixels, found in a frame that begins one pixel before the input.

    Whole numbers are floats, which hold them exactly: nothing is divided or widened.
    """
    T = type(fill)
    zero, one = T(0), T(1)
    place = T(np.int32(pixel))
    row = T(np.int32((place + T(0.5)) * inverse))
    column = place - row * across
    u, v = (left + b * row) + a * column, (top + d * row) + c * column
    u, v = u if u > zero else zero, v if v > zero else zero  # NaN too
    u, v = u if u < width + one else width + one, v if v < height + one else height + one
    j, i = T(np.int32(u)), T(np.int32(v))
    before, after = (j > zero) & (j <= width), j < width
    above, below = (i > zero) & (i <= height), i < height
    first = (i - one) * width + (j - one)
    upper = _tap(x, image, source, first, above & before, fill)
    upper_next = _tap(x, image, source, first + one, above & after, fill)
    lower = _tap(x, image, source, first + width, below & before, fill)
    lower_next = _tap(x, image, source, first + width + one, below & after, fill)
    upper += (u - j) * (upper_next - upper)
    lower += (u - j) * (lower_next - lower)
    y[image, target + pixel] = upper + (v - i) * (lower - upper)


_resample_loop = independent_loop(jit(_resample_pixel, inner=True), leading=3)


@kernel(cost=lambda y, *_: 2.0 * y.shape[1], spread="cells")
def resample(start, stop, y, x, matrix, height, width, rows, columns, fill):
    """y[i] = x[i], moved by matrix[i]."""
    T, zero = x.dtype.type, np.uintp(0)
    inputs, outputs = np.uintp(height * width), np.uintp(rows * columns)
    one, half = T(1), T(0.5)
    for image in range(np.uintp(start), np.uintp(stop)):
        a, b, e = matrix[image, 0], matrix[image, 1], matrix[image, 2]
        c, d, f = matrix[image, 3], matrix[image, 4], matrix[image, 5]
        across, along = half * T(columns - 1), half * T(rows - 1)
        left = (e + (one + half * T(width - 1))) - _dot(a, across, b, along)
        top = (f + (one + half * T(height - 1))) - _dot(c, across, d, along)
        sizes = (T(height), T(width), one / T(columns), T(columns))
        for channel in range(np.uintp(y.shape[1]) // outputs):
            places = (image, channel * inputs, channel * outputs)
            _resample_loop(zero, outputs, places, (y, x, a, b, left, c, d, top, *sizes, fill))


def _check_draw(operation, sizes, values):
    check_movement(operation, values)


@operation("matrix! (N, 6)", scalars={"step": "int64"}, check=_check_draw)
def draw_affine(
    matrix, degrees=(0.0, 0.0), scale=(1.0, 1.0), shear=(0.0, 0.0), right=(0.0, 0.0),
    down=(0.0, 0.0), horizontal=0.0, vertical=0.0, whole=False, after=False, seed=0, step=0,
    stream=0,
):  # fmt: skip
    """Draw how each picture moves, in place: mirrored, scaled, sheared, turned, then shifted.

    matrix (N, 6), for `warp`; each range (low, high); step a number or (1,) int64

    degrees: counter-clockwise. scale: the size of what is shown. shear: columns to the right for
    each row down. right, down: pixels, with `whole` whole steps from low to high. horizontal,
    vertical: the chances that left and right, or top and bottom, change places. after: this
    movement follows the one that `matrix` holds.
    """
    T = matrix.dtype.type
    draw_matrices(
        matrix.shape[0], matrix, T(degrees[0]), T(degrees[1]), T(scale[0]), T(scale[1]),
        T(shear[0]), T(shear[1]), T(right[0]), T(right[1]), T(down[0]), T(down[1]),
        threshold(horizontal), threshold(vertical), whole, after, seed, step, stream,
    )  # fmt: skip


def _check_warp(operation, sizes, values):
    check_picture(operation, sizes["C"], values["shape"])
    sizes["D"] = check_size(operation, sizes["C"], values["shape"], values["size"])
    arrays.check_number(operation, "fill", values["fill"])


@operation("x (N, C), matrix (N, 6) -> y (N, D)", check=_check_warp)
def warp(y, x, matrix, shape, size=None, fill=0.0):
    """Move pictures as `matrix` says, by bilinear interpolation.

    x (N, C·H·W), matrix (N, 6), shape (H, W) or (C, H, W), size (h, w) -> y (N, C·h·w)

    A row (a, b, e, c, d, f) shows at (column, row) what lies at a·column + b·row + e, c·column +
    d·row + f, counted from the middle of each; `fill` is all around.
    """
    height, width = sizes_of(x.shape[1], shape)
    rows, columns = sizes_of(y.shape[1], or_shape(size, shape))
    as_many_channels(x.shape[1], height, width, y.shape[1], rows, columns)
    resample(x.shape[0], y, x, matrix, height, width, rows, columns, x.dtype.type(fill))
