"""Small nets inside users' own kernels: compiled for real, and emulated against predict."""

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fonio[cuda]'")

from numba import cuda, float32, float64, njit  # noqa: E402

from fonio import nn  # noqa: E402
from fonio.kernels import ptx  # noqa: E402
from fonio.kernels.cuda_loops import TEAMS  # noqa: E402
from fonio.kernels.retarget import retarget  # noqa: E402
from fonio.nn import activations  # noqa: E402
from tests.cuda.emulator import emulate  # noqa: E402
from tests.cuda.offline import resources  # noqa: E402

ARCHITECTURES = ((7, 5), (9, 0))
RNG = np.random.default_rng(0)
CLOSE = {np.float32: 3e-6, np.float64: 1e-13}
ACTIVATIONS = [
    getattr(nn, name)
    for name, kind in vars(activations).items()
    if isinstance(kind, type)
    and issubclass(kind, nn.Module)
    and kind.__module__ == activations.__name__
    and hasattr(nn, name)
]


def rows_of(net):
    """Return a user's kernel that gives each thread a row."""

    def kernel(weights, x, out):
        row = cuda.grid(1)
        if row < x.shape[0]:
            net(weights, x[row], out[row])

    return kernel


def emulated(model, x, outputs):
    net, weights = nn.device_function(model)
    out = np.zeros((len(x), outputs), weights.dtype)
    kernel = retarget(rows_of(net), TEAMS["item"])
    emulate(kernel, 1, 32, (weights, x, out), models=ptx.MODELS)
    return out


def close(found, wanted):
    assert found.dtype == wanted.dtype
    bound = CLOSE[wanted.dtype.type]
    np.testing.assert_allclose(found, wanted, rtol=bound, atol=bound)


def spread(model):
    """Give biases, slopes and running statistics values of their own; return the model."""
    for array in (*(p.value for p in model.parameters()), *model.buffers()):
        if array.ndim == 1 and array.dtype.kind == "f":
            array[...] = RNG.uniform(0.3, 1.5, array.shape)
    return model.eval()


def made(activation):
    return activation(0.1, 20.0) if activation is nn.Threshold else activation()


IN_DOUBLE = (nn.Tanh, nn.GELU, nn.Softplus, nn.PReLU)


@pytest.mark.parametrize(
    "activation, dtype",
    [(a, np.float32) for a in ACTIVATIONS] + [(a, np.float64) for a in IN_DOUBLE],
)
def test_each_activation(activation, dtype):
    nn.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 4), made(activation), nn.Linear(4, 2)).to(dtype)
    x = (3 * RNG.standard_normal((5, 3))).astype(dtype)
    close(emulated(model, x, 2), nn.predict(model, x))


MODELS = {
    "one layer": lambda: nn.Sequential(nn.Linear(4, 3)),
    "batchnorm behind": lambda: nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(),
                                              nn.Dropout(0.5), nn.Linear(6, 3)),
    "batchnorm first": lambda: nn.Sequential(nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3)),
    "numbers": lambda: nn.Sequential(nn.Linear(4, 6), nn.LeakyReLU(0.3), nn.Linear(6, 6),
                                     nn.Hardtanh(-0.5, 0.7), nn.Linear(6, 3), nn.CELU(2.0)),
    "slopes": lambda: nn.Sequential(nn.Linear(4, 6), nn.PReLU(6), nn.PReLU(), nn.Linear(6, 3)),
    "softmax": lambda: nn.Sequential(nn.Linear(4, 3), nn.Softmax()),
    "log softmax": lambda: nn.Sequential(nn.Linear(4, 3), nn.LogSoftmax()),
    "pieces": lambda: nn.Sequential(nn.Linear(4, 6), nn.CReLU(), nn.Linear(12, 6), nn.Maxout(2),
                                    nn.Tanh(), nn.Linear(3, 3)),
    "gate": lambda: nn.Sequential(nn.Linear(4, 6), nn.GLU(), nn.Linear(3, 3)),
    "norms": lambda: nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 6),
                                   nn.RMSNorm(6), nn.Linear(6, 6), nn.GroupNorm(3, 6),
                                   nn.Linear(6, 3)),
    "residual": lambda: nn.Sequential(nn.Linear(4, 6), nn.ResidualBlock(6),
                                      nn.Residual(nn.Linear(6, 3), shortcut=nn.Linear(6, 3))),
    "weightnorm": lambda: nn.Sequential(nn.WeightNorm(nn.Linear(4, 6)), nn.SiLU(),
                                        nn.Linear(6, 3)),
}  # fmt: skip


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_each_layer(make):
    nn.manual_seed(2)
    model = spread(make())
    x = RNG.standard_normal((4, 4)).astype(np.float32)
    close(emulated(model, x, 3), nn.predict(model, x))


def small(hidden=16, dtype=np.float32, activation=nn.Tanh):
    nn.manual_seed(3)
    layers = [nn.Linear(4, hidden), activation(), nn.Linear(hidden, hidden), nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(hidden, 2)).to(dtype)


FIGURES = {  # hidden width, type: registers, bytes of local memory at most
    (16, float32): (64, 2 * 64),
    (64, float32): (96, 2 * 256),
    (16, float64): (128, 2 * 128),
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("hidden, kind", FIGURES)
def test_what_a_thread_needs(hidden, kind, architecture):
    """No spills; its local memory is the two hidden rows at most."""
    registers, local = FIGURES[hidden, kind]
    net, _ = nn.device_function(small(hidden, np.dtype(str(kind)).type))
    signature = (kind[::1], kind[:, ::1], kind[:, ::1])
    made = resources(rows_of(net), signature, architecture)
    assert made.spill_stores == made.spill_loads == 0
    assert made.registers <= registers
    assert made.stack <= local
    assert bool(made.doubles_in_ptx()) == (kind is float64)


def test_weights_in_constant_memory_and_another_precision_of_x():
    net, weights = nn.device_function(small())

    def kernel(x, out):
        held = cuda.const.array_like(weights)
        row = cuda.grid(1)
        if row < x.shape[0]:
            net(held, x[row], out[row])

    made = resources(kernel, (float32[:, ::1], float32[:, ::1]), (7, 5))
    assert ".const" in made.ptx and made.spill_stores == 0
    strided = resources(kernel, (float64[:, :], float32[:, ::1]), (7, 5))
    assert strided.spill_stores == 0


def test_new_weights_and_models_of_one_shape_need_no_compiling():
    model, other = small(), small()
    net, weights = nn.device_function(model)
    for parameter in other.parameters():
        parameter.value = RNG.standard_normal(parameter.shape)
    assert nn.device_function(other)[0] is net
    assert nn.device_function(small(8))[0] is not net
    assert nn.device_function(small(activation=nn.ELU))[0] is not net
    assert nn.device_weights(other, out=weights) is weights
    assert np.array_equal(weights, nn.device_function(other)[1])
    x = RNG.standard_normal((5, 4)).astype(np.float32)
    out = np.zeros((5, 2), np.float32)
    kernel = retarget(rows_of(net), TEAMS["item"])
    emulate(kernel, 1, 32, (weights, x, out), models=ptx.MODELS)
    close(out, nn.predict(other, x))


def test_inside_njit():
    model = spread(nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.ResidualBlock(6), nn.LayerNorm(6),
        nn.Linear(6, 3), nn.LeakyReLU(0.2), nn.Softmax(),
    ))  # fmt: skip
    net, weights = nn.device_function(model, target="cpu")

    @njit
    def answer(weights, x, out):
        for row in range(len(x)):
            net(weights, x[row], out[row])
        return out

    x = RNG.standard_normal((6, 4)).astype(np.float32)
    close(answer(weights, x, np.zeros((6, 3), np.float32)), nn.predict(model, x))


class Own(nn.Module):
    def forward(self, x):
        return x, lambda dy: dy


def deep(*widths):
    pairs = zip(widths, widths[1:], strict=False)
    return nn.Sequential(*(nn.Linear(before, after) for before, after in pairs))


BAD = [
    (lambda: nn.device_function(deep(120, 136, 2)), ValueError,
     r"device_function: the model holds 16730 numbers, expected at most 16384 \(64 KB\)"),
    (lambda: nn.device_function(deep(64, 128, 2).to(np.float64)), ValueError,
     r"the model holds 8578 numbers, expected at most 8192 \(64 KB\)"),
    (lambda: nn.device_function(deep(2, 257, 2)), ValueError,
     "the model has a hidden row of 257 numbers, expected at most 256"),
    (lambda: nn.device_function(nn.Sequential(nn.Linear(4, 2), Own())), TypeError,
     r"device_function: Own\(\) has no form outside fonio"),
    (lambda: nn.device_function(nn.Sequential(nn.Linear(4, 4), nn.DivisiveNorm(4))), TypeError,
     "device_function: the model has a step of kind 'divisive', expected steps of linear"),
    (lambda: nn.device_function(nn.Sequential(nn.ReLU())), ValueError,
     "device_function: the model's input width is unknown, expected a Linear first"),
    (lambda: nn.device_function(3), TypeError, "device_function: model is a int, expected a Modu"),
    (lambda: nn.device_function(deep(4, 2), target="gpu"), ValueError,
     r"device_function: unknown target 'gpu', expected one of \['cpu', 'cuda'\]"),
    (lambda: nn.device_weights(deep(4, 2), np.zeros(9, np.float32)), ValueError,
     r"device_weights: out has shape \(9,\), expected \(10,\)"),
    (lambda: nn.device_weights(deep(4, 2), np.zeros(10)), TypeError,
     "device_weights: out has dtype float64, expected float32"),
]  # fmt: skip


@pytest.mark.parametrize("call, kind, message", BAD)
def test_bad_input(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
