"""Augmentation: exact movements, distributions of what is drawn, fits, composition, errors."""

import platform

import numpy as np
import pytest
from scipy import ndimage, stats

from fonio import kernels, nn
from fonio.kernels import device
from fonio.kernels.resampling import resample
from tests.test_generated_code import MACHINES

SHAPE = (6, 7)


@pytest.fixture
def pictures(rng):
    return rng.standard_normal((5, 2 * 6 * 7)).astype(np.float32)


def _see(rows, shape=SHAPE):
    return rows.reshape(len(rows), -1, *shape)


def test_what_moves_by_whole_pixels_keeps_its_bits(pictures):
    seen = _see(pictures)
    np.testing.assert_array_equal(kernels.affine(pictures, SHAPE), pictures)
    moved = kernels.affine(pictures, SHAPE, right=(2, 2), down=(-1, -1), fill=0.5)
    wanted = np.full_like(seen, 0.5)
    wanted[..., :-1, 2:] = seen[..., 1:, :-2]
    np.testing.assert_array_equal(_see(moved), wanted)
    mirrored = kernels.flip(pictures, SHAPE, 1.0, 1.0)
    np.testing.assert_array_equal(_see(mirrored), seen[..., ::-1, ::-1])
    square = pictures[:, :72]
    for quarters in (1, 2, 3, -1):
        turned = kernels.affine(square, (6, 6), degrees=(90 * quarters, 90 * quarters))
        wanted = np.rot90(_see(square, (6, 6)), quarters, axes=(2, 3))
        np.testing.assert_array_equal(_see(turned, (6, 6)), wanted)


@pytest.mark.parametrize("degrees", [15, -40, 200])
def test_rotation_is_scipys(rng, degrees):
    picture = rng.standard_normal((9, 9))
    turned = nn.Rotate((degrees, degrees))(picture.reshape(1, -1))
    wanted = ndimage.rotate(picture, degrees, reshape=False, order=1, mode="grid-constant")
    np.testing.assert_allclose(turned.reshape(9, 9), wanted, atol=1e-12)


def test_scale_and_shear_are_scipys(rng):
    picture = rng.standard_normal((8, 8))
    affine = nn.Affine(scale=(1.3, 1.3), shear=(0.25, 0.25), down=(0.5, 0.5))
    inverse = np.linalg.inv(1.3 * np.array([[1, 0], [0.25, 1]]))  # (row, column), as SciPy has it
    offset = 3.5 - inverse @ [4.0, 3.5]
    wanted = ndimage.affine_transform(picture, inverse, offset, order=1, mode="grid-constant")
    found = affine(picture.reshape(1, -1)).reshape(8, 8)
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def _drawn(count, **ranges):
    matrix = np.empty((count, 6))
    kernels.draw_affine(matrix, **ranges)
    return matrix


def test_what_is_drawn_is_spread_evenly():
    count = 4000
    matrix = _drawn(count, degrees=(-30, 50), scale=(0.5, 2), right=(-3, 1), seed=5)
    degrees = np.degrees(np.arctan2(matrix[:, 3], matrix[:, 0]))
    scale = 1 / np.hypot(matrix[:, 0], matrix[:, 3])
    inverse = matrix[:, [0, 1, 3, 4]].reshape(-1, 2, 2)
    right = -np.linalg.solve(inverse, matrix[:, [2, 5]][..., None])[:, 0, 0]
    for values, low, high in ((degrees, -30, 50), (scale, 0.5, 2), (right, -3, 1)):
        assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 0.01
        assert low <= values.min() and values.max() <= high
    assert abs(np.corrcoef([degrees, scale, right]) - np.eye(3)).max() < 0.06


def test_whole_steps_and_mirrors_are_equally_likely():
    matrix = _drawn(4000, right=(-1.5, 2.5), whole=True, horizontal=0.25, vertical=1.0, seed=9)
    mirrored = matrix[:, 0] < 0
    assert (matrix[:, 4] == -1).all()
    assert abs(mirrored.mean() - 0.25) < 0.03
    shifts, counts = np.unique(-matrix[:, 2] * matrix[:, 0], return_counts=True)
    assert shifts.tolist() == [-1.5, -0.5, 0.5, 1.5, 2.5]
    assert stats.chisquare(counts).pvalue > 0.01


def test_a_picture_does_not_depend_on_its_precision_or_the_batch(pictures):
    arguments = {"degrees": (-20, 20), "scale": (0.8, 1.2), "right": (-2, 2), "seed": 3, "step": 7}
    single = kernels.affine(pictures, SHAPE, **arguments)
    double = kernels.affine(pictures.astype(np.float64), SHAPE, **arguments)
    np.testing.assert_allclose(single, double, atol=1e-4)
    first = kernels.affine(pictures[:2].copy(), SHAPE, **arguments)
    np.testing.assert_array_equal(first, single[:2])
    for other in ({"seed": 4}, {"step": 8}, {"stream": 1}):
        assert (kernels.affine(pictures, SHAPE, **arguments | other) != single).any(axis=1).all()


def test_crops_reach_every_place_and_no_other():
    picture = np.arange(1.0, 31.0).reshape(1, 30)
    wide = np.pad(picture.reshape(5, 6), 1)
    places = {
        tuple(wide[t : t + 4, m : m + 5].reshape(-1)): (t, m) for t in range(4) for m in range(4)
    }
    crops = kernels.crop(np.repeat(picture, 600, axis=0), (5, 6), (4, 5), padding=1)
    found = [places[tuple(crop)] for crop in crops]
    counts = [found.count(place) for place in places.values()]
    assert len(places) == 16 and stats.chisquare(counts).pvalue > 0.01


@pytest.mark.parametrize("have, want", [(8, 5), (8, 6), (7, 6), (5, 5)])
def test_center_crop_and_its_backward(rng, have, want):
    layer = nn.CenterCrop((have, have), want)
    x, dy = rng.standard_normal((3, have * have)), rng.standard_normal((3, want * want))
    y, backward = layer.forward(x)
    first = (have - want) // 2
    part = slice(first, first + want)
    np.testing.assert_array_equal(
        _see(y, (want, want))[:, 0], _see(x, (have, have))[:, 0, part, part]
    )
    assert np.vdot(y, dy) == pytest.approx(np.vdot(x, backward(dy)))
    assert layer(y) is y


def test_cutout_covers_a_square(pictures):
    covered = kernels.cutout(np.ones((2000, 2 * 6 * 7)), SHAPE, 3, chance=0.75, fill=-1.0)
    seen = _see(covered)
    np.testing.assert_array_equal(seen[:, 0], seen[:, 1])
    hidden = (seen[:, 0] < 0).sum((1, 2))
    assert set(hidden) == {0, 4, 6, 9}
    assert abs((hidden > 0).mean() - 0.75) < 0.03
    middle = hidden[hidden > 0] == 9  # where the middle is no pixel of the edge
    assert abs(middle.mean() - 4 * 5 / 42) < 0.04


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.5, 1.0, 2.0, 8.0, 50.0])
def test_shares_of_mixup_are_beta(alpha):
    """Mean, variance and the whole distribution: λ is the target of a row whose partner's is 0."""
    count = 20_000
    x, targets = np.zeros((count, 1)), np.tile([[1.0], [0.0]], (count // 2, 1))
    seed = next(seed for seed in range(20) if _partner(count, seed=seed) % 2)  # kinds never meet
    shares = kernels.mixup(x, targets, alpha, seed=seed)[1][:, 0]
    shares = np.where(np.arange(count) % 2, 1 - shares, shares)
    beta = stats.beta(alpha, alpha)
    assert abs(shares.mean() - 0.5) < 5 * beta.std() / np.sqrt(count)
    assert shares.var() == pytest.approx(beta.var(), rel=0.03)
    low = shares[shares < 0.5]  # near 1 few numbers are left for a small α
    assert abs(len(low) / count - 0.5) < 0.02
    assert stats.kstest(low, lambda value: 2 * beta.cdf(value)).pvalue > 0.01


def _partner(count, **key):
    """How many rows further on the partner of a row stands: row 0 gets (1 - λ)j and (1 - λ)j²."""
    places = np.arange(float(count))[:, None]
    mixed, squares = kernels.mixup(places, places**2, 1.0, **key)
    return round(squares[0, 0] / mixed[0, 0])


def test_mixup_pairs_each_row_with_another(rng):
    x, labels = rng.standard_normal((9, 4)), rng.integers(0, 3, 9)
    assert {_partner(9, step=step) for step in range(60)} == set(range(1, 9))
    mixup = nn.Mixup(0.5, classes=3)
    mixed, targets = mixup.apply(x, labels)
    assert mixed.shape == x.shape and targets.shape == (9, 3)
    np.testing.assert_allclose(targets.sum(1), 1)
    assert (targets[np.arange(9), labels] > 0).all()
    alone, _ = kernels.mixup(x[:1], x[:1])
    np.testing.assert_allclose(alone, x[:1])


def _fit(augment, epochs=(3,), seed=4, place="cpu", rows=70):
    (x, y), _ = nn.datasets.digits()
    nn.init.manual_seed(1)
    model = nn.Sequential(nn.Linear(64, 9), nn.Tanh(), nn.Linear(9, 10)).to(place)
    for count in epochs:
        history = nn.fit(
            model, x[:rows], y[:rows], epochs=count, augment=augment, seed=seed, progress=False
        )
    assert np.isfinite(history["loss"]).all()
    return np.concatenate([np.ravel(p.value) for p in model.to("cpu").parameters()])


def _all_kinds():
    return [
        nn.Compose(nn.Shift(1), nn.Rotate(10), nn.Scale(), nn.Flip(0.3), nn.Crop(8, padding=1)),
        nn.Affine(shear=0.1, right=1, whole=True),
        nn.Noise(0.1),
        nn.Cutout(2),
        nn.Mixup(0.4, classes=10),
    ]


def test_a_fit_gives_the_same_bits_for_any_number_of_threads():
    before, fitted = kernels.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            kernels.set_num_threads(threads)
            fitted.append(_fit(_all_kinds()))
    finally:
        kernels.set_num_threads(before)
    np.testing.assert_array_equal(fitted[1], fitted[0])
    np.testing.assert_array_equal(fitted[2], fitted[0])


def test_a_second_fit_goes_on_and_the_seed_decides():
    fitted = _fit(nn.Rotate(20), epochs=(5,))
    np.testing.assert_array_equal(_fit(nn.Rotate(20), epochs=(2, 3)), fitted)
    assert (_fit(nn.Rotate(20), epochs=(5,), seed=5) != fitted).any()
    assert (_fit([], epochs=(5,)) != fitted).any()


def test_a_fit_on_cuda_sees_the_same_pictures():
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    from tests.cuda.device import EmulatedDevice

    wanted = _fit(_all_kinds(), epochs=(1,), rows=9)
    with device.use(EmulatedDevice()):
        found = _fit(_all_kinds(), epochs=(1,), rows=9, place="cuda")
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


def test_what_computes_with_numpy_is_refused_by_a_fit():
    class Careless(nn.Augmentation):
        def change(self, x, y, step):
            return x + np.float32(step[0]), y

    with pytest.raises(RuntimeError, match="computes outside fonio.kernels"):
        _fit(Careless())


def test_augmentation_pays_on_shifted_digits():
    """Test digits shifted by one pixel: fewer errors after training on shifted ones."""
    (x, y), (x_test, y_test) = nn.datasets.digits()
    shifted = nn.Shift(right=(1, 1), down=(-1, -1))(x_test)
    found = []
    for augment in ([], nn.Shift(1, whole=True)):
        nn.init.manual_seed(2)
        model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        nn.fit(model, x, y, epochs=20, augment=augment, progress=False)
        found.append(nn.evaluate(model, shifted, y_test)["accuracy"])
    assert found[1] > found[0] + 0.2


def test_a_model_that_crops_for_itself():
    (x, y), (x_test, y_test) = nn.datasets.digits()
    nn.init.manual_seed(3)
    model = nn.Sequential(
        nn.CenterCrop((8, 8), (7, 6)), nn.Linear(42, 20), nn.ReLU(), nn.Linear(20, 10)
    )
    history = nn.fit(
        model, x, y, epochs=20, augment=nn.Crop((7, 6)), validation=(x_test, y_test), progress=False
    )
    assert history["val_accuracy"][-1] > 0.8
    assert nn.predict(model, x_test).shape == (360, 10)


def test_movements_side_by_side_take_one_resampling(pictures):
    square = pictures[:, :72].astype(np.float64)
    parts = lambda: (nn.Shift(right=(1, 1), down=(2, 2), shape=(6, 6)), nn.Rotate((90, 90)))  # noqa: E731
    shift, turn = parts()
    turn.shape = (6, 6)
    np.testing.assert_array_equal(nn.Compose(*parts())(square), turn(shift(square)))
    chain = nn.Compose([nn.Scale((0.5, 0.5), shape=(6, 6)), nn.Scale((2.0, 2.0))])
    np.testing.assert_allclose(chain(square), square, atol=1e-12)  # no pixel was lost in between
    launches = []
    with kernels.record() as recording:
        chain(square)
        launches.append(len(recording))
        nn.Compose(*parts(), nn.Crop(5), nn.Noise())(square[:, :36])
        launches.append(len(recording))
    assert launches == [4, 4 + 6]  # a ticket, the movements, one resampling; noise


def test_compose_gives_each_part_a_stream_of_its_own(rng):
    x = rng.standard_normal((4, 64))
    chain = nn.Compose(nn.Noise(1.0), nn.Compose(nn.Noise(1.0)))
    first, second = chain.parts
    assert not np.allclose(first(x) - x, second(x) - x)
    chain.seed, chain.stream = 7, 3
    assert {part.seed for part in chain.parts} == {7}
    assert len({chain.stream, *(part.stream for part in chain.parts)}) == 3
    with pytest.raises(ValueError, match="Compose: an augmentation stands twice, expected once"):
        nn.Compose(first, first)


def test_calls_count_and_previews_do_not(rng):
    x = rng.random((3, 64))
    rotate = nn.Rotate(30)
    forms = rotate.preview(x, 4)
    assert forms.shape == (3, 4, 64) and rotate.counter[0] == 0
    np.testing.assert_array_equal(rotate(x), forms[:, 0])
    np.testing.assert_array_equal(rotate(x), forms[:, 1])
    assert rotate(x.astype(np.float32)).dtype == np.float32
    assert rotate((x > 0.5).astype(np.int8)).dtype == np.float32
    assert repr(rotate) == "Rotate(degrees=(-30.0, 30.0), shape=None, fill=0.0)"


@pytest.mark.skipif(platform.machine() not in MACHINES, reason="reads x86-64 and AArch64 code")
def test_resampling_is_vectors_of_float32():
    x, matrix = np.zeros((2, 64), np.float32), np.zeros((2, 6), np.float32)
    code = resample.assembly(x, x, matrix, 8, 8, 8, 8, np.float32(0))
    machine = MACHINES[platform.machine()]
    assert machine["vector"].search(code) and not machine["double"].search(code)
