"""Dropout's family: which values fall, what the rest becomes, what a net does with it."""

import platform
from pathlib import Path

import numpy as np
import pytest
from numba import njit
from scipy import stats

from fonio import kernels, nn
from fonio.kernels import dropouts, gaussians
from tests.test_generated_code import MACHINES, readable

KEY = (0.3, 7, 2**33 + 5, 3)  # rate, seed, step, stream
SAMPLES = 100_000
FROZEN = Path(__file__).parent / "frozen"


def ones(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


# ---- kernels


def test_gaussian_noise_is_normal():
    """Moments within 5 standard errors, Kolmogorov and Smirnov's distance, and both tails."""
    z = kernels.gaussian_noise(np.zeros(SAMPLES), 1.0, 3)
    root = np.sqrt(SAMPLES)
    for power, wanted, spread in ((1, 0, 1), (2, 1, 2**0.5), (3, 0, 15**0.5), (4, 3, 96**0.5)):
        assert abs((z**power).mean() - wanted) < 5 * spread / root
    assert stats.kstest(z, "norm").pvalue > 1e-3
    assert 4 < abs(z).max() < 6.7
    for shift in (1, 16, 32, 48, 64):  # 16 apart: the two draws of a pair of words
        assert abs(np.mean(z[shift:] * z[:-shift])) < 5 / root
        assert abs(np.mean(z[shift:] ** 2 * z[:-shift] ** 2) - 1) < 5 * 8**0.5 / root


def test_gaussian_noise_is_that_of_its_place():
    """A longer array begins alike; float32 is float64 rounded, but near 0, where 1 - u is short."""
    whole = kernels.gaussian_noise(np.zeros(1000, np.float32), 1.0, *KEY[1:])
    for size in (0, 1, 16, 63, 65, 999):
        part = kernels.gaussian_noise(np.zeros(size, np.float32), 1.0, *KEY[1:])
        np.testing.assert_array_equal(part, whole[:size])
    double = kernels.gaussian_noise(np.zeros(1000), 1.0, *KEY[1:])
    np.testing.assert_allclose(whole, double, atol=2e-5)
    assert not np.array_equal(whole, kernels.gaussian_noise(np.zeros(1000, np.float32)))


@readable
@pytest.mark.parametrize("name", ["gaussian", "alpha", "unit"])
def test_kernels_are_vectors_of_float32(name):
    x, step, one = ones(128), np.zeros(1, np.int64), np.float32(1)
    code = {
        "gaussian": lambda: gaussians._blur.assembly(x, x, 1, step, 0, one, True),
        "alpha": lambda: dropouts._drop_affinely.assembly(x, x, 1, step, 0, 5, one, one, one),
        "unit": lambda: dropouts._drop_units.assembly(x, x, 1, step, 0, x, x, 64),
    }[name]()
    machine = MACHINES[platform.machine()]
    assert not machine["double"].search(code)
    assert machine["vector"].search(code)


def test_alpha_dropout_keeps_mean_and_variance():
    """Klambauer et al. 2017; what is dropped becomes a·α' + b, one value."""
    x = np.random.default_rng(0).standard_normal(SAMPLES)
    for rate in (0.05, 0.3, 0.7):
        y = kernels.alpha_dropout(x, rate, 1)
        assert abs(y.mean()) < 6 * y.std() / np.sqrt(SAMPLES)
        assert abs(y.var() - 1) < 0.03
        mask = kernels.dropout_mask(SAMPLES, rate, 1)
        assert np.ptp(y[~mask]) < 1e-15
        slope = (rate * 1.7580993408473766**2 * (1 - rate) + 1 - rate) ** -0.5
        np.testing.assert_allclose(np.diff(y[mask]), slope * np.diff(x[mask]), atol=1e-12)


def test_alpha_dropout_is_pytorchs():
    """Where PyTorch kept a value we make of it what PyTorch made, and where it dropped one, too."""
    frozen = np.load(FROZEN / "dropouts.npz")
    x, dy = frozen["x"], np.ones_like(frozen["x"])
    for number, rate in enumerate(frozen["rates"]):
        y, dx = frozen[f"y{number}"], frozen[f"dx{number}"]
        for theirs in (True, False):  # the elements that they kept, and dropped
            done = np.zeros(x.size, bool)
            for seed in range(60):
                alike = ((dx != 0) == theirs) & (kernels.dropout_mask(x.size, rate, seed) == theirs)
                ours = kernels.alpha_dropout(x, rate, seed)
                np.testing.assert_allclose(ours[alike], y[alike], rtol=1e-12, atol=1e-14)
                slope = kernels.alpha_dropout_backward(dy, rate, seed)
                np.testing.assert_allclose(slope[alike], dx[alike], rtol=1e-12)
                done |= alike
            assert done.sum() == ((dx != 0) == theirs).sum() > 0


def test_gaussian_dropout_spreads_as_dropout_does():
    x = np.full(SAMPLES, 3.0)
    blurred, dropped = kernels.gaussian_dropout(x, 0.2), kernels.dropout(x, 0.2)
    for y in (blurred, dropped):
        assert abs(y.mean() - 3) < 0.03
        assert abs(y.std() - 1.5) < 0.03  # 3·√(0.2/0.8)
    np.testing.assert_array_equal(kernels.gaussian_dropout_backward(x, 0.2), blurred)


def test_channels_fall_as_elements_of_dropout():
    mask = kernels.dropout_mask((7, 30), *KEY)
    for shape in ((7, 30), (7, 30, 4), (7, 30, 2, 3)):
        x = np.random.default_rng(1).random(shape).astype(np.float32)
        y = kernels.spatial_dropout(x, *KEY)
        whole = mask.reshape(7, 30, *[1] * (len(shape) - 2)) * x / np.float32(0.7)
        np.testing.assert_allclose(y, whole, rtol=1e-6)
        np.testing.assert_array_equal(kernels.spatial_dropout_backward(x, *KEY), y)
        strided = kernels.spatial_dropout(np.asfortranarray(x), *KEY)
        np.testing.assert_array_equal(strided, y)


def test_equal_rates_are_dropouts_mask():
    x = np.random.default_rng(1).random((40, 33))
    y = kernels.unit_dropout(x, np.full(33, 0.3), None, *KEY[1:])
    np.testing.assert_allclose(y, kernels.dropout(x, *KEY), rtol=1e-15)
    rates = np.array([0.0, 0.25, 0.9])
    kept = kernels.unit_dropout(np.ones((20_000, 3)), rates, None, 5)
    assert (abs((kept == 0).mean(0) - rates) <= 5 * np.sqrt(rates * (1 - rates) / 20_000)).all()
    np.testing.assert_array_equal(kept.max(0), 1 / (1 - rates))


@pytest.mark.slow
def test_inside_njit():
    @njit
    def inside(x, out, back):
        kernels.spatial_dropout(x, 0.3, 7, 2**33 + 5, 3, out=out)
        kernels.spatial_dropout_backward(x, 0.3, 7, 2**33 + 5, 3, out=back)

    x = np.random.default_rng(1).random((3, 5, 2, 4)).astype(np.float32)
    out, back = np.empty_like(x), np.empty_like(x)
    inside(x, out, back)
    np.testing.assert_array_equal(out, kernels.spatial_dropout(x, *KEY))
    np.testing.assert_array_equal(back, out)


def test_a_scale_in_place_of_the_usual():
    x = ones(300)
    usual, plain = kernels.dropout(x, *KEY), kernels.dropout(x, *KEY, scale=1.0)
    np.testing.assert_array_equal(plain, usual != 0)
    np.testing.assert_array_equal(kernels.dropout_backward(x, *KEY, scale=1.0), plain)
    np.testing.assert_array_equal(kernels.dropout(x, 0.0, scale=0.25), x / 4)


# ---- what the lectures say


def test_without_scaling_the_mean_falls_by_a_fifth():
    """Keep .8 of positive values: without 1/.8 the mean falls by 20 %, with it it stays."""
    x = np.random.default_rng(0).random((1000, 200)).astype(np.float32)
    plain, inverted = (nn.Dropout(0.2, mode)(x) for mode in ("test-scaled", "inverted"))
    assert abs(plain.mean() / x.mean() - 0.8) < 0.005
    assert abs(inverted.mean() / x.mean() - 1) < 0.005
    scaled = nn.Dropout(0.2, "test-scaled").eval()
    np.testing.assert_allclose(scaled(x), 0.8 * x, rtol=1e-6)
    np.testing.assert_array_equal(nn.Dropout(0.2).eval()(x), x)


SLIDE = """
    4 0 4 4 4 0 4 0 0
    4 0 0 0 0 0 0 0 0
    0 0 0 0 4 0 4 0 4
"""


def test_the_slides_gradients():
    """Fleuret's example: p = .75, the sum of the rows' norms; a row that keeps k has 4/√k."""
    kept = np.array(SLIDE.split(), float).reshape(3, 9)
    layer, x = nn.Dropout(0.75), ones(3, 9)
    y, backward = layer.forward(x, mask=kept == 4)
    np.testing.assert_array_equal(y, kept)
    dx = backward(y / np.linalg.norm(y, axis=1, keepdims=True))
    np.testing.assert_array_equal(dx == 0, kept == 0)
    for row, value in enumerate((1.7889, 4.0, 2.3094)):
        np.testing.assert_allclose(dx[row][kept[row] > 0], value, atol=5e-5)


def test_the_slides_channels():
    y = nn.Dropout2d()(ones(2, 3, 2, 2))
    assert y.shape == (2, 3, 2, 2)
    assert set(np.unique(y)) == {0, 2}
    np.testing.assert_array_equal(np.ptp(y.reshape(6, 4), axis=1), 0)


def test_one_pass_is_the_average_over_all_masks_where_it_is_linear():
    """2⁷ masks weighed by their chances: the mean of a linear layer's outputs is its eval pass."""
    rng, p = np.random.default_rng(2), 0.3
    x, linear = rng.standard_normal((5, 7)), nn.Linear(7, 4, dtype=np.float64)
    for mode in ("inverted", "test-scaled"):
        layer = nn.Dropout(p, mode)
        masks = nn.all_masks(7)
        chances = np.prod(np.where(masks, 1 - p, p), axis=1)
        assert abs(chances.sum() - 1) < 1e-12
        outputs = [linear(layer(x, mask=mask)) for mask in masks]
        mean = np.tensordot(chances, outputs, 1)
        np.testing.assert_allclose(mean, linear(layer.eval()(x)), atol=1e-12)


def test_geometric_mean_over_all_masks_is_weight_scaling():
    """One softmax layer: the masks' geometric mean, normalised, is one pass with scaled weights.

    The arithmetic mean is not, nor is the geometric one behind a hidden ReLU.
    """
    rng, p = np.random.default_rng(4), 0.5
    x, hidden = rng.standard_normal((6, 8)), nn.Linear(8, 8, dtype=np.float64)
    linear, layer = nn.Linear(8, 3, dtype=np.float64), nn.Dropout(p)
    linear.weight.value = 2 * rng.standard_normal((3, 8))
    logs = np.array([kernels.log_softmax(linear(layer(x, mask=m))) for m in nn.all_masks(8)])
    geometric = np.exp(logs.mean(0))
    geometric /= geometric.sum(1, keepdims=True)
    scaled = kernels.softmax(linear(layer.eval()(x)))
    np.testing.assert_allclose(geometric, scaled, atol=1e-12)
    assert abs(np.exp(logs).mean(0) - scaled).max() > 0.01
    deep = [linear(kernels.relu(hidden(layer(x, mask=m)))) for m in nn.all_masks(8)]
    deep = kernels.softmax(np.mean(deep, 0))  # softmax of the mean logits: the geometric mean
    assert abs(deep - kernels.softmax(linear(kernels.relu(hidden(x))))).max() > 0.01


REFUSED = [
    (
        lambda: kernels.unit_dropout(ones(2, 3), ones(3)),
        "unit_dropout: rates has 1.0 at 0, expected 0 <= rate < 1",
    ),
    (
        lambda: kernels.unit_dropout(ones(2, 3), ones(2)),
        r"unit_dropout: rates has shape \(2,\), expected \(3,\)",
    ),
    (
        lambda: kernels.spatial_dropout(ones(2, 3), 1.5),
        "spatial_dropout: rate is 1.5, expected 0 <= rate < 1",
    ),
    (
        lambda: kernels.spatial_dropout_backward(ones(3)),
        r"spatial_dropout_backward: dy has shape \(3,\), expected \(N, C, ...\)",
    ),
    (lambda: kernels.gaussian_noise(ones(3), -1.0), "gaussian_noise: sd is -1.0, expected sd >= 0"),
    (lambda: kernels.gaussian_dropout(ones(3), 1), "gaussian_dropout: rate is 1, expected 0 <="),
    (lambda: kernels.alpha_dropout(ones(3), 0.5, -1), "alpha_dropout: seed is -1, expected seed"),
]


@pytest.mark.parametrize("call, message", REFUSED, ids=range(len(REFUSED)))
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_scale_is_a_number():
    with pytest.raises(TypeError, match="dropout: scale is a str, expected a number"):
        kernels.dropout(ones(3), scale="a")
