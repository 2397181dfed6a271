"""Rows of the table for augmentation: pictures moved, mirrored, cut and covered, rows mixed.

A size is (N, H, W) or (N, C, H, W), of mixed rows (N, C). The references move coordinates by
products of 3 x 3 matrices and read from pictures with a margin.
"""

import numpy as np

from .masks import LOW, _philox
from .table import Workload, kernels, register

SIZES = ((128, 28, 28), (512, 3, 32, 32))
ODD = ((0, 3, 5), (1, 1, 1), (2, 3, 7, 5), (5, 8, 8), (3, 1, 9), (4, 2, 6, 17))
ROWS = ((0, 3), (1, 2), (2, 1), (7, 19), (33, 16))
KEY = (2**40 + 3, 7, 2)  # seed, step, stream
MOVED = ((-30.0, 20.0), (0.8, 1.3), (-0.2, 0.3), (-1.5, 2.0), (-1.0, 0.5))
TOLERANCE = {"float32": 5e-5, "float64": 1e-12}  # a place is right to 1e-6 of a pixel


def _pictures(x, shape):
    return x.reshape(len(x), x.shape[1] // (shape[-2] * shape[-1]), *shape[-2:])


def _words(counters, seed, step, stream):
    counters = np.asarray(counters, np.int64)
    counter = np.zeros((counters.size, 4), np.uint32)
    counter[:, 0], counter[:, 1] = counters, stream
    counter[:, 2], counter[:, 3] = step & LOW, step >> 32
    return _philox(counter, (seed & LOW, seed >> 32))


def _uniform(words):
    return (words >> 8) / 2.0**24


def _below(words, count):
    return np.array([int(word) * count >> 32 for word in words])


def _movements(count, ranges, mirrors, whole, key):
    """(N, 3, 3): where in the input the output's points lie, the inverse of how pictures move."""
    pairs = _words(np.arange(2 * count), *key).reshape(count, 8)
    drawn = [low + _uniform(pairs[:, i]) * (high - low) for i, (low, high) in enumerate(ranges)]
    if whole:
        for i in (3, 4):
            low, high = ranges[i]
            drawn[i] = low + _below(pairs[:, i], round(high - low) + 1)
    mirrored = [np.where(pairs[:, 5 + i] < chance * 2.0**32, -1.0, 1.0) for i, chance in mirrors]
    found = np.empty((count, 3, 3))
    for i, (degrees, scale, shear, right, down) in enumerate(zip(*drawn, strict=True)):
        angle = np.deg2rad(degrees)
        turn = [[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
        forward = (
            np.array([[1, 0, right], [0, 1, down], [0, 0, 1]])
            @ turn
            @ [[1, shear, 0], [0, 1, 0], [0, 0, 1]]
            @ np.diag([scale, scale, 1])
            @ np.diag([mirrored[0][i], mirrored[1][i], 1])
        )
        found[i] = np.linalg.inv(forward)
    return found


def _drawn(matrix, degrees, scale, shear, right, down, horizontal, vertical, whole, after, *key):
    ranges, chances = (degrees, scale, shear, right, down), enumerate((horizontal, vertical))
    drawn = _movements(len(matrix), ranges, chances, whole, key)
    before = np.zeros((len(matrix), 3, 3))
    before[:, :2], before[:, 2, 2] = matrix.reshape(-1, 2, 3), 1
    return ((before @ drawn if after else drawn)[:, :2].reshape(-1, 6),)


def _sampled(picture, columns, rows, fill):
    """Interpolate a picture of one channel at these places, `fill` all around it."""
    height, width = picture.shape
    wide = np.full((height + 4, width + 4), fill, np.float64)
    wide[2:-2, 2:-2] = picture
    columns, rows = (
        np.clip(places, -1.5, size + 0.5) + 2 for places, size in ((columns, width), (rows, height))
    )
    j, i = np.floor(columns).astype(int), np.floor(rows).astype(int)
    total = np.zeros(columns.shape)
    for down in (0, 1):
        for right in (0, 1):
            weight = (1 - abs(columns - j - right)) * (1 - abs(rows - i - down))
            total += weight * wide[i + down, j + right]
    return total


def _warped(x, matrix, shape, size=None, fill=0.0):
    height, width = shape[-2:]
    rows, across = size or (height, width)
    pictures = _pictures(x, shape)
    row, column = np.mgrid[:rows, :across].astype(np.float64)
    row, column = row - (rows - 1) / 2, column - (across - 1) / 2
    y = np.empty((*pictures.shape[:2], rows, across))
    for i, (a, b, e, c, d, f) in enumerate(np.asarray(matrix, np.float64)):
        columns = a * column + b * row + e + (width - 1) / 2
        rows_in = c * column + d * row + f + (height - 1) / 2
        for channel, picture in enumerate(pictures[i]):
            y[i, channel] = _sampled(picture, columns, rows_in, fill)
    return y.reshape(len(x), pictures.shape[1] * rows * across)


def _affine(x, shape, degrees, scale, shear, right, down, whole, fill, *key):
    ranges = (degrees, scale, shear, right, down)
    found = _movements(len(x), ranges, ((0, 0.0), (1, 0.0)), whole, key)
    return _warped(x, found[:, :2].reshape(-1, 6), shape, None, fill)


def _flipped(x, shape, horizontal, vertical, *key):
    pictures = _pictures(x, shape).copy()
    words = _words(2 * np.arange(len(x)) + 1, *key)
    for picture, word in zip(pictures, words, strict=True):
        if word[1] < horizontal * 2.0**32:
            picture[...] = picture[:, :, ::-1].copy()
        if word[2] < vertical * 2.0**32:
            picture[...] = picture[:, ::-1].copy()
    return pictures.reshape(x.shape)


def _cropped(x, shape, size, padding, centre, fill, *key):
    pictures = _pictures(x, shape)
    edge = [(0, 0), (0, 0), (padding, padding), (padding, padding)]
    wide = np.pad(pictures, edge, constant_values=fill)
    room = [have - want for have, want in zip(wide.shape[2:], size, strict=True)]
    words = _words(np.arange(2 * len(x)), *key).reshape(-1, 8)
    left, top = (r - _below(words[:, i], r + 1) for i, r in ((3, room[1]), (4, room[0])))
    if centre:
        left, top = (np.full(len(x), r // 2) for r in room[::-1])
    parts = [
        picture[:, t : t + size[0], m : m + size[1]]
        for picture, t, m in zip(wide, top, left, strict=True)
    ]
    return np.reshape(parts, (len(x), pictures.shape[1] * size[0] * size[1]))


def _covered(x, shape, size, chance, fill, *key):
    height, width = shape[-2:]
    pictures = _pictures(x, shape).copy()
    words = _words(np.arange(len(x)), *key)
    rows, columns = _below(words[:, 0], height), _below(words[:, 1], width)
    for picture, row, column, word in zip(pictures, rows, columns, words[:, 2], strict=True):
        if word < chance * 2.0**32:
            top, left = row - size // 2, column - size // 2
            picture[:, max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)] = fill
    return pictures.reshape(x.shape)


def _mixed(x, targets, alpha, *key):
    words, (batch,) = _words(np.arange(len(x)), *key), _words([LOW], *key)
    u, turn, v, w = _uniform(words).T
    u, v, w = u + 2.0**-24, v + 2.0**-24, w + 2.0**-24
    beta = 0.5 + 0.5 * np.sqrt(1 - u ** (1 / (alpha + 0.5))) * np.cos(2 * np.pi * turn)
    odds = beta / (1 - beta) * (v / w) ** (1 / alpha)
    share = (odds / (1 + odds))[:, None]
    other = np.roll(np.arange(len(x)), -1 - int(_below(batch[:1], len(x) - 1)[0]))
    return tuple(share * a + (1 - share) * a[other] for a in (x, targets))


def _inputs(*numbers):
    def inputs(rng, size, dtype):
        x = rng.standard_normal((size[0], int(np.prod(size[1:])))).astype(dtype)
        return x, size[1:], *numbers, *KEY

    return inputs


def _warp_inputs(rng, size, dtype):
    x = rng.standard_normal((size[0], int(np.prod(size[1:])))).astype(dtype)
    matrix = rng.normal((1, 0.1, 0.5, 0.1, 1, -0.5), 0.3, (size[0], 6)).astype(dtype)
    return x, matrix, size[1:], (size[-2] + 2, size[-1]), 0.25


def _crop_inputs(rng, size, dtype):
    x = rng.standard_normal((size[0], int(np.prod(size[1:])))).astype(dtype)
    return x, size[1:], (size[-2], max(1, size[-1] - 3)), 2, False, 0.5, *KEY


def _draw_inputs(rng, size, dtype):
    matrix = rng.standard_normal((size[0], 6)).astype(dtype)
    return matrix, *MOVED, 0.3, 0.6, False, True, *KEY


def _mixup_inputs(rng, size, dtype):
    x = rng.standard_normal(size).astype(dtype)
    return x, rng.random((size[0], 10)).astype(dtype), 0.4, *KEY


def _one_hot_inputs(rng, size, dtype):
    return rng.standard_normal(size).astype(dtype), rng.integers(0, size[1], size[0])


def _pixels(size):
    return int(np.prod(size))


def _row(name, reference, inputs, **options):
    options = {
        "sizes": SIZES,
        "test_sizes": ODD,
        "tolerance": TOLERANCE,
        "bytes": lambda size, itemsize: 2 * itemsize * _pixels(size),
        "flops": lambda *size: 30 * _pixels(size),
    } | options
    call = getattr(kernels, name)
    return Workload(
        name=name, group="augmentation", call=call, reference=reference, inputs=inputs, **options
    )


def _larger(size):
    """Return the pixels of the output of _warp_inputs."""
    return _pixels((*size[:-2], size[-2] + 2, size[-1]))


def _smaller(size):
    return _pixels((*size[:-1], max(1, size[-1] - 3)))


register(
    _row("affine", _affine, _inputs(*MOVED, False, 0.5)),
    _row("flip", _flipped, _inputs(0.5, 0.3)),
    _row(
        "crop",
        _cropped,
        _crop_inputs,
        bytes=lambda size, itemsize: itemsize * (_pixels(size) + _smaller(size)),
        flops=lambda *size: 30 * _smaller(size),
        nan=False,  # it may be cut off
    ),
    _row(
        "warp",
        _warped,
        _warp_inputs,
        bytes=lambda size, itemsize: itemsize * (_pixels(size) + _larger(size) + 6 * size[0]),
        flops=lambda *size: 30 * _larger(size),
    ),
    _row(
        "draw_affine",
        _drawn,
        _draw_inputs,
        sizes=((128,),),
        test_sizes=((0,), (1,), (7,), (100,)),
        bytes=lambda size, itemsize: 12 * itemsize * size[0],
        flops=lambda *size: 60 * size[0],
        out_argument=False,
        nan=False,
    ),
    _row(
        "cutout",
        _covered,
        _inputs(5, 0.7, 0.5),
        in_place=(0,),
        flops=lambda *size: 8 * _pixels(size),
    ),
    _row(
        "mixup",
        _mixed,
        _mixup_inputs,
        sizes=((128, 784),),
        test_sizes=ROWS,
        bytes=lambda size, itemsize: 2 * itemsize * (_pixels(size) + 10 * size[0]),
        flops=lambda *size: 3 * _pixels(size),
    ),
    _row(
        "one_hot",
        lambda y, labels: (np.eye(y.shape[1])[labels],),
        _one_hot_inputs,
        sizes=((4096, 10),),
        test_sizes=((0, 3), (1, 1), (7, 10), (65, 3)),
        bytes=lambda size, itemsize: 2 * itemsize * _pixels(size) + 8 * size[0],
        flops=lambda *size: _pixels(size),
        out_argument=False,
        nan=False,
    ),
)
