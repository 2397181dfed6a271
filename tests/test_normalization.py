"""Batch normalization where numbers are hard; running statistics; equality with PyTorch."""

import numpy as np
import pytest

from fonio import kernels


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


def test_batches_as_pytorch_keeps_them():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    layer = torch.nn.BatchNorm1d(5, eps=1e-3, momentum=0.3, dtype=torch.float64)
    mean, var = np.zeros(5), np.ones(5)
    ones, zeros = np.ones(5), np.zeros(5)
    for rows in (2, 65, 130):
        x = rng.standard_normal((rows, 5)) + 2
        y, batch_mean, rstd = kernels.batchnorm(x, ones, zeros, 1e-3)
        kernels.update_running(mean, var, batch_mean, rstd, rows, 0.3, 1e-3)
        np.testing.assert_allclose(y, layer(torch.from_numpy(x)).detach().numpy(), atol=1e-12)
    np.testing.assert_allclose(mean, layer.running_mean.numpy(), rtol=1e-12)
    np.testing.assert_allclose(var, layer.running_var.numpy(), rtol=1e-12)
    layer.eval()
    y = kernels.batchnorm_inference(x, ones, zeros, mean, var, 1e-3)
    np.testing.assert_allclose(y, layer(torch.from_numpy(x)).detach().numpy(), atol=1e-12)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"gamma": np.ones(2)}, r"batchnorm: gamma has shape \(2,\), expected \(3,\)"),
        ({"x": np.ones(3)}, r"batchnorm: x has shape \(3,\), expected \(N, C\)"),
    ],
)
def test_batchnorm_errors(change, message):
    arguments = {"x": np.ones((4, 3)), "gamma": np.ones(3), "beta": np.ones(3)} | change
    with pytest.raises(ValueError, match=message):
        kernels.batchnorm(**arguments)
