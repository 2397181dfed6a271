"""Augmentation: what is refused, and in which words."""

import numpy as np
import pytest
from numba import njit

from fonio import kernels, nn

X = np.zeros((2, 36))


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: kernels.affine(X, 6), ValueError, r"affine: shape is 6, expected \(height, wid"),
        (lambda: kernels.affine(X, (6, 0)), ValueError, "affine: shape is 0, expected shape >= 1"),
        (lambda: kernels.affine(X, (6, 2.0)), TypeError, "affine: shape is a float, expected an"),
        (
            lambda: kernels.flip(X, (5, 6)),
            ValueError,
            "flip: x has 36 columns, expected a multiple of 30 as shape",
        ),
        (
            lambda: kernels.flip(X, (2, 6, 6)),
            ValueError,
            "flip: x has 36 columns, expected 72 columns as shape",
        ),
        (
            lambda: kernels.flip(X, (1 << 12, 1 << 11)),
            ValueError,
            r"expected at most 4194304 pixels",
        ),
        (
            lambda: kernels.flip(X, (6, 6), 1.5),
            ValueError,
            "flip: horizontal is 1.5, expected 0 <= horizontal <= 1",
        ),
        (
            lambda: kernels.affine(X, (6, 6), degrees=(3, 1)),
            ValueError,
            r"degrees is \(3, 1\), expected \(low, high\) with low <= high",
        ),
        (
            lambda: kernels.affine(X, (6, 6), scale=(0, 1)),
            ValueError,
            "scale is .* with 0 < low <= high",
        ),
        (
            lambda: kernels.affine(X, (6, 6), shear=("a", 1)),
            TypeError,
            "affine: shear is a str, expected a number",
        ),
        (lambda: kernels.affine(X, (6, 6), down=(0, np.inf)), ValueError, "affine: down is"),
        (
            lambda: kernels.affine(X, (6, 6), right=(0, 0.5), whole=True),
            ValueError,
            "expected whole steps from low to high",
        ),
        (
            lambda: kernels.affine(X, (6, 6), seed=-1),
            ValueError,
            "affine: seed is -1, expected seed >= 0",
        ),
        (
            lambda: kernels.crop(X, (6, 6), (7, 6)),
            ValueError,
            r"crop: size is \(7, 6\), expected at most \(6, 6\) and",
        ),
        (
            lambda: kernels.crop(X, (6, 6), 5),
            ValueError,
            r"crop: size is 5, expected \(height, width\)",
        ),
        (
            lambda: kernels.crop(X, (6, 6), (5, 5), -1),
            ValueError,
            "crop: padding is -1, expected padding >= 0",
        ),
        (lambda: kernels.cutout(X, (6, 6), 0), ValueError, "cutout: size is 0, expected size >= 1"),
        (
            lambda: kernels.cutout(X, (6, 6), 2, 2.0),
            ValueError,
            "cutout: chance is 2.0, expected 0 <= chance <= 1",
        ),
        (
            lambda: kernels.warp(X, np.zeros((3, 6)), (6, 6)),
            ValueError,
            r"warp: matrix has shape \(3, 6\), expected \(2, 6\)",
        ),
        (lambda: kernels.mixup(X, X, 0.0), ValueError, "mixup: alpha is 0.0, expected alpha > 0"),
        (lambda: kernels.mixup(X, X, np.inf), ValueError, "mixup: alpha is inf, expected a finite"),
        (
            lambda: kernels.one_hot(X, np.array([0, 36])),
            ValueError,
            r"one_hot: labels\[1\] is 36, expected 0 <= label < 36",
        ),
        (lambda: nn.Rotate(-5), ValueError, "Rotate: degrees is -5, expected degrees >= 0"),
        (lambda: nn.Scale((2, 1)), ValueError, r"Scale: scale is \(2, 1\), expected \(low, high\)"),
        (
            lambda: nn.Shift(0.25, whole=True),
            ValueError,
            "Shift: right is .*, expected whole steps",
        ),
        (
            lambda: nn.Shift(1, shape=7),
            ValueError,
            r"Shift: shape is 7, expected \(height, width\)",
        ),
        (
            lambda: nn.Shift(1)(X[:, :35]),
            ValueError,
            "Shift: x has 35 columns, expected a square number",
        ),
        (
            lambda: nn.Crop((2, 3, 4)),
            ValueError,
            r"Crop: size is \(2, 3, 4\), expected a number or",
        ),
        (lambda: nn.Crop(9)(X), ValueError, r"Crop: size is \(9, 9\), expected at most \(6, 6\)"),
        (lambda: nn.Noise(-1), ValueError, "Noise: sd is -1, expected sd >= 0"),
        (
            lambda: nn.Mixup().apply(X, np.zeros(2, int)),
            ValueError,
            r"Mixup: y are labels, expected Mixup\(classes=...\)",
        ),
        (
            lambda: nn.Compose(nn.Noise),
            TypeError,
            "Compose: part is a Noise, expected an Augmentation",
        ),
        (lambda: nn.Rotate()("a"), TypeError, "Rotate: x has dtype"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("shape", [(5, 6), (0, 6), (1 << 12, 1 << 12)])
def test_a_shape_that_does_not_fit_is_refused_inside_njit(shape):
    with pytest.raises(ValueError, match="pictures: shape does not fit"):
        _flip_inside(X, shape, np.empty_like(X))


@njit
def _flip_inside(x, shape, out):
    kernels.flip(x, shape, out=out)
