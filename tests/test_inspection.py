"""Inspector, inspect and dead_units: what they tell is so, and looking changes nothing."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from fonio import kernels, nn
from fonio.nn.inspection import ENDS, limits_of

ROWS = 40


def data(rows=ROWS):
    rng = np.random.default_rng(1)
    return rng.normal(size=(rows, 5)).astype(np.float32), rng.integers(0, 3, rows)


def net():
    nn.manual_seed(2)
    return nn.Sequential(
        nn.Linear(5, 8),
        nn.ReLU(),
        nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 6)),
        nn.Sigmoid(),
        nn.Linear(6, 3),
    )


def look_at(model, x, y, every=1, **options):
    look = nn.Inspector(every=every)
    options = {"epochs": 3, "batch_size": 16, "progress": False, "callbacks": [look], **options}
    nn.fit(model, x, y, **options)
    return look


def by_hand(model, x, y, optimizer):
    """One step: each layer's output and its gradient, the parameters' norms, all by NumPy."""
    flat = [model[0], model[1], *model[2], model[3], model[4]]
    outputs, backwards = [], []
    for layer in flat:
        x, backward = layer.forward(x)
        outputs.append(x)
        backwards.append(backward)
    gradients = [kernels.cross_entropy(x, y)[1]]
    for backward in reversed(backwards):
        gradients.append(backward(gradients[-1]))
    parameters = model.parameters()
    before = [p.value.copy() for p in parameters]
    norms = [[np.linalg.norm(p.grad), np.linalg.norm(p.value)] for p in parameters]
    optimizer.step()
    for found, p, old in zip(norms, parameters, before, strict=True):
        found.append(np.linalg.norm(p.value - old))
    names = ("0 Linear", "1 ReLU", "2.0 BatchNorm1d", "2.1 Linear", "3 Sigmoid", "4 Linear")
    made = dict(zip(names, zip(outputs, gradients[-2::-1], strict=True), strict=True))
    return made, np.array(norms)


def test_every_figure_is_that_of_the_step():
    x, y = data()
    model, twin = net(), net()
    look = look_at(model, x, y, batch_size=ROWS, shuffle=False, optimizer="sgd")
    optimizer = nn.SGD(twin.train().parameters(), lr=1e-2)
    records = look.records
    # activations that the layer before computes stand for both
    assert list(records["activations"]) == [
        *("1 ReLU", "2.0 BatchNorm1d", "2.1 Linear", "3 Sigmoid", "4 Linear"),
    ]
    assert list(records["gradients"]) == list(records["activations"])
    assert list(records["parameters"]) == [name for name, _ in twin.named_parameters()]
    for step in range(3):
        made, norms = by_hand(twin, x, y, optimizer)
        for name, pair in made.items():
            for side, array in zip(("activations", "gradients"), pair, strict=True):
                if name in records[side]:
                    check_figures(records[side][name], step, array)
        for found, (gradient, value, update) in zip(
            records["parameters"].values(), norms, strict=True
        ):
            assert found["gradient_norm"][step] == pytest.approx(gradient, rel=1e-4, abs=1e-7)
            assert found["norm"][step] == pytest.approx(value, rel=1e-5)
            assert found["update_norm"][step] == pytest.approx(update, rel=1e-3, abs=1e-8)
            ratio = update / value if value else np.inf
            assert found["update_ratio"][step] == pytest.approx(ratio, rel=1e-3, abs=1e-8)


def check_figures(found, step, array):
    wanted = {"mean": array.mean(), "std": array.std(), "min": array.min(), "max": array.max()}
    wanted |= {"zeros": (array == 0).mean(), "dead": (array == 0).all(0).mean()}
    for figure, value in wanted.items():
        assert found[figure][step] == pytest.approx(value, rel=1e-4, abs=1e-6), figure
    assert found["histogram"].shape == (3, 50)
    counts, _ = np.histogram(array, 50)
    assert found["histogram"][step].sum() == array.size
    assert abs(np.cumsum(found["histogram"][step] - counts)).max() <= 2  # rounded at an edge


def test_steps_between_are_passed_over():
    x, y = data()
    each, third = look_at(net(), x, y), look_at(net(), x, y, every=4)
    assert each.steps.tolist() == list(range(9))
    assert third.steps.tolist() == [0, 4, 8]  # of three steps an epoch
    assert len(third) == 3
    for side in ("activations", "gradients"):
        for name, found in third.records[side].items():
            for figure, values in found.items():
                wanted = each.records[side][name][figure][::4]
                np.testing.assert_array_equal(values, wanted, err_msg=f"{name} {figure}")
    for name, found in third.records["parameters"].items():
        wanted = each.records["parameters"][name]
        assert np.array_equal(found["update_ratio"], wanted["update_ratio"][::4])


def test_looking_changes_nothing():
    x, y = data(65)
    models = [net(), net()]
    look_at(models[0], x, y, every=2)
    nn.fit(models[1], x, y, epochs=3, batch_size=16, progress=False)
    for p, q in zip(*(model.parameters() for model in models), strict=True):
        assert np.array_equal(p.value, q.value)


def test_the_same_figures_for_any_number_of_threads():
    x, y = data(700)
    before, found = kernels.get_num_threads(), set()
    try:
        for threads in (1, 2, 3):
            kernels.set_num_threads(threads)
            nn.manual_seed(0)
            model = nn.Sequential(nn.Linear(5, 300), nn.Tanh(), nn.Linear(300, 3))
            found.add(str(look_at(model, x, y, every=3, batch_size=256).to_dict()))
    finally:
        kernels.set_num_threads(before)
    assert len(found) == 1


def test_an_ended_fit_keeps_what_was_seen_and_the_next_begins_anew():
    x, y = data()
    model, look = net(), nn.Inspector(every=2, histograms=False)
    stop = lambda model, history: history.epochs == 2  # noqa: E731
    options = {"batch_size": 16, "progress": False}
    nn.fit(model, x, y, epochs=9, callbacks=[look, stop], **options)
    assert look.steps.tolist() == [0, 2, 4]
    assert look.records["activations"]["1 ReLU"]["histogram"].shape == (3, 1)
    nn.fit(model, x, y, epochs=1, callbacks=[look], **options)
    assert look.steps.tolist() == [6, 8]


def test_dead_units_are_found():
    x, y = data()
    model = net()
    model[0].bias.value[2:5] = -100
    dead = nn.dead_units(model, x)
    assert dead["1 ReLU"].tolist() == [2 <= unit < 5 for unit in range(8)]
    assert not dead["3 Sigmoid"].any()
    once = nn.inspect(model, x, y).records
    assert once["activations"]["1 ReLU"]["dead"][0] == 3 / 8
    assert once["activations"]["1 ReLU"]["zeros"][0] > 3 / 8
    assert once["parameters"]["0.weight"]["gradient_norm"][0] > 0
    assert not model[0].weight.grad[2:5].any()  # no gradient reaches what is dead
    init = nn.init.apply(net(), bias=0.01)
    assert not nn.dead_units(init, x)["1 ReLU"].any()


def test_dead_over_all_rows_not_over_one_batch():
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    nn.init.apply(model, 1.0, bias=0.0)
    x = np.full((1200, 1), -1.0)
    assert nn.dead_units(model, x)["1 ReLU"].tolist() == [True]
    x[700] = 1
    assert nn.dead_units(model, x)["1 ReLU"].tolist() == [False]


@pytest.mark.parametrize(
    "layer", [nn.Sigmoid(), nn.Tanh(), nn.Hardtanh(-2, 2), nn.Hardsigmoid(), nn.ReLU6()]
)
def test_saturated_units_are_found(layer):
    model = nn.Sequential(nn.Linear(5, 7), layer)
    x, _ = data()
    name = f"1 {type(layer).__name__}"
    shares = []
    for scale in (0.01, 1000.0):
        nn.init.apply(model, "normal", bias=0.7, std=scale, rng=np.random.default_rng(0))
        shares.append(nn.inspect(model, x).records["activations"][name]["saturated"][0])
    assert shares[0] == 0
    assert shares[1] > 0.95
    assert np.isnan(nn.inspect(net(), x).records["activations"]["1 ReLU"]["saturated"][0])


def test_every_activation_with_two_ends_is_known():
    """Finite and flat on both sides, and not the same there."""
    far = np.array([-1e5, 1e5])
    for name, row in kernels.ACTIVATIONS.items():
        ends, farther = row.forward(far), row.forward(2 * far)
        bounded = np.allclose(ends, farther, atol=1e-4) and ends[0] != ends[1]
        assert (name in ENDS) == bounded, name
        if bounded:
            assert ends == pytest.approx(ENDS[name], abs=1e-4)
    assert limits_of(nn.Hardtanh(-2, 2)) == (-1.96, 1.96)


def test_one_pass_leaves_the_model_as_it_was():
    x, y = data()
    model = net().eval()
    before = [a.copy() for a in (*model.buffers(), *(p.value for p in model.parameters()))]
    found = nn.inspect(model, x, y, bins=10)
    after = [*model.buffers(), *(p.value for p in model.parameters())]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert not any(module.training for module in model.modules())
    assert np.isnan(found.records["parameters"]["0.weight"]["update_ratio"]).all()
    first = look_at(net(), x, y, batch_size=ROWS, shuffle=False, epochs=1).records
    for side in ("activations", "gradients"):
        for name, figures in found.records[side].items():
            assert np.array_equal(figures["std"], first[side][name]["std"])
    assert nn.inspect(model, x).records["gradients"] == {}


def test_a_frozen_layer_has_figures_and_no_gradient():
    x, y = data()
    model = net()
    model[0].freeze()
    records = look_at(model, x, y).records
    assert "1 ReLU" in records["activations"]
    assert "1 ReLU" not in records["gradients"]
    assert "0.weight" not in records["parameters"]


def test_figures_as_tables_and_for_json():
    x, y = data()
    look = look_at(net(), x, y)
    out = io.StringIO()
    Console(file=out, width=100).print(look.table(), look.table(at=0))
    text = out.getvalue()
    assert "step 8" in text and "step 0" in text
    for word in ("1 ReLU", "2.1 Linear", "saturated", "4.bias", "update / norm"):
        assert word in text
    again = json.loads(json.dumps(look.to_dict(), allow_nan=False))
    assert again["activations"]["1 ReLU"]["saturated"] == [None] * 9
    assert again["step"] == list(range(9))
    assert repr(look) == "<Inspector of 9 steps, 5 layers, 8 parameters>"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_finite_is_told(dtype):
    x = np.array([[1, 2, np.inf], [3, 5, -np.inf], [1, np.nan, 4]], dtype)
    summaries, histograms = np.zeros((2, 7), dtype), np.zeros((2, 4), np.int64)
    kernels.observe(x, summaries, histograms, row=1, low=0, high=4.5)
    assert np.isnan(summaries[1, :2]).all()
    assert summaries[1, 2:].tolist() == pytest.approx([1, 5, 0, 0, 3 / 9])
    assert histograms.tolist() == [[0] * 4, [3, 1, 1, 3]]  # the infinite ones at the ends
    kernels.observe(np.full((2, 2), np.nan, dtype), summaries, histograms)
    assert np.isnan(summaries[0, :4]).all()
    assert histograms[0].tolist() == [0] * 4
    kernels.observe(np.full((2, 2), np.inf, dtype), summaries, histograms)
    kernels.observe(np.full((2, 3), 7, dtype), summaries, histograms, row=1)
    assert histograms.tolist() == [[4, 0, 0, 0], [6, 0, 0, 0]]  # no room between the ends


def test_a_row_that_is_not_there_writes_nothing():
    x, rings = np.ones((3, 2)), (np.zeros((2, 7)), np.zeros((2, 4), np.int64))
    starts, stops = np.array([0]), np.array([6])
    norms, before = np.zeros((2, 3, 1)), np.zeros(6)
    for row in (-1, 2, 10**9):
        kernels.observe(x, *rings, row=row)
        kernels.observe_update(norms, before, x.ravel(), x.ravel(), starts, stops, row)
    assert not any(array.any() for array in (*rings, norms, before))


def test_a_span_beyond_the_end_is_cut():
    values, norms, before = np.ones(4), np.zeros((1, 3, 3)), np.zeros(4)
    starts, stops = np.array([-5, 2, 9]), np.array([1, 99, 12])
    kernels.observe_update(norms, before, values, 2 * values, starts, stops)
    kernels.observe_update(norms, before, 3 * values, values, starts, stops, after=True)
    root = 2**0.5
    assert norms[0].tolist() == [[2, 2 * root, 0], [1, root, 0], [2, pytest.approx(2 * root), 0]]


@pytest.mark.slow
def test_a_fit_on_cuda_is_seen_as_on_the_cpu():
    pytest.importorskip("numba_cuda")
    from fonio.kernels import device
    from tests.cuda.device import EmulatedDevice

    x, y = data(6)
    found = []
    nn.set_fusion(1)  # where layers are watched they run one by one all the same
    with device.use(EmulatedDevice()):
        for place in ("cpu", "cuda"):
            nn.manual_seed(1)
            model = nn.Sequential(
                nn.Linear(5, 3, bias=False), nn.Tanh(), nn.Linear(3, 3, bias=False)
            )
            model.to(place)
            look = nn.Inspector(every=2, histograms=2)
            nn.fit(model, x, y, epochs=3, batch_size=6, progress=False, callbacks=[look])
            found.append(look.records)
    nn.set_fusion()
    assert found[0]["step"].tolist() == [0, 2]
    for side in ("activations", "gradients", "parameters"):
        assert list(found[0][side]) == list(found[1][side])
        for name, figures in found[0][side].items():
            for figure, values in figures.items():
                np.testing.assert_allclose(
                    found[1][side][name][figure], values, rtol=1e-3, atol=1e-6, err_msg=name
                )


X, Y = data(8)
RINGS = np.zeros((2, 7)), np.zeros((2, 4), np.int64)
REFUSED = [
    (lambda: nn.Inspector(every=0), ValueError, "Inspector: every is 0, expected every >= 1"),
    (lambda: nn.Inspector(histograms=0), ValueError, "histograms is 0, expected histograms >= 1"),
    (lambda: nn.Inspector(histograms="no"), TypeError, "histograms is a str"),
    (lambda: nn.Inspector().table(), ValueError, "table: nothing was seen yet"),
    (lambda: nn.inspect(net(), X, Y[:3]), ValueError, "inspect: y has 3 rows, expected 8"),
    (lambda: nn.inspect(net(), X, Y, loss="msee"), ValueError, "unknown loss 'msee'"),
    (lambda: nn.inspect(net(), X[0]), ValueError, r"inspect: x has shape \(5,\)"),
    (lambda: nn.inspect(net(), X, bins=0), ValueError, "inspect: bins is 0"),
    (lambda: nn.dead_units(net(), X[:, :2]), ValueError, r"expected \(N, 5\)"),
    (lambda: kernels.observe(np.ones((2, 2)), RINGS[0], RINGS[1][:, :0]), ValueError, "0 bins"),
    (lambda: kernels.observe(np.ones((2, 2)), *RINGS, low="a"), TypeError, "low is a str"),
    (
        lambda: kernels.observe(np.ones((2, 2)), RINGS[0][:, :3], RINGS[1]),
        ValueError,
        "expected .2, 7",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED, ids=range(len(REFUSED)))
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
