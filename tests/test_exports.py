"""Exports: NumPy alone, plain C, ONNX; each answers as the model does."""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from fonio import kernels, nn

X = np.random.default_rng(0).normal(0, 2, (40, 6)).astype(np.float32)
CC = shutil.which("cc")


def everything(dtype="float32"):
    nn.manual_seed(0)
    model = nn.Sequential(
        nn.BatchNorm1d(6), nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.5),
        nn.ResidualBlock(8, 5, activation=nn.GELU), nn.Linear(8, 12), nn.Maxout(3), nn.CReLU(),
        nn.GLU(), nn.Residual(nn.Linear(4, 3), nn.ReLU(), shortcut=nn.Linear(4, 3, bias=False)),
        nn.Softmax(),
    )  # fmt: skip
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean[...] = np.linspace(-1, 1, module.num_features)
            module.running_var[...] = np.linspace(0.5, 2, module.num_features)
            module.weight.value = np.linspace(0.5, 1.5, module.num_features)
    return model.to(dtype).eval()


def moved(module):
    """Give a module's statistics, slopes and levels numbers of their own."""
    rng = np.random.default_rng(7)
    for array in module.buffers():
        if array.dtype.kind == "f" and array.ndim == 1:
            array[...] = rng.uniform(0.5, 2, array.shape)
    for parameter in module.parameters():
        if parameter.value.ndim == 1:
            parameter.value = rng.uniform(0.5, 1.5, parameter.shape)
    return module


def whitened():
    layer = nn.WhitenedLinear(6, 8)
    layer.refresh(X)
    return layer


def after(*layers):
    return nn.Sequential(nn.Linear(6, 8), *layers)


# every layer of nn, in a net of 6 inputs, or what refuses it
CASES = {
    "AlphaDropout": [lambda: after(nn.AlphaDropout(0.3))],
    "BatchNorm1d": [
        lambda: after(nn.BatchNorm1d(8)), lambda: nn.Sequential(nn.BatchNorm1d(6)),
        lambda: after(nn.ReLU(), nn.BatchNorm1d(8, eps=0.1, affine=False)),
    ],
    "CELU": [lambda: after(nn.CELU(0.5))],
    "CReLU": [lambda: after(nn.CReLU())],
    "CenterCrop": [
        lambda: nn.Sequential(nn.CenterCrop((2, 3), (1, 2)), nn.Linear(2, 4)),
        lambda: nn.Sequential(nn.CenterCrop((2, 1, 3), (3, 4), fill=0.5), nn.Linear(24, 4)),
        lambda: nn.Sequential(nn.CenterCrop((2, 3), (2, 3)), nn.Linear(6, 4)),
    ],
    "CenteredWeightNorm": [lambda: nn.CenteredWeightNorm(nn.Linear(6, 8))],
    "DivisiveNorm": [
        lambda: after(nn.DivisiveNorm(8, 3, 5, 0.7)), lambda: nn.DivisiveNorm(6, 1, 1),
        lambda: nn.Sequential(nn.DivisiveNorm(6, 99, 13, affine=False)),
    ],
    "DropConnect": [
        lambda: nn.DropConnect(6, 8, 0.5), lambda: nn.DropConnect(6, 8, 0.5, activation="celu"),
        lambda: nn.Sequential(nn.DropConnect(6, 8, activation="tanh", bias=False)),
    ],
    "Dropout": [
        lambda: after(nn.Dropout(0.3)), lambda: after(nn.Dropout(0.3, mode="test-scaled")),
        lambda: after(nn.Tanh(), nn.Dropout(np.linspace(0, 0.8, 8), mode="test-scaled")),
    ],
    "Dropout2d": [lambda: after(nn.Dropout2d(0.3, mode="test-scaled"))],
    "ELU": [lambda: after(nn.ELU(0.7))],
    "GELU": [lambda: after(nn.GELU()), lambda: after(nn.GELU("tanh"))],
    "GLU": [lambda: after(nn.GLU())],
    "GaussianDropout": [lambda: after(nn.GaussianDropout(0.2))],
    "GroupNorm": [lambda: after(nn.GroupNorm(2, 8)), lambda: nn.GroupNorm(2, 6, affine=False)],
    "Hardsigmoid": [lambda: after(nn.Hardsigmoid())],
    "Hardswish": [lambda: after(nn.Hardswish())],
    "Hardtanh": [lambda: after(nn.Hardtanh(-0.5, 2))],
    "LayerNorm": [lambda: after(nn.LayerNorm(8)), lambda: nn.LayerNorm(6, bias=False, eps=0.1)],
    "LeakyReLU": [lambda: after(nn.LeakyReLU(0.2))],
    "Linear": [lambda: nn.Linear(6, 3), lambda: nn.Sequential(nn.Linear(6, 3, bias=False))],
    "LogSoftmax": [lambda: after(nn.LogSoftmax())],
    "Maxout": [lambda: after(nn.Maxout(4))],
    "Mish": [lambda: after(nn.Mish())],
    "NormPropLinear": [
        lambda: nn.NormPropLinear(6, 8), lambda: nn.NormPropLinear(6, 8, "elu", 0.8),
    ],
    "PReLU": [lambda: after(nn.PReLU()), lambda: after(nn.PReLU(8, 0.1))],
    "PowerNorm": [lambda: after(nn.PowerNorm(8)), lambda: nn.PowerNorm(6, affine=False)],
    "QuickGELU": [lambda: after(nn.QuickGELU())],
    "RMSNorm": [
        lambda: after(nn.RMSNorm(8)), lambda: nn.RMSNorm(6, eps=1e-3, elementwise_affine=False),
    ],
    "ReLU": [lambda: after(nn.ReLU())],
    "ReLU6": [lambda: after(nn.ReLU6())],
    "Residual": [
        lambda: nn.Residual(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 6)),
        lambda: nn.Residual(nn.Linear(6, 4), shortcut=nn.Linear(6, 4, bias=False)),
    ],
    "ResidualBlock": [
        lambda: nn.ResidualBlock(6, 9), lambda: nn.ResidualBlock(6, norm=None, preactivation=False),
        lambda: nn.ResidualBlock(6, norm=nn.LayerNorm, activation=nn.SiLU),
    ],
    "SELU": [lambda: after(nn.SELU())],
    "Sequential": [lambda: after(nn.Sequential(nn.ReLU(), nn.Sequential(nn.Linear(8, 2))))],
    "SiLU": [lambda: after(nn.SiLU())],
    "Sigmoid": [lambda: after(nn.Sigmoid())],
    "Softmax": [lambda: after(nn.Softmax())],
    "Softplus": [lambda: after(nn.Softplus())],
    "Softsign": [lambda: after(nn.Softsign())],
    "Swish": [
        lambda: after(nn.Swish(1.3)), lambda: after(nn.Swish(0.8, learned=True)),
        lambda: after(nn.Swish(0.8, learned=True, num_parameters=8)),
    ],
    "Tanh": [lambda: after(nn.Tanh())],
    "Threshold": [lambda: after(nn.Threshold(0.1, -1))],
    "WeightNorm": [lambda: nn.WeightNorm(nn.Linear(6, 8)), lambda: after(nn.WeightNorm(
        nn.Linear(8, 3, bias=False)))],
    "WhitenedLinear": [whitened],
}  # fmt: skip
REFUSED = {
    "InstanceNorm1d": (lambda: nn.InstanceNorm1d(6), r"goes over \(N, C, L\), expected layers of"),
    "BatchNorm1d": (
        lambda: nn.BatchNorm1d(6, track_running_stats=False),
        "takes the statistics of each batch, expected track_running_stats=True",
    ),
    "DropConnect": (
        lambda: nn.DropConnect(6, 3, activation="relu", inference="gaussian"),
        "averages over draws in eval mode, expected inference='mean'",
    ),
}


def test_the_table_holds_every_layer():
    found = {name: getattr(nn, name) for name in nn.__all__}
    layers = {n for n, c in found.items() if isinstance(c, type) and issubclass(c, nn.Module)}
    assert layers - {"Module"} == CASES.keys() | REFUSED.keys()


def in_numpy(model, path):
    nn.export_numpy(model, path.with_suffix(".py"))
    spec = importlib.util.spec_from_file_location(path.name, path.with_suffix(".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.predict


def compiled(folder, sources):
    """Compile what export_c wrote, strictly, to one library."""
    flags = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    library = folder / "exported.so"
    subprocess.run([CC, *flags, *map(str, sources), "-o", str(library), "-lm"], check=True)
    return ctypes.CDLL(str(library))


def answers_of(library, name, model, x):
    """Call a function of C for each row."""
    call = getattr(library, f"{name}_predict")
    pointer = np.ctypeslib.ndpointer(model.dtype, flags="C_CONTIGUOUS")
    call.argtypes, call.restype = (pointer, pointer), None
    x, y = np.ascontiguousarray(x, model.dtype), np.empty_like(nn.predict(model, x))
    for row in range(len(x)):
        call(x[row], y[row])
    return y


def in_c(model, path):
    header, source = nn.export_c(model, path)
    assert f"{path.name}_predict" in header.read_text()
    library = compiled(path.parent, [source])
    return lambda x: answers_of(library, path.name, model, x)


def in_onnx(model, path):
    import onnxruntime

    nn.export_onnx(model, path)
    session = onnxruntime.InferenceSession(path)
    return lambda x: session.run(None, {"x": x.astype(model.dtype)})[0]


WAYS = {"numpy": in_numpy, "c": in_c, "onnx": in_onnx}
if CC is None:
    del WAYS["c"]


def nets(dtype):
    nn.manual_seed(1)
    for name, makers in CASES.items():
        for number, make in enumerate(makers):
            yield f"{name}_{number}", moved(make().to(dtype)).eval()
    yield "everything", everything(dtype)


def check_equal(found, model, what):
    """Compare with what the model answers, to 1e-6 of the largest (1e-12 in double)."""
    wanted = nn.predict(model, X)
    assert found.dtype == wanted.dtype, what
    tolerance = 1e-6 if wanted.dtype == np.float32 else 1e-12
    each = np.abs(wanted) + np.abs(wanted).max()
    np.testing.assert_array_less(np.abs(found - wanted), tolerance * each, err_msg=what)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("way", ["numpy", "onnx"])
def test_every_layer_answers_the_same(way, dtype, tmp_path):
    for name, model in nets(dtype):
        check_equal(WAYS[way](model, tmp_path / name)(X), model, name)


@pytest.mark.skipif(CC is None, reason="no C compiler")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_layer_answers_the_same_in_c(dtype, tmp_path):
    models = dict(nets(dtype))
    library = compiled(tmp_path, [nn.export_c(m, tmp_path / n)[1] for n, m in models.items()])
    for name, model in models.items():
        check_equal(answers_of(library, name, model, X), model, name)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("export", [nn.export_numpy, nn.export_c, nn.export_onnx])
def test_what_has_no_plain_form_is_refused_in_one_line(name, export, tmp_path):
    make, message = REFUSED[name]
    inner = nn.Sequential(nn.Linear(6, 6), nn.Residual(make(), shortcut=nn.Linear(6, 3)))
    with pytest.raises(TypeError, match=f"{export.__name__}: {name}.*{message}") as error:
        export(inner.eval(), tmp_path / "m")
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == []


def test_extreme_values_come_out_the_same(tmp_path):
    model = nn.Sequential(nn.Linear(6, 6, bias=False), nn.Softmax())
    model[0].weight.value = np.eye(6)
    x = np.array([[1000, 0, -1000, 3, 2, 1], [-np.inf, 0, 1, 2, 3, 4]], np.float32)
    for way in WAYS:
        (tmp_path / way).mkdir()
        with np.errstate(all="ignore"):
            found = WAYS[way](model, tmp_path / way / "net")(x)
        np.testing.assert_allclose(found[0], nn.predict(model, x)[0], rtol=1e-5, atol=1e-7)


def test_the_numpy_file_imports_numpy_alone(tmp_path):
    model = everything()
    in_numpy(model, tmp_path / "exported")
    code = (
        "import sys, numpy as np; sys.path.insert(0, sys.argv[1]); import exported; "
        "print(exported.predict(np.zeros((2, 6))).shape, 'numba' in sys.modules, "
        "'fonio' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[0] == "(2, 3) False False"
    spec = in_numpy(model, tmp_path / "exported")
    with pytest.raises(ValueError, match=r"x has shape \(2, 5\), expected \(N, 6\)"):
        spec(np.zeros((2, 5)))


class Own(nn.Module):
    keeps_width = True

    def forward(self, x):
        return kernels.add(x, x), lambda dy: kernels.add(dy, dy)


def refused(export):
    return lambda folder: export(nn.Sequential(nn.Linear(3, 3), Own()), folder / "m")


BAD = [
    (refused(nn.export_numpy), TypeError, "export_numpy: Own.* has no form outside fonio"),
    (refused(nn.export_c), TypeError, "export_c: Own.* has no form outside fonio"),
    (refused(nn.export_onnx), TypeError, "export_onnx: Own.* has no form outside fonio"),
    (lambda folder: nn.export_numpy(3, folder / "m"), TypeError, "model is a int"),
    (
        lambda folder: nn.export_c(nn.Sequential(nn.ReLU()), folder / "m"),
        ValueError, "input width is unknown",
    ),
    (
        lambda folder: nn.export_c(nn.Linear(2, 2), folder / "two words"),
        ValueError, "is no identifier of C",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=range(len(BAD)))
def test_what_cannot_be_written_is_refused_before_writing(call, error, message, tmp_path):
    with pytest.raises(error, match=message):
        call(tmp_path)
    assert os.listdir(tmp_path) == []
