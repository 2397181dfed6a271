"""Optimizers: PyTorch's path, two functions to minimise, replays, machine code, names in fit."""

import json
import pathlib
import platform

import numpy as np
import pytest

from fonio import kernels, nn
from fonio.kernels import adaptive, descent, moments
from tests.test_generated_code import MACHINES, readable

FROZEN = np.load(pathlib.Path(__file__).parent / "frozen" / "optimizers.npz")
CASES = [name for name in FROZEN if " " in name]


def _parameters(dtype):
    return [nn.Parameter(part.astype(dtype)) for part in np.split(FROZEN["start"], [3])]


def _make(case, parameters):
    name, text = case.split(" ", 1)
    options = {"lr": 0.1, **json.loads(text)}
    groups = options.pop("groups", None)
    if groups:
        parameters = [{"params": [p], **g} for p, g in zip(parameters, groups, strict=True)]
    return getattr(nn, name)(parameters, **options)


def _give(parameters, gradient):
    for parameter, part in zip(parameters, np.split(gradient, [3]), strict=True):
        parameter.grad = part


def _values(parameters):
    return np.concatenate([parameter.value for parameter in parameters])


def _valley(x):
    """The loss and gradient that make_optimizers.py gave to L-BFGS."""
    ahead, here = x[1:] - x[:-1] ** 2, 1 - x[:-1]
    gradient = np.zeros_like(x)
    gradient[:-1] = -40 * x[:-1] * ahead - 2 * here
    gradient[1:] += 20 * ahead
    return float((10 * ahead**2 + here**2).sum()), gradient


def _path(case, dtype):
    """The parameters after each of ten steps."""
    parameters = _parameters(dtype)
    optimizer = _make(case, parameters)

    def closure():
        loss, gradient = _valley(_values(parameters))
        _give(parameters, gradient)
        return loss

    path = []
    for count, gradient in enumerate(FROZEN["grads"]):
        _give(parameters, gradient)
        if optimizer.full_batch:
            optimizer.step(closure)
        else:
            if count == 5:
                optimizer.lr = 0.1 * optimizer.lr
            optimizer.step()
        path.append(_values(parameters))
    return np.array(path)


@pytest.mark.parametrize("case", CASES)
def test_ten_steps_are_pytorchs(case):
    wanted = FROZEN[case]
    np.testing.assert_allclose(_path(case, np.float64), wanted, rtol=1e-12, atol=1e-12)
    if "LBFGS" not in case:  # whose searches part where a comparison falls the other way
        np.testing.assert_allclose(_path(case, np.float32), wanted, rtol=1e-4, atol=1e-5)


def test_every_option_of_pytorch_is_frozen():
    frozen = {name: set() for name in (case.split()[0] for case in CASES)}
    for case in CASES:
        name, text = case.split(" ", 1)
        frozen[name] |= set(json.loads(text)) | {"lr"}
    for name, seen in frozen.items():
        options = set(_make(f"{name} {{}}", _parameters(np.float64)).groups[0].__dict__)
        own = options - {"parameters", "values", "grads", "state", "base_lr", "rate", "form"}
        if name == "AdamW":
            own.discard("decoupled_weight_decay")
        assert own <= seen, f"{name}: {own - seen} in no frozen case"


def _parabola(p):
    return 2 * (p - 3)


def _rosenbrock(p):
    x, y = p
    return np.array([-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)])


# class, options, rates for the parabola and for Rosenbrock's function
DESCENTS = [
    ("SGD", {}, 0.1, 1e-3),
    ("SGD", {"momentum": 0.9}, 0.03, 5e-4),
    ("SGD", {"momentum": 0.9, "nesterov": True}, 0.03, 1e-3),
    ("SGD", {"momentum": 0.9, "form": "classical"}, 0.03, 5e-4),
    ("SGD", {"momentum": 0.9, "nesterov": True, "form": "classical"}, 0.03, 1e-3),
    ("Adagrad", {}, 1.0, 0.5),
    ("RMSprop", {}, 0.02, 2e-3),
    ("RMSprop", {"centered": True, "eps": 1e-2}, 0.02, 5e-4),
    ("RMSprop", {"momentum": 0.9}, 2e-3, 2e-4),
    ("Adadelta", {}, 10.0, 1.0),
    ("Adam", {}, 0.1, 0.05),
    ("Adam", {"amsgrad": True}, 0.1, 0.1),
    ("AdamW", {"weight_decay": 0.0}, 0.1, 0.05),
    ("NAdam", {}, 0.1, 0.02),
    ("RAdam", {}, 0.1, 3e-3),
]
NAMES = [
    "-".join([name.lower(), *(key for key, value in options.items() if value)])
    for name, options, *_ in DESCENTS
]


@pytest.mark.parametrize("uphill", [False, True], ids=["down", "up"])
@pytest.mark.parametrize("name, options, lr, slow", DESCENTS, ids=NAMES)
def test_minima_are_found(name, options, lr, slow, uphill):
    """Upwards by `maximize`, on the functions with the other sign: the parabola alone."""
    for slope, place, rate in ((_parabola, 3, lr), (_rosenbrock, 1, slow)):
        p = nn.Parameter(np.array([-0.5, 1.5]))
        optimizer = getattr(nn, name)([p], lr=rate, maximize=uphill, **options)
        for count in range(12_000 if slope is _rosenbrock else 400):
            if name == "Adadelta" and count % 1000 == 999:
                optimizer.lr = 0.5 * optimizer.lr  # its steps do not shrink by themselves
            p.grad = -slope(p.value) if uphill else slope(p.value)
            optimizer.step()
            if np.abs(p.value - place).max() < 0.03:
                break
        np.testing.assert_allclose(p.value, place, atol=0.03)
        if uphill:
            break


@pytest.mark.parametrize("name, options, lr, slow", DESCENTS, ids=NAMES)
def test_zero_and_nan_gradients(name, options, lr, slow):
    """No slope, no step; a NaN spoils its own element alone."""
    p = nn.Parameter(np.linspace(-1, 1, 20, dtype=np.float32))
    start = p.value.copy()
    optimizer = getattr(nn, name)([p], lr=lr, **options)
    for _ in range(3):
        optimizer.step()
    np.testing.assert_array_equal(p.value, start)
    p.grad = np.where(np.arange(20) == 7, np.nan, 1)
    for _ in range(8):
        optimizer.step()
    assert np.flatnonzero(~np.isfinite(p.value)).tolist() == [7]
    assert (np.delete(p.value < start, 7)).all()


@pytest.mark.parametrize("name, options, lr, slow", DESCENTS, ids=NAMES)
def test_a_recorded_step_goes_on_as_an_eager_one(name, options, lr, slow):
    """Also after the rate was changed; what changes is in state(), or it would not come back."""
    rng = np.random.default_rng(1)
    start, gradient = rng.standard_normal((2, 33))
    optimizers = []
    for _ in range(2):
        p = nn.Parameter(start.copy())
        optimizers.append(getattr(nn, name)([p], lr=lr, **{"weight_decay": 0.1, **options}))
        p.grad = gradient
    recorded, eager = optimizers
    with kernels.record() as recording:
        recorded.step()
    kept = [array.copy() for array in (recorded.values, *recorded.state())]
    recorded.lr = eager.lr = lr
    for _ in range(2):  # the second time from what was kept
        for array, old in zip((recorded.values, *recorded.state()), kept, strict=True):
            array[...] = old
        recorded.lr = lr
        recording.replay(2)
        recorded.lr = lr / 3
        recording.replay(4)
    for count in range(7):
        eager.lr = lr if count < 3 else lr / 3
        eager.step()
    for a, b in zip(
        (recorded.values, *recorded.state()), (eager.values, *eager.state()), strict=True
    ):
        assert a.tobytes() == b.tobytes()


X, ONE, STEP = np.zeros(8, np.float32), np.float32(1), np.ones(1, np.int64)
CODES = {
    "sgd": (descent._descend, (X, X, X, ONE, ONE)),
    "momentum": (descent._descend_with_momentum, (X, X, X, STEP, X, *[ONE] * 3, False, False, ONE)),
    "adagrad": (adaptive._scale_by_rms, (X, X, X, None, None, STEP, X, ONE, ONE, None, None, ONE,
                                         ONE, None)),
    "rmsprop": (adaptive._scale_by_rms, (X, X, X, X, X, None, X, *[ONE] * 7)),
    "adadelta": (adaptive._scale_by_deltas, (X, X, X, X, X, *[ONE] * 5)),
    "adam": (moments._adapt, (X, X, X, X, None, STEP, X, *[ONE] * 10)),
    "amsgrad": (moments._adapt, (X, X, X, X, X, STEP, X, *[ONE] * 10)),
    "nadam": (moments._adapt_by, (X, X, X, X, X, *[ONE] * 5)),
}  # fmt: skip


@readable
@pytest.mark.parametrize("name", CODES)
def test_float32_steps_are_vectors_of_float32(name):
    kernel, arguments = CODES[name]
    code, machine = kernel.assembly(*arguments), MACHINES[platform.machine()]
    assert machine["double"].search(code) is None
    assert machine["vector"].search(code)


@pytest.mark.parametrize("name", ["adagrad", "adadelta", "nadam", "radam", "lbfgs"])
def test_a_fit_knows_the_name(name):
    x = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64)
    nn.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    history = nn.fit(model, x, y, epochs=8, batch_size=10, optimizer=name, progress=False)
    assert history.loss[-1] < history.loss[0]
    assert type(model.fit_optimizer).__name__.lower() == name
