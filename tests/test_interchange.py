"""to_torch and from_torch: equal outputs, and refusals by name. Needs PyTorch, an optional peer."""

import numpy as np
import pytest

from fonio import nn
from tests.test_training import blobs, quiet_fit

torch = pytest.importorskip("torch")
X, Y = blobs(100)

LAYERS = [
    nn.ReLU(), nn.LeakyReLU(0.2), nn.PReLU(8), nn.ReLU6(), nn.ELU(0.5), nn.CELU(0.7), nn.SELU(),
    nn.GELU(), nn.GELU("tanh"), nn.Sigmoid(), nn.Tanh(), nn.Hardtanh(-2, 1), nn.Hardsigmoid(),
    nn.Hardswish(), nn.Softplus(), nn.Softsign(), nn.SiLU(), nn.Mish(), nn.Threshold(0.1, 2),
    nn.BatchNorm1d(8, eps=1e-3), nn.Dropout(0.3), nn.Softmax(), nn.LogSoftmax(), nn.GLU(),
]  # fmt: skip


def answers(module, x):
    with torch.no_grad():
        return module(torch.from_numpy(x)).numpy()


@pytest.mark.parametrize("layer", LAYERS, ids=[repr(layer) for layer in LAYERS])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_there_and_back(layer, dtype):
    x = X.astype(dtype)
    model = nn.Sequential(nn.Linear(5, 8), layer).to(dtype).eval()
    moved = nn.to_torch(model)
    np.testing.assert_allclose(answers(moved, x), nn.predict(model, x), rtol=1e-5, atol=1e-6)
    back = nn.from_torch(moved)
    assert repr(back) == repr(model)
    assert np.array_equal(nn.predict(back, x), nn.predict(model, x))


def test_a_trained_net_and_its_statistics():
    nn.manual_seed(0)
    model = nn.Sequential(
        nn.Sequential(nn.Linear(5, 8, bias=False), nn.BatchNorm1d(8)), nn.ReLU(), nn.Linear(8, 3)
    )
    quiet_fit(model, X, Y)
    moved = nn.to_torch(model)
    np.testing.assert_allclose(answers(moved, X), nn.predict(model, X), rtol=1e-5, atol=1e-6)
    assert not moved.training
    assert moved.state_dict()["0.0.weight"].shape == (8, 5)
    moved[2].weight.data.zero_()
    assert model[2].weight.value.any()  # copies


def test_a_net_of_pytorch():
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Linear(5, 7), torch.nn.BatchNorm1d(7), torch.nn.Tanh(), torch.nn.Linear(7, 2)
    )
    module(torch.randn(50, 5))
    model = nn.from_torch(module)
    np.testing.assert_allclose(
        nn.predict(model, X), answers(module.eval(), X), rtol=1e-5, atol=1e-6
    )
    one = nn.from_torch(torch.nn.Linear(5, 2))
    assert isinstance(one, nn.Linear)


BAD = [
    (lambda: nn.to_torch(3), "model is a int"),
    (lambda: nn.to_torch(nn.Sequential(nn.Linear(2, 4), nn.Maxout(2))), "has no layer like Maxout"),
    (lambda: nn.from_torch(3), "module is a int"),
    (lambda: nn.from_torch(torch.nn.Conv1d(1, 1, 1)), "fonio has no layer like Conv1d"),
    (lambda: nn.from_torch(torch.nn.Softmax(dim=0)), "is not over each row, expected dim=1"),
    (lambda: nn.from_torch(torch.nn.Softplus(beta=2)), "has beta 2"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), BAD, ids=range(len(BAD)))
def test_what_the_other_side_lacks_is_refused(call, message):
    with pytest.raises(TypeError, match=message):
        call()
