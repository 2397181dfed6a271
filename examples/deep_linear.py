"""A net without activations draws a straight line, however deep it is."""

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, error, fit, mlp, sweep

CARD = Card(
    title="Eight linear layers are one",
    section="Depth and activations",
    lectures="004, module 7.3",
    paper="",
    setting="Two moons of 500 + 500 points, noise .15, and a sine at 512 points; one linear layer, "
    "eight of 32 without and with ReLU between, Adam at .003, batch 50, 60 epochs.",
    published="y = w₄ (w₃ (w₂ (w₁ x))) is a linear function of x: only linear boundaries can be "
    "learned.",
    size=(10, 3.4),
)
DEEP = [32] * 7
NETS = {"1 linear layer": [], "8 linear layers": DEEP, "8 layers with ReLU": DEEP}
LINE = np.linspace(-3, 3, 512, dtype=np.float32)[:, None]


def moons(seed):
    """Return points of two half circles that reach into each other, and which one they are of."""
    rng = np.random.default_rng(seed)
    y, angle = np.arange(1000) % 2, rng.uniform(0, np.pi, 1000)
    x = np.transpose([np.cos(angle) - 0.5, np.sin(angle) - 0.25]) * np.where(y, -1, 1)[:, None]
    return (x + 0.15 * rng.normal(size=x.shape)).astype(np.float32), y


def train(name, x, y, loss, seed):
    """Return a net trained on x, y."""
    nn.manual_seed(seed)
    model = mlp([x.shape[1], *NETS[name], 2 if loss == "cross_entropy" else 1])
    if "linear" in name:
        model = nn.Sequential(*(layer for layer in model if isinstance(layer, nn.Linear)))
    optimizer = nn.Adam(model, lr=0.003)
    fit(model, x, y, epochs=60, batch_size=50, optimizer=optimizer, loss=loss, seed=seed)
    return model


def bend(model, x):
    """Return how far the outputs are from an affine function of x, as a share of their range."""
    y, columns = np.float64(nn.predict(model, x)), np.hstack([x, np.ones((len(x), 1))])
    return abs(y - columns @ np.linalg.lstsq(columns, y, rcond=None)[0]).max() / np.ptp(y)


def measure(name, seed):
    """Return the error on new moons, %, the distance from the sine, and the larger bend."""
    moon = train(name, *moons(seed), "cross_entropy", seed)
    sine = train(name, LINE, np.sin(2 * LINE), "mse", seed)
    missed = np.sqrt(((nn.predict(sine, LINE) - np.sin(2 * LINE)) ** 2).mean())
    bent = max(bend(moon, moons(seed)[0]), bend(sine, LINE))
    return error(moon, *moons(100 + seed)), missed, bent


def draw(figure):
    """Draw what the nets make of the sine, and the boundaries of the deep ones."""
    left, *panels = figure.subplots(1, 3)
    left.plot(LINE, np.sin(2 * LINE), "0.7", linewidth=4)
    for name in NETS:
        drawn = nn.predict(train(name, LINE, np.sin(2 * LINE), "mse", 0), LINE)
        left.plot(LINE, drawn, label=name)
    x, y = np.meshgrid(np.linspace(-2, 2, 120), np.linspace(-1.3, 1.3, 120))
    grid = np.float32(np.transpose([x.ravel(), y.ravel()]))
    for axes, name in zip(panels, list(NETS)[1:], strict=True):
        points, labels = moons(0)
        margin = np.diff(nn.predict(train(name, points, labels, "cross_entropy", 0), grid))
        axes.contourf(x, y, margin.reshape(x.shape) > 0, 1, colors=("#cfe3f1", "#f6dccb"))
        axes.scatter(*points.T, c=np.where(labels, "C1", "C0"), s=2)
        axes.set_title(name)
    left.set(title="a sine", ylim=(-1.2, 1.9))
    left.legend()


def run(quick):
    """Train each on both tasks."""
    found = sweep(measure, NETS, 5)
    one, eight, relu = found.values()
    says = (
        f"New moons are missed in {one[0]:.1f} % by one linear layer, {eight[0]:.1f} % by eight, "
        f"{relu[0]:.1f} % by eight with ReLU between; the sine by {one[1]:.2f}, {eight[1]:.2f} and "
        f"{relu[1]:.3f}. Eight linear layers are straight to {eight[2].mean:.0e} of their range."
    )
    claims = {
        "eight linear layers are one affine function, but for rounding": eight[2].below(1e-5),
        "they err in over 7 % of the moons, as one does": eight[0].above(7) and one[0].above(7),
        "and miss the sine by over .6, as one does": eight[1].above(0.6) and one[1].above(0.6),
        "with ReLU under 4 % and .1": relu[0].below(4) and relu[1].below(0.1),
    }
    numbers = {f"{name}: error, distance, bend": spread for name, spread in found.items()}
    return Finding(says, claims, numbers, draw)


if __name__ == "__main__":
    gallery.main(__file__)
