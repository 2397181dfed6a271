"""Augmentation: what changes the batches of a fit, so that each epoch shows the data otherwise.

`nn.fit(..., augment=nn.Rotate(15))` records it in the training step; evaluation never sees it. On
arrays directly, with a fixed range for test sets: `nn.Rotate((15, 15))(x)`.

The rule: what a row gets depends on seed, stream, `counter` and its place in the batch alone: the
same for any number of threads, and on CUDA.
"""

import math

import numpy as np

from .. import kernels
from ..kernels import arrays
from ..kernels.picture_shapes import check_chance, check_movement, check_picture
from .inference import prepare_inputs
from .replay import take_ticket


class Augmentation:
    """Subclass and define `change(x, y, step)`, which returns x and y changed, by kernels alone.

    x (N, C) is a batch, y its targets or None; `step` (1,) int64 counts the batches, for kernels
    that draw. `fit` sets `seed` and `stream`. Call it on an array x (N, C) for the array changed.
    """

    def __init__(self):
        self.seed, self.stream = 0, None
        self.counter = np.zeros(1, np.int64)

    def change(self, x, y, step):
        raise NotImplementedError(f"{type(self).__name__} does not define change")

    def apply(self, x, y):
        """Return x and y of a batch changed, and count the batch."""
        if arrays.device_of(x) is not arrays.device_of(self.counter):
            self.counter = arrays.put(x, arrays.on_host(self.counter))
        step = arrays.new(self.counter, 1, np.int64)
        take_ticket(1, step, self.counter)
        return self.change(x, y, step)

    def __call__(self, x):
        if not isinstance(x, kernels.DeviceArray):
            dtype = getattr(x, "dtype", None)
            wanted = dtype if dtype in arrays.FLOATS else np.float32
            x = prepare_inputs(x, wanted, type(self).__name__)
        return self.apply(x, None)[0]

    def preview(self, x, n=8):
        """Return what the next n batches would make of x (N, C): (N, n, C). Nothing is counted."""
        arrays.check_integer("preview", "n", n, 1)
        before = arrays.on_host(self.counter).copy()
        try:
            return np.stack([arrays.on_host(self(x)) for _ in range(n)], axis=1)
        finally:
            self.counter[...] = before

    def __repr__(self):
        hidden = ("seed", "stream", "counter")
        about = (f"{k}={v}" for k, v in vars(self).items() if k not in hidden and k[0] != "_")
        return f"{type(self).__name__}({', '.join(about)})"


STILL = {
    **{name: (0.0, 0.0) for name in ("degrees", "shear", "right", "down")},
    **{"scale": (1.0, 1.0), "horizontal": 0.0, "vertical": 0.0, "whole": False},
}


def _range(operation, name, value):
    """Return (low, high); a number d means (-d, d)."""
    if not arrays.is_number(value):
        return value
    arrays.check_at_least(operation, name, value, 0)
    return -float(value), float(value)


class Moving(Augmentation):
    """Pictures moved by a matrix of their own; neighbours of this kind share one resampling."""

    def __init__(self, shape, fill, **movement):
        super().__init__()
        name = type(self).__name__
        if shape is not None:
            check_picture(name, math.prod(shape) if isinstance(shape, tuple) else 0, shape)
        arrays.check_number(name, "fill", fill)
        check_movement(name, STILL | movement | {"seed": 0, "stream": 0})
        self.shape, self.fill, self._movement = shape, fill, movement

    def movement(self, size):
        """Return the arguments of kernels.draw_affine for pictures of this (height, width)."""
        return self._movement

    def size_after(self, size):
        """Return the (height, width) of what comes out."""
        return size

    def change(self, x, y, step):
        return move_pictures([self], x, step), y


def move_pictures(parts, x, step):
    """Draw one movement after the other, and resample once."""
    shape = parts[0].shape or _square(parts[0], x)
    size = shape[-2:]
    matrix = arrays.scratch(x, (x.shape[0], 6))
    for i, part in enumerate(parts):
        key = {"seed": part.seed, "step": step, "stream": part.stream or 0}
        kernels.draw_affine(matrix, **part.movement(size), after=i > 0, **key)
        size = part.size_after(size)
    return kernels.warp(x, matrix, shape, size, parts[0].fill)


def _square(augmentation, x):
    """Return the shape of a square picture of one channel."""
    side = math.isqrt(x.shape[1])
    if side * side != x.shape[1]:
        raise ValueError(
            f"{type(augmentation).__name__}: x has {x.shape[1]} columns, expected a square number "
            "where shape=(height, width) is not given"
        )
    return side, side


class Shift(Moving):
    """Shift pictures by up to `pixels`, or by ranges (low, high) to the right and down.

    whole: by whole pixels, which blurs nothing. shape: (H, W) or (C, H, W), None for squares of one
    channel; fill: what is all around.
    """

    def __init__(self, pixels=0, right=None, down=None, whole=False, shape=None, fill=0.0):
        self.right = _range("Shift", "right", pixels if right is None else right)
        self.down = _range("Shift", "down", pixels if down is None else down)
        self.whole = bool(whole)
        super().__init__(shape, fill, right=self.right, down=self.down, whole=self.whole)


class Rotate(Moving):
    """Turn pictures about their middle by up to `degrees`, or a range; counter-clockwise is > 0."""

    def __init__(self, degrees=15, shape=None, fill=0.0):
        self.degrees = _range("Rotate", "degrees", degrees)
        super().__init__(shape, fill, degrees=self.degrees)


class Scale(Moving):
    """Show pictures larger or smaller, by a factor of the range `factor`."""

    def __init__(self, factor=(0.9, 1.1), shape=None, fill=0.0):
        self.factor = factor
        super().__init__(shape, fill, scale=factor)


class Affine(Moving):
    """Scale, shear, turn and shift pictures, in this order and in one resampling.

    Numbers d stand for ranges (-d, d). shear: columns to the right for each row down.
    """

    def __init__(
        self, degrees=0, scale=(1.0, 1.0), shear=0, right=0, down=0, whole=False, shape=None,
        fill=0.0,
    ):  # fmt: skip
        given = {"degrees": degrees, "shear": shear, "right": right, "down": down}
        ranges = {name: _range("Affine", name, value) for name, value in given.items()}
        vars(self).update(ranges, scale=scale, whole=bool(whole))
        super().__init__(shape, fill, **ranges, scale=scale, whole=self.whole)


class Flip(Moving):
    """Mirror pictures: left and right, top and bottom change places with these chances."""

    def __init__(self, horizontal=0.5, vertical=0.0, shape=None):
        self.horizontal, self.vertical = horizontal, vertical
        super().__init__(shape, 0.0, horizontal=horizontal, vertical=vertical)


class Crop(Moving):
    """Cut a random part of `size`, a number or (h, w), out of pictures, or of a margin around them.

    Where the size changes, the model begins with CenterCrop, which does so at prediction.
    """

    def __init__(self, size, padding=0, shape=None, fill=0.0):
        arrays.check_integer("Crop", "padding", padding, 0)
        self.size, self.padding = as_size("Crop", size), int(padding)
        super().__init__(shape, fill)

    def movement(self, size):
        rooms = [have + 2 * self.padding - want for have, want in zip(size, self.size, strict=True)]
        if min(rooms) < 0:
            raise ValueError(
                f"Crop: size is {self.size}, expected at most {tuple(size)} and twice the padding, "
                f"{self.padding}"
            )
        down, right = ((-room / 2, room / 2) for room in rooms)
        return {"right": right, "down": down, "whole": True}

    def size_after(self, size):
        return self.size


def as_size(operation, size):
    """Return (height, width) of a number or a pair."""
    pair = (size, size) if arrays.is_number(size) else size
    if not (isinstance(pair, tuple | list) and len(pair) == 2):
        raise ValueError(f"{operation}: size is {size}, expected a number or (height, width)")
    for number in pair:
        arrays.check_integer(operation, "size", number, 1)
    return tuple(map(int, pair))


class Noise(Augmentation):
    """Add Gaussian noise of the standard deviation `sd`."""

    def __init__(self, sd=0.1):
        super().__init__()
        arrays.check_at_least("Noise", "sd", sd, 0)
        self.sd = float(sd)

    def change(self, x, y, step):
        return kernels.gaussian_noise(x, self.sd, self.seed, step, self.stream or 0), y


class Cutout(Augmentation):
    """Cover a square of `size` pixels a side. DeVries and Taylor 2017, arXiv:1708.04552."""

    def __init__(self, size, chance=1.0, shape=None, fill=0.0):
        super().__init__()
        arrays.check_integer("Cutout", "size", size, 1)
        check_chance("Cutout", "chance", chance)
        self.size, self.chance, self.shape, self.fill = int(size), chance, shape, fill

    def change(self, x, y, step):
        shape = self.shape or _square(self, x)
        key = self.seed, step, self.stream or 0
        return kernels.cutout(x, shape, self.size, self.chance, self.fill, *key), y


class Mixup(Augmentation):
    """Interpolate between samples, and between their targets. Zhang et al. 2018, arXiv:1710.09412.

    λ ~ Beta(alpha, alpha). Labels become rows of probabilities, of so many `classes`.
    """

    def __init__(self, alpha=0.2, classes=None):
        super().__init__()
        arrays.check_at_least("Mixup", "alpha", alpha, 0, strictly=True)
        if classes is not None:
            arrays.check_integer("Mixup", "classes", classes, 1)
        self.alpha, self.classes = float(alpha), classes

    def change(self, x, y, step):
        targets = x if y is None else self._rows(x, y)
        key = self.seed, step, self.stream or 0
        x, mixed = kernels.mixup(x, targets, self.alpha, *key)
        return x, None if y is None else mixed

    def _rows(self, x, y):
        if y.ndim == 2:
            return y
        if self.classes is None:
            raise ValueError("Mixup: y are labels, expected Mixup(classes=...) to know how many")
        rows = arrays.scratch(x, (x.shape[0], self.classes))
        kernels.one_hot(rows, y)
        return rows
