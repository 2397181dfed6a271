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

ACTIVATIONS = [
    nn.ReLU(), nn.LeakyReLU(0.2), nn.ReLU6(), nn.Threshold(0.1, -1), nn.Hardtanh(-0.5, 2),
    nn.Hardsigmoid(), nn.Hardswish(), nn.ELU(0.7), nn.CELU(0.5), nn.SELU(), nn.GELU(),
    nn.GELU("tanh"), nn.QuickGELU(), nn.Sigmoid(), nn.Tanh(), nn.Softplus(), nn.SiLU(), nn.Mish(),
    nn.Softsign(), nn.Swish(1.3), nn.Swish(0.8, learned=True), nn.PReLU(), nn.PReLU(8, 0.1),
]  # fmt: skip


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


def in_numpy(model, folder):
    nn.export_numpy(model, folder / "exported.py")
    spec = importlib.util.spec_from_file_location("exported", folder / "exported.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.predict


def in_c(model, folder):
    header, source = nn.export_c(model, folder / "exported")
    library = folder / "exported.so"
    flags = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([CC, *flags, str(source), "-o", str(library), "-lm"], check=True)
    call = ctypes.CDLL(str(library)).exported_predict
    pointer = np.ctypeslib.ndpointer(model.dtype, flags="C_CONTIGUOUS")
    call.argtypes, call.restype = (pointer, pointer), None
    outputs = nn.predict(model, X[:1]).shape[1]

    def predict(x):
        y = np.empty((len(x), outputs), model.dtype)
        for row in range(len(x)):
            call(np.ascontiguousarray(x[row], model.dtype), y[row])
        return y

    assert "exported_predict" in header.read_text()
    return predict


def in_onnx(model, folder):
    import onnxruntime

    nn.export_onnx(model, folder / "exported.onnx")
    session = onnxruntime.InferenceSession(folder / "exported.onnx")
    return lambda x: session.run(None, {"x": x.astype(model.dtype)})[0]


WAYS = {"numpy": in_numpy, "c": in_c, "onnx": in_onnx}
if CC is None:
    del WAYS["c"]


KINDS = [(way, dtype) for way in WAYS for dtype in ("float32", "float64")]
KINDS.remove(("onnx", "float64"))  # onnxruntime has no Gelu in that precision


@pytest.mark.parametrize(("way", "dtype"), KINDS)
def test_a_model_of_every_kind_answers_the_same(way, dtype, tmp_path):
    model = everything(dtype)
    found = WAYS[way](model, tmp_path)(X)
    assert found.dtype == dtype
    tolerance = 2e-6 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(found, nn.predict(model, X), rtol=10 * tolerance, atol=tolerance)


@pytest.mark.parametrize("way", WAYS)
def test_every_activation_answers_the_same(way, tmp_path):
    """One net for each way: the activations side by side, each on inputs of its own."""
    nn.manual_seed(1)
    for number, activation in enumerate(ACTIVATIONS):
        model = nn.Sequential(nn.Linear(6, 8), activation).eval()
        if way == "c" and number % 4:  # a compiler's run each
            continue
        folder = tmp_path / str(number)
        folder.mkdir()
        found = WAYS[way](model, folder)(X)
        wanted = nn.predict(model, X)
        np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-6, err_msg=repr(activation))


@pytest.mark.skipif(CC is None, reason="no C compiler")
def test_c_knows_every_activation(tmp_path):
    nn.manual_seed(1)
    layers = []
    for activation in ACTIVATIONS:
        layers += [nn.Linear(6 if not layers else 8, 8), activation]
    model = nn.Sequential(*layers).to("float64").eval()
    found = in_c(model, tmp_path)(X)
    np.testing.assert_allclose(found, nn.predict(model, X), rtol=1e-9, atol=1e-12)


def test_extreme_values_come_out_the_same(tmp_path):
    model = nn.Sequential(nn.Linear(6, 6, bias=False), nn.Softmax())
    model[0].weight.value = np.eye(6)
    x = np.array([[1000, 0, -1000, 3, 2, 1], [-np.inf, 0, 1, 2, 3, 4]], np.float32)
    for way in WAYS:
        (tmp_path / way).mkdir()
        with np.errstate(all="ignore"):
            found = WAYS[way](model, tmp_path / way)(x)
        np.testing.assert_allclose(found[0], nn.predict(model, x)[0], rtol=1e-5, atol=1e-7)


def test_the_numpy_file_imports_numpy_alone(tmp_path):
    model = everything()
    in_numpy(model, tmp_path)
    code = (
        "import sys, numpy as np; sys.path.insert(0, sys.argv[1]); import exported; "
        "print(exported.predict(np.zeros((2, 6))).shape, 'numba' in sys.modules, "
        "'fonio' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[0] == "(2, 3) False False"
    spec = in_numpy(model, tmp_path)
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
