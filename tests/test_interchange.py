"""to_torch and from_torch: equal outputs, and refusals by name. Needs PyTorch, an optional peer."""

import numpy as np
import pytest

from fonio import nn
from fonio.nn.interchange import SHARED
from tests.test_exports import CASES, moved
from tests.test_exports import X as ROWS
from tests.test_training import blobs, quiet_fit

torch = pytest.importorskip("torch")
X, Y = blobs(100)


def answers(module, x):
    with torch.no_grad():
        return module(torch.from_numpy(x)).numpy()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_every_layer_goes_there_and_back_or_is_refused(name, dtype):
    nn.manual_seed(0)
    gone = 0
    for make in CASES[name]:
        model = moved(make().to(dtype)).eval()
        try:
            there = nn.to_torch(model)
        except TypeError as error:
            assert "to_torch: PyTorch has no" in str(error) and name in str(error)
            continue
        gone += 1
        wanted = nn.predict(model, ROWS)
        tolerance = 1e-6 if wanted.dtype == np.float32 else 1e-12
        found = answers(there, ROWS.astype(wanted.dtype))
        np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())
        back = nn.from_torch(there)
        assert repr(back) == repr(model)
        assert np.array_equal(nn.predict(back, ROWS), wanted)
    assert (gone > 0) == (name in SHARED)


@pytest.mark.parametrize("affine", [False, True])
def test_channels_with_a_length(affine):
    x = np.random.default_rng(0).normal(size=(3, 8, 5)).astype(np.float32)
    for layer in (nn.InstanceNorm1d(8, affine=affine), nn.GroupNorm(2, 8, affine=affine)):
        there = nn.to_torch(moved(layer).eval())
        np.testing.assert_allclose(answers(there, x), layer(x), rtol=1e-5, atol=1e-6)
        assert repr(nn.from_torch(there)) == repr(layer)


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
    idle = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(5, 2))
    np.testing.assert_allclose(
        nn.predict(nn.from_torch(idle), X), answers(idle, X), rtol=1e-5, atol=1e-6
    )
    one = nn.from_torch(torch.nn.Linear(5, 2))
    assert isinstance(one, nn.Linear)


BAD = [
    (lambda: nn.to_torch(3), "model is a int"),
    (lambda: nn.to_torch(nn.Sequential(nn.Linear(2, 4), nn.Maxout(2))), "has no layer like Maxout"),
    (lambda: nn.to_torch(nn.BatchNorm1d(3, unbiased=False)), "has no BatchNorm1d like"),
    (lambda: nn.to_torch(nn.Dropout([0.1, 0.2])), "has no Dropout like"),
    (lambda: nn.from_torch(torch.nn.ModuleList()), "fonio has no layer like ModuleList"),
    (lambda: nn.from_torch(3), "module is a int"),
    (lambda: nn.from_torch(torch.nn.Conv1d(1, 1, 1)), "fonio has no layer like Conv1d"),
    (lambda: nn.from_torch(torch.nn.Softmax(dim=0)), "is not over each row, expected dim=1"),
    (lambda: nn.from_torch(torch.nn.Softplus(beta=2)), "has beta 2"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), BAD, ids=range(len(BAD)))
def test_what_the_other_side_lacks_is_refused(call, message):
    with pytest.raises(TypeError, match=message):
        call()
