"""Activations: PyTorch's answers, what the lectures claim of them, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from numba import njit
from scipy import special

from fonio import kernels, nn
from tests.test_modules import check_gradients

FROZEN = np.load(Path(__file__).parent / "frozen" / "activations.npz")
CASES = sorted({name.rpartition(" ")[0] for name in FROZEN.files if " " in name})
PYTORCHS = {"CELU": 1e-6, "Hardsigmoid": 1e-7}  # its float64 has a constant of float32 there


@pytest.mark.parametrize("case", CASES)
def test_pytorchs_answers(case):
    """Values and gradients, at every kink too, and at infinity and NaN."""
    name, _, options = case.partition(" ")
    module = getattr(nn, name)(**json.loads(options)).to(np.float64)
    for parameter in module.parameters():
        if parameter.size > 1:
            parameter.value = np.linspace(-0.5, 1.0, parameter.size)
        elif name == "Swish":
            parameter.value = [json.loads(options)["beta"]]  # not what float32 has of it
    y, dx = FROZEN[f"{case} y"], FROZEN[f"{case} dx"]
    found, backward = module.forward(FROZEN["x"].reshape(dx.shape))
    np.testing.assert_allclose(found, y, rtol=1e-13, atol=1e-15)
    dy = np.ascontiguousarray(FROZEN["dy"][:, : y[0].size]).reshape(y.shape)
    np.testing.assert_allclose(backward(dy), dx, rtol=PYTORCHS.get(name, 1e-12), atol=1e-14)
    for parameter in module.parameters():
        np.testing.assert_allclose(parameter.grad, FROZEN[f"{case} dweight"], rtol=1e-12)
    if f"{case} special" in FROZEN.files:
        found = module(np.array([[np.inf, -np.inf, np.nan]]))[0]
        np.testing.assert_array_equal(found, FROZEN[f"{case} special"])


SMOOTH = {
    "mish": lambda x: x * np.tanh(np.logaddexp(x, 0)),
    "swish": lambda x: x * special.expit(x),
    "celu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "softsign": lambda x: x / (1 + np.abs(x)),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_float32_is_right_to_a_few_ulp(name):
    """From the smallest results to the largest numbers, relative to the result."""
    x = np.concatenate([np.linspace(-80, 80, 20001), [1e4, 3e38, -1e4, -3e38]]).astype(np.float32)
    exact = SMOOTH[name](x.astype(np.float64))
    found = getattr(kernels, name)(x)
    error = np.abs(found - exact) / np.maximum(np.abs(exact), np.finfo(np.float32).tiny)
    assert error.max() <= 6 * np.finfo(np.float32).eps
    dx = getattr(kernels, f"{name}_backward")(np.ones_like(x), x)
    assert np.isfinite(dx).all()
    assert np.abs(dx).max() < 1.2


def test_swish_lies_between_a_line_and_relu():
    x = np.linspace(-5, 5, 101)
    np.testing.assert_array_equal(kernels.swish(x, 1.0), kernels.silu(x))
    np.testing.assert_array_equal(kernels.swish(x, 0.0), x / 2)
    np.testing.assert_allclose(kernels.swish(x, 1e4), kernels.relu(x), atol=1e-12)


def test_relu6_is_the_difference_of_two_relus():
    x = np.linspace(-3, 9, 49)
    np.testing.assert_array_equal(kernels.relu6(x), kernels.relu(x) - kernels.relu(x - 6))


def test_elu_meets_its_line_at_zero_whatever_alpha():
    """α·(eˣ - 1), not α·eˣ - 1, which would jump by α - 1."""
    near = np.array([-1e-9, 0.0, 1e-9])
    for alpha in (0.1, 1.0, 3.0):
        np.testing.assert_allclose(kernels.elu(near, alpha), 0, atol=4e-9)
        np.testing.assert_allclose(kernels.celu_backward(np.ones(3), near, alpha), 1, atol=2e-8)


def test_gelu_is_the_mean_of_a_bernoulli_gate():
    """GELU(x) = E[m·x] and x·GELU(x) = E[(m·x)²] for m ~ Bernoulli(Φ(x)), drawn by Philox."""
    count, x = 1 << 18, np.linspace(-3, 3, 13)
    counter = np.zeros((count // 4, 4), np.uint32)
    counter[:, 0] = np.arange(count // 4)
    words = kernels.philox(counter, np.array([7, 11], np.uint32)).reshape(-1)
    chance = special.ndtr(x)
    gates = np.array([(words < p * 2.0**32).mean() for p in chance])
    spread = np.sqrt(chance * (1 - chance) / count)
    assert (np.abs(gates * x - kernels.gelu(x)) <= 5 * spread * np.abs(x) + 1e-9).all()
    assert (np.abs(gates * x**2 - x * kernels.gelu(x)) <= 5 * spread * x**2 + 1e-9).all()
    assert not np.allclose(gates * x, kernels.relu(x), atol=0.05)


def test_prelu_and_swish_of_numbers():
    """In Python and inside njit, where a number takes the formula of the fixed activation."""

    @njit
    def inside(x, p):
        return kernels.prelu(x, p), kernels.learned_swish(x, p), kernels.mish(x)

    x, p = np.float32(-0.7), np.float32(0.3)
    wanted = kernels.leaky_relu(x, p), kernels.swish(x, p), kernels.mish(x)
    assert (kernels.prelu(x, p), kernels.learned_swish(x, p), kernels.mish(x)) == wanted
    assert inside(x, p) == wanted
    assert all(type(value) is np.float32 for value in wanted)


def test_numbers_do_not_make_a_fused_activation_float64():
    """The last step of a product on CUDA, for every activation with numbers."""
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    from numba import cuda, float32

    from fonio.kernels.cuda_products import _epilogue
    from tests.cuda.offline import resources

    names = "leaky_relu", "elu", "celu", "swish", "hard_tanh", "threshold"
    a, b, c, d, e, f = map(_epilogue, names)

    def kernel(out, x):
        i = cuda.grid(1)
        if i < x.size:
            out[i] = a(x[i], b(x[i], c(x[i], d(x[i], e(x[i], f(x[i], x[i]))))))

    assert resources(kernel, (float32[::1], float32[::1]), (7, 5)).doubles_in_ptx() == []


MODULES = [
    nn.Threshold(0.1, -0.2), nn.Hardtanh(), nn.Hardtanh(-0.3, 0.4), nn.Hardsigmoid(),
    nn.Hardswish(), nn.CELU(), nn.CELU(0.5), nn.Mish(), nn.Softsign(), nn.Swish(1.5),
    nn.Swish(0.8, learned=True), nn.Swish(learned=True, num_parameters=6), nn.PReLU(),
    nn.PReLU(6, init=0.1), nn.Maxout(3), nn.CReLU(), nn.GLU(),
]  # fmt: skip


@pytest.mark.parametrize("module", MODULES, ids=repr)
def test_gradients_of_a_net(module):
    """Between two linear layers, the first of which computes some of them."""
    nn.manual_seed(2)
    before = nn.Linear(4, 6)
    width = nn.Sequential(before, module).out_features
    model = nn.Sequential(before, module, nn.Linear(width, 2)).to(np.float64)
    check_gradients(model, np.random.default_rng(0).standard_normal((6, 4)))


def test_default_numbers_are_fused_and_others_are_not():
    for module in (nn.Hardtanh(), nn.ELU(), nn.CELU(), nn.Hardsigmoid(), nn.Softsign()):
        assert module.fusible == module.operation
    for module in (nn.Hardtanh(-1, 2), nn.ELU(0.5), nn.CELU(2), nn.Mish(), nn.Swish()):
        assert module.fusible is None


def test_a_fit_trains_slopes_and_all_widths():
    """Recorded and replayed: the proof of the second step holds for each of them."""
    nn.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(64, 32), nn.PReLU(32), nn.Linear(32, 32), nn.Maxout(2), nn.Linear(16, 16),
        nn.CReLU(), nn.Linear(32, 40), nn.GLU(), nn.Swish(learned=True), nn.PReLU(),
        nn.Linear(20, 10),
    )  # fmt: skip
    assert (model.in_features, model.out_features) == (64, 10)
    (x, y), test = nn.datasets.digits()
    optimizer = nn.Adam(model.parameters(), lr=0.01)
    history = nn.fit(model, x, y, epochs=6, optimizer=optimizer, progress=False)
    assert history["loss"][-1] < 0.2 < 0.6 < history["loss"][0]
    assert nn.evaluate(model, *test)["accuracy"] > 0.9
    assert np.ptp(model[1].weight.value) > 0.01  # of 32 slopes that began alike
    assert abs(model[8].beta.value[0] - 1) > 0.01


def _net(width, module):
    return nn.Sequential(nn.Linear(5, width), module)


X = np.zeros((3, 10), np.float32)
REFUSED = [
    (lambda: nn.Maxout(0), ValueError, "Maxout: pieces is 0, expected pieces >= 1"),
    (lambda: nn.Maxout(2.0), TypeError, "Maxout: pieces is a float, expected an integer"),
    (lambda: _net(10, nn.Maxout(3)), ValueError, "pieces is 3, expected a divisor of the 10 feat"),
    (lambda: _net(5, nn.GLU()), ValueError, "GLU: 5 features come before it, expected an even"),
    (lambda: _net(5, nn.PReLU(4)), ValueError, "layer 1 PReLU.* expects 4 features, but layer 0"),
    (lambda: nn.PReLU(0), ValueError, "PReLU: num_parameters is 0, expected num_parameters >= 1"),
    (lambda: nn.PReLU(init="a"), TypeError, "PReLU: init is a str, expected a number"),
    (lambda: nn.Swish("a"), TypeError, "Swish: beta is a str, expected a number"),
    (lambda: nn.CELU(0), ValueError, "CELU: alpha is 0, expected alpha > 0"),
    (lambda: nn.Hardtanh(1, 1), ValueError, "Hardtanh: min_val is 1, expected min_val < 1"),
    (lambda: kernels.maxout(X, 3), ValueError, "maxout: pieces is 3, expected a divisor of 10, th"),
    (lambda: kernels.maxout(X, 0), ValueError, "maxout: pieces is 0, expected pieces >= 1"),
    (lambda: kernels.maxout(X, 2.0), TypeError, "maxout: pieces is a float, expected an integer"),
    (
        lambda: kernels.maxout(X, 2, out=X[:, :4].copy()),
        ValueError,
        r"maxout: out has shape \(3, 4\), expected \(3, 5\)",
    ),
    (
        lambda: kernels.maxout_backward(X[:, :4].copy(), X, 2),
        ValueError,
        r"maxout_backward: dy has shape \(3, 4\), expected \(3, 5\)",
    ),
    (lambda: kernels.glu(X[:, :5]), ValueError, "glu: x has 5 columns, expected an even number"),
    (
        lambda: kernels.glu_backward(X, X),
        ValueError,
        r"glu_backward: dy has shape \(3, 10\), expected \(3, 5\)",
    ),
    (
        lambda: kernels.crelu_backward(X, X),
        ValueError,
        r"crelu_backward: dy has shape \(3, 10\), expected \(3, 20\)",
    ),
    (
        lambda: kernels.prelu(X, np.zeros(5, np.float32)),
        ValueError,
        r"prelu: slope has shape \(5,\), expected \(1,\) or \(10,\)",
    ),
    (
        lambda: kernels.learned_swish_backward(X, X, np.zeros(2, np.float32)),
        ValueError,
        r"learned_swish_backward: beta has shape \(2,\), expected \(1,\) or \(10,\)",
    ),
    (lambda: kernels.prelu(X, 0.1), TypeError, "prelu: slope is a float, expected a NumPy array"),
    (lambda: kernels.celu(X, 0), ValueError, "celu: alpha is 0, expected alpha > 0"),
    (lambda: kernels.celu(1.0, -1), ValueError, "celu: alpha is -1, expected alpha > 0"),
    (lambda: kernels.hard_tanh(X, 2, 1), ValueError, "hard_tanh: min_val is 2, expected min_val <"),
    (lambda: kernels.swish(X, "a"), TypeError, "swish: beta is a str, expected a number"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED, ids=range(len(REFUSED)))
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def _grads_of_a_unit(activation, bias=0.0):
    """The gradients of one unit's weights behind an activation, one row per sample."""
    nn.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 8), activation, nn.Linear(8, 1)).to(np.float64)
    model[0].bias.value = np.full(8, bias)
    rows = []
    for x in np.random.default_rng(0).standard_normal((20, 1, 4)):
        y, backward = model.forward(x)
        backward(np.ones_like(y))
        rows.append(model[2].weight.grad[0].copy())
    return np.array(rows), model[0].weight.grad


def test_behind_a_sigmoid_all_gradients_of_a_unit_have_one_sign():
    signs = np.sign(_grads_of_a_unit(nn.Sigmoid())[0])
    assert (signs == signs[:, :1]).all()
    signs = np.sign(_grads_of_a_unit(nn.Tanh())[0])
    assert (signs != signs[:, :1]).any(axis=1).mean() > 0.9


def test_a_dead_relu_gets_no_gradient_and_its_variants_do():
    assert not _grads_of_a_unit(nn.ReLU(), bias=-100.0)[1].any()
    for variant in (nn.LeakyReLU(), nn.PReLU(), nn.Softsign()):
        assert _grads_of_a_unit(variant, bias=-100.0)[1].all()
    dx = kernels.crelu_backward(np.ones((1, 2)), np.full((1, 1), -100.0))
    assert dx == -1  # its other half lives


def test_a_deep_linear_net_draws_a_line():
    nn.manual_seed(0)
    x = np.linspace(-3, 3, 61)[:, None]
    for activation, straight in ((None, True), (nn.ReLU, False)):
        layers = [nn.Linear(1, 9)]
        for _ in range(6):
            layers += [activation()] if activation else []
            layers += [nn.Linear(9, 9)]
        y = nn.Sequential(*layers, nn.Linear(9, 1)).to(np.float64)(x)
        bends = np.abs(np.diff(y, 2, axis=0)).max() / np.ptp(y)
        assert (bends < 1e-12) == straight
