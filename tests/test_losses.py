"""Losses: every option against PyTorch, gradients by differences, labels that are wrong."""

import itertools

import numpy as np
import pytest
from numba import njit

from fonio import kernels

SHAPES = ((1, 1), (5, 3), (17, 10), (33, 40))
NUMBERS = {
    "mse": "mse_loss",
    "l1": "l1_loss",
    "smooth_l1": "smooth_l1_loss",
    "huber": "huber_loss",
    "bce_with_logits": "binary_cross_entropy_with_logits",
    "poisson_nll": "poisson_nll_loss",
}


def _problem(shape, seed=0):
    rng = np.random.default_rng(seed)
    logits = 3 * rng.standard_normal(shape)
    labels = rng.integers(0, shape[1], shape[0])
    soft = rng.dirichlet(np.ones(shape[1]), shape[0])
    return logits, labels, soft, rng.uniform(0.5, 2, shape[1]), rng.uniform(0.5, 2, shape[0])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_is_pytorchs(shape, reduction):
    torch = pytest.importorskip("torch")
    logits, labels, soft, weights, _ = _problem(shape)
    labels[: shape[0] // 3] = -100
    for target, smoothing, weight in itertools.product((labels, soft), (0.0, 0.1), (None, weights)):
        x = torch.from_numpy(logits).requires_grad_()
        wanted = torch.nn.functional.cross_entropy(
            x,
            torch.from_numpy(target),
            weight=None if weight is None else torch.from_numpy(weight),
            label_smoothing=smoothing,
            reduction=reduction,
        )
        (slope,) = torch.autograd.grad(wanted.sum(), x)
        loss, dlogits = kernels.cross_entropy(
            logits, target, smoothing, weight, reduction=reduction
        )
        np.testing.assert_allclose(loss, wanted.detach().numpy().reshape(-1), rtol=1e-12)
        np.testing.assert_allclose(dlogits, slope.numpy(), atol=1e-14)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_cross_entropy_by_differences(shape, soft):
    logits, labels, probabilities, classes, samples = _problem(shape, 1)
    options = (probabilities if soft else labels, 0.1, classes, samples)
    _, dlogits = kernels.cross_entropy(logits, *options)
    rng, step = np.random.default_rng(2), 1e-6
    for _ in range(10):
        place = tuple(rng.integers(0, n) for n in shape)
        ends = []
        for sign in (1, -1):
            moved = logits.copy()
            moved[place] += sign * step
            ends.append(kernels.cross_entropy(moved, *options)[0][0])
        assert abs((ends[0] - ends[1]) / (2 * step) - dlogits[place]) < 1e-7


def test_a_weight_of_two_is_a_row_twice():
    logits, labels, *_ = _problem((6, 4))
    weight = np.array([1.0, 2, 1, 1, 2, 1])
    twice = np.repeat(np.arange(6), weight.astype(int))
    loss, _ = kernels.cross_entropy(logits, labels, sample_weight=weight)
    wanted, _ = kernels.cross_entropy(logits[twice], labels[twice])
    np.testing.assert_allclose(loss, wanted, rtol=1e-12)
    loss, _ = kernels.mse(logits, logits**2, weight)
    wanted, _ = kernels.mse(logits[twice], logits[twice] ** 2)
    np.testing.assert_allclose(loss, wanted, rtol=1e-12)


@pytest.mark.parametrize("columns", [3, 32, 33, 200])
def test_large_logits_do_not_overflow(columns):
    logits = np.zeros((2, columns), np.float32)
    logits[:, 1] = 1e4
    labels = np.array([1, 0])
    loss, dlogits = kernels.cross_entropy(logits, labels, reduction="none")
    np.testing.assert_array_equal(loss, [0, 1e4])
    np.testing.assert_array_equal(dlogits[0], np.zeros(columns))
    assert kernels.softmax(logits)[0, 1] == 1
    logits[0, 0] = -np.inf
    assert kernels.softmax(logits)[0, 0] == 0


def test_an_ignored_row_counts_nothing_even_if_nan():
    logits, labels, *_ = _problem((5, 3))
    wanted, slope = kernels.cross_entropy(logits[1:], labels[1:])
    logits[0], labels[0] = np.nan, -100
    loss, dlogits = kernels.cross_entropy(logits, labels)
    np.testing.assert_array_equal(loss, wanted)
    np.testing.assert_array_equal(dlogits[0], np.zeros(3))
    np.testing.assert_array_equal(dlogits[1:], slope)
    labels[:] = -100
    loss, dlogits = kernels.cross_entropy(logits, labels)
    assert np.isnan(loss[0])
    assert not dlogits.any()


@pytest.mark.parametrize("label", [3, -1, -101])
def test_a_wrong_label_is_refused_before_anything_is_written(label):
    logits, labels, *_ = _problem((5, 3))
    labels[2] = label
    out = np.full(1, 7.0), np.full((5, 3), 7.0)
    with pytest.raises(ValueError, match=rf"cross_entropy: labels\[2\] is {label}, expected 0 <= "):
        kernels.cross_entropy(logits, labels, out=out)
    assert (out[0] == 7).all()
    assert (out[1] == 7).all()


def test_a_wrong_label_stops_a_replay():
    logits, labels, *_ = _problem((5, 3))
    with kernels.record() as recording:
        _, dlogits = kernels.cross_entropy(logits, labels)
    dlogits[:] = 7
    labels[2] = 3
    with pytest.raises(ValueError, match="cross_entropy: labels has a label out of range"):
        recording.replay()
    assert (dlogits == 7).all()


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("shape", [(7,), (5, 3), (33, 64), (3, 4, 5)])
def test_losses_of_numbers_are_pytorchs(name, shape):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(4)
    output, target = 3 * rng.standard_normal(shape), rng.uniform(0, 1, shape)
    for reduction in ("mean", "sum", "none"):
        x = torch.from_numpy(output).requires_grad_()
        function = getattr(torch.nn.functional, NUMBERS[name])
        wanted = function(x, torch.from_numpy(target), reduction=reduction)
        (slope,) = torch.autograd.grad(wanted.sum(), x)
        loss, doutput = getattr(kernels, name)(output, target, reduction=reduction)
        np.testing.assert_allclose(loss.reshape(wanted.shape), wanted.detach(), rtol=1e-12)
        np.testing.assert_allclose(doutput, slope.numpy(), atol=1e-14)


def test_losses_inside_njit():
    @njit
    def inside(logits, labels, target, loss, slope, other_loss, other_slope):
        kernels.cross_entropy(logits, labels, 0.1, reduction="sum", out=(loss, slope))
        kernels.huber(logits, target, delta=0.3, out=(other_loss, other_slope))

    logits, labels, target, *_ = _problem((17, 10))
    outs = [np.empty(1), np.empty((17, 10)), np.empty(1), np.empty((17, 10))]
    inside(logits, labels, target, *outs)
    wanted = kernels.cross_entropy(logits, labels, 0.1, reduction="sum")
    wanted += kernels.huber(logits, target, delta=0.3)
    for a, w in zip(outs, wanted, strict=True):
        np.testing.assert_array_equal(a, w)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (
            lambda x, t: kernels.cross_entropy(x, t.astype(np.int32)),
            TypeError,
            "cross_entropy: labels has dtype int32, expected int64",
        ),
        (
            lambda x, t: kernels.cross_entropy(x, t, 1.5),
            ValueError,
            "cross_entropy: label_smoothing is 1.5, expected 0 <= label_smoothing <= 1",
        ),
        (
            lambda x, t: kernels.cross_entropy(x, t, class_weight=np.ones(2)),
            ValueError,
            r"cross_entropy: class_weight has shape \(2,\), expected \(3,\)",
        ),
        (
            lambda x, t: kernels.cross_entropy(x, t, reduction="median"),
            ValueError,
            "cross_entropy: unknown reduction 'median', expected one of",
        ),
        (
            lambda x, t: kernels.mse(x, x[:2]),
            ValueError,
            r"mse: target has shape \(2, 3\), expected \(5, 3\)",
        ),
        (
            lambda x, t: kernels.mse(x, x, np.ones(3)),
            ValueError,
            r"mse: sample_weight has shape \(3,\), expected \(5,\)",
        ),
        (
            lambda x, t: kernels.huber(x, x, delta=0.0),
            ValueError,
            "huber: delta is 0.0, expected delta > 0",
        ),
    ],
)
def test_errors(call, error, message):
    logits, labels, *_ = _problem((5, 3))
    with pytest.raises(error, match=message):
        call(logits, labels)
