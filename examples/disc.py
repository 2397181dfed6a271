"""The spread of initial weights on the disc: batchnorm learns from any, a plain net from few.

Two drawings: the weights and biases of the Linear layers from N(0, std²), and every parameter,
those of the batchnorms too, as a loop over model.parameters() does.
"""

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, curve, error, fit, mlp, sweep

CARD = Card(
    title="Weights of any size, with batchnorm",
    section="Initialisation",
    lectures="000, slides 44 and 45",
    paper="Ioffe and Szegedy 2015, arXiv:1502.03167",
    setting="Disc in the plane, 1000 + 1000 points, standardised; 17 hidden layers of 32 ReLU, "
    "SGD at rate .1, batch 100, 250 epochs; parameters from N(0, std²).",
    published="Read off the figure: with batchnorm the error stays low for every std from .001 to "
    "10; without, the net learns in a narrow window about .1 only.",
)


def disc(seed, rows=1000):
    """Return points of the unit square about 0, and whether they lie in a disc of half its area."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (2 * rows, 2)).astype(np.float32)
    y = ((x**2).sum(axis=1) <= 2 / np.pi).astype(np.int64)
    x = (x - x[:rows].mean(axis=0)) / x[:rows].std(axis=0)
    return (x[:rows], y[:rows]), (x[rows:], y[rows:])


def test_error(norm, everything, std, seed, epochs):
    """Train from parameters of one spread; return the error on new points in percent."""
    train, test = disc(seed)
    model = mlp([2, *[32] * 17, 2], norm=nn.BatchNorm1d if norm else None)
    rng = np.random.default_rng(100 + seed)
    for module in model:
        if everything or isinstance(module, nn.Linear):
            for parameter in module.parameters():
                nn.init.normal(parameter, 0, std, rng)
    optimizer = nn.SGD(model.parameters(), lr=0.1)
    fit(model, *train, epochs=epochs, batch_size=100, optimizer=optimizer, seed=seed)
    return error(model, *test)


def run(quick):
    """Return the errors for each net, drawing and spread."""
    stds = [0.001, 0.2, 1, 10] if quick else np.logspace(-3, 1, 13).round(5).tolist()
    epochs = 80 if quick else 250
    kinds = {"plain": (False, False), "batchnorm": (True, False), "batchnorm, all": (True, True)}
    settings = [(*kind, std) for kind in kinds.values() for std in stds]
    found = sweep(lambda *setting: test_error(*setting, epochs), settings)
    plain, normed, everything = ([found[*kind, std] for std in stds] for kind in kinds.values())
    small, one = plain[0], plain[stds.index(1)]
    best = min(plain, key=lambda spread: spread.mean)
    worst = max(normed, key=lambda spread: spread.mean)
    says = (
        f"Without batchnorm the test error is {small:.1f} % at std .001, {one:.1f} % at 1, and "
        f"{best:.1f} % at its best; with it at most {worst:.1f} % from .001 to 10. Drawing "
        f"batchnorm's own scale too leaves {everything[0]:.1f} % at .001: nothing passes."
    )
    claims = {
        "with batchnorm the error is under 10 % at every std": all(s.below(10) for s in normed),
        "without it, over 40 % at std .001 and at 1": small.above(40) and one.above(40),
        "with batchnorm's scale drawn too, over 40 % at std .001": everything[0].above(40),
    }
    numbers = {
        f"{name}, std {std:g}": found[*kind, std] for name, kind in kinds.items() for std in stds
    }

    def draw(figure):
        axes = figure.subplots()
        labels = "without", "with batchnorm", "with, its scale and shift drawn too"
        for spreads, label in zip((plain, normed, everything), labels, strict=True):
            curve(axes, stds, spreads, marker="o", label=label)
        axes.set(xscale="log", xlabel="std of the initial weights", ylabel="test error, %")
        axes.set_ylim(0, 65)
        axes.legend(loc="upper center", ncols=3)

    return Finding(says, claims, numbers, draw)


if __name__ == "__main__":
    gallery.main(__file__)
