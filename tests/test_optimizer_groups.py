"""Parameter groups: one arena, a rate and numbers for each; frozen parameters are left out."""

import numpy as np
import pytest

from fonio import kernels, nn


def _net():
    nn.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).to(np.float64)


def _data(rows=24):
    rng = np.random.default_rng(2)
    return rng.standard_normal((rows, 5)), np.arange(rows) % 3


def _fit(model, optimizer, **options):
    options = {"epochs": 3, "batch_size": 8, "progress": False, **options}
    return nn.fit(model, *_data(), optimizer=optimizer, **options)


def test_groups_lie_in_one_arena_and_share_it_out():
    model = _net()
    last, first = model[2], model[0]
    optimizer = nn.Adam([{"params": last, "lr": 0.1}, {"params": [first.weight, first.bias]}])
    assert [group.lr for group in optimizer.groups] == [0.1, 0.001]
    ends = [0]
    for group, layer in zip(optimizer.groups, (last, first), strict=True):
        assert np.shares_memory(group.values, optimizer.values)
        assert np.shares_memory(group.state["m"], layer.weight.value) is False
        for parameter in (layer.weight, layer.bias):
            assert np.shares_memory(parameter.value, group.values)
            assert np.shares_memory(parameter.grad, group.grads)
        ends.append(ends[-1] + group.values.size)
    assert ends[-1] == optimizer.values.size
    assert len(optimizer.state()) == 5


@pytest.mark.parametrize("make", [nn.SGD, nn.Adam, nn.NAdam, nn.Adagrad])
def test_two_groups_train_as_two_optimizers(make):
    joint, apart = _net(), _net()
    options = {"lr": 0.02, "weight_decay": 0.3}
    groups = [{"params": joint[0]}, {"params": joint[2], **options}]
    optimizer = make(groups, lr=0.05)
    pair = make(apart[0], lr=0.05), make(apart[2], **options)
    x, y = _data()
    for _ in range(4):
        for model in (joint, apart):
            output, backward = model.forward(x)
            backward(kernels.cross_entropy(output, y)[1])
        optimizer.step()
        for one in pair:
            one.step()
    for a, b in zip(joint.parameters(), apart.parameters(), strict=True):
        assert a.value.tobytes() == b.value.tobytes()


def test_a_rate_of_zero_holds_a_group():
    model = _net()
    before = model[0].weight.value.copy()
    _fit(model, nn.SGD([{"params": model[0], "lr": 0.0}, {"params": model[2]}], lr=0.1))
    np.testing.assert_array_equal(model[0].weight.value, before)
    assert np.abs(model[2].bias.value).max() > 0


def test_setting_the_rate_keeps_the_proportions():
    model = _net()
    optimizer = nn.SGD([{"params": model[0], "lr": 0.1}, {"params": model[2], "lr": 0.4}])
    optimizer.lr = 0.2
    assert [group.lr for group in optimizer.groups] == [0.2, 0.8]
    optimizer.lr = 0.0
    optimizer.lr = 0.3
    assert [group.lr for group in optimizer.groups] == pytest.approx([0.3, 1.2])
    assert [base for _, base in optimizer.rates()] == pytest.approx([0.3, 1.2])
    optimizer.groups[1].lr = 0.5
    assert optimizer.lr == 0.3 and optimizer.groups[1].base_lr == 0.5


@pytest.mark.parametrize("by", ["epochs", "steps"])
def test_a_schedule_moves_each_group_from_its_own_rate(by):
    model = _net()
    optimizer = nn.SGD([{"params": model[0], "lr": 0.1}, {"params": model[2], "lr": 0.4}])
    length = 1 if by == "epochs" else 3
    history = _fit(model, optimizer, schedule=nn.StepLR(length, 0.5, by=by))
    assert history.lr == pytest.approx([0.1, 0.05, 0.025])
    assert [group.lr for group in optimizer.groups] == pytest.approx([0.025, 0.1])


def test_frozen_parameters_are_left_out():
    model = _net()
    model[0].freeze()
    optimizer = nn.Adam([{"params": model[0]}, {"params": model[2], "lr": 0.1}])
    assert len(optimizer.parameters) == 2 and optimizer.groups[0].values.size == 0
    before = model[0].weight.value.copy()
    _fit(model, optimizer)
    np.testing.assert_array_equal(model[0].weight.value, before)
    model[2].freeze()
    with pytest.raises(ValueError, match="Adam: all 4 parameters are frozen, expected one to trai"):
        nn.Adam(model)
    with pytest.raises(RuntimeError, match="Adam: parameters were frozen since the optimizer was"):
        optimizer.step()
    model.unfreeze()
    _fit(model, "adam")
    assert not np.array_equal(model[0].weight.value, before)


P = nn.Parameter(np.ones(3))
BAD = [
    (
        lambda: nn.SGD([{"params": [P]}, P]),
        TypeError,
        "SGD: group 1 is a Parameter, expected a dic",
    ),
    (
        lambda: nn.SGD([{"params": [P], "betas": (0.9, 0.9)}]),
        ValueError,
        r"SGD: group 0 has options \['betas', 'params'\], expected 'params' and any of \['dampen",
    ),
    (lambda: nn.SGD([{"lr": 1.0}]), ValueError, r"SGD: group 0 has options \['lr'\], expected 'pa"),
    (lambda: nn.SGD([{"params": [3]}]), TypeError, "SGD: parameter is a int, expected a Parameter"),
    (lambda: nn.SGD([P, P]), ValueError, "SGD: a parameter stands twice in the groups, expected"),
    (lambda: nn.SGD([{"params": P, "lr": -1}]), ValueError, "SGD: lr is -1, expected lr >= 0"),
    (lambda: nn.Adam([{"params": P, "betas": (0.9, 1.0)}]), ValueError, r"betas\[1\] is 1.0, exp"),
    (
        lambda: nn.SGD([{"params": P, "nesterov": True}]),
        ValueError,
        "SGD: nesterov has momentum 0.0 and dampening 0.0, expected momentum > 0",
    ),
    (lambda: nn.SGD([{"params": []}]), ValueError, "parameters is empty, expected at least one"),
    (lambda: setattr(nn.SGD([P]).groups[0], "lr", -1), ValueError, "Group: lr is -1, expected"),
]


@pytest.mark.parametrize("call, error, message", BAD, ids=range(len(BAD)))
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
