"""Modules: gradients against central differences, modes, names, widths, and what is refused."""

import numpy as np
import pytest

from fonio import nn

ACTIVATIONS = [
    nn.ReLU(), nn.LeakyReLU(0.2), nn.ReLU6(), nn.ELU(), nn.ELU(0.5), nn.SELU(), nn.GELU(),
    nn.GELU("tanh"), nn.QuickGELU(), nn.Sigmoid(), nn.Tanh(), nn.Softplus(), nn.SiLU(),
    nn.Softmax(), nn.LogSoftmax(),
]  # fmt: skip


def numeric(f, array, dy, h=1e-6):
    """Central differences of sum(f() * dy) by each element of `array`."""
    grad = np.zeros_like(array)
    for i in np.ndindex(array.shape):
        old = array[i]
        array[i] = old + h
        up = (f() * dy).sum()
        array[i] = old - h
        down = (f() * dy).sum()
        array[i] = old
        grad[i] = (up - down) / (2 * h)
    return grad


def check_gradients(model, x, tolerance=1e-7):
    rng = np.random.default_rng(1)
    y, backward = model.forward(x)
    dy = rng.standard_normal(y.shape)
    given = dy.copy()
    dx = backward(dy)
    assert np.array_equal(dy, given)  # the caller's gradient is not written on
    for parameter in model.parameters():
        wanted = numeric(lambda: model(x), parameter.value, dy)
        assert np.allclose(parameter.grad, wanted, atol=tolerance, rtol=1e-5)
    assert np.allclose(dx, numeric(lambda: model(x), x, dy), atol=tolerance, rtol=1e-5)
    first = [parameter.grad.copy() for parameter in model.parameters()]
    _, backward = model.forward(x)
    backward(dy, accumulate=True)
    for parameter, once in zip(model.parameters(), first, strict=True):
        assert np.allclose(parameter.grad, 2 * once)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_gradients_of_a_net_with_each_activation(activation):
    nn.manual_seed(2)
    model = nn.Sequential(nn.Linear(4, 5), activation, nn.Linear(5, 3)).to(np.float64)
    x = np.random.default_rng(0).standard_normal((6, 4))
    check_gradients(model, x)


@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
def test_gradients_of_batchnorm(mode):
    nn.manual_seed(3)
    model = nn.Sequential(
        nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 5), nn.BatchNorm1d(5),
        nn.Tanh(), nn.Linear(5, 2, bias=False),
    ).to(np.float64)  # fmt: skip
    x = np.random.default_rng(0).standard_normal((7, 4))
    model(x)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = 0.0  # else each call moves what eval mode reads
    check_gradients(model.train(mode), x, 1e-6)


def test_batchnorm_keeps_pytorchs_running_statistics():
    layer = nn.BatchNorm1d(3, momentum=0.3)
    x = np.random.default_rng(0).normal(5, 2, (10, 3)).astype(np.float32)
    layer(x)
    assert np.allclose(layer.running_mean, 0.3 * x.mean(0), rtol=1e-5)
    assert np.allclose(layer.running_var, 0.7 + 0.3 * x.var(0, ddof=1), rtol=1e-5)
    before = layer.running_mean.copy()
    y = layer.eval()(x)
    assert np.array_equal(layer.running_mean, before)
    wanted = (x - layer.running_mean) / np.sqrt(layer.running_var + 1e-5)
    assert np.allclose(y, wanted, rtol=1e-4, atol=1e-5)


def test_dropout_drops_while_training_only_and_draws_its_mask_again():
    layer = nn.Dropout(0.25)
    x = np.ones((100, 30), np.float32)
    y, backward = layer.forward(x)
    again, later = layer.forward(x)
    assert not np.array_equal(y, again)
    assert 0.2 < (y == 0).mean() < 0.3
    assert np.allclose(y[y != 0], 4 / 3)
    assert np.array_equal(backward(x), y)  # the first pass's mask, although a second has run
    assert np.array_equal(later(x), again)
    assert np.array_equal(layer.eval()(x), x)


def test_names_modes_and_repr():
    model = nn.Sequential(
        nn.Linear(3, 4),
        nn.BatchNorm1d(4),
        nn.ReLU(),
        nn.Sequential(nn.Dropout(0.1), nn.Linear(4, 2)),
    )
    names = [name for name, _ in model.named_parameters()]
    assert names == ["0.weight", "0.bias", "1.weight", "1.bias", "3.1.weight", "3.1.bias"]
    assert [n for n, _ in model.named_buffers()] == [
        "1.running_mean",
        "1.running_var",
        "3.0.counter",
    ]
    assert all(module.training for module in model.modules())
    model.eval()
    assert not any(module.training for module in model.modules())
    assert repr(model) == (
        "Sequential(\n"
        "  (0): Linear(in_features=3, out_features=4, bias=True)\n"
        "  (1): BatchNorm1d(4, eps=1e-05, momentum=0.1)\n"
        "  (2): ReLU()\n"
        "  (3): Sequential(\n"
        "    (0): Dropout(p=0.1)\n"
        "    (1): Linear(in_features=4, out_features=2, bias=True)\n"
        "  )\n"
        ")"
    )
    assert len(model) == 4
    assert len(model[:2]) == 2
    assert model[0].weight.shape == (4, 3)


def test_assigning_a_value_copies_into_place():
    layer = nn.Linear(2, 2)
    memory = layer.weight.value
    layer.weight.value = np.eye(2)
    assert layer.weight.value is memory
    assert memory.tolist() == [[1, 0], [0, 1]]
    with pytest.raises(ValueError, match=r"value has shape \(3,\), expected \(2, 2\)"):
        layer.weight.value = np.zeros(3)


REFUSED = [
    (lambda: nn.Linear(0, 3), ValueError, "Linear: in_features is 0, expected in_features >= 1"),
    (lambda: nn.Linear(2.5, 3), TypeError, "Linear: in_features is a float, expected an integer"),
    (lambda: nn.Dropout(1.5), ValueError, "Dropout: p is 1.5, expected 0 <= p < 1"),
    (lambda: nn.GELU("x"), ValueError, "GELU: unknown approximate 'x', expected one of"),
    (lambda: nn.Sequential(3), TypeError, "Sequential: layer is a int, expected a Module"),
    (lambda: nn.Linear(2, 2)(np.zeros((5, 3), np.float32)), ValueError, r"expected \(N, 2\)"),
    (lambda: nn.Linear(2, 2)([[1.0, 2.0]]), TypeError, "x is a list, expected a NumPy array"),
    (lambda: nn.Linear(2, 2)(np.zeros((5, 2))), TypeError, "dtype"),
    (lambda: nn.BatchNorm1d(2)(np.zeros((1, 2), np.float32)), ValueError, "the batch has 1 row"),
    (lambda: nn.SGD([], lr=0.1), ValueError, "parameters is empty"),
    (lambda: nn.SGD([3], lr=0.1), TypeError, "parameter is a int, expected a Parameter"),
    (lambda: nn.SGD(nn.Linear(2, 2).parameters(), lr=-1), ValueError, "SGD: lr is -1, expected lr"),
    (lambda: nn.SGD(nn.Linear(2, 2).parameters(), nesterov=True), ValueError, "nesterov has"),
    (lambda: nn.Adam(nn.Linear(2, 2).parameters(), betas=(1.0, 0.9)), ValueError, "is 1.0"),
    (lambda: nn.Linear(2, 2).to(np.int32), TypeError, "to: dtype is int32"),
    (lambda: nn.Linear(2, 2).to("gpu"), TypeError, "to: target is 'gpu', expected 'cuda'"),
    (lambda: nn.init.kaiming_normal(np.zeros(3)), ValueError, r"weight has shape \(3,\)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), REFUSED, ids=range(len(REFUSED)))
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_widths_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="layer 2 Linear.*expects 100.*layer 0 Linear.*makes 256"):
        nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(100, 10))
    with pytest.raises(ValueError, match="layer 1 BatchNorm1d.*expects 8.*layer 0"):
        nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(8))
    with pytest.raises(ValueError, match="layer 1 Linear.*expects 5.*layer 0 Sequential"):
        nn.Sequential(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), nn.Linear(5, 2))


def test_a_module_may_stand_in_a_model_once():
    layer = nn.Linear(3, 3)
    with pytest.raises(ValueError, match="stands twice"):
        nn.Sequential(layer, nn.ReLU(), layer)


@pytest.mark.parametrize(
    ("fill", "std"),
    [
        (nn.init.xavier_normal, (2 / 500) ** 0.5),
        (nn.init.xavier_uniform, (2 / 500) ** 0.5),
        (lambda w: nn.init.kaiming_normal(w, nonlinearity="relu"), (2 / 200) ** 0.5),
        (
            lambda w: nn.init.kaiming_uniform(w, mode="fan_out", nonlinearity="relu"),
            (2 / 300) ** 0.5,
        ),
        (lambda w: nn.init.normal(w, 0, 0.01), 0.01),
    ],
    ids=["xavier_normal", "xavier_uniform", "kaiming_normal", "kaiming_uniform", "normal"],
)
def test_initial_weights_have_the_named_spread(fill, std):
    weight = nn.Linear(200, 300).weight
    fill(weight)
    assert abs(weight.value.std() / std - 1) < 0.02
    assert abs(weight.value.mean()) < 0.01 * std * 3


def test_seeded_models_are_equal():
    models = []
    for _ in range(2):
        nn.manual_seed(7)
        models.append(nn.Linear(5, 4).weight.value.copy())
    assert np.array_equal(*models)


def test_an_optimizer_packs_and_a_second_one_finds_the_arena():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    before = [p.value.copy() for p in model.parameters()]
    first = nn.SGD(model.parameters(), lr=0.1)
    second = nn.Adam(model.parameters())
    assert first.values is second.values
    for parameter, old in zip(model.parameters(), before, strict=True):
        assert np.array_equal(parameter.value, old)
        assert np.shares_memory(parameter.value, first.values)
        assert np.shares_memory(parameter.grad, first.grads)
    model.to(np.float64)
    with pytest.raises(RuntimeError, match="have moved"):
        first.step()
