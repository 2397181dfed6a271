"""Normalizations: PyTorch's answers, numbers far from zero, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from numba import njit

from fonio import kernels, nn
from tests.test_modules import numeric

FROZEN = np.load(Path(__file__).parent / "frozen" / "normalization.npz")
CASES = sorted({name.removesuffix(" y") for name in FROZEN.files if name.endswith(("2 y", "3 y"))})


def frozen_module(case):
    """The module of a case with its parameters, and its batches and dy."""
    name, rest = case.split(" ", 1)
    made_with, end = json.JSONDecoder().raw_decode(rest)
    options, stop = json.JSONDecoder().raw_decode(rest[end + 1 :])
    shape = (3, 6, 8) if rest[end + 1 + stop :].strip() == "2" else (3, 2, 8, 3)
    module = getattr(nn, name)(*made_with, **options).to(np.float64)
    for part, parameter in module.named_parameters():
        parameter.value = FROZEN[part]
    return module, FROZEN["x"].reshape(shape), FROZEN["dy"].reshape(shape[1:])


@pytest.mark.parametrize("case", CASES)
def test_pytorchs_answers(case):
    """Values, gradients and running statistics after three batches; and in eval mode."""
    module, batches, dy = frozen_module(case)
    for x in batches:
        x = np.ascontiguousarray(x)
        y, backward = module.forward(x)
    found = {"y": y, "dx": backward(dy)}
    found |= {f"d{part}": parameter.grad.copy() for part, parameter in module.named_parameters()}
    if f"{case} mean" in FROZEN.files:
        found |= {"mean": module.running_mean, "var": module.running_var}
    if f"{case} eval y" in FROZEN.files:
        found["eval y"], backward = module.eval().forward(x)
        found["eval dx"] = backward(dy)
    for part, value in found.items():
        wanted = FROZEN[f"{case} {part}"]
        np.testing.assert_allclose(value, wanted, rtol=1e-11, atol=1e-12, err_msg=part)


def test_pytorchs_weights_and_their_gradients():
    v, g, dw = (FROZEN[name] for name in ("v", "g", "dw"))
    np.testing.assert_allclose(kernels.weightnorm(v, g), FROZEN["weightnorm weight"], rtol=1e-13)
    dv, dg = kernels.weightnorm_backward(dw, v, g)
    np.testing.assert_allclose(dv, FROZEN["weightnorm dv"], rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(dg, FROZEN["weightnorm dg"], rtol=1e-12)
    centred = v - v.mean(1, keepdims=True)  # the same, of weights less their mean
    wanted = kernels.weightnorm(centred, g)
    np.testing.assert_allclose(kernels.centered_weightnorm(v, g), wanted, rtol=1e-12)


def test_a_unit_does_not_depend_on_the_others():
    v, g, dw = (FROZEN[name].astype(np.float32) for name in ("v", "g", "dw"))
    for forward, backward in (
        (kernels.weightnorm, kernels.weightnorm_backward),
        (kernels.centered_weightnorm, kernels.centered_weightnorm_backward),
    ):
        assert np.array_equal(forward(v, g)[2:3], forward(v[2:3], g[2:3]))
        whole, alone = backward(dw, v, g), backward(dw[2:3], v[2:3], g[2:3])
        assert all(np.array_equal(a[2:3], b) for a, b in zip(whole, alone, strict=True))


def far(rows, columns):
    """Rows with mean 1e6 and standard deviation 1, in float32."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal((rows, columns)) + 1e6).astype(np.float32)


@pytest.mark.parametrize("shape", [(20, 300), (20, 6, 50), (20, 6, 5)])
def test_rows_far_from_zero(shape):
    """The mean as given is rounded by up to 0.03 standard deviations; backward finds it anew."""
    x = far(shape[0], int(np.prod(shape[1:]))).reshape(shape)
    dy = np.random.default_rng(4).standard_normal(shape).astype(np.float32) + np.float32(0.5)
    gamma = np.linspace(0.5, 2, shape[1], dtype=np.float32)
    groups = 2
    y, mean, rstd = kernels.groupnorm(x, gamma, gamma, groups)
    dx, dgamma, _ = kernels.groupnorm_backward(dy, x, gamma, mean, rstd)
    exact = x.astype(np.float64)
    wanted = kernels.groupnorm(exact, *[gamma.astype(np.float64)] * 2, groups)
    slopes = kernels.groupnorm_backward(
        dy.astype(np.float64), exact, gamma.astype(np.float64), *wanted[1:]
    )
    np.testing.assert_allclose(y, wanted[0], atol=2e-4)
    np.testing.assert_allclose(dx, slopes[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(dgamma, slopes[1], rtol=1e-4, atol=1e-3)


def test_a_constant_row_is_beta():
    x = np.full((3, 70), 3.3, np.float32)
    beta = np.arange(70, dtype=np.float32)
    y, mean, rstd = kernels.layernorm(x, np.ones(70, np.float32), beta)
    np.testing.assert_array_equal(y, np.broadcast_to(beta, y.shape))
    np.testing.assert_array_equal(mean, x[:, 0])
    np.testing.assert_allclose(rstd, 1 / np.sqrt(1e-5), rtol=1e-6)


def test_centered_weights_have_mean_zero_and_the_length_asked_for():
    v = far(5, 100)
    w = kernels.centered_weightnorm(v, np.full(5, 3, np.float32)).astype(np.float64)
    np.testing.assert_allclose(w.mean(1), 0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(w, axis=1), 3, rtol=1e-5)


def test_divisive_normalization_of_whole_rows_is_layer_normalization():
    x = np.random.default_rng(0).standard_normal((9, 7))
    gamma, beta = np.linspace(0.5, 1, 7), np.linspace(-1, 1, 7)
    wide = kernels.divisivenorm(x, gamma, beta, 13, 13, 0.1)[0]
    np.testing.assert_allclose(wide, kernels.layernorm(x, gamma, beta, 0.01)[0], rtol=1e-12)


def test_power_normalization_is_exact_while_its_statistics_stand_still():
    """With ψ and ν kept, the gradient is that of the forward; ν takes x̂ away, as the paper says."""
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 9, 4)) + 1
    gamma, beta, power = np.linspace(0.5, 1, 4), np.zeros(4), np.full(4, 2.0)

    def forward():
        return kernels.powernorm(x, gamma, beta, power, momentum=0.0)[0]

    y, rstd, square = kernels.powernorm(x, gamma, beta, power, momentum=0.0)
    still = kernels.powernorm_backward(dy, x, gamma, rstd, square, np.zeros(4), momentum=0.0)
    for array, found in ((x, still[0]), (gamma, still[1])):
        np.testing.assert_allclose(found, numeric(forward, array, dy), rtol=1e-6, atol=1e-7)
    drift = np.full(4, 0.3)
    dx = kernels.powernorm_backward(dy, x, gamma, rstd, square, drift, momentum=0.1)[0]
    np.testing.assert_allclose(dx, still[0] - 0.3 * x * rstd**2, rtol=1e-12)
    x_hat = x * rstd
    gone = (gamma * dy * x_hat).mean(0) - 0.3 * (x_hat**2).mean(0)
    np.testing.assert_allclose(drift, 0.3 + 0.1 * gone, rtol=1e-12)


@njit
def _groups_in_njit(x, gamma, groups, y, mean, rstd):
    kernels.groupnorm(x, gamma, gamma, groups, out=(y, mean, rstd))


@pytest.mark.parametrize("groups, held", [(4, 4), (2, 3), (0, 2)])
def test_groups_are_checked_inside_njit_too(groups, held):
    x, gamma = np.ones((2, 6)), np.ones(6)
    statistics = np.ones((2, held)), np.ones((2, held))
    with pytest.raises(ValueError, match="groups do not divide the channels, or do not fit mean"):
        _groups_in_njit(x, gamma, groups, np.ones((2, 6)), *statistics)


X, ONE = np.ones((2, 6)), np.ones(6)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: kernels.groupnorm(X, ONE, ONE, 4),
            "groupnorm: groups is 4, expected a divisor of 6, the channels",
        ),
        (lambda: kernels.groupnorm(X, ONE, ONE, 0), "groups is 0, expected groups >= 1"),
        (
            lambda: kernels.groupnorm_backward(X, X, ONE, np.ones((2, 4)), np.ones((2, 4))),
            r"mean has shape \(2, 4\), expected \(N, groups\) with groups a divisor of 6",
        ),
        (lambda: kernels.layernorm(X, np.ones(5), ONE), r"gamma has shape \(5,\), expected \(6,\)"),
        (
            lambda: kernels.instancenorm(X, ONE, ONE),
            r"instancenorm: x has shape \(2, 6\), expected \(N, C, L\)",
        ),
        (lambda: kernels.weightnorm(X, ONE), r"weightnorm: g has shape \(6,\), expected \(2,\)"),
        (
            lambda: kernels.divisivenorm(X, ONE, ONE, 4),
            "divisivenorm: summation is 4, expected an odd number",
        ),
        (
            lambda: kernels.divisivenorm(X, ONE, ONE, 3, 3, -1.0),
            "divisivenorm: sigma is -1.0, expected sigma >= 0",
        ),
        (lambda: nn.GroupNorm(4, 6), "num_groups is 4, expected a divisor of 6, the channels"),
        (lambda: nn.LayerNorm((2, 3)), r"normalized_shape is \(2, 3\), expected one number"),
        (
            lambda: nn.InstanceNorm1d(6)(np.ones((2, 6, 1), np.float32)),
            r"shape \(2, 6, 1\), expected \(N, 6, L\) with L > 1",
        ),
        (
            lambda: nn.InstanceNorm1d(6)(np.ones((2, 6), np.float32)),
            r"shape \(2, 6\), expected \(N, 6, L\)",
        ),
        (lambda: nn.DivisiveNorm(6, suppression=2), "suppression is 2, expected an odd number"),
        (lambda: nn.NormPropLinear(3, 2, "gellu"), "unknown activation 'gellu'"),
        (lambda: nn.BatchNorm1d(3, momentum=-1), "momentum is -1, expected momentum >= 0"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
