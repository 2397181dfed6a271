"""DropConnect: which weights are dropped, what comes back to each; the layer's two inferences."""

import numpy as np
import pytest
from numba import njit
from scipy.stats import norm

from fonio import kernels, nn

KEY = (0.3, 11, 4, 2)  # rate, seed, step, stream


def drawn(*shapes, dtype=np.float64):
    rng = np.random.default_rng(3)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def test_a_mask_for_the_batch_is_dropout_of_the_weights():
    x, weight, bias, dy = drawn((5, 9), (4, 9), 4, (5, 4))
    masked = kernels.dropout(weight, *KEY)
    y = kernels.dropconnect(x, weight, bias, *KEY)
    np.testing.assert_array_equal(y, kernels.linear(x, masked, bias))
    dx, dweight, dbias = kernels.dropconnect_backward(dy, x, weight, *KEY)
    np.testing.assert_array_equal(dx, kernels.linear_backward_input(dy, masked))
    whole = kernels.linear_backward_weight(dy, x)
    np.testing.assert_array_equal(dweight, kernels.dropout_backward(whole, *KEY))
    assert ((dweight == 0) == (masked == 0)).all()
    np.testing.assert_array_equal(dbias, dy.sum(0))


@pytest.mark.parametrize("inputs", [9, 64, 130])
def test_each_sample_has_a_mask_of_its_own(inputs):
    x, weight, bias, dy = drawn((5, inputs), (4, inputs), 4, (5, 4))
    width = -(-inputs // 64) * 64
    masks = kernels.dropout_mask((5, 4, width), *KEY)[..., :inputs]
    assert len({mask.tobytes() for mask in masks}) == 5
    masked = masks * weight / (1 - KEY[0])
    y = kernels.dropconnect(x, weight, bias, *KEY, per_sample=True)
    np.testing.assert_allclose(y, np.einsum("noi,ni->no", masked, x) + bias, atol=1e-12)
    dx, dweight, dbias = kernels.dropconnect_backward(dy, x, weight, *KEY, per_sample=True)
    np.testing.assert_allclose(dx, np.einsum("noi,no->ni", masked, dy), atol=1e-12)
    wanted = np.einsum("noi,ni,no->oi", masks, x, dy) / (1 - KEY[0])
    np.testing.assert_allclose(dweight, wanted, atol=1e-12)
    np.testing.assert_allclose(dbias, dy.sum(0))


def test_a_sample_does_not_depend_on_the_batch():
    """What a row draws comes from its place: a batch begins like a longer one, to the bit."""
    x, weight, dy = drawn((7, 70), (6, 70), (7, 6), dtype=np.float32)
    y = kernels.dropconnect(x, weight, None, *KEY, per_sample=True)
    dx = kernels.dropconnect_backward(dy, x, weight, *KEY, per_sample=True)[0]
    for rows in (1, 3):
        part = kernels.dropconnect(x[:rows], weight, None, *KEY, per_sample=True)
        np.testing.assert_array_equal(part, y[:rows])
        back = kernels.dropconnect_backward(dy[:rows], x[:rows], weight, *KEY, per_sample=True)
        np.testing.assert_array_equal(back[0], dx[:rows])


def test_moments_are_those_of_many_masks():
    x, weight, bias = drawn((3, 20), (2, 20), 2)
    mean, sd = kernels.dropconnect_moments(x, weight, bias, 0.3)
    one = [kernels.dropconnect(x, weight, bias, 0.3, step=s, per_sample=True) for s in range(4000)]
    assert (abs(np.mean(one, 0) - mean) < 5 * sd / np.sqrt(4000)).all()
    np.testing.assert_allclose(np.std(one, 0), sd, rtol=0.06)  # 5 standard errors


@pytest.mark.slow
def test_inside_njit():
    x, weight, bias, dy = drawn((5, 70), (4, 70), 4, (5, 4), dtype=np.float32)

    @njit
    def inside(x, weight, bias, dy, per_sample, out, back):
        kernels.dropconnect(x, weight, bias, 0.3, 11, 4, 2, per_sample, out=out)
        kernels.dropconnect_backward(dy, x, weight, 0.3, 11, 4, 2, per_sample, out=back)

    for per_sample in (False, True):
        wanted = kernels.dropconnect(x, weight, bias, *KEY, per_sample)
        gradients = kernels.dropconnect_backward(dy, x, weight, *KEY, per_sample)
        out, back = np.empty_like(wanted), tuple(np.empty_like(g) for g in gradients)
        inside(x, weight, bias, dy, per_sample, out, back)
        np.testing.assert_array_equal(out, wanted)
        for actual, gradient in zip(back, gradients, strict=True):
            np.testing.assert_array_equal(actual, gradient)


# ---- the layer


def connect(**options):
    nn.manual_seed(2)
    return nn.DropConnect(5, 4, **options)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("activation", [None, "tanh", "gelu"])
@pytest.mark.parametrize("bias", [False, True])
def test_gradients_of_dropconnect(per_sample, activation, bias):
    """By central differences, the masks held by the counter."""
    layer = connect(p=0.4, per_sample=per_sample, activation=activation, bias=bias).to(np.float64)
    x, dy = np.random.default_rng(0).standard_normal((2, 6, 5))
    dy = dy[:, :4]

    def loss():
        layer.counter[0] = 3
        return (layer(x) * dy).sum()

    layer.counter[0] = 3
    _, backward = layer.forward(x)
    dx = backward(dy)
    pairs = [(x, dx), *((p.value, p.grad.copy()) for p in layer.parameters())]
    for array, gradient in pairs:
        for place in np.ndindex(array.shape):
            before, ends = array[place], []
            for step in (1e-6, -1e-6):
                array[place] = before + step
                ends.append(loss())
            array[place] = before
            assert abs((ends[0] - ends[1]) / 2e-6 - gradient[place]) < 1e-7
    layer.counter[0] = 3
    _, backward = layer.forward(x)
    backward(dy, accumulate=True)
    for parameter, (_, once) in zip(layer.parameters(), pairs[1:], strict=True):
        np.testing.assert_allclose(parameter.grad, 2 * once)
    parameter_only = getattr(backward, "parameters_only", backward)
    parameter_only(dy)
    for parameter, (_, once) in zip(layer.parameters(), pairs[1:], strict=True):
        np.testing.assert_allclose(parameter.grad, once)


def test_dropconnect_is_linear_in_eval_mode_and_computes_the_activation_after_it():
    layer, x = connect(p=0.4), np.random.default_rng(0).standard_normal((6, 5)).astype("f")
    y = layer.eval()(x)
    np.testing.assert_array_equal(y, kernels.linear(x, layer.weight.value, layer.bias.value))
    model = nn.Sequential(layer, nn.Tanh()).train()
    z, backward = model.forward(x)
    layer.counter[0] = 0
    plain, plain_backward = layer.forward(x)
    np.testing.assert_allclose(z, np.tanh(plain), rtol=1e-5)
    np.testing.assert_allclose(
        backward(np.ones((6, 4), np.float32)),
        plain_backward(1 - np.tanh(plain) ** 2),
        rtol=1e-4,
        atol=1e-6,
    )


def test_the_gaussian_inference_is_the_mean_over_masks():
    """Of ReLU: the samples' mean nears E relu(N(m, s²)) and the mean over drawn masks."""
    x = np.random.default_rng(0).standard_normal((6, 40)).astype(np.float32)
    nn.manual_seed(1)
    layer = nn.DropConnect(40, 8, 0.5, True, "gaussian", samples=4000, activation="relu")
    drawn = np.mean([layer(x) for _ in range(2000)], axis=0)
    y = layer.eval()(x)
    mean, sd = kernels.dropconnect_moments(x, layer.weight.value, layer.bias.value, 0.5)
    exact = mean * norm.cdf(mean / sd) + sd * norm.pdf(mean / sd)
    assert abs(y - exact).max() < 5 * sd.max() / np.sqrt(4000)
    assert abs(y - drawn).max() < 10 * sd.max() / np.sqrt(2000)
    assert abs(kernels.relu(mean) - exact).max() > 10 * abs(y - exact).max()
    np.testing.assert_array_equal(y, layer(x))
    np.testing.assert_array_equal(y[2:3], layer(x[2:3]))  # a row does not depend on its batch
    same = nn.Sequential(nn.DropConnect(40, 8, 0.5, True, "gaussian", 4000), nn.ReLU())
    same.load_state_dict({f"0.{k}": v for k, v in layer.state_dict().items()})
    np.testing.assert_array_equal(same.eval()(x), y)
    with pytest.raises(RuntimeError, match="gaussian inference has no backward"):
        layer.forward(x)[1](y)
    none = nn.DropConnect(40, 8, 0.5, inference="gaussian").eval()
    np.testing.assert_array_equal(none(x), kernels.linear(x, none.weight.value, none.bias.value))


REFUSED = [
    (dict(rate=1.0), ValueError, "dropconnect: rate is 1.0, expected 0 <= rate < 1"),
    (dict(seed=-1), ValueError, "dropconnect: seed is -1, expected seed >= 0"),
    (dict(bias=np.ones(3)), ValueError, r"dropconnect: bias has shape \(3,\), expected \(4,\)"),
    (dict(weight=np.ones((4, 8))), ValueError, r"weight has shape \(4, 8\), expected \(.*, 9\)"),
]


@pytest.mark.parametrize("changed, error, message", REFUSED)
def test_bad_input_is_refused(changed, error, message):
    given = {"x": np.ones((5, 9)), "weight": np.ones((4, 9))} | changed
    with pytest.raises(error, match=message):
        kernels.dropconnect(**given)


def test_moments_refuse_a_rate():
    with pytest.raises(ValueError, match="dropconnect_moments: rate is 1, expected 0 <= rate < 1"):
        kernels.dropconnect_moments(np.ones((2, 3)), np.ones((4, 3)), None, 1)
