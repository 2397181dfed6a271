"""What the lectures say of batch normalization: its statistics, and the derivative of each."""

import numpy as np
import pytest

from fonio import kernels, nn
from tests.test_modules import numeric


def test_the_means_and_deviations_of_the_lecture():
    """Lecture 000, slides 38 and 39: means 2, 4, 8 and deviations 1, 2, 3, whatever went in."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((10_000, 3)) * [2, 5, 10] + [-10, 25, 3]
    layer = nn.BatchNorm1d(3)
    layer.bias.value, layer.weight.value = [2, 4, 8], [1, 2, 3]
    y = layer(x.astype(np.float32)).astype(np.float64)
    np.testing.assert_allclose(y.mean(0), [2, 4, 8], atol=1e-5)
    np.testing.assert_allclose(y.std(0, ddof=1), [1, 2, 3], rtol=1e-4)


def test_batchnorm_can_recover_the_identity():
    """Lecture 004: γ = √(σ² + ε) and β = mean give back what went in."""
    x = (np.random.default_rng(0).standard_normal((60, 4)) * [1, 9, 0.1, 3] + 5).astype(np.float32)
    layer = nn.BatchNorm1d(4)
    layer.weight.value = np.sqrt(x.var(0) + layer.eps)
    layer.bias.value = x.mean(0)
    np.testing.assert_allclose(layer(x), x, rtol=1e-5, atol=1e-5)


def _slope_with(divisor, dy, x, eps):
    """dx as lecture 002 has it, through σ² and the mean, with this divisor in their derivatives."""
    mean, var = x.mean(0), x.var(0)
    by_var = (dy * (x - mean) * -0.5 * (var + eps) ** -1.5).sum(0)
    by_mean = (-dy / np.sqrt(var + eps)).sum(0) + by_var * (-2 * (x - mean)).sum(0) / divisor
    return dy / np.sqrt(var + eps) + by_var * 2 * (x - mean) / divisor + by_mean / len(x)


def test_a_backward_with_one_row_less_contradicts_the_forward():
    """Lecture 002 divides by m forward and by m - 1 backward: the gradient check tells.

    Its error goes as 1/m; with m in both places there is none, and that is what we have.
    """
    rng, errors = np.random.default_rng(1), []
    ones, zeros = np.ones(3), np.zeros(3)
    for rows in (4, 40):
        x, dy = rng.standard_normal((2, rows, 3))
        exact = numeric(lambda x=x: kernels.batchnorm(x, ones, zeros)[0], x, dy)
        _, mean, rstd = kernels.batchnorm(x, ones, zeros)
        ours = kernels.batchnorm_backward(dy, x, ones, mean, rstd)[0]
        assert np.abs(ours - exact).max() < 1e-7
        assert np.abs(_slope_with(rows, dy, x, 1e-5) - exact).max() < 1e-7
        errors.append(np.abs(_slope_with(rows - 1, dy, x, 1e-5) - exact).max())
    assert errors[0] > 5 * errors[1] > 5e-3


@pytest.mark.parametrize("unbiased", [True, False])
def test_the_moving_average_is_of_a_biased_or_an_unbiased_variance(unbiased):
    x = np.random.default_rng(0).standard_normal((5, 3))
    layer = nn.BatchNorm1d(3, momentum=0.3, unbiased=unbiased).to(np.float64)
    layer(x)
    wanted = 0.7 + 0.3 * x.var(0, ddof=int(unbiased))
    np.testing.assert_allclose(layer.running_var, wanted, rtol=1e-7)


def test_a_cumulative_average_counts_every_batch_alike():
    x = np.random.default_rng(0).standard_normal((4, 6, 3))
    layer = nn.BatchNorm1d(3, momentum=None).to(np.float64)
    for batch in x:
        layer(batch)
    np.testing.assert_allclose(layer.running_mean, x.mean((0, 1)), rtol=1e-12)
    np.testing.assert_allclose(layer.running_var, x.var(1, ddof=1).mean(0), rtol=1e-7)
    assert layer.num_batches_tracked.tolist() == [4]
    layer.reset_running_stats()
    assert layer.running_var.tolist() == [1, 1, 1] and layer.num_batches_tracked.tolist() == [0]


def test_a_file_keeps_the_count_of_batches(tmp_path):
    """Else a fit that goes on from a checkpoint would weigh its next batch as the first."""
    model = nn.Sequential(nn.BatchNorm1d(3, momentum=None))
    for _ in range(4):
        model(np.eye(3, dtype=np.float32))
    nn.save(model, tmp_path / "model.safetensors")
    assert nn.load(tmp_path / "model.safetensors")[0].num_batches_tracked.tolist() == [4]
    model.load_state_dict(model.state_dict() | {"0.num_batches_tracked": np.array(7)})  # PyTorch's
    assert model[0].num_batches_tracked.tolist() == [7]
