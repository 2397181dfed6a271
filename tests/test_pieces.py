"""Maxout, CReLU, GLU, PReLU, learned Swish: what the lectures claim of them, widths, vectors."""

import numpy as np
import pytest
from numba import njit

from fonio import kernels, nn
from fonio.kernels import device
from tests.test_generated_code import MACHINES, platform, readable


def _maxout_of(lines, x):
    """The largest of lines [(slope, level)] of x (N, 1), by Linear and Maxout."""
    model = nn.Sequential(nn.Linear(1, len(lines)), nn.Maxout(len(lines))).to(np.float64)
    slopes, levels = np.array(lines, float).T
    model[0].weight.value, model[0].bias.value = slopes[:, None], levels
    return model(x)


def test_maxout_encodes_relu_and_the_absolute_value_exactly():
    x = np.random.default_rng(0).standard_normal((50, 1))
    np.testing.assert_array_equal(_maxout_of([(0, 0), (1, 0)], x), kernels.relu(x))
    np.testing.assert_array_equal(_maxout_of([(1, 0), (-1, 0)], x), np.abs(x))
    np.testing.assert_array_equal(_maxout_of([(0.1, 0), (1, 0)], x), kernels.leaky_relu(x, 0.1))


def _tangents(f, slope, count):
    places = np.linspace(-1, 1, count)
    return [(slope(p), f(p) - slope(p) * p) for p in places]


def test_maxouts_approximate_convex_functions_and_two_of_them_any():
    """The error falls with the square of the number of pieces: e^x, and sin 3x as a difference."""
    x = np.linspace(-1, 1, 501)[:, None]
    errors = {"convex": [], "any": []}
    bend = 4.5  # sin 3x + bend·x² is convex
    for pieces in (9, 17, 33):
        found = _maxout_of(_tangents(np.exp, np.exp, pieces), x)
        errors["convex"].append(np.abs(found - np.exp(x)).max())
        up = _tangents(
            lambda t: np.sin(3 * t) + bend * t * t,
            lambda t: 3 * np.cos(3 * t) + 2 * bend * t,
            pieces,
        )
        down = _tangents(lambda t: bend * t * t, lambda t: 2 * bend * t, pieces)
        found = _maxout_of(up, x) - _maxout_of(down, x)
        errors["any"].append(np.abs(found - np.sin(3 * x)).max())
    for several in errors.values():
        assert several[0] > 3.5 * several[1] > 3.5**2 * several[2]
        assert several[-1] < 0.02


def test_maxout_gives_the_gradient_to_the_first_of_equals():
    x = np.array([[1.0, 1.0, 0.0, np.nan, 2.0, np.nan]])
    np.testing.assert_array_equal(kernels.maxout(x, 3), [[1.0, np.nan]])
    dx = kernels.maxout_backward(np.array([[5.0, 7.0]]), x, 3)
    np.testing.assert_array_equal(dx, [[5.0, 0, 0, 7.0, 0, 0]])


def test_crelu_keeps_the_norm_of_signal_and_gradient():
    """y = J·x where the columns of J are of length 1 and orthogonal: Jᵀ keeps norms as J does."""
    rng = np.random.default_rng(1)
    x, v = rng.standard_normal((2, 100, 30))
    y = kernels.crelu(x)
    np.testing.assert_allclose(np.linalg.norm(y, axis=1), np.linalg.norm(x, axis=1), rtol=1e-14)
    assert ((y == 0).sum(1) == 30).all()  # of each pair one
    carried = np.where(y > 0, np.concatenate([v, -v], 1), 0)  # J·v
    dx = kernels.crelu_backward(carried, x)
    np.testing.assert_array_equal(dx, v)
    np.testing.assert_allclose(np.linalg.norm(dx), np.linalg.norm(carried), rtol=1e-14)
    relu_keeps = np.linalg.norm(kernels.relu_backward(v, x)) / np.linalg.norm(v)
    assert 0.6 < relu_keeps < 0.8  # the root of a half


@pytest.mark.parametrize("name", ["prelu", "learned_swish"])
@pytest.mark.parametrize("shape", [(9, 6), (70, 3, 5)])
def test_one_parameter_for_all_channels(name, shape):
    forward, backward = getattr(kernels, name), getattr(kernels, f"{name}_backward")
    x, dy = np.random.default_rng(2).standard_normal((2, *shape))
    one, each = np.full(1, 0.3), np.full(shape[1], 0.3)
    np.testing.assert_array_equal(forward(x, one), forward(x, each))
    (dx, total), (dx_each, parts) = backward(dy, x, one), backward(dy, x, each)
    np.testing.assert_array_equal(dx, dx_each)
    np.testing.assert_allclose(total, [parts.sum()], rtol=1e-12)


@pytest.mark.parametrize("name", ["prelu", "learned_swish"])
def test_one_parameter_on_cuda(name):
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    from tests.cuda.device import EmulatedDevice

    x, dy = np.random.default_rng(2).standard_normal((2, 5, 3, 4)).astype(np.float32)
    arrays = dy, x, np.full(1, 0.3, np.float32)
    wanted = getattr(kernels, f"{name}_backward")(*arrays)
    with device.use(EmulatedDevice(3)) as gpu:
        moved = [device.from_host(gpu, a) for a in arrays]
        found = getattr(kernels, f"{name}_backward")(*moved)
    for a, w in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a.copy_to_host(), w, rtol=1e-5, atol=1e-5)


@readable
def test_kernels_of_pieces_and_parameters_are_vectors():
    """As tests/test_generated_code.py has it for formulas of elements."""
    from fonio.kernels import learned, pieces

    x, wide = np.zeros((4, 32), np.float32), np.zeros((4, 64), np.float32)
    given = [
        (pieces._maxout_of(2), (x, wide)),
        (pieces._maxout_of(5), (x, np.zeros((4, 160), np.float32))),
        (pieces._maxout_backward_of(3), (x, np.zeros((4, 96), np.float32), wide)),
        (pieces._crelu, (x, wide)),
        (pieces._crelu_backward, (x, wide, x)),
        (pieces._glu, (x, wide)),
        (pieces._glu_backward, (x, wide, wide)),
        (learned._prelu, (x, x, x[0])),
        (learned._prelu_backward, (x, x, x, x, x[0])),
        (learned._swish, (x, x, x[0])),
        (learned._swish_backward, (x, x, x, x, x[0])),
    ]
    machine = MACHINES[platform.machine()]
    for kernel, arrays in given:
        code = kernel.assembly(*arrays)
        assert machine["vector"].search(code), kernel


def test_a_frozen_slope_keeps_its_gradient_and_passes_dx():
    layer = nn.PReLU(3).freeze()
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    dx = layer.forward(x)[1](x)
    np.testing.assert_array_equal(dx, kernels.leaky_relu(x, 0.25))
    assert not layer.weight.grad.any()


def test_widths_are_followed_through_layers_that_change_them():
    for width, module in ((4, nn.Maxout(3)), (24, nn.CReLU()), (6, nn.GLU())):
        before = [nn.Linear(5, 12), nn.ReLU(), module]
        assert nn.Sequential(*before, nn.Linear(width, 2)).out_features == 2
        assert nn.Sequential(nn.Sequential(*before), nn.Linear(width, 2)).in_features == 5
        nested = nn.Sequential(before[0], nn.Sequential(before[1], module))
        assert nested.out_features == width
        with pytest.raises(ValueError, match=f"expects 7 features, but layer 2 .* makes {width}"):
            nn.Sequential(*before, nn.Linear(7, 2))
    assert nn.Sequential(nn.Maxout(2), nn.Linear(3, 2)).in_features is None
    nn.Sequential(nn.Linear(5, 6), nn.Sequential(nn.Maxout(2), nn.Linear(3, 2)))


def test_bad_widths_are_refused_inside_njit():
    @njit
    def inside(y, x, slope):
        if slope.size:
            kernels.prelu(x, slope, out=x)
        else:
            kernels.maxout(x, 4, out=y)

    x = np.zeros((3, 10), np.float32)
    with pytest.raises(ValueError, match="maxout: x has another number of columns"):
        inside(x[:, :4].copy(), x, x[0, :0].copy())
    with pytest.raises(ValueError, match="neither one element nor one for each channel"):
        inside(x, x, x[0, :3].copy())
