"""Optimizers: PyTorch's numbers over many steps, two functions to minimise, recorded rates."""

import numpy as np
import pytest

from fonio import kernels

# name: (states, numbers as keywords, PyTorch's class, its options)
STEPS = {
    "sgd": (0, {"weight_decay": 0.1}, "SGD", {"weight_decay": 0.1}),
    "momentum": (
        1,
        {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
        "SGD",
        {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
    ),
    "nesterov": (
        1,
        {"momentum": 0.9, "nesterov": True},
        "SGD",
        {"momentum": 0.9, "nesterov": True},
    ),
    "rmsprop": (1, {"weight_decay": 0.1}, "RMSprop", {"weight_decay": 0.1}),
    "rmsprop_momentum": (2, {"momentum": 0.9}, "RMSprop", {"momentum": 0.9}),
    "adam": (2, {"weight_decay": 0.1}, "Adam", {"weight_decay": 0.1}),
    "adamw": (2, {"weight_decay": 0.1}, "AdamW", {"weight_decay": 0.1}),
}


def _stepper(name, p, lr, numbers):
    """A function (g, step) that steps p in place."""
    states = [np.zeros_like(p) for _ in range(STEPS[name][0])]
    function = getattr(kernels, {"momentum": "sgd", "nesterov": "sgd"}.get(name, name[:7]))

    def step(g, count):
        if name.startswith("adam"):
            function(p, g, *states, count, lr, **numbers)
        elif name == "rmsprop":
            function(p, g, *states, None, lr, **numbers)
        elif name == "sgd":
            function(p, g, None, lr, **numbers)
        else:
            function(p, g, *states, lr, **numbers)

    return step


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("dtype, tolerance", [("float32", 3e-6), ("float64", 1e-13)])
def test_the_numbers_are_pytorchs(name, dtype, tolerance):
    torch = pytest.importorskip("torch")
    _, numbers, peer, options = STEPS[name]
    rng = np.random.default_rng(0)
    p = rng.standard_normal(101).astype(dtype)
    parameter = torch.nn.Parameter(torch.from_numpy(p.copy()))
    optimizer = getattr(torch.optim, peer)([parameter], lr=0.05, **options)
    step = _stepper(name, p, 0.05, numbers)
    for count in range(1, 30):
        g = rng.standard_normal(101).astype(dtype)
        parameter.grad = torch.from_numpy(g)
        optimizer.step()
        step(g, count)
        np.testing.assert_allclose(p, parameter.detach().numpy(), atol=tolerance)


def _parabola(p):
    return 2 * (p - 3)


def _rosenbrock(p):
    x, y = p
    return np.array([-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)])


RATES = {  # of the parabola, of Rosenbrock's function
    "sgd": (0.1, 1e-3),
    "momentum": (0.03, 2e-4),
    "nesterov": (0.03, 2e-4),
    "rmsprop": (0.01, 1e-3),
    "rmsprop_momentum": (1e-3, 1e-4),
    "adam": (0.1, 0.02),
    "adamw": (0.1, 0.02),
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("slope, place", [(_parabola, 3), (_rosenbrock, 1)])
def test_minima_are_found(name, slope, place):
    lr = RATES[name][slope is _rosenbrock]
    p = np.array([-0.5, 1.5])
    numbers = {k: v for k, v in STEPS[name][1].items() if k not in ("weight_decay", "dampening")}
    if name == "adamw":
        numbers["weight_decay"] = 0.0
    step = _stepper(name, p, lr, numbers)
    for count in range(1, 20_000 if slope is _rosenbrock else 2000):
        step(slope(p), count)
    np.testing.assert_allclose(p, place, atol=0.03)


def test_rate_and_step_are_read_at_each_replay():
    rng = np.random.default_rng(1)
    p, g = rng.standard_normal((2, 9))
    m, v = np.zeros((2, 9))
    count, lr = np.ones(1, np.int64), np.full(1, 0.1)
    other = p.copy(), m.copy(), v.copy()
    with kernels.record() as recording:
        kernels.adam(p, g, m, v, count, lr)
    count[0], lr[0] = 2, 0.5
    recording.replay()
    kernels.adam(other[0], g, *other[1:], 1, 0.1)
    kernels.adam(other[0], g, *other[1:], 2, 0.5)
    np.testing.assert_array_equal(p, other[0])


def test_gradients_are_clipped_as_in_pytorch():
    torch = pytest.importorskip("torch")
    for size, scale in ((1, 1.0), (5000, 1.0), (5000, 1e-4)):
        g = scale * np.random.default_rng(2).standard_normal(size)
        parameter = torch.nn.Parameter(torch.zeros(size, dtype=torch.float64))
        parameter.grad = torch.from_numpy(g.copy())
        torch.nn.utils.clip_grad_norm_([parameter], 0.7)
        kernels.clip_grad_norm(g, 0.7)
        np.testing.assert_allclose(g, parameter.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda p: kernels.sgd(p, p), ValueError, "sgd: p overlaps g in memory"),
        (
            lambda p: kernels.sgd(p, p.copy(), None, 0.1, momentum=0.9),
            ValueError,
            "sgd: velocity is None, expected an array as momentum is not 0",
        ),
        (
            lambda p: kernels.sgd(p, p.copy(), p.copy(), 0.1, 0.9, 0.1, True),
            ValueError,
            "sgd: nesterov has momentum 0.9 and dampening 0.1, expected momentum > 0",
        ),
        (
            lambda p: kernels.adam(p, p.copy(), p.copy(), p.copy(), 1, beta1=1.0),
            ValueError,
            "adam: beta1 is 1.0, expected 0 <= beta1 < 1",
        ),
        (
            lambda p: kernels.adam(p, p.copy(), p.copy(), p.copy(), 1.5),
            TypeError,
            "adam: step is a float, expected an integer",
        ),
        (
            lambda p: kernels.rmsprop(p, p.copy(), p.copy(), eps=-1.0),
            ValueError,
            "rmsprop: eps is -1.0, expected eps >= 0",
        ),
        (
            lambda p: kernels.clip_grad_norm(p, -1.0),
            ValueError,
            "clip_grad_norm: max_norm is -1.0, expected max_norm >= 0",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(np.ones(4))
