"""Known results on real data: what each net must reach, as others reach it."""

import math

import numpy as np
import pytest

from fonio import nn


def mlp(*widths, activation=nn.ReLU, batchnorm=False, dropout=()):
    """Linear layers of these widths with an activation between them."""
    layers = []
    for i, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
        layers.append(nn.Linear(before, after))
        if i + 2 < len(widths):
            layers += [nn.BatchNorm1d(after)] if batchnorm else []
            layers.append(activation())
            layers += [nn.Dropout(dropout[i])] if dropout else []
    return nn.Sequential(*layers)


def accuracy(model, data, **options):
    """Train on the first part of `data` and return the accuracy on the second."""
    train, test = data
    options = {"batch_size": 128, "progress": False, **options}
    nn.fit(model, *train, **options)
    return nn.evaluate(model, *test)["accuracy"]


@pytest.fixture(scope="module")
def mnist(data_folder):
    return nn.datasets.mnist(data_folder / "mnist")


@pytest.fixture(autouse=True)
def seeded():
    nn.manual_seed(0)


def test_digits():
    model = mlp(64, 64, 10)
    assert accuracy(model, nn.datasets.digits(), epochs=50, batch_size=32) >= 0.972


@pytest.mark.slow
def test_mnist_one_hidden_layer(mnist):
    assert accuracy(mlp(784, 128, 10), mnist, epochs=5) >= 0.963


@pytest.mark.slow
@pytest.mark.parametrize("batchnorm", [False, True])
def test_mnist_two_hidden_layers(mnist, batchnorm):
    assert accuracy(mlp(784, 256, 128, 10, batchnorm=batchnorm), mnist, epochs=10) >= 0.972


@pytest.mark.slow
def test_fashion(data_folder):
    data = nn.datasets.fashion_mnist(data_folder / "fashion-mnist")
    assert accuracy(mlp(784, 256, 128, 10), data, epochs=10) >= 0.868


@pytest.mark.slow
@pytest.mark.parametrize("batchnorm", [False, True])
def test_batchnorm_speeds_up_sigmoid_layers(mnist, batchnorm):
    """Ioffe and Szegedy 2015, figure 1: three layers of 100 sigmoid units, N(0, 0.1), batch 60."""
    model = mlp(784, 100, 100, 100, 10, activation=nn.Sigmoid, batchnorm=batchnorm)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal(module.weight, 0, 0.1)
            nn.init.zeros(module.bias)
    optimizer = nn.SGD(model.parameters(), lr=0.1)
    options = {"batch_size": 60, "optimizer": optimizer}
    after_one = accuracy(model, mnist, epochs=1, **options)
    assert after_one >= 0.88 if batchnorm else after_one < 0.70
    assert accuracy(model, mnist, epochs=49, **options) >= (0.973 if batchnorm else 0.96)


def disc(rows, rng):
    """Points of a square, and whether they lie in a disc of half its area."""
    x = rng.uniform(-1, 1, (rows, 2))
    return x, ((x**2).sum(axis=1) <= 2 / math.pi).astype(np.int64)


@pytest.mark.slow
@pytest.mark.parametrize("std", [0.001, 0.1, 1.0])
def test_batchnorm_makes_depth_indifferent_to_the_initial_scale(std):
    """Fleuret's disc: 17 hidden layers of 32 units, weights and biases of Linear from N(0, std)."""
    errors = {}
    for batchnorm in (True, False):
        rng = np.random.default_rng(0)
        (x, y), (x_test, y_test) = disc(1000, rng), disc(1000, rng)
        mean, spread = x.mean(axis=0), x.std(axis=0)
        data = ((x - mean) / spread, y), ((x_test - mean) / spread, y_test)
        model = mlp(2, *[32] * 17, 2, batchnorm=batchnorm)
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal(module.weight, 0, std)
                nn.init.normal(module.bias, 0, std)
        optimizer = nn.SGD(model.parameters(), lr=0.1)
        found = accuracy(model, data, epochs=250, batch_size=100, optimizer=optimizer)
        errors[batchnorm] = 1 - found
    assert errors[True] < 0.10
    if std != 0.1:
        assert 0.40 < errors[False] < 0.60
