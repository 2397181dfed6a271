"""Layers that draw: gradients, modes, given masks; in a fit, on CUDA, and many passes at once."""

import numpy as np
import pytest

from fonio import kernels, nn


def ones(*shape):
    return np.ones(shape, np.float32)


def blobs(rows=120, features=5, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, rows)
    return (rng.normal(0, 2, (3, features))[y] + rng.normal(0, 1, (rows, features))).astype("f"), y


@pytest.mark.parametrize(
    "layer, keeps",
    [
        (nn.Dropout(0.4), True),
        (nn.Dropout([0.1, 0.9, 0.0, 0.5, 0.3]), True),
        (nn.Dropout(0.4, "test-scaled"), False),
        (nn.Dropout([0.1, 0.9, 0.0, 0.5, 0.3], "test-scaled"), False),
        (nn.Dropout2d(0.4), True),
        (nn.AlphaDropout(0.4), True),
        (nn.GaussianDropout(0.4), True),
    ],
    ids=repr,
)
def test_gradients_of_layers(layer, keeps):
    """With the mask held; each pass draws another, and its own backward the same again."""
    x = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    y, backward = layer.forward(x)
    again, _ = layer.forward(x)
    assert not np.array_equal(y, again)
    assert layer.counter[0] == 2
    dy, h = ones(6, 5), 1e-2
    layer.counter[0] = 0
    numeric = (layer.forward(x + np.float32(h))[0] - y) / h  # linear, or affine, in x
    np.testing.assert_allclose(backward(dy), numeric, atol=2e-3)
    y, backward = layer.eval().forward(x)
    assert (backward(dy) is dy and y is x) == keeps


def test_test_scaled_units_are_multiplied_by_their_chances_to_be_kept():
    p = [0.1, 0.9, 0.0]
    layer, x = nn.Dropout(p, "test-scaled"), ones(4000, 3)
    y, backward = layer.forward(x)
    np.testing.assert_array_equal(np.unique(y), [0, 1])
    np.testing.assert_array_equal(backward(x), y)
    y, backward = layer.eval().forward(x)
    np.testing.assert_allclose(y, np.broadcast_to([0.9, 0.1, 1.0], y.shape), rtol=1e-6)
    np.testing.assert_array_equal(backward(x), y)


def test_given_masks():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    y = nn.Dropout([0.5, 0.0, 0.75])(x, mask=[True, False, True])
    np.testing.assert_array_equal(y, x * [2, 0, 4])
    y = nn.Dropout2d(0.5).eval()(ones(2, 3, 2), mask=[[1, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(y[..., 0], [[2, 0, 2], [0, 2, 0]])
    layer = nn.DropConnect(3, 2, 0.5, bias=False)
    mask = np.array([[1, 0, 1], [0, 0, 1]])
    y, backward = layer.forward(x, mask=mask)
    np.testing.assert_allclose(y, x @ (2 * mask * layer.weight.value).T, rtol=1e-5)
    backward(ones(2, 2))
    np.testing.assert_array_equal(layer.weight.grad, 2 * mask * x.sum(0))


def test_alpha_dropout_keeps_a_deep_selu_net_at_unit_variance():
    """Sixteen SELU layers of lecun_normal weights; plain dropout lets the variance drift."""
    rng, found = np.random.default_rng(0), {}
    x = rng.standard_normal((500, 200)).astype(np.float32)
    for drop in (nn.AlphaDropout, nn.Dropout):
        layers, rng = [], np.random.default_rng(1)
        for _ in range(16):
            linear = nn.Linear(200, 200, bias=False)
            nn.init.normal(linear.weight, 0, 200**-0.5, rng)
            layers += [linear, nn.SELU(), drop(0.1)]
        model = nn.Sequential(*layers)
        for stream, layer in enumerate(layers):
            layer.stream = stream
        y = model(x)
        found[drop] = y.var(), y.mean()
    assert 0.7 < found[nn.AlphaDropout][0] < 1.4
    assert abs(found[nn.AlphaDropout][1]) < 0.15
    assert not 0.7 < found[nn.Dropout][0] < 1.4


# ---- in a fit


def family(p=0.3):
    nn.manual_seed(4)
    return nn.Sequential(
        nn.DropConnect(5, 8, p), nn.ReLU(), nn.Dropout([p] * 8), nn.DropConnect(8, 8, p, True),
        nn.SELU(), nn.AlphaDropout(p), nn.Dropout2d(p), nn.Dropout(p, "test-scaled"),
        nn.GaussianDropout(p), nn.Linear(8, 3),
    )  # fmt: skip


def weights(model):
    return b"".join(parameter.value.tobytes() for parameter in model.parameters())


def test_a_fit_is_a_loop_of_eager_steps():
    """Recorded and proven; each step's masks are those of its count, each layer's its own."""
    x, y = blobs(96)
    model, twin = family(), family()
    nn.fit(model, x, y, epochs=2, batch_size=32, shuffle=False, optimizer="sgd", progress=False)
    drawing = [layer for layer in twin if hasattr(layer, "stream")]
    for stream, layer in enumerate(drawing):
        layer.stream = stream
    optimizer = nn.SGD(twin.parameters(), lr=1e-2)
    for _ in range(2):
        for start in range(0, 96, 32):
            output, backward = twin.train().forward(x[start : start + 32])
            backward(kernels.cross_entropy(output, y[start : start + 32])[1])
            optimizer.step()
    assert weights(model) == weights(twin)
    assert [layer.counter[0] for layer in model if hasattr(layer, "counter")] == [6] * 7
    assert not model.training


def test_a_net_of_the_family_learns_and_is_saved(tmp_path):
    x, y = blobs(300)
    model = family(0.1)
    nn.fit(model, x, y, epochs=30, progress=False)
    assert nn.evaluate(model, x, y)["accuracy"] > 0.9
    nn.save(model, tmp_path / "net.safetensors")
    loaded = nn.load(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(nn.predict(loaded, x), nn.predict(model, x))
    assert repr(loaded) == repr(model)


def test_frozen_layers_draw_nothing():
    x, y = blobs()
    model = family()
    model[:9].freeze()
    before = weights(model[:9])
    nn.fit(model, x, y, epochs=1, progress=False)
    assert weights(model[:9]) == before
    assert all(layer.counter[0] == 0 for layer in model if hasattr(layer, "counter"))


@pytest.mark.slow
def test_on_cuda():
    """A step of the family on the emulator: the masks and the numbers of the CPU."""
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    from fonio.kernels import device
    from tests.cuda.device import EmulatedDevice

    x, y = blobs(8)
    found = []
    with device.use(EmulatedDevice()):
        for place in ("cpu", "cuda"):
            model = family().to(place)
            nn.fit(model, x, y, epochs=2, batch_size=4, progress=False, optimizer="sgd")
            found.append([nn.predict(model, x), *nn.monte_carlo(model, x, 2)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-4)


# ---- many passes


def test_monte_carlo_is_mean_and_deviation_of_passes():
    x, _ = blobs(30)
    nn.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3)
    ).eval()
    model[3].counter[0], model[3].seed = 7, 5
    running = model[1].running_mean.copy()
    mean, sd = nn.monte_carlo(model, x, 50, seed=2)
    again = nn.monte_carlo(model, x, 50, seed=2)
    np.testing.assert_array_equal([mean, sd], again)
    other = nn.monte_carlo(model, x, 50, seed=3)[0]
    assert not np.array_equal(mean, other)
    # as it was found
    assert not model[3].training and model[3].counter[0] == 7 and model[3].seed == 5
    np.testing.assert_array_equal(model[1].running_mean, running)

    model[3].train().seed, model[3].stream, model[3].counter[0] = 2, 0, 0
    passes = np.array([model(x) for _ in range(50)], np.float64)
    np.testing.assert_allclose(mean, passes.mean(0), rtol=1e-6)
    np.testing.assert_allclose(sd, passes.std(0), rtol=1e-5)
    assert nn.monte_carlo(model, x, 1)[1].max() == 0


def test_monte_carlo_nears_the_average_over_all_masks():
    """Of probabilities: the exact average over 2⁶ masks, within 5 standard errors."""
    x, _ = blobs(20, 6)
    nn.manual_seed(3)
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 3))
    mean, sd = nn.monte_carlo(model, x, 800, proba=True)
    exact = np.mean(
        [kernels.softmax(model[1](model[0](x, mask=mask))) for mask in nn.all_masks(6)], axis=0
    )
    np.testing.assert_allclose(mean.sum(1), 1, rtol=1e-5)
    assert (abs(mean - exact) < 5 * sd / np.sqrt(800) + 1e-6).all()


def test_a_batch_of_monte_carlo_is_cut_without_a_seam():
    x, _ = blobs(600)
    model = family()
    mean, sd = nn.monte_carlo(model, x, 5)
    assert mean.shape == sd.shape == (600, 3)
    np.testing.assert_array_equal(nn.monte_carlo(model, x[:512], 5)[0], mean[:512])


REFUSED = [
    (lambda: nn.Dropout([0.5, 1.0]), ValueError, "Dropout: p has 1.0 at 1, expected 0 <= p < 1"),
    (lambda: nn.Dropout([[0.5]]), ValueError, r"Dropout: p has shape \(1, 1\), expected a number"),
    (lambda: nn.Dropout("a"), TypeError, "Dropout: p is a str, expected a number"),
    (lambda: nn.Dropout(0.5, "x"), ValueError, "Dropout: unknown mode 'x', expected one of"),
    (lambda: nn.Dropout([0.5])(ones(2, 3)), ValueError, r"x has shape \(2, 3\), expected \(N, 1\)"),
    (lambda: nn.Dropout2d([0.5]), TypeError, "Dropout2d: p is a list, expected a number"),
    (lambda: nn.Dropout2d()(ones(3)), ValueError, r"spatial_dropout: x has shape \(3,\), expected"),
    (lambda: nn.AlphaDropout(1), ValueError, "AlphaDropout: p is 1, expected 0 <= p < 1"),
    (lambda: nn.GaussianDropout(-1), ValueError, "GaussianDropout: p is -1, expected 0 <= p"),
    (
        lambda: nn.Dropout()(ones(2, 3), mask=[1, 0]),
        ValueError,
        r"Dropout\(p=0.5\): mask has shape \(2,\), expected \(2, 3\) or \(3,\)",
    ),
    (lambda: nn.all_masks(21), ValueError, "all_masks: units is 21, expected units <= 20"),
    (lambda: nn.all_masks(-1), ValueError, "all_masks: units is -1, expected units >= 0"),
    (
        lambda: nn.monte_carlo(nn.Sequential(nn.Linear(3, 2)), ones(4, 3)),
        ValueError,
        "monte_carlo: the model has no layer that draws, expected Dropout",
    ),
    (
        lambda: nn.monte_carlo(nn.Sequential(nn.Dropout()), ones(4, 3), samples=0),
        ValueError,
        "monte_carlo: samples is 0, expected samples >= 1",
    ),
]  # fmt: skip


@pytest.mark.parametrize("call, error, message", REFUSED, ids=range(len(REFUSED)))
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_layer_with_a_chance_for_each_unit_is_not_made_wider():
    model = nn.Sequential(nn.Linear(5, 3), nn.Dropout([0.1, 0.2, 0.3]), nn.Linear(3, 3))
    with pytest.raises(TypeError, match="p of 3 units.* lies between the Linear layers"):
        nn.grow(model, 0, 2, *blobs(20))
