"""Optimizers, groups and penalties in a fit on CUDA, emulated: the weights of the CPU's fit."""

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fonio[cuda]'")

from fonio import nn  # noqa: E402
from fonio.kernels import device  # noqa: E402
from tests.cuda.device import EmulatedDevice  # noqa: E402

MAKE = {
    "lbfgs": lambda model: nn.LBFGS(model, max_iter=3, line_search_fn="strong_wolfe"),
    "groups": lambda model: nn.Adam(
        [{"params": model[0], "lr": 0.1}, {"params": model[2]}], amsgrad=True
    ),
    "nadam": nn.NAdam,
    "radam": nn.RAdam,
    "rmsprop": lambda model: nn.RMSprop(model, centered=True),
}


SLOW = pytest.param("lbfgs", marks=pytest.mark.slow)  # ten seconds, for its many evaluations


@pytest.mark.parametrize("name", [SLOW, *(name for name in MAKE if name != "lbfgs")])
def test_a_fit_on_cuda_is_the_fit_on_the_cpu(name):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(6, 3)).astype(np.float32), rng.integers(0, 3, 6)
    found = []
    with device.use(EmulatedDevice()):
        for place in ("cpu", "cuda"):
            nn.manual_seed(1)
            model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).to(place)
            penalties = [nn.L2(0.1, model[0], neurons=slice(0, 2)), nn.GroupLasso(0.1)]
            nn.fit(
                model, x, y, epochs=2, batch_size=6, optimizer=MAKE[name](model), progress=False,
                callbacks=[*penalties, nn.MaxNorm(0.8)],
            )  # fmt: skip
            norm = nn.clip_grad_norm(model, 0.1)
            assert float(norm[0]) > 0.1 and model.device == place
            model.to("cpu")
            found.append(np.concatenate([p.value.reshape(-1) for p in model.parameters()]))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-6)
