"""Initial weights: the spread that each rule names, what becomes of a signal, and LSUV."""

import math

import numpy as np
import pytest

from fonio import kernels, nn
from fonio.nn import init


def rng():
    return np.random.default_rng(3)


@pytest.mark.parametrize(
    ("fill", "std"),
    [
        (init.lecun_normal, 200**-0.5),
        (init.lecun_uniform, 200**-0.5),
        (lambda w: init.lecun_normal(w, gain=3), 3 * 200**-0.5),
        (init.he_normal, (2 / 200) ** 0.5),
        (init.he_uniform, (2 / 200) ** 0.5),
        (lambda w: init.kaiming_normal(w, 0.5), (2 / 1.25 / 200) ** 0.5),
        (lambda w: init.kaiming_normal(w, nonlinearity="tanh"), 5 / 3 * 200**-0.5),
        (init.glorot_normal, (2 / 500) ** 0.5),
        (init.glorot_uniform, (2 / 500) ** 0.5),
        (lambda w: init.truncated_normal(w, std=0.1, a=-0.2, b=0.2), 0.08796),
        (lambda w: init.truncated_normal(w, a=-60, b=50), 1.0),
        (init.orthogonal, 300**-0.5),
    ],
)
def test_each_rule_has_its_spread(fill, std):
    weight = nn.Linear(200, 300).weight
    assert fill(weight) is weight
    assert weight.value.std() == pytest.approx(std, rel=0.02)
    assert abs(weight.value.mean()) < 0.02 * std


def test_bounds_of_the_uniform_rules_are_reached():
    weight = np.empty((50, 300))
    init.lecun_uniform(weight, gain=2)
    assert 0.99 * 0.2 < abs(weight).max() <= 0.2


@pytest.mark.parametrize(("a", "b"), [(-2, 2), (0.5, 0.6), (3, np.inf), (-90, -5)])
def test_truncated_normal_follows_the_density_between_its_bounds(a, b):
    from scipy import stats

    drawn = init.truncated_normal(np.empty((40, 100)), 1.0, 2.0, 1 + 2 * a, 1 + 2 * b, rng())
    assert drawn.min() >= 1 + 2 * a and drawn.max() <= 1 + 2 * b
    assert stats.kstest((drawn.ravel() - 1) / 2, stats.truncnorm(a, b).cdf).pvalue > 0.01


@pytest.mark.parametrize("shape", [(30, 12), (12, 30), (9, 9)])
def test_orthogonal_rows_or_columns_are_orthonormal(shape):
    weight = init.orthogonal(np.empty(shape), gain=1.5, rng=rng())
    least = weight if shape[0] <= shape[1] else weight.T
    assert np.allclose(least @ least.T, 2.25 * np.eye(min(shape)), atol=1e-12)


def test_orthogonal_matrices_have_no_favourite_direction():
    """Without the signs of R the first element would always be negative."""
    first = [init.orthogonal(np.empty((3, 3)), rng=np.random.default_rng(i)) for i in range(200)]
    assert abs(np.mean([np.sign(q[0, 0]) for q in first])) < 0.2
    assert abs(np.mean([np.linalg.det(q) for q in first])) < 0.2


@pytest.mark.parametrize(("gain", "seventh"), [(0.5, 0.5**7), (1.5, 1.5**7), (1.0, 1.0)])
def test_the_scaled_identity_shrinks_a_signal_or_blows_it_up(gain, seventh):
    model = nn.Sequential(*(nn.Linear(6, 6) for _ in range(7)))
    init.apply(model, "eye", bias=0, gain=gain)
    x = rng().normal(size=(4, 6)).astype(np.float32)
    assert np.allclose(model(x), seventh * x, rtol=1e-6)
    assert init.eye(np.empty((2, 3)), 2.0).tolist() == [[2, 0, 0], [0, 2, 0]]


@pytest.mark.parametrize("n_times_var", [0.25, 1.0, 4.0])
def test_variance_through_linear_layers_is_predicted(n_times_var):
    """(n Var w)ᵏ of the input's, at each of five layers."""
    n, model = 300, nn.Sequential(*(nn.Linear(300, 300) for _ in range(5)))
    init.apply(model, "normal", bias=0, std=math.sqrt(n_times_var / n), rng=rng())
    x = np.random.default_rng(8).normal(size=(300, n)).astype(np.float32)
    for k, layer in enumerate(model, 1):
        x = layer(x)
        assert x.var() == pytest.approx(n_times_var**k, rel=0.1)


INDEPENDENT = {
    "gelu": lambda z: z * 0.5 * math.erfc(-z / math.sqrt(2)),
    "elu": lambda z: z if z > 0 else math.expm1(z),
    "softsign": lambda z: z / (1 + abs(z)),
    "silu": lambda z: z / (1 + math.exp(-z)),
    "softplus": lambda z: math.log1p(math.exp(z)),
}


@pytest.mark.parametrize("name", sorted(INDEPENDENT))
def test_gains_without_a_convention_keep_the_mean_square(name):
    from scipy import integrate

    def integrand(z):
        return INDEPENDENT[name](z) ** 2 * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    square = integrate.quad(integrand, -12, 12, points=[0])[0]
    assert init.calculate_gain(name) == pytest.approx(square**-0.5, rel=1e-6)


def test_gains_of_what_changes_the_width():
    z = rng().normal(size=(200_000, 3))
    largest = np.mean(z.max(axis=1) ** 2)
    assert init.calculate_gain("maxout", 3) == pytest.approx(largest**-0.5, rel=0.01)
    assert init.calculate_gain("maxout") == pytest.approx(1)
    gated = np.mean((z[:, 0] / (1 + np.exp(-z[:, 1]))) ** 2)
    assert init.calculate_gain("glu") == pytest.approx(gated**-0.5, rel=0.01)
    assert init.calculate_gain("crelu") == init.calculate_gain("relu") == math.sqrt(2)


def test_every_activation_has_a_gain():
    for name in kernels.ACTIVATIONS:
        assert 0.5 < init.calculate_gain(name) < 3
    assert init.calculate_gain("leaky_relu", 1.0) == 1
    assert init.calculate_gain("hard_tanh", (-50.0, 50.0)) == pytest.approx(1)


def net(bias=True):
    return nn.Sequential(
        nn.Linear(5, 8, bias=bias),
        nn.Tanh(),
        nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 8)),
        nn.ReLU(),
        nn.Linear(8, 3),
    )


def test_apply_initialises_every_linear_layer():
    model = net()
    assert init.apply(model, "constant", bias=0.01, value=2) is model
    for layer in (model[0], model[2][1], model[4]):
        assert (layer.weight.value == 2).all()
        assert (layer.bias.value == np.float32(0.01)).all()
    assert (model[2][0].weight.value == 1).all()  # the normalization's
    before = model[0].bias.value.copy()
    init.apply(model, lambda weight: init.orthogonal(weight, rng=rng()))
    assert np.array_equal(model[0].bias.value, before)
    assert init.apply(nn.Linear(3, 3), bias=init.zeros).bias.value.tolist() == [0, 0, 0]
    init.apply(net(bias=False), 0.5, bias=1)


@pytest.mark.parametrize("fill", sorted(init.INITIALIZERS))
def test_each_rule_works_by_its_name(fill):
    options = {"value": 3.0} if fill == "constant" else {}
    model = init.apply(net(), fill, **options)
    assert np.isfinite(model[0].weight.value).all()


def test_equal_weights_stay_equal_for_good():
    """The symmetry that random weights are there to break: all units of a layer train alike."""
    x = rng().normal(size=(64, 5)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int) + (x[:, 1] > 1)
    spread = {}
    for fill, options in (("constant", {"value": 0.1}), ("lecun_normal", {"rng": rng()})):
        hidden = nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 6), nn.Tanh()
        model = nn.Sequential(*hidden, nn.Linear(6, 3))
        init.apply(model, fill, bias=0.2, **options)
        nn.fit(model, x, y, epochs=20, optimizer=nn.SGD(model.parameters(), 0.2), progress=False)
        first, second = model[0].weight.value, model[2].weight.value
        spread[fill] = [np.ptp(first, axis=0).max(), np.ptp(second).max()]
        assert np.ptp(first, axis=1).max() > 0.01  # it did train
    assert spread["constant"] == [0, 0]
    assert min(spread["lecun_normal"]) > 0.1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lsuv_gives_each_layer_unit_variance(dtype):
    x = rng().normal(2, 5, (300, 5))
    model = net().to(dtype)
    assert init.lsuv(model, x, rng=rng()) is model
    assert model.training
    x = x.astype(dtype)
    model.eval()
    assert model[0](x).var() == pytest.approx(1, abs=0.01)
    hidden = model[:2](x)
    assert model[2](hidden).var() == pytest.approx(1, abs=0.01)
    assert model(x).var() == pytest.approx(1, abs=0.01)
    assert not any(layer.bias.value.any() for layer in (model[0], model[2][1], model[4]))
    assert not {"forward", "forward_fused"} & set(vars(model[0]))
    directions = model[4].weight.value @ model[4].weight.value.T
    assert np.allclose(directions, directions[0, 0] * np.eye(3), atol=1e-5)


class Bent(nn.Linear):
    """A linear layer whose output does not grow in proportion to its weights."""

    def forward(self, x):
        return kernels.elu(super().forward(x)[0]), None


def test_lsuv_tries_until_the_variance_is_right():
    x = rng().normal(size=(200, 5)).astype(np.float32)
    model = nn.Sequential(nn.Linear(5, 8), nn.Sigmoid(), Bent(8, 4))
    init.lsuv(model, x, tolerance=1e-4, trials=1, rng=rng())
    assert abs(model(x).var() - 1) > 0.1
    init.lsuv(model, x, tolerance=1e-4, rng=rng())
    assert model(x).var() == pytest.approx(1, abs=2e-4)


REFUSED = [
    (lambda: init.calculate_gain("gellu"), ValueError, "calculate_gain: unknown nonlinearity"),
    (lambda: init.calculate_gain("maxout", 0), ValueError, "param is 0, expected param >= 1"),
    (
        lambda: init.truncated_normal(np.zeros((2, 2)), std=0),
        ValueError,
        "std is 0, expected std >",
    ),
    (
        lambda: init.truncated_normal(np.zeros((2, 2)), a=1, b=1),
        ValueError,
        "b is 1, expected b > 1",
    ),
    (lambda: init.orthogonal(np.zeros(3)), ValueError, r"weight has shape \(3,\)"),
    (lambda: init.eye(np.zeros((2, 2, 2))), ValueError, r"weight has shape \(2, 2, 2\)"),
    (lambda: init.lecun_normal(np.zeros(3)), ValueError, r"weight has shape \(3,\)"),
    (lambda: init.kaiming_normal(np.zeros((2, 2)), mode="in"), ValueError, "unknown mode 'in'"),
    (lambda: init.apply(net(), "he"), ValueError, "apply: unknown weight 'he'"),
    (lambda: init.apply(net(), bias="one"), ValueError, "apply: unknown bias 'one'"),
    (lambda: init.apply(net(), [1]), TypeError, "apply: weight is a list, expected a name"),
    (lambda: init.apply(nn.Sequential(nn.ReLU()), "zeros"), ValueError, "has no linear layer"),
    (
        lambda: init.apply(nn.Sequential(nn.WeightNorm(nn.Linear(3, 3))), "zeros"),
        ValueError,
        "apply: WeightNorm.* makes its weights of others",
    ),
    (lambda: init.lsuv(nn.ReLU(), np.ones((4, 5))), ValueError, "lsuv: the model has no linear"),
    (lambda: init.lsuv(net(), np.zeros((9, 5))), ValueError, "has variance 0 on x"),
    (lambda: init.lsuv(net(), np.ones((9, 4))), ValueError, r"expected \(N, 5\)"),
    (lambda: init.lsuv(net(), np.ones(5)), ValueError, r"lsuv: x has shape \(5,\)"),
    (lambda: init.lsuv(net(), np.ones((9, 5)), tolerance=0), ValueError, "tolerance is 0"),
    (lambda: init.lsuv(net(), np.ones((9, 5)), trials=0), ValueError, "trials is 0"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED, ids=range(len(REFUSED)))
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
