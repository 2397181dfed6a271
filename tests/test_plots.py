"""Pictures: what is drawn is what was seen, on axes of one's own too, and nothing else changes."""

import functools
import io
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'fonio[plots]'")

import matplotlib  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from fonio import nn  # noqa: E402
from fonio.nn import plots  # noqa: E402


@functools.cache
def seen():
    """A model of 2 inputs and 3 classes, its data, and what a fit left behind."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 2)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int) + (x[:, 1] > 0.5)
    nn.manual_seed(0)
    layers = nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 9), nn.Tanh(), nn.Linear(9, 3)
    model, look = nn.Sequential(*layers), nn.Inspector(every=5, histograms=20)
    options = {"validation": 0.25, "schedule": nn.StepLR(2, 0.5), "progress": False}
    history = nn.fit(model, x, y, epochs=5, batch_size=16, callbacks=[look], **options)
    return model, x, y, history, look


PICTURES = {
    "history": lambda model, x, y, history, look, **to: plots.history(history, **to),
    "activations": lambda model, x, y, history, look, **to: plots.activations(look, **to),
    "layers": lambda model, x, y, history, look, **to: plots.layers(look, **to),
    "gradients": lambda model, x, y, history, look, **to: plots.gradients(look, **to),
    "updates": lambda model, x, y, history, look, **to: plots.updates(look, **to),
    "confusion": lambda model, x, y, history, look, **to: plots.confusion(
        y, nn.predict(model, x), **to
    ),
    "features": lambda model, x, y, history, look, **to: plots.features(
        model[2].weight, (4, 4), **to
    ),
    "boundary": lambda model, x, y, history, look, **to: plots.boundary(
        model, x, y, steps=20, **to
    ),
}


@pytest.mark.parametrize("name", sorted(PICTURES))
def test_each_picture_is_a_figure_that_can_be_written(name):
    before = dict(matplotlib.rcParams)
    figure = PICTURES[name](*seen())
    assert isinstance(figure, Figure)
    out = io.BytesIO()
    figure.savefig(out, dpi=50)
    assert out.getvalue().startswith(b"\x89PNG")
    assert dict(matplotlib.rcParams) == before
    own = Figure((9, 3))
    axes = list(own.subplots(1, 3))
    axes = axes[0] if len(figure.axes) == 1 else axes
    assert PICTURES[name](*seen(), axes=axes) is own
    if len(figure.axes) > 1:
        with pytest.raises(ValueError, match=f"{name}: axes has 1 of them, expected 3"):
            PICTURES[name](*seen(), axes=axes[0])


def lines(ax):
    return {line.get_label(): line.get_xydata() for line in ax.get_lines()}


def test_curves_of_a_history():
    history = seen()[3]
    loss, accuracy, rate = plots.history(history).axes
    for ax, name in ((loss, "loss"), (accuracy, "accuracy")):
        drawn = lines(ax)
        assert drawn["training"].T.tolist() == [[1, 2, 3, 4, 5], history[name]]
        assert drawn["validation"][:, 1].tolist() == history[f"val_{name}"]
    assert next(iter(lines(rate).values()))[:, 1].tolist() == history.lr
    plain = nn.History()
    plain.add(loss=2.0, lr=0.1, seconds=1.0)
    (ax,) = plots.history(plain).axes
    assert lines(ax)["training"].tolist() == [[1, 2]]
    assert ax.get_legend() is None


@pytest.mark.parametrize("at", [0, 3, -1])
def test_histograms_of_layers(at):
    look = seen()[4]
    figure = plots.activations(look, at=at)
    for ax, (name, found) in zip(figure.axes, look.records["activations"].items(), strict=True):
        assert ax.get_title() == f"{name}, std {found['std'][at]:.2g}"
        stairs = ax.patches[-1].get_data()
        assert len(ax.patches) == (1 if at == 0 else 2)  # the first step, but for itself
        assert stairs.edges[[0, -1]] == pytest.approx([found["min"][at], found["max"][at]])
        counts = found["histogram"][at]
        low = np.argsort(counts)[:-1]  # all but the highest are in proportion
        assert stairs.values[low] * counts[low[-1]] == pytest.approx(
            counts[low] * stairs.values[low[-1]]
        )


def test_a_spike_is_cut_and_its_share_written():
    model = nn.Sequential(nn.Linear(2, 50), nn.ReLU())
    nn.init.apply(model, "normal", bias=-1.0, rng=np.random.default_rng(0))
    found = nn.inspect(model, np.random.default_rng(1).normal(size=(200, 2)))
    (ax,) = plots.activations(found).axes
    share = found.records["activations"]["1 ReLU"]["histogram"][0].max() / (200 * 50)
    assert [text.get_text().strip() for text in ax.texts] == [f"{share:.0%}"]
    assert ax.get_ylim()[1] < 1.2


def test_constant_and_empty_histograms():
    for value in (0.0, np.nan):
        found = nn.inspect(nn.Sequential(nn.Tanh(), nn.Linear(2, 2)), np.full((4, 2), value))
        for ax in plots.activations(found).axes:
            left, *_, right = ax.patches[0].get_data().edges
            assert right > left


def test_lines_over_the_steps():
    look = seen()[4]
    records = look.records
    (ax,) = plots.layers(look, "std", "gradients").axes
    for name, found in records["gradients"].items():
        np.testing.assert_array_equal(lines(ax)[name].T, [look.steps, found["std"]])
    (ax,) = plots.layers(look, "saturated").axes
    assert set(lines(ax)) == {"3 Tanh"}  # alone in having two ends
    for draw, figure in ((plots.gradients, "gradient_norm"), (plots.updates, "update_ratio")):
        (ax,) = draw(look).axes
        drawn = {name: line for name, line in lines(ax).items() if not name.startswith("_")}
        assert set(drawn) == {"0.weight", "2.weight", "4.weight"}
        for name, line in drawn.items():
            assert line[:, 1] == pytest.approx(records["parameters"][name][figure])


def test_confusion_counts():
    y, predicted = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 2, 0])
    (ax,) = plots.confusion(y, predicted, labels=["cat", "dog", "hen"]).axes
    cells = {text.get_position(): text.get_text() for text in ax.texts}
    assert cells == {(0, 0): "1", (1, 0): "1", (1, 1): "1", (0, 2): "1", (2, 2): "2"}
    assert [label.get_text() for label in ax.get_xticklabels()] == ["cat", "dog", "hen"]
    assert ax.get_title() == "33.33% of 6 wrong"
    shares = np.asarray(ax.images[0].get_array())
    assert shares.sum(axis=1) == pytest.approx(np.ones(3))
    (again,) = plots.confusion(y, np.eye(3)[predicted]).axes  # outputs
    assert len(again.texts) == 5


def test_weights_as_images():
    weight = np.arange(12.0).reshape(2, 6) - 5
    (ax,) = plots.features(weight, shape=(2, 3)).axes
    mosaic = ax.images[0].get_array().filled(np.nan)
    assert mosaic.shape == (2, 7)  # side by side, a gap between
    np.testing.assert_allclose(mosaic[:, :3], weight[0].reshape(2, 3) / 5)
    np.testing.assert_allclose(mosaic[:, 4:], weight[1].reshape(2, 3) / 6)
    assert np.isnan(mosaic[:, 3]).all()
    (ax,) = plots.features(np.ones((9, 6)), shape=(2, 3), most=3).axes
    assert np.isfinite(ax.images[0].get_array().filled(np.nan)).sum() == 18


def test_a_boundary_shows_what_the_model_answers():
    model, x, y, *_ = seen()
    (ax,) = plots.boundary(model, x, y, steps=30).axes
    picture = np.asarray(ax.images[0].get_array())
    left, right, low, high = ax.images[0].get_extent()
    across, up = np.linspace(left, right, 30), np.linspace(low, high, 30)
    places = np.array([(a, b) for b in up for a in across])
    best = nn.predict(model, places).argmax(axis=1).reshape(30, 30)
    # blue, vermilion and green: the darkest channel left tells the class
    tint = np.array([(0.0, 0x72, 0xB2), (0xD5, 0x5E, 0.0), (0.0, 0x9E, 0x73)]) / 255
    assert np.array_equal(nearest(picture, tint), best)
    assert len(ax.collections[-1].get_offsets()) == (y == 2).sum()
    one = nn.Sequential(nn.Linear(2, 1))
    nn.init.apply(one, lambda weight: nn.init.constant(weight, [[1.0, 0.0]]), bias=0)
    (ax,) = plots.boundary(one, x, y > 0, steps=10).axes
    crossing = np.concatenate([path.vertices for path in ax.collections[0].get_paths()])
    assert abs(crossing[:, 0]).max() < 0.01


def nearest(picture, tint):
    """The class whose colour, made paler, is the picture's: by the direction away from white."""
    away = 1 - picture
    away = away / np.linalg.norm(away, axis=-1, keepdims=True)
    directions = (1 - tint) / np.linalg.norm(1 - tint, axis=1, keepdims=True)
    return (away @ directions.T).argmax(axis=-1)


def test_importing_nn_imports_no_matplotlib():
    code = "import sys, fonio.nn; fonio.nn.plots; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"plots: matplotlib is not installed: .*fonio\[plots\]"):
        plots.history(seen()[3])


NET = nn.Sequential(nn.Linear(2, 3))
X, Y = np.zeros((4, 2), np.float32), np.arange(4) % 3
REFUSED = [
    (lambda: plots.history(nn.History()), ValueError, "history: no epoch was trained"),
    (lambda: plots.activations(nn.Inspector()), ValueError, "activations: no activations were"),
    (lambda: plots.activations(nn.inspect(NET, X), "gradients"), ValueError, "no gradients were"),
    (lambda: plots.activations(seen()[4], "weights"), ValueError, "unknown side 'weights'"),
    (lambda: plots.layers(seen()[4], "variance"), ValueError, "layers: unknown figure 'variance'"),
    (lambda: plots.layers(seen()[4], "histogram"), ValueError, "unknown figure 'histogram'"),
    (lambda: plots.updates(nn.inspect(NET, X, Y)), ValueError, "updates: no update_ratio was seen"),
    (lambda: plots.confusion(Y, Y[:2]), ValueError, r"y has shape \(4,\) and predicted \(2,\)"),
    (lambda: plots.confusion(Y - 1, Y), ValueError, "confusion: y has other values than labels"),
    (lambda: plots.confusion(Y, Y, labels=["a"]), ValueError, "labels has 1 names"),
    (lambda: plots.features(np.ones((3, 5)), (2, 2)), ValueError, r"weight has shape \(3, 5\)"),
    (lambda: plots.features(np.ones((3, 4)), (2, 2), 0), ValueError, "features: most is 0"),
    (lambda: plots.boundary(NET, X[:, :1], Y), ValueError, r"boundary: x has shape \(4, 1\)"),
    (lambda: plots.boundary(NET, X, Y[:3]), ValueError, r"expected \(3, 2\)"),
    (lambda: plots.boundary(NET, X, Y, steps=1), ValueError, "boundary: steps is 1"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED, ids=range(len(REFUSED)))
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
