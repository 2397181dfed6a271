"""Penalties and the bound on norms: their gradients, what fits make of them, bad input."""

import numpy as np
import pytest

from fonio import kernels, nn


def _net(seed=0):
    nn.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 2)).to(np.float64)


def _data(rows=64):
    """Labels that the first two of six inputs decide."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((rows, 6))
    return x, (x[:, 0] > x[:, 1]).astype(np.int64)


def _fit(model, **options):
    options = {"epochs": 30, "batch_size": 32, "progress": False, **options}
    return nn.fit(model, *_data(), **options)


PENALTIES = {
    "l1": lambda *where, **rows: nn.L1(0.3, *where, **rows),
    "l2": lambda *where, **rows: nn.L2(0.3, *where, **rows),
    "elastic": lambda *where, **rows: nn.ElasticNet(0.3, 0.2, *where, **rows),
    "group": lambda *where, **rows: nn.GroupLasso(0.3, *where, **rows),
}


@pytest.mark.parametrize("name", PENALTIES)
def test_the_gradient_is_that_of_the_value(name):
    """Of all weights, of a layer, of some of its neurons, of a parameter; never of biases."""
    model = _net()
    model[2].weight.value[0, 0] = 0  # of a corner the gradient is the mean of both sides
    weights = [model[0].weight, model[2].weight]
    for penalty, meant in (
        (PENALTIES[name](), weights),
        (PENALTIES[name](model[2]), weights[1:]),
        (PENALTIES[name]([model[0].weight]), weights[:1]),
        (PENALTIES[name](model[0], neurons=slice(2, 5)), weights[:1]),
    ):
        for p in model.parameters():
            p.grad = np.zeros(p.shape)
        penalty.add_to(model)
        for p in model.parameters():
            if not any(p is weight for weight in meant):
                assert not p.grad.any()
                continue
            for place in np.ndindex(p.shape):
                old, ends = p.value[place], []
                for step in (1e-6, -1e-6):
                    p.value[place] = old + step
                    ends.append(penalty.value(model))
                p.value[place] = old
                np.testing.assert_allclose(p.grad[place], (ends[0] - ends[1]) / 2e-6, atol=1e-7)


def test_l2_is_the_weight_decay_of_a_group():
    by_penalty, by_decay = _net(), _net()
    _fit(by_penalty, optimizer=nn.SGD(by_penalty, lr=0.1), callbacks=[nn.L2(0.05)])
    weights = [by_decay[0].weight, by_decay[2].weight]
    biases = [by_decay[0].bias, by_decay[2].bias]
    groups = [{"params": weights, "weight_decay": 0.05}, {"params": biases}]
    _fit(by_decay, optimizer=nn.SGD(groups, lr=0.1))
    for a, b in zip(by_penalty.parameters(), by_decay.parameters(), strict=True):
        np.testing.assert_allclose(a.value, b.value, rtol=1e-9, atol=1e-12)


def test_l1_draws_the_weights_of_idle_inputs_to_zero():
    sizes = []
    for penalised in (False, True):
        model = _net()
        layer = [nn.L1(0.02, model[0])] if penalised else []
        history = _fit(model, epochs=150, optimizer=nn.SGD(model, lr=0.1), callbacks=layer)
        sizes.append(np.abs(model[0].weight.value).mean(0))
        assert history.accuracy[-1] > 0.9
    assert (sizes[1][2:] < 0.05).all() and (sizes[1][:2] > 0.1).all()
    assert (sizes[0][2:] > 0.1).all()


def test_a_group_lasso_draws_whole_neurons_to_zero():
    model = _net()
    optimizer = nn.SGD(model, lr=0.1)
    _fit(model, epochs=150, optimizer=optimizer, callbacks=[nn.GroupLasso(0.03, model[0])])
    lengths = np.sort(np.linalg.norm(model[0].weight.value, axis=1))
    assert (lengths[:4] < 0.02).all() and lengths[-1] > 0.5


def test_max_norm_bounds_what_it_is_given():
    model = _net()
    _fit(model, optimizer=nn.SGD(model, lr=1.0), callbacks=[nn.MaxNorm(0.5, model[0])])
    lengths = np.linalg.norm(model[0].weight.value, axis=1)
    assert lengths.max() == pytest.approx(0.5, rel=1e-12)
    assert np.linalg.norm(model[2].weight.value, axis=1).max() > 0.5
    nn.MaxNorm(1e-3, neurons=slice(0, 1)).apply_to(model)
    lengths = [np.linalg.norm(model[i].weight.value, axis=1) for i in (0, 2)]
    assert all(each[0] == pytest.approx(1e-3) and (each[1:] > 1e-3).any() for each in lengths)


def test_a_very_long_row_is_shortened_as_well():
    w = np.full((2, 100), 1e6, np.float32)
    w[1] = 1e-3
    kernels.max_norm(w, 3.0)
    np.testing.assert_allclose(w, [[0.3] * 100, [1e-3] * 100], rtol=1e-6)


def test_frozen_layers_are_left_alone():
    model = _net()
    model[0].freeze()
    before = model[0].weight.value.copy()
    _fit(model, epochs=2, callbacks=[nn.L2(1.0), nn.MaxNorm(0.1)])
    np.testing.assert_array_equal(model[0].weight.value, before)
    assert not model[0].weight.grad.any()
    model[2].freeze()
    with pytest.raises(ValueError, match="L2: there are no weights to train"):
        nn.L2(1.0).add_to(model)


BAD = [
    (lambda: nn.L1(-1), ValueError, "L1: strength is -1, expected strength >= 0"),
    (lambda: nn.L2("much"), TypeError, "L2: strength is a str, expected a number"),
    (lambda: nn.ElasticNet(0.1, -0.1), ValueError, "ElasticNet: l2 is -0.1, expected l2 >= 0"),
    (lambda: nn.GroupLasso(-1), ValueError, "GroupLasso: strength is -1, expected"),
    (lambda: nn.MaxNorm(-1), ValueError, "MaxNorm: limit is -1, expected limit >= 0"),
    (lambda: nn.L2(1, [3]), TypeError, "L2: layer is a int, expected a Module or a Parameter"),
    (lambda: nn.L2(1, neurons=3), TypeError, "L2: neurons is a int, expected a slice of rows"),
    (
        lambda: nn.fit(_net(), *_data(), callbacks=[nn.L2(1, nn.ReLU())], progress=False),
        ValueError,
        "L2: there are no weights to train, expected a layer with some",
    ),
    (
        lambda: kernels.add_group_lasso(np.ones((2, 3)), np.ones((2, 4)), 1.0),
        ValueError,
        r"add_group_lasso: w has shape \(2, 4\), expected \(2, 3\)",
    ),
    (lambda: kernels.max_norm(np.ones((2, 3)), -1.0), ValueError, "max_norm: limit is -1.0"),
    (
        lambda: kernels.add_elastic_net(np.ones(3), np.ones(3), l1=-1.0),
        ValueError,
        "add_elastic_net: l1 is -1.0, expected l1 >= 0",
    ),
]


@pytest.mark.parametrize("call, error, message", BAD, ids=range(len(BAD)))
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
