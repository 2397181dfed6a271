"""Inputs and layers whitened; batch normalization recomputed over data, and folded away."""

import numpy as np
import pytest

from fonio import kernels, nn
from tests.test_norms import FROZEN


def correlated(rows=500, seed=0):
    """Inputs far from 0, of different spread, and correlated."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((rows, 4)) @ rng.standard_normal((4, 4))
    return mixed * [1, 4, 0.5, 10] + [3, -7, 1, 20]


def condition(x):
    """The condition number of E[x xᵀ], the Hessian of a linear layer's squared error."""
    return np.linalg.cond(x.T @ x / len(x))


def test_centering_stretching_and_decorrelating_lower_the_condition_number():
    """Lecture 003: each step makes the surface of the squared error rounder; the last a sphere."""
    x = correlated()
    centred = x - x.mean(0)
    standard = nn.Standardize().fit_transform(x)
    numbers = [condition(x), condition(centred), condition(standard)]
    numbers += [condition(nn.PCAWhitening(eps=0).fit_transform(x))]
    assert numbers[0] > 1.5 * numbers[1] > 1.5**2 * numbers[2] > 1.5**3 * numbers[3]
    np.testing.assert_allclose(numbers[3], 1, rtol=1e-9)


def steps_of_descent(x, y, most=3000):
    """Steps of gradient descent, at the best rate 2/(largest + smallest), to a hundredth."""
    hessian = x.T @ x / len(x)
    values = np.linalg.eigvalsh(hessian)
    rate, w = 2 / (values[0] + values[-1]), np.zeros(x.shape[1])
    best = np.linalg.lstsq(x, y, rcond=None)[0]
    for step in range(most):
        if np.linalg.norm(w - best) < 0.01 * np.linalg.norm(best):
            return step
        w -= rate * (x.T @ (x @ w - y) / len(x))
    return most


def test_fewer_steps_on_whitened_inputs():
    x = correlated()
    y = x @ [1.0, -2, 3, 1]
    raw, standard = steps_of_descent(x, y), steps_of_descent(nn.Standardize().fit_transform(x), y)
    assert steps_of_descent(nn.PCAWhitening(eps=0).fit_transform(x), y) <= 1 < standard < raw


@pytest.mark.parametrize(
    "made", [nn.Standardize(), nn.PCAWhitening(eps=0), nn.ZCAWhitening(eps=0), nn.ZCAWhitening()]
)
def test_whitening_is_undone(made):
    train, other = correlated(), correlated(60, seed=1)
    assert made.fit(train) is made
    np.testing.assert_allclose(made.inverse_transform(made.transform(other)), other, rtol=1e-9)
    x = made.transform(train)
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(x.var(0), 1, rtol=1e-4)
    assert made.transform(train.astype(np.float32)).dtype == np.float32


def test_zca_stays_closest_to_the_inputs():
    x = nn.Standardize().fit_transform(correlated())
    pca, zca = (made(eps=0).fit_transform(x) for made in (nn.PCAWhitening, nn.ZCAWhitening))
    for white in (pca, zca):
        np.testing.assert_allclose(white.T @ white / len(x), np.eye(4), atol=1e-9)
    assert np.square(zca - x).mean() < np.square(pca - x).mean()
    root = np.linalg.inv(nn.ZCAWhitening(eps=0).fit(x).transform(np.eye(4)))
    np.testing.assert_allclose(root, root.T, atol=1e-9)  # a symmetric matrix


def test_few_components_keep_the_most_variance():
    x = correlated()
    made = nn.PCAWhitening(2, eps=0).fit(x)
    assert made.transform(x).shape == (500, 2)
    wanted = np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1]
    np.testing.assert_allclose(made.variances, wanted[:2], rtol=1e-9)
    lost = np.square(made.inverse_transform(made.transform(x)) - x).sum(1).mean()
    np.testing.assert_allclose(lost, wanted[2:].sum(), rtol=1e-6)


def test_a_feature_that_never_varies():
    x = np.column_stack([np.arange(5.0), np.full(5, 7.0)])
    standard = nn.Standardize().fit(x)
    np.testing.assert_array_equal(standard.transform(x)[:, 1], 0)
    np.testing.assert_allclose(standard.inverse_transform(standard.transform(x)), x)
    with pytest.raises(ValueError, match="covariance of x is singular, expected eps > 0"):
        nn.PCAWhitening(eps=0).fit(x)
    assert np.isfinite(nn.ZCAWhitening().fit_transform(x)).all()


@pytest.mark.parametrize(
    "error, call, message",
    [
        (ValueError, lambda: nn.PCAWhitening(9).fit(np.ones((3, 2))), "components is 9.*at most 2"),
        (ValueError, lambda: nn.PCAWhitening(0), "components is 0, expected components >= 1"),
        (ValueError, lambda: nn.Standardize().fit(np.ones(3)), r"shape \(3,\), expected \(N, feat"),
        (TypeError, lambda: nn.Standardize().fit([["a"]]), "dtype <U1, expected numbers"),
        (
            RuntimeError,
            lambda: nn.ZCAWhitening().transform(np.ones((3, 2))),
            "not fitted, call fit",
        ),
        (
            ValueError,
            lambda: nn.Standardize().fit(np.eye(3)).transform(np.eye(2)),
            r"x has shape \(2, 2\), expected \(N, 3\)",
        ),
        (
            ValueError,
            lambda: nn.refresh_whitening(nn.Sequential(nn.Linear(2, 2)), np.eye(2)),
            "refresh_whitening: the model has no WhitenedLinear",
        ),
        (ValueError, lambda: nn.RefreshWhitening(np.eye(2), eps=0), "eps is 0, expected eps > 0"),
        (
            ValueError,
            lambda: nn.recompute_statistics(nn.Sequential(nn.Linear(2, 2)), np.eye(2)),
            "recompute_statistics: the model has no BatchNorm1d with running statistics",
        ),
        (TypeError, lambda: nn.fold_batchnorm(None), "fold_batchnorm: model is a NoneType"),
    ],
)
def test_what_is_refused(error, call, message):
    with pytest.raises(error, match=message):
        call()


def test_a_refresh_changes_no_output_and_whitens_the_inputs():
    nn.manual_seed(0)
    x = correlated().astype(np.float32)
    model = nn.Sequential(nn.WhitenedLinear(4, 6), nn.Tanh(), nn.WhitenedLinear(6, 3))
    before = model(x)
    for _ in range(2):
        nn.refresh_whitening(model, x, eps=1e-6)
        np.testing.assert_allclose(model(x), before, atol=2e-4)
    first = model[0]
    white = kernels.linear(x, first.whitening, first.shift)
    np.testing.assert_allclose(white.T @ white / len(x), np.eye(4), atol=2e-2)
    np.testing.assert_allclose(first.centre, x.mean(0), rtol=1e-4)
    np.testing.assert_allclose(first.to_linear()(x), first(x), atol=2e-4)


def test_whitened_layers_learn_where_plain_ones_hardly_move():
    """Natural neural networks: ill-conditioned inputs, the same steps of plain descent."""
    x = nn.Standardize().fit_transform(correlated() @ np.diag([1, 1, 1, 0.2]))
    x[:, 3] = x[:, 2] + 0.05 * x[:, 3]
    y = (x @ [[1.0], [2], [40], [-40]]).astype(np.float32)
    losses = []
    for made in (nn.Linear, nn.WhitenedLinear):
        nn.manual_seed(0)
        model = nn.Sequential(made(4, 1))
        callbacks = [nn.RefreshWhitening(x, every=5)] if made is nn.WhitenedLinear else []
        history = nn.fit(
            model, x, y, epochs=10, batch_size=50, loss="mse", progress=False,
            optimizer=nn.SGD(model.parameters(), lr=0.1), callbacks=callbacks,
        )  # fmt: skip
        losses.append(history.loss[-1])
    assert losses[1] < 0.1 * losses[0]


def frozen_net():
    net = nn.Sequential(
        nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 4), nn.BatchNorm1d(4)
    ).to(np.float64)
    for name, parameter in net.named_parameters():
        parameter.value = FROZEN[f"net {name}"]
    return net, FROZEN["x"].reshape(18, 8)


def test_recomputed_statistics_are_those_of_pytorchs_update_bn():
    net, x = frozen_net()
    assert nn.recompute_statistics(net, x, batch_size=6) is net
    for i in (1, 4):
        np.testing.assert_allclose(net[i].running_mean, FROZEN[f"net {i}.running_mean"], 1e-10)
        np.testing.assert_allclose(net[i].running_var, FROZEN[f"net {i}.running_var"], 1e-7)
        assert net[i].momentum == 0.1


def test_recomputed_statistics_of_all_rows_and_of_uneven_batches():
    net, x = frozen_net()
    net[1].freeze()
    nn.recompute_statistics(net, x[:13], batch_size=6)  # 6 and 7: no batch of one row
    assert net[1].running_mean.tolist() == [0] * 6  # frozen
    hidden = nn.Sequential(*net[:4]).eval()(x[:13])
    np.testing.assert_allclose(net[4].running_mean, hidden.mean(0), rtol=1e-10)
    nn.recompute_statistics(net, x)
    hidden = nn.Sequential(*net[:4]).eval()(x)
    np.testing.assert_allclose(net[4].running_var, hidden.var(0, ddof=1), rtol=1e-7)


def test_recomputing_undoes_the_variance_shift_of_dropout():
    """A mask inflates the variance that batch normalization sees; eval mode draws none."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4000, 5)).astype(np.float32) + 1
    net = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(5, momentum=None))
    for _ in range(20):
        net(x)
    shifted = net.eval()(x).var(0)
    nn.recompute_statistics(net, x)
    np.testing.assert_allclose(net(x).var(0), 1, rtol=1e-3)
    assert (shifted < 0.5).all()  # 2·(1 + 1) - 1 = 3 times the variance of x


def trained_norm(features, **options):
    """A batch normalization whose numbers are anything but 0 and 1."""
    rng = np.random.default_rng(features)
    norm = nn.BatchNorm1d(features, **options)
    norm.running_mean[:], norm.running_var[:] = rng.uniform(0.5, 2, (2, features))
    for parameter in norm.parameters():
        parameter.value = rng.uniform(0.5, 2, features)
    return norm


NETS = {
    "after": lambda: [nn.Linear(4, 5), trained_norm(5), nn.ReLU(), nn.Linear(5, 3)],
    "before": lambda: [trained_norm(4), nn.Linear(4, 5, bias=False), nn.Tanh()],
    "both": lambda: [trained_norm(4), nn.Linear(4, 5), trained_norm(5, affine=False)],
    "inside": lambda: [nn.Linear(4, 5), nn.Residual(nn.Linear(5, 5), trained_norm(5), nn.ReLU())],
    "apart": lambda: [nn.Linear(4, 5), nn.ReLU(), trained_norm(5)],
}


@pytest.mark.parametrize("name", NETS)
def test_folded_nets_answer_alike(name):
    nn.manual_seed(1)
    model = nn.Sequential(*NETS[name]())
    x = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)
    kept = [(n, p.value.copy()) for n, p in model.named_parameters()]
    folded = nn.fold_batchnorm(model)
    left = [m for m in folded.modules() if isinstance(m, nn.BatchNorm1d)]
    assert len(left) == (name == "apart")
    assert model.training and not folded.training
    assert all(np.array_equal(p.value, v) for (_, p), (_, v) in zip(
        model.named_parameters(), kept, strict=True))  # fmt: skip
    np.testing.assert_allclose(folded(x), model.eval()(x), rtol=1e-5, atol=1e-5)
