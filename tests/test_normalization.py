"""Batch normalization where numbers are hard, and of channels; PyTorch's is in test_norms.py."""

import numpy as np
import pytest
from numba import njit

from fonio import kernels, nn


def _far(rows=500, columns=37):
    """Columns with mean 1e6 and standard deviation 1, in float32."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal((rows, columns)) + 1e6).astype(np.float32)


def test_moments_of_columns_far_from_zero():
    x = _far()
    mean, var = kernels.column_moments(x)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(0), rtol=1e-7)
    np.testing.assert_allclose(var, exact.var(0), rtol=1e-5)


def test_batchnorm_of_columns_far_from_zero():
    x = _far()
    y, _, rstd = kernels.batchnorm(x, np.ones(37, np.float32), np.zeros(37, np.float32))
    exact = x.astype(np.float64)
    np.testing.assert_allclose(y, (exact - exact.mean(0)) / exact.std(0), atol=1e-4)
    np.testing.assert_allclose(rstd, 1 / exact.std(0), rtol=1e-5)


def test_the_backward_of_columns_far_from_zero():
    """The mean as given is rounded by up to 0.03 standard deviations; dγ does without that."""
    x = _far()
    dy = np.random.default_rng(4).standard_normal(x.shape).astype(np.float32) + np.float32(0.5)
    gamma = np.linspace(0.5, 2, 37, dtype=np.float32)
    _, mean, rstd = kernels.batchnorm(x, gamma, gamma)
    dx, dgamma, dbeta = kernels.batchnorm_backward(dy, x, gamma, mean, rstd)
    exact, d = x.astype(np.float64), dy.astype(np.float64)
    scale = 1 / np.sqrt(exact.var(0) + 1e-5)
    x_hat = (exact - exact.mean(0)) * scale
    np.testing.assert_allclose(dgamma, (d * x_hat).sum(0), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(dbeta, d.sum(0), rtol=1e-5)
    wanted = gamma * scale * (d - d.mean(0) - x_hat * (d * x_hat).mean(0))
    np.testing.assert_allclose(dx, wanted, rtol=1e-4, atol=1e-5)


def test_an_outlier_in_the_first_row():
    x = np.random.default_rng(1).standard_normal((300, 3)).astype(np.float32)
    x[0] = 1e6
    _, var = kernels.column_moments(x)
    np.testing.assert_allclose(var, x.astype(np.float64).var(0), rtol=1e-5)


def test_a_constant_column_is_beta():
    x = np.full((130, 4), 3.3, np.float32)
    beta = np.arange(4, dtype=np.float32)
    y, mean, rstd = kernels.batchnorm(x, np.ones(4, np.float32), beta)
    np.testing.assert_array_equal(y, np.broadcast_to(beta, y.shape))
    np.testing.assert_array_equal(mean, x[0])
    np.testing.assert_allclose(rstd, 1 / np.sqrt(1e-5), rtol=1e-6)


def test_relu_fused_is_relu_after():
    rng = np.random.default_rng(2)
    x, dy = rng.standard_normal((2, 70, 19)).astype(np.float32)
    gamma, beta = rng.standard_normal((2, 19)).astype(np.float32)
    plain, mean, rstd = kernels.batchnorm(x, gamma, beta)
    fused = kernels.batchnorm(x, gamma, beta, relu=True)[0]
    np.testing.assert_array_equal(fused, kernels.relu(plain))
    wanted = kernels.batchnorm_backward(kernels.relu_backward(dy, plain), x, gamma, mean, rstd)
    actual = kernels.batchnorm_backward(dy, x, gamma, mean, rstd, fused)
    for a, w in zip(actual, wanted, strict=True):
        np.testing.assert_array_equal(a, w)


SHAPES = [
    (70, 5, 9),
    (3, 2, 700),
    (1001, 3, 700),
    (60_001, 7, 5),
]  # the last two are streamed past the caches


def _drawn(shape, seed=5):
    rng = np.random.default_rng(seed)
    x, dy = rng.standard_normal((2, *shape)).astype(np.float32)
    gamma, beta = rng.standard_normal((2, shape[1])).astype(np.float32)
    return x + 3, dy, gamma, beta


def _as_rows(x):
    """(N, C, L) as (N·L, C): the same numbers, one channel a column."""
    return np.ascontiguousarray(x.swapaxes(1, 2).reshape(-1, x.shape[1]))


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_channels_are_columns_of_all_their_numbers(shape, relu):
    x, dy, gamma, beta = _drawn(shape)
    y, mean, rstd = kernels.batchnorm(x, gamma, beta, relu=relu)
    wanted = kernels.batchnorm(_as_rows(x), gamma, beta, relu=relu)
    for actual, value in zip((_as_rows(y), mean, rstd), wanted, strict=True):
        np.testing.assert_allclose(actual, value, rtol=1e-5, atol=1e-5)
    given, flat = (y, _as_rows(y)) if relu else (None, None)
    dx, dgamma, dbeta = kernels.batchnorm_backward(dy, x, gamma, mean, rstd, given)
    wanted = kernels.batchnorm_backward(_as_rows(dy), _as_rows(x), gamma, mean, rstd, flat)
    for actual, value in zip((_as_rows(dx), dgamma, dbeta), wanted, strict=True):
        np.testing.assert_allclose(actual, value, rtol=1e-4, atol=1e-5 * np.abs(value).max())


@pytest.mark.parametrize("shape", [*SHAPES, (5000, 500)])
def test_bits_of_any_number_of_threads_and_inside_njit(shape):
    x, dy, gamma, beta = _drawn(shape)
    running = beta, gamma * gamma
    forward = kernels.batchnorm(x, gamma, beta)
    backward = kernels.batchnorm_backward(dy, x, gamma, *forward[1:])
    inference = kernels.batchnorm_inference(x, gamma, beta, *running)
    wanted = *forward, *backward, inference

    @njit
    def inside(forward, backward, inference):
        kernels.batchnorm(x, gamma, beta, out=forward)
        kernels.batchnorm_backward(dy, x, gamma, forward[1], forward[2], out=backward)
        kernels.batchnorm_inference(x, gamma, beta, running[0], running[1], out=inference)

    def everything(forward, backward, inference):
        kernels.batchnorm(x, gamma, beta, out=forward)
        kernels.batchnorm_backward(dy, x, gamma, *forward[1:], out=backward)
        kernels.batchnorm_inference(x, gamma, beta, *running, out=inference)

    before = kernels.get_num_threads()
    for threads in (0, 1, 2, 3):  # 0: inside njit
        out = [_unaligned(a) for a in wanted]
        call = everything if threads else inside
        kernels.set_num_threads(threads or 1)
        call(tuple(out[:3]), tuple(out[3:6]), out[6])
        kernels.set_num_threads(before)
        for actual, value in zip(out, wanted, strict=True):
            np.testing.assert_array_equal(actual, value, err_msg=f"{threads} threads")


def _unaligned(like):
    """An array like this one that begins at no whole vector."""
    return np.full(like.size + 1, np.nan, like.dtype)[1:].reshape(like.shape)


@pytest.mark.parametrize("training", [True, False])
def test_the_layer_takes_channels_as_it_takes_columns(training):
    x, dy, gamma, beta = _drawn((40, 5, 9))
    results = []
    for rows, slopes in ((x, dy), (_as_rows(x), _as_rows(dy))):
        layer = nn.BatchNorm1d(5, momentum=0.3)
        layer.weight.value[:], layer.bias.value[:] = gamma, beta
        layer(rows)  # moves the running statistics
        y, backward = (layer.train() if training else layer.eval()).forward(rows)
        dx = backward(slopes)
        y, dx = (a if a.ndim == 2 else _as_rows(a) for a in (y, dx))
        found = y, dx, layer.weight.grad, layer.bias.grad, layer.running_mean, layer.running_var
        results.append([a.copy() for a in found])
    for actual, value in zip(*results, strict=True):
        np.testing.assert_allclose(actual, value, rtol=1e-4, atol=1e-5)


def test_the_layer_names_what_it_takes():
    layer = nn.BatchNorm1d(3)
    with pytest.raises(
        ValueError, match=r"has shape \(4, 2, 3\), expected \(N, 3\) or \(N, 3, L\)"
    ):
        layer(np.ones((4, 2, 3), np.float32))
    with pytest.raises(ValueError, match="the batch has 1 row.*mean is x and the deviation 0"):
        layer(np.ones((1, 3, 1), np.float32))
    assert layer(np.ones((1, 3, 2), np.float32)).shape == (1, 3, 2)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"gamma": np.ones(2)}, r"batchnorm: gamma has shape \(2,\), expected \(3,\)"),
        ({"x": np.ones(3)}, r"batchnorm: x has shape \(3,\), expected \(N, C\) or \(N, C, L\)"),
        ({"x": np.ones((1, 2, 3, 4))}, r"batchnorm: x has shape \(1, 2, 3, 4\), expected \(N, C\)"),
        ({"x": np.ones((4, 2, 3))}, r"batchnorm: gamma has shape \(3,\), expected \(2,\)"),
        ({"out": (np.ones((4, 3, 1)), *np.ones((2, 3)))}, r"out y has shape .*, expected \(4, 3\)"),
    ],
)
def test_batchnorm_errors(change, message):
    arguments = {"x": np.ones((4, 3)), "gamma": np.ones(3), "beta": np.ones(3)} | change
    with pytest.raises(ValueError, match=message):
        kernels.batchnorm(**arguments)


def _strided(a):
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2]


LAYOUTS = [np.asfortranarray, _strided, lambda a: a[::-1].copy()[::-1]]


def _calls(x, dy, gamma, beta):
    """Each operation on channels, with all that it takes but x-like arrays bound."""
    _, mean, rstd = kernels.batchnorm(x, gamma, beta)
    statistics = kernels.groupnorm(x, gamma, beta, 5)[1:]
    return [
        lambda x, dy: kernels.batchnorm(x, gamma, beta),
        lambda x, dy: kernels.batchnorm_backward(dy, x, gamma, mean, rstd),
        lambda x, dy: (kernels.batchnorm_inference(x, gamma, beta, mean, rstd),),
        lambda x, dy: kernels.groupnorm(x, gamma, beta, 5),
        lambda x, dy: kernels.groupnorm_backward(dy, x, gamma, *statistics),
    ]


@pytest.mark.parametrize("number", range(5))
def test_channels_replayed_and_in_any_layout(number):
    """The table's rows try their largest test size, which is (N, C)."""
    x, dy, gamma, beta = _drawn((7, 5, 33))
    call = _calls(x, dy, gamma, beta)[number]
    wanted = [a.copy() for a in call(x, dy)]
    for change in LAYOUTS:
        for actual, value in zip(call(change(x), change(dy)), wanted, strict=True):
            np.testing.assert_array_equal(actual, value)
    given = np.zeros_like(x), np.zeros_like(dy)
    with kernels.record() as recording:
        outputs = call(*given)
    given[0][:], given[1][:] = x, dy
    recording.replay()
    for actual, value in zip(outputs, wanted, strict=True):
        np.testing.assert_array_equal(actual, value)


def test_the_layer_of_channels_in_a_strided_view():
    x, dy, *_ = _drawn((7, 5, 33))
    results = []
    for change in (np.ascontiguousarray, _strided):
        layer = nn.BatchNorm1d(5)
        y, backward = layer.forward(change(x))
        results.append([y, backward(change(dy)), layer.weight.grad, layer.running_var])
    for actual, value in zip(*results, strict=True):
        np.testing.assert_array_equal(actual, value)
