"""What is known of the optimizers: where they part, die or go wrong; clipping; bad input."""

import math

import numpy as np
import pytest

from fonio import kernels, nn


def _along(form, nesterov, rates, slope):
    """The points where slopes are taken on the way from (2, -1)."""
    p = nn.Parameter(np.array([2.0, -1.0]))
    optimizer = nn.SGD([p], lr=1.0, momentum=0.8, nesterov=nesterov, form=form)
    points = []
    for rate in rates:
        points.append(p.value.copy())
        optimizer.lr = rate
        p.grad = slope(p.value)
        optimizer.step()
    return np.array(points)


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_forms_of_momentum_part_where_the_rate_changes(nesterov):
    """The classical one is v = μv - η∇f(θ), or ∇f(θ + μv) as Nesterov has it; θ += v."""

    def slope(p):
        return np.array([1.0, 7.0]) * p

    even, falling = [0.05] * 8, [0.05] * 4 + [0.005] * 4
    np.testing.assert_allclose(
        _along("classical", nesterov, even, slope), _along("pytorch", nesterov, even, slope)
    )
    theta, v, wanted = np.array([2.0, -1.0]), np.zeros(2), []
    for rate in falling:
        wanted.append(theta + 0.8 * v if nesterov else theta)
        v = 0.8 * v - rate * slope(wanted[-1])
        theta = theta + v
    actual = _along("classical", nesterov, falling, slope)
    np.testing.assert_allclose(actual, wanted, rtol=1e-12)
    apart = np.abs(actual - _along("pytorch", nesterov, falling, slope)).max(1)
    assert (apart[:5] < 1e-12).all() and (apart[5:] > 1e-2).all()


def test_adam_converges_to_the_wrong_end_and_amsgrad_does_not():
    """Reddi et al. 2018: slopes 3, -1, -1, 3, ... on [-1, 1], whose sum is least at -1."""
    ends = []
    for amsgrad in (False, True):
        p = nn.Parameter(np.zeros(1))
        optimizer = nn.Adam([p], betas=(0.0, 1 / (1 + 3 * 3)), amsgrad=amsgrad)
        for t in range(1, 400):
            optimizer.lr = 0.5 / math.sqrt(t)
            p.grad = [3.0 if t % 3 == 1 else -1.0]
            optimizer.step()
            p.value = np.clip(p.value, -1, 1)
        ends.append(float(p.value[0]))
    assert ends[0] > 0.9 and ends[1] < -0.9


def test_adagrads_rate_dies_and_rmsprops_does_not():
    sizes = {}
    for make in (nn.Adagrad, nn.RMSprop):
        p = nn.Parameter(np.zeros(1))
        optimizer = make([p], lr=1.0, eps=0.0)
        p.grad = [7.0]
        steps = [0.0]
        for _ in range(1000):
            optimizer.step()
            steps.append(-float(p.value[0]))
        sizes[make] = np.diff(steps)
    np.testing.assert_allclose(sizes[nn.Adagrad], 1 / np.sqrt(np.arange(1, 1001)), rtol=1e-9)
    np.testing.assert_allclose(sizes[nn.RMSprop][-1], 1, rtol=1e-4)


def test_a_centered_variance_does_not_cancel():
    """Gradients of mean 1e4 and deviation 1, in float32: E[g²] - E[g]² would be noise."""
    rng = np.random.default_rng(3)
    p = nn.Parameter(np.zeros(50, np.float32))
    optimizer = nn.RMSprop([p], centered=True, alpha=0.9)
    for _ in range(400):
        p.grad = 1e4 + rng.standard_normal(50)
        optimizer.step()
    assert 0.5 < float(optimizer.groups[0].state["square"].mean()) < 1.5


def test_gradients_are_clipped_together():
    rng = np.random.default_rng(2)
    for scale in (1.0, 1e-4):
        model = nn.Sequential(nn.Linear(70, 90), nn.Linear(90, 3))
        model[1].bias.trainable = False  # left alone
        for parameter in model.parameters():
            parameter.grad = scale * rng.standard_normal(parameter.shape)
        before = [p.grad.copy() for p in model.parameters()]
        norm = math.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in before[:-1]))
        found = nn.clip_grad_norm(model, 0.7)
        np.testing.assert_allclose(found, [norm], rtol=1e-5)
        share = [min(1, 0.7 / (norm + 1e-6))] * 3 + [1.0]
        for parameter, old, factor in zip(model.parameters(), before, share, strict=True):
            np.testing.assert_allclose(parameter.grad, factor * old, rtol=1e-5)
        optimizer = nn.SGD(model)
        np.testing.assert_allclose(nn.clip_grad_norm(optimizer, 0.1), [share[0] * norm], rtol=1e-5)
        nn.clip_grad_value(model, 1e-5)
        assert all(np.abs(p.grad).max() <= 1e-5 for p in optimizer.parameters)


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
            lambda p: kernels.sgd(p, p.copy(), p.copy(), 0.1, 0.9, 0.1, classical=True),
            ValueError,
            "sgd: the classical form has dampening 0.1, expected dampening 0",
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
            lambda p: kernels.nadam(p, *(p.copy() for _ in range(4)), 1),
            ValueError,
            r"nadam: product has shape \(4,\), expected \(1,\)",
        ),
        (
            lambda p: kernels.rmsprop(p, p.copy(), p.copy(), eps=-1.0),
            ValueError,
            "rmsprop: eps is -1.0, expected eps >= 0",
        ),
        (
            lambda p: kernels.rmsprop_centered(p, *(p.copy() for _ in range(3)), momentum=0.5),
            ValueError,
            "rmsprop_centered: velocity is None, expected an array as momentum is not 0",
        ),
        (
            lambda p: kernels.adadelta(p, p.copy(), p.copy(), p.copy(), rho=1.5),
            ValueError,
            "adadelta: rho is 1.5, expected 0 <= rho < 1",
        ),
        (
            lambda p: kernels.adagrad(p, p.copy(), p.copy(), 1, lr_decay=-1),
            ValueError,
            "adagrad: lr_decay is -1, expected lr_decay >= 0",
        ),
        (
            lambda p: kernels.clip_grad_norm(p, -1.0),
            ValueError,
            "clip_grad_norm: max_norm is -1.0, expected max_norm >= 0",
        ),
        (lambda p: nn.clip_grad_norm([], 1.0), ValueError, "there are no gradients, expected"),
        (lambda p: nn.clip_grad_value([p], 1.0), TypeError, "parameter is a ndarray, expected a"),
        (
            lambda p: nn.clip_grad_norm([nn.Parameter(p), nn.Parameter(np.ones(2, "f"))], 1.0),
            TypeError,
            "clip_grad_norm: parameters differ in dtype or device, expected one",
        ),
        (
            lambda p: nn.SGD([nn.Parameter(p)], form="heavy"),
            ValueError,
            r"SGD: unknown form 'heavy', expected one of \['classical', 'pytorch'\]",
        ),
        (
            lambda p: nn.SGD([nn.Parameter(p)], momentum=0.9, dampening=0.1, form="classical"),
            ValueError,
            "SGD: the classical form has dampening 0.1",
        ),
        (
            lambda p: nn.RMSprop([nn.Parameter(p)], alpha=1.0),
            ValueError,
            "RMSprop: alpha is 1.0, expected 0 <= alpha < 1",
        ),
        (
            lambda p: nn.NAdam([nn.Parameter(p)], momentum_decay=-1),
            ValueError,
            "NAdam: momentum_decay is -1, expected momentum_decay >= 0",
        ),
        (
            lambda p: nn.RAdam([nn.Parameter(p)], betas=0.9),
            TypeError,
            "RAdam: betas is 0.9, expected two numbers",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(np.ones(4))
