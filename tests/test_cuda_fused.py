"""The fused small MLP: on NumPy arrays, emulated on CUDA, compiled for CUDA; and in Sequential."""

import math

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fonio[cuda]'")

from numba import types  # noqa: E402

from fonio import kernels, nn  # noqa: E402
from fonio.kernels import device, fused, fused_plans  # noqa: E402
from tests.cuda.device import EmulatedDevice  # noqa: E402
from tests.cuda.offline import resources  # noqa: E402

ERF = np.vectorize(math.erf, otypes=[float])
NAMES = {  # f and its derivative, in float64
    None: (lambda z: z, np.ones_like),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "leaky_relu": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, 1, 0.01)),
    "gelu": (
        lambda z: z * (1 + ERF(z / np.sqrt(2))) / 2,
        lambda z: (1 + ERF(z / np.sqrt(2))) / 2 + z * np.exp(-z * z / 2) / np.sqrt(2 * np.pi),
    ),
}
NETS = [  # rows, widths, activations, seed of the order of threads
    (1, (1, 1), (None,), None),
    (1, (2, 7, 1), ("relu", None), 1),
    (127, (7, 33), ("tanh",), None),
    (129, (2, 32, 7, 2), ("gelu", "leaky_relu", None), 2),
    (300, (7, 7, 31, 2, 1), ("relu", "tanh", "gelu", None), 3),
    (5, (64, 33), ("gelu",), 4),
    (3, (128, 128), ("tanh",), None),
    (65, (100, 2, 3), ("relu", "gelu"), 5),
]


class Net:
    """A net's arrays, and the float64 answers: y, what is kept, dx and all gradients."""

    def __init__(self, rows, widths, activations, bias=True):
        rng = np.random.default_rng(len(widths) + rows)
        draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)  # noqa: E731
        pairs = list(zip(widths, widths[1:], strict=False))
        self.activations, self.widths, self.rows = list(activations), widths, rows
        self.x, self.dy = draw(rows, widths[0]), draw(rows, widths[-1])
        self.weights = [draw(o, i) / np.float32(np.sqrt(i)) for i, o in pairs]
        self.biases = [draw(o) if bias else None for _, o in pairs]

    def expected(self):
        x, passed = self.x.astype(float), []
        for weight, bias, name in zip(self.weights, self.biases, self.activations, strict=True):
            z = x @ weight.T.astype(float) + (0 if bias is None else bias)
            passed.append((x, z))
            x = NAMES[name][0](z)
        y, dy, dweights, dbiases = x, self.dy.astype(float), [], []
        for (x, z), weight, name in reversed(
            list(zip(passed, self.weights, self.activations, strict=True))
        ):
            dz = dy * NAMES[name][1](z)
            dweights.insert(0, dz.T @ x)
            dbiases.insert(0, dz.sum(0))
            dy = dz @ weight
        kept = [
            z if fused_plans.keeps_z(name) else NAMES[name][0](z)
            for (_, z), name in zip(passed, self.activations, strict=True)
        ]
        return [y, *kept, dy, *dweights, *(b for b in dbiases if self.biases[0] is not None)]

    def put(self, move):
        """Return (x, weights, biases, activations) with every array moved, and outputs to fill."""
        arrays = [None if bias is None else move(bias) for bias in self.biases]
        net = move(self.x), [move(w) for w in self.weights], arrays, self.activations
        return net, [move(np.zeros((self.rows, o), np.float32)) for o in self.widths[1:]]

    def run(self, move):
        net, outputs = self.put(move)
        y = kernels.fused_mlp(*net, outputs=outputs)
        dx, dweights, dbiases = kernels.fused_mlp_backward(move(self.dy), *net, outputs)
        return [y, *outputs, dx, *dweights, *(b for b in dbiases if b is not None)]


def mover(gpu):
    return lambda array: device.from_host(gpu, array)


def host(array):
    return array.copy_to_host() if isinstance(array, device.DeviceArray) else array


def check(actual, wanted, tolerance=3e-6):
    assert len(actual) == len(wanted)
    for number, (a, w) in enumerate(zip(map(host, actual), wanted, strict=True)):
        assert a.shape == w.shape, number
        assert np.abs(a - w).max(initial=0) <= tolerance * (1 + np.abs(w).max(initial=0)), number


@pytest.mark.parametrize("rows, widths, activations, seed", NETS)
def test_values(rows, widths, activations, seed):
    net = Net(rows, widths, activations, bias=rows != 127)
    wanted = net.expected()
    check(net.run(np.copy), wanted)
    with device.use(EmulatedDevice(seed)) as gpu:
        check(net.run(mover(gpu)), wanted)


def test_several_tiles_to_a_block(monkeypatch):
    """Blocks add up their tiles; gradients are added to what is there; dx may be left out."""
    monkeypatch.setattr(fused, "PARTS", {32: 2, 64: 1, 128: 1})
    monkeypatch.setattr(fused, "BLOCKS", 1)  # for each of two multiprocessors
    net = Net(300, (3, 8, 2), ("tanh", None))
    before = [np.full(w.shape, 2, np.float32) for w in net.weights]
    shifts = [np.full(b.shape, 3, np.float32) for b in net.biases]
    wanted = net.expected()[4:]
    wanted = [*(w + 2 for w in wanted[:2]), *(b + 3 for b in wanted[2:])]
    with device.use(EmulatedDevice(7)) as gpu:
        move = mover(gpu)
        for put in (np.copy, move):
            arrays, outputs = net.put(put)
            check([kernels.fused_mlp(*arrays, outputs=outputs), *outputs], net.expected()[:3])
            out = None, [put(a) for a in before], [put(a) for a in shifts]
            dx, *made = kernels.fused_mlp_backward(
                put(net.dy), *arrays, outputs, accumulate=True, parameters_only=True, out=out
            )
            assert dx is None
            assert made[0][0] is out[1][0]
            check([*made[0], *made[1]], wanted)


def test_rows_do_not_depend_on_the_batch():
    net = Net(140, (5, 32, 3), ("gelu", None))
    with device.use(EmulatedDevice()) as gpu:
        (x, *rest), _ = net.put(mover(gpu))
        y = kernels.fused_mlp(x, *rest).copy_to_host()
        few = kernels.fused_mlp(x[130:133], *rest).copy_to_host()
    assert few.tobytes() == y[130:133].tobytes()


def test_out_and_odd_layouts():
    """Views are copied by kernels; without alignment, elements move one by one."""
    net = Net(6, (8, 8, 4), ("relu", "gelu"))
    wanted = net.expected()
    with device.use(EmulatedDevice()) as gpu:
        (x, weights, *rest), outputs = net.put(mover(gpu))
        wide = device.from_host(gpu, np.zeros((6, 20), np.float32))
        wide[:, 1:9] = x
        raw = device.from_host(gpu, np.zeros(1 + weights[0].size, np.float32))
        raw[1:].reshape(8, 8).assign(weights[0])
        arrays = wide[:, 1:9], [raw[1:].reshape(8, 8), weights[1].T.copy().T], *rest
        out = device.from_host(gpu, np.zeros((6, 4), np.float32))
        assert kernels.fused_mlp(*arrays, outputs=outputs, out=out) is out
        got = kernels.fused_mlp_backward(mover(gpu)(net.dy), *arrays, outputs)
        check([out, *outputs, got[0], *got[1], *got[2]], wanted)


def test_empty_batch():
    net = Net(0, (3, 4), ("relu",))
    with device.use(EmulatedDevice()) as gpu:
        y, _, dx, dweight, dbias = net.run(mover(gpu))
        assert (y.shape, dx.shape) == ((0, 4), (0, 3))
        assert not dweight.copy_to_host().any()
        assert not dbias.copy_to_host().any()


def wrong():
    """Arguments of fused_mlp that it refuses: error, part of its message, changed arguments."""
    f = np.float32
    ones = lambda *shape: np.ones(shape, f)  # noqa: E731
    return [
        (ValueError, r"x has shape \(2,\), expected \(N, I\)", {"x": ones(2)}),
        (ValueError, "x makes a layer of 129 features", {"x": ones(2, 129)}),
        (
            ValueError,
            r"weights\[0\] has shape \(4, 2\)",
            {"x": ones(5, 3), "weights": [ones(4, 2)]},
        ),
        (ValueError, "weights is empty", {"weights": []}),
        (ValueError, r"weights\[0\] makes a layer of 200", {"weights": [ones(200, 3)]}),
        (TypeError, "weights is a ndarray, expected a list", {"weights": ones(4, 3)}),
        (TypeError, r"weights\[0\] has dtype float64", {"weights": [np.ones((4, 3))]}),
        (ValueError, r"biases\[0\] has shape \(3,\), expected \(4,\)", {"biases": [ones(3)]}),
        (ValueError, "biases has 2 entries, expected 1", {"biases": [None, None]}),
        (ValueError, "unknown activation 'gellu'", {"activations": ["gellu"]}),
        (ValueError, r"outputs\[0\] has shape \(5, 3\)", {"outputs": [ones(5, 3)]}),
        (TypeError, r"outputs\[0\] is None", {"outputs": [None]}),
        (ValueError, r"out has shape \(4, 5\)", {"out": ones(4, 5)}),
        (ValueError, "out is not contiguous", {"out": ones(4, 5).T}),
    ]


@pytest.mark.parametrize("error, text, changed", wrong())
def test_errors(error, text, changed):
    x, weights = np.ones((5, 3), np.float32), [np.ones((4, 3), np.float32)]
    with pytest.raises(error, match="fused_mlp: " + text):
        kernels.fused_mlp(**{"x": x, "weights": weights} | changed)


def test_errors_of_devices_and_overlaps():
    x, weight = np.ones((5, 4), np.float32), np.ones((4, 4), np.float32)
    with device.use(EmulatedDevice()) as gpu:
        with pytest.raises(ValueError, match="x is on cuda and weights"):
            kernels.fused_mlp(device.from_host(gpu, x), [weight])
        double = [device.from_host(gpu, a.astype(float)) for a in (x, weight)]
        with pytest.raises(TypeError, match="x has dtype float64, expected float32"):
            kernels.fused_mlp(double[0], [double[1]])
    with pytest.raises(ValueError, match="out overlaps x"):
        kernels.fused_mlp(x, [weight], out=x)
    with pytest.raises(ValueError, match=r"dy has shape \(5, 3\)"):
        kernels.fused_mlp_backward(x[:, :3].copy(), x, [weight], None, None, [x.copy()])
    with pytest.raises(ValueError, match="accumulate adds to the arrays in out"):
        kernels.fused_mlp_backward(x, x, [weight], None, None, [x.copy()], accumulate=True)


# ---- compiled ----

HEAVY = ("gelu", "tanh", "elu", None)
COMPILED = [
    (32, HEAVY, (7, 5)),
    (64, HEAVY, (8, 0)),
    (128, ("relu", None), (9, 0)),
]


def kinds(template, layers):
    """The types of a kernel's arguments after the first."""
    line, matrix = types.float32[::1], types.float32[:, ::1]
    lists = {
        "forward": [matrix] * (2 + layers) + [line] * layers + [matrix] * layers,
        "backward": [matrix, line, *[matrix] * (2 + 2 * layers)],
        "add_parts": [line] + [matrix] * layers + [line] * layers,
    }
    return types.int64, types.StarArgTuple.from_types(tuple(lists[template]))


def compiled(template, width, activations, cc):
    plan = fused_plans.make_plan((width,) * (len(activations) + 1), activations)
    options = {} if template == "add_parts" else plan.options()
    kernel = fused._build(template, plan)
    return resources(kernel, kinds(template, len(activations)), cc, **options)


def check_compiled(made):
    assert made.spill_stores == made.spill_loads == made.stack == 0
    assert made.local() == []
    assert made.doubles() == []
    assert made.registers <= 128
    assert made.shared <= 48 * 1024


@pytest.mark.slow
@pytest.mark.parametrize("template", ["forward", "backward"])
@pytest.mark.parametrize("width, activations, cc", COMPILED)
def test_compiles(template, width, activations, cc):
    made = compiled(template, width, activations, cc)
    check_compiled(made)
    assert made.count("FFMA") >= 512
    assert made.count(r"LDS\.(U\.)?128") >= 32
    assert made.count(r"LDG?\.E\.128") >= 3
    assert made.count(r"STG\.E\.128") >= 3


@pytest.mark.parametrize("cc", [(7, 5), (8, 0), (9, 0)])
def test_sum_of_parts_compiles(cc):
    check_compiled(compiled("add_parts", 64, HEAVY, cc))


@pytest.mark.slow
@pytest.mark.parametrize("cc", [(7, 5), (8, 0), (9, 0)])
@pytest.mark.parametrize("width, name", [(32, "softplus"), (64, "gelu"), (128, "selu")])
def test_every_width_compiles(name, width, cc):
    for template in ("forward", "backward"):
        made = compiled(template, width, (name, name, None), cc)
        assert (made.stack, made.spill_stores, made.spill_loads) == (0, 0, 0)
        assert made.registers <= 128 and not made.doubles_in_ptx()


# ---- in Sequential ----


@pytest.fixture
def fusion():
    yield nn.set_fusion
    nn.set_fusion()


def names_of(gpu):
    """The names of the kernels that were compiled for the device."""
    return {function.__name__ for function, *_ in gpu.launched}


def model_of(gpu=None):
    nn.manual_seed(3)
    layers = nn.Linear(5, 9), nn.LeakyReLU(), nn.Linear(9, 8, bias=False), nn.GELU()
    model = nn.Sequential(*layers, nn.Linear(8, 3, bias=False), nn.BatchNorm1d(3))
    return model if gpu is None else model.to("cuda")


def test_sequential_fuses_what_it_can(fusion, rng):
    x, dy = rng.standard_normal((2, 40, 5)).astype(np.float32)[:, :, :5]
    dy = dy[:, :3].copy()
    with device.use(EmulatedDevice(1)) as gpu:
        results = []
        for rows in (40, None):
            fusion(rows)
            model = model_of(gpu)
            gpu.launched.clear()
            y, backward = model.forward(mover(gpu)(x))
            dx = backward(mover(gpu)(dy))
            backward.parameters_only(mover(gpu)(dy), accumulate=True)
            names = names_of(gpu)
            results.append(([y, dx, *(p.grad for p in model.parameters())], names))
    (ours, fused_names), (theirs, names) = results
    assert {"fused_forward_32", "fused_backward_32"} <= fused_names
    assert not {name for name in names if name.startswith("fused")}
    check(ours, [host(a) for a in theirs])


def test_fewer_rows_or_another_class_is_not_fused(fusion, rng):
    x = rng.standard_normal((8, 4)).astype(np.float32)

    class Own(nn.Linear):
        pass

    def names(model, rows):
        fusion(rows)
        with device.use(EmulatedDevice()) as gpu:
            model.to("cuda")(mover(gpu)(x))
            model.to("cpu")
            return [name for name in names_of(gpu) if name.startswith("fused")]

    plain = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    assert names(plain, 8)
    assert not names(plain, 9)
    assert not names(plain, None)
    assert not names(nn.Sequential(Own(4, 4), nn.Linear(4, 4)), 8)
    assert not names(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.BatchNorm1d(4)), 8)
    slopes = nn.Sequential(nn.Linear(4, 4), nn.LeakyReLU(0.3), nn.Linear(4, 4))
    assert not names(slopes, 8)


def test_backward_in_eval_mode_and_a_recorded_step(fusion, rng):
    x = rng.standard_normal((12, 5)).astype(np.float32)
    y = rng.standard_normal((12, 3)).astype(np.float32)
    losses, grads = [], []
    for rows in (12, None):
        fusion(rows)
        with device.use(EmulatedDevice()) as gpu:
            model = model_of(gpu)
            step = nn.step(model, "mse", nn.SGD(model.parameters(), lr=0.1), 12)
            losses.append([step(x, y) for _ in range(3)])
            _, backward = model.eval().forward(mover(gpu)(x))
            grads.append(host(backward(mover(gpu)(y))))
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    np.testing.assert_allclose(grads[0], grads[1], atol=1e-5)
    assert losses[0][2] < losses[0][0]


def test_set_fusion_refuses_what_is_no_number_of_rows():
    with pytest.raises(ValueError, match="set_fusion: rows is 0"):
        nn.set_fusion(0)
