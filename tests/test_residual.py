"""Residual blocks: values, gradients, widths, training."""

import numpy as np
import pytest

from fonio import nn
from tests.test_modules import check_gradients
from tests.test_training import blobs, quiet_fit


def body():
    nn.manual_seed(3)
    return nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 5)


def test_a_residual_adds_what_its_layers_make():
    x = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    layers = body()
    np.testing.assert_allclose(
        nn.Residual(*layers)(x), x + nn.Sequential(*layers)(x), rtol=1e-6, atol=1e-6
    )
    shortcut = nn.Linear(5, 3, bias=False)
    wide = nn.Residual(nn.Linear(5, 3), shortcut=shortcut)
    wanted = x @ shortcut.weight.value.T + wide.body(x)
    np.testing.assert_allclose(wide(x), wanted, rtol=1e-5, atol=1e-6)
    assert (wide.in_features, wide.out_features) == (5, 3)


@pytest.mark.parametrize("preactivation", [True, False])
def test_gradients_of_a_block(preactivation):
    nn.manual_seed(1)
    block = nn.ResidualBlock(4, 6, preactivation=preactivation, activation=nn.Tanh)
    model = nn.Sequential(nn.Linear(3, 4), block, nn.Linear(4, 2)).to("float64")
    check_gradients(model, np.random.default_rng(2).normal(size=(8, 3)))


def test_gradients_of_a_shortcut_first_and_accumulated():
    nn.manual_seed(1)
    model = nn.Residual(*body(), shortcut=nn.Linear(5, 5)).to("float64")
    x = np.random.default_rng(2).normal(size=(4, 5))
    check_gradients(model, x)
    y, backward = model.forward(x)
    backward(np.ones_like(y))
    once = [p.grad.copy() for p in model.parameters()]
    backward.parameters_only(np.ones_like(y), accumulate=True)
    for p, grad in zip(model.parameters(), once, strict=True):
        np.testing.assert_allclose(p.grad, 2 * grad, rtol=1e-12)


def test_a_deep_residual_net_trains():
    nn.manual_seed(0)
    blocks = [nn.ResidualBlock(16) for _ in range(8)]
    model = nn.Sequential(nn.Linear(5, 16), *blocks, nn.Linear(16, 3))
    x, y = blobs()
    history = quiet_fit(model, x, y, epochs=8)
    assert history.accuracy[-1] > 0.9
    assert [name for name, _ in model.named_parameters()][2] == "1.0.body.0.weight"


BAD = [
    (lambda: nn.Residual(), ValueError, "has no layers"),
    (lambda: nn.Residual(nn.Linear(3, 4)), ValueError, "make 4 features of 3"),
    (lambda: nn.Residual(3), TypeError, "layer is a int, expected a Module"),
    (lambda: nn.ResidualBlock(0), ValueError, "features is 0"),
    (
        lambda: nn.Residual(nn.Linear(3, 4), shortcut=nn.Linear(3, 2))(np.ones((2, 3), np.float32)),
        ValueError, r"make \(2, 4\) of \(2, 3\), expected \(2, 2\)",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=range(len(BAD)))
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
