"""Depth: a ReLU net two units wide draws a sawtooth that a shallow one cannot follow."""

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, curve, fit, mlp, sweep

CARD = Card(
    title="A sawtooth of two units a layer",
    section="Depth and activations",
    lectures="000, slides 8 and 9",
    paper="Telgarsky 2015, arXiv:1509.08101, and 2016, arXiv:1602.04485",
    setting="D* = 1 to 8 hidden layers of 2 ReLU, set by hand; against them one hidden layer of "
    "2 D* ReLU, trained on 4096 points by Adam for 400 epochs, and set by hand.",
    published="16 ∫|f - g| ≥ 1 - 2^D ΠW / 2^D*: a width that grows exponentially with D*.",
)
DEPTHS = np.arange(1, 9)
MOST = 4 * DEPTHS  # crossings of one layer of W = 2 D*: 2W
BOUND = np.maximum(0, 1 - MOST / 2.0**DEPTHS)
X = ((np.arange(4096) + 0.5) / 4096).astype(np.float32)[:, None]  # never where f is 1/2


def sawtooth(depth):
    """Return what the net t(t(...t(x))) draws, of a tooth t(x) = 2 relu(x) - 4 relu(x - 1/2)."""
    model, between = mlp([1, *[2] * depth, 1]), [[2, -4], [2, -4]]
    values = [[[1], [1]], *[[0, -0.5], between] * (depth - 1), [0, -0.5], [[2, -4]], [0]]
    for parameter, value in zip(model.parameters(), values, strict=True):
        parameter.value = value
    return nn.predict(model, X)[:, 0]


def train(depth, seed, quick):
    """Return what one hidden layer of as many units learns to draw, its kinks begun in [0, 1]."""
    model = mlp([1, 2 * depth, 1])
    nn.init.constant(model[0].weight, 4)
    model[0].bias.value = -4 * np.random.default_rng(seed).uniform(0, 1, 2 * depth)
    fit(
        model, X, sawtooth(depth), epochs=60 if quick else 400, batch_size=64, loss="mse",
        optimizer=nn.Adam(model.parameters(), lr=0.03), schedule=nn.CosineAnnealingLR(), seed=seed,
    )  # fmt: skip
    return nn.predict(model, X)[:, 0]


def place(depth):
    """Return what it draws with its kinks set upon the first of the teeth, by least squares."""
    columns = np.hstack([np.ones_like(X), np.maximum(X - np.arange(2 * depth) / 2**depth, 0)])
    return columns @ np.linalg.lstsq(columns, sawtooth(depth), rcond=None)[0]


def measure(depth, y):
    """Return the distance from the sawtooth, and how often the curve crosses 1/2."""
    return 16 * abs(y - sawtooth(depth)).mean(), np.abs(np.diff(y > 0.5)).sum()


def draw(figure, far, near, crossed):
    """Draw a sawtooth and its rivals, the distances, and the crossings."""
    left, middle, right = figure.subplots(1, 3)
    left.plot(X, sawtooth(5), label="5 layers of 2")
    left.plot(X, train(5, 0, quick=False), label="1 layer of 10, trained")
    left.plot(X, place(5), label="1 layer of 10, set by hand")
    curve(middle, DEPTHS, far, color="C1", label="1 layer, trained")
    middle.plot(DEPTHS, near, color="C2", label="1 layer, set by hand")
    middle.plot(DEPTHS, BOUND, "k", label="bound")
    right.plot(DEPTHS, 2.0**DEPTHS, label="D* layers of 2")
    curve(right, DEPTHS, crossed, color="C1", label="1 layer, trained")
    right.plot(DEPTHS, MOST, "k", label="most of 1 layer")
    left.set(ylim=(-0.3, 1.5), title="D* = 5")
    middle.set(ylim=(0, 5.5), title="distance 16 ∫|f - g|", xlabel="D*")
    right.set(yscale="log", ylim=(0.7, 2000), title="crossings of 1/2", xlabel="D*")
    for axes in (left, middle, right):
        axes.legend(loc="upper left", fontsize=8)


def run(quick):
    """Count crossings and measure distances, by depth."""
    found = sweep(
        lambda _, seed: np.transpose([measure(d, train(d, seed, quick)) for d in DEPTHS]), ["all"]
    )["all"]
    far, crossed = found[0], found[1]
    near, counts = ([measure(d, y(d))[i] for d in DEPTHS] for i, y in ((0, place), (1, sawtooth)))
    nearest = np.minimum(far.runs.min(axis=0), near)
    says = (
        f"Sixteen units in eight layers cross 1/2 {counts[-1]} times; in one layer, trained, "
        f"{crossed[-1]:.1f} times at distance {far[-1]:.2f}, set by hand at {near[-1]:.2f}; "
        f"the bound is {BOUND[-1]:.3f}."
    )
    claims = {
        "the deep net crosses 1/2 2^D* times": (counts == 2**DEPTHS).all(),
        "one layer of as many units crosses it 2W times at most": (crossed.runs <= MOST).all(),
        "and is no nearer than the bound, trained or set by hand": (nearest > BOUND - 1e-6).all(),
    }
    numbers = {"distance": far, "crossings": crossed}
    return Finding(says, claims, numbers, lambda figure: draw(figure, far, near, crossed))


if __name__ == "__main__":
    gallery.main(__file__)
