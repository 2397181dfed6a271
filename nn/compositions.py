"""Augmentations one after another, and the crop that a model makes for itself at prediction.

The rule: pictures are interpolated once, however many movements stand side by side.
"""

import math

from .. import kernels
from ..kernels import arrays
from ..kernels.picture_shapes import check_picture
from .augmentation import Augmentation, Moving, as_size, move_pictures
from .dropouts import pass_through
from .module import Module


class Compose(Augmentation):
    """Augmentations in turn; movements side by side, crops among them, take one resampling.

    That one reads the picture as it was: what a crop left outside may come back in by a rotation.
    """

    def __init__(self, *parts):
        if len(parts) == 1 and isinstance(parts[0], tuple | list):
            parts = parts[0]
        self.parts = list(_flat(parts))
        if len(set(map(id, self.parts))) < len(self.parts):
            raise ValueError("Compose: an augmentation stands twice, expected once")
        super().__init__()
        self._runs = _side_by_side(self.parts)

    @property
    def seed(self):
        """The seed of all parts."""
        return self._seed

    @seed.setter
    def seed(self, seed):
        self._seed = seed
        for part in self.parts:
            part.seed = seed

    @property
    def stream(self):
        """The stream, from which each part's differs in the upper half."""
        return self._stream

    @stream.setter
    def stream(self, stream):
        self._stream = stream
        for place, part in enumerate(self.parts, 1):
            part.stream = (stream or 0) + (place << 16)

    def change(self, x, y, step):
        for run in self._runs:
            if isinstance(run[0], Moving):
                x = move_pictures(run, x, step)
            else:
                x, y = run[0].change(x, y, step)
        return x, y


def _flat(parts):
    for part in parts:
        if isinstance(part, Compose):
            yield from part.parts
        elif isinstance(part, Augmentation):
            yield part
        else:
            kind = part.__name__ if isinstance(part, type) else type(part).__name__
            raise TypeError(f"Compose: part is a {kind}, expected an Augmentation")


def _side_by_side(parts):
    """Group the parts: movements that one resampling serves together, others alone."""
    runs = []
    for part in parts:
        last = runs[-1][-1] if runs else None
        if isinstance(part, Moving) and isinstance(last, Moving) and _alike(runs[-1], part):
            runs[-1].append(part)
        else:
            runs.append([part])
    return runs


def _alike(run, part):
    first = run[0]
    return part.fill == first.fill and part.shape in (None, first.shape)


class CenterCrop(Module):
    """The middle of pictures, of `size`; pictures that have the size already pass.

    The first layer of a model that is trained on crops: x (N, C·H·W) or (N, C·h·w) -> (N, C·h·w).
    """

    def __init__(self, shape, size, fill=0.0):
        check_picture("CenterCrop", math.prod(shape) if isinstance(shape, tuple) else 0, shape)
        arrays.check_number("CenterCrop", "fill", fill)
        self.shape, self.size, self.fill = tuple(shape), as_size("CenterCrop", size), fill
        self.small_shape = (*self.shape[:-2], *self.size)
        self.out_features = math.prod(self.small_shape)

    def forward(self, x):
        if x.shape[1] == self.out_features:
            return x, pass_through
        y = kernels.crop(x, self.shape, self.size, centre=True, fill=self.fill)

        def backward(dy, accumulate=False):
            return kernels.crop(dy, self.small_shape, self.shape[-2:], centre=True)

        return y, backward

    def describe(self):
        return f"{self.shape}, {self.size}"
