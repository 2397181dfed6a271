"""Layers of normalization in a net: gradients, fits, files; and what each is made for."""

import numpy as np
import pytest

from fonio import nn
from tests.test_modules import check_gradients

SMALL = {
    "LayerNorm": lambda: nn.LayerNorm(6),
    "RMSNorm": lambda: nn.RMSNorm(6),
    "GroupNorm": lambda: nn.GroupNorm(3, 6),
    "DivisiveNorm": lambda: nn.DivisiveNorm(6, 3, 5, 0.5),
    "PowerNorm": lambda: nn.PowerNorm(6),
    "BatchNorm1d plain": lambda: nn.BatchNorm1d(6, affine=False),
    "BatchNorm1d cumulative": lambda: nn.BatchNorm1d(6, momentum=None),
    "BatchNorm1d batch only": lambda: nn.BatchNorm1d(6, track_running_stats=False),
    "WeightNorm": lambda: nn.WeightNorm(nn.Linear(6, 6)),
    "CenteredWeightNorm": lambda: nn.CenteredWeightNorm(nn.Linear(6, 6)),
    "NormPropLinear": lambda: nn.NormPropLinear(6, 6),
    "NormPropLinear gelu": lambda: nn.NormPropLinear(6, 6, "gelu"),
    "WhitenedLinear": lambda: nn.WhitenedLinear(6, 6),
}


def small_net(name):
    nn.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 6), SMALL[name](), nn.Tanh(), nn.Linear(6, 3))


@pytest.mark.parametrize("name", [name for name in SMALL if name != "PowerNorm"])
def test_gradients_of_a_net(name):
    model = small_net(name).to(np.float64)
    check_gradients(model, np.random.default_rng(0).standard_normal((7, 4)), 1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_a_fit_of_a_net(name):
    """Recorded, proven against an eager step, replayed; and 1 epoch and 2 more are 3."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((40, 4)).astype(np.float32)
    y, results = x[:, :3].argmax(1), []
    for epochs in ((3,), (1, 2)):
        model = small_net(name)
        callbacks = [nn.RefreshWhitening(x)] if name == "WhitenedLinear" else []
        options = {"batch_size": 8, "progress": False, "callbacks": callbacks}
        optimizer = nn.SGD(model.parameters(), lr=0.1)
        histories = [nn.fit(model, x, y, epochs=n, optimizer=optimizer, **options) for n in epochs]
        results.append(nn.predict(model, x))
    assert histories[-1].loss[-1] < histories[0].loss[0]
    assert np.array_equal(*results)


@pytest.mark.parametrize("name", SMALL)
def test_a_file_holds_it(name, tmp_path):
    model = small_net(name)
    model(np.random.default_rng(0).standard_normal((7, 4)).astype(np.float32))
    nn.save(model.eval(), tmp_path / "net.safetensors")
    x = np.ones((2, 4), np.float32)
    assert np.array_equal(nn.load(tmp_path / "net.safetensors")(x), model(x))


def test_a_weight_normalized_layer_starts_where_its_linear_was():
    x = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
    linear = nn.Linear(7, 4)
    wanted = linear(x)
    layer = nn.WeightNorm(linear)
    np.testing.assert_allclose(layer(x), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.to_linear()(x), wanted, rtol=1e-5, atol=1e-6)
    layer.weight_g.value = 2 * layer.weight_g.value  # the length alone
    np.testing.assert_allclose(layer(x) - linear.bias.value, 2 * (wanted - linear.bias.value), 1e-4)


def test_power_normalization_follows_the_mean_square():
    layer = nn.PowerNorm(3, momentum=0.5)
    x = (np.random.default_rng(0).standard_normal((500, 3)) * [1, 2, 3]).astype(np.float32)
    for _ in range(40):
        y = layer(x)
    np.testing.assert_allclose(layer.running_power, (x**2).mean(0), rtol=1e-4)
    np.testing.assert_allclose((y**2).mean(0), 1, rtol=1e-3)
    before = layer.running_power.copy()
    np.testing.assert_allclose(layer.eval()(x), y, rtol=1e-5)
    assert np.array_equal(layer.running_power, before)


@pytest.mark.parametrize("name", ["LayerNorm", "RMSNorm", "GroupNorm", "DivisiveNorm", "PowerNorm"])
def test_a_batch_of_one_row_is_as_good_as_another(name):
    """What batch normalization cannot do (lecture 004): the same row, the same bits."""
    layer = SMALL[name]()
    x = np.random.default_rng(0).standard_normal((9, 6)).astype(np.float32)
    alone = SMALL[name]()(x[4:5])
    assert np.array_equal(layer(x)[4:5], alone)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_propagated_normalization_keeps_mean_and_deviation(activation):
    """Ten layers, no batch looked at: what comes out is as standard as what went in."""
    nn.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((400, 200)).astype(np.float32)
    for _ in range(10):
        x = nn.NormPropLinear(200, 200, activation)(x)
    assert abs(x.mean()) < 0.05
    assert 0.9 < x.std() < 1.1


def test_the_gain_of_propagated_normalization_keeps_gradients():
    nn.manual_seed(0)
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 300, 200)).astype(np.float32)
    grown = {}
    for gain in (1.0, 1 / 1.21):
        model = nn.Sequential(*[nn.NormPropLinear(200, 200, gain=gain) for _ in range(5)])
        grown[gain] = np.linalg.norm(model.forward(x)[1](dy)) / np.linalg.norm(dy)
    assert 0.9 < grown[1 / 1.21] < 1.1
    assert grown[1.0] > 2  # 1.21 to the fifth is 2.6


def test_a_weight_norm_wraps_a_linear():
    with pytest.raises(TypeError, match="WeightNorm: linear is a ReLU, expected a Linear"):
        nn.WeightNorm(nn.ReLU())


ALWAYS = ("GroupNorm", "NormPropLinear")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in ALWAYS else pytest.mark.slow) for name in SMALL],
)
def test_steps_on_cuda_are_those_of_the_cpu(name):
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    from fonio.kernels import device
    from tests.cuda.device import EmulatedDevice

    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(5, 4)).astype(np.float32), rng.integers(0, 3, 5)
    losses = []
    with device.use(EmulatedDevice()):
        for place in ("cpu", "cuda"):
            model = small_net(name).to(place)
            step = nn.step(model, "cross_entropy", nn.SGD(model.parameters(), lr=0.1), 5)
            losses.append([step(x, y) for _ in range(3)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
