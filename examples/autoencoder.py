"""What 256 ReLU units of an autoencoder look for, without and with dropout."""

import math

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, images, sweep

CARD = Card(
    title="Features of autoencoders, without and with dropout",
    section="Dropout",
    lectures="000, slide 22",
    paper="Srivastava et al. 2014, figure 7",
    setting="The first 10,000 digits of MNIST, 784-256-784 with one hidden layer of ReLU, Adam, "
    "batch 100, 15 epochs; dropout .5 on the hidden units or none. The weights of 36 units.",
    published="Without dropout the features do not look meaningful alone; with it they detect "
    "edges, strokes and spots in different parts of the picture, and units are sparser.",
    size=(8, 4.2),
)
KINDS = {"without dropout": 0.0, "dropout .5": 0.5}


def trained(p, seed, quick):
    """Return an autoencoder trained with this dropout."""
    x = images(quick)[0][0][:10000]
    model = nn.Sequential(
        nn.Linear(x.shape[1], 256), nn.ReLU(), nn.Dropout(p), nn.Linear(256, x.shape[1])
    )
    options = {"batch_size": 32 if quick else 100, "loss": "mse", "seed": seed}
    gallery.fit(model, x, x, epochs=30 if quick else 15, **options)
    return model


def measure(kind, seed, quick):
    """Return the share of units lit by a new digit, and the squared error of its pixels."""
    model, x = trained(KINDS[kind], seed, quick), images(quick)[1][0]
    return np.array([(model[:2](x) > 0).mean(), ((nn.predict(model, x) - x) ** 2).mean()])


def draw(figure, quick):
    """Draw what units look for, with the weights of the first seed."""
    for axes, (kind, p) in zip(figure.subplots(1, 2), KINDS.items(), strict=True):
        nn.manual_seed(0)
        weight = trained(p, 0, quick)[0].weight
        side = math.isqrt(weight.shape[1])
        nn.plots.features(weight, (side, side), 36, axes=axes)
        axes.set_title(kind)


def run(quick):
    """Train autoencoders, and look at their codes."""
    found = sweep(lambda kind, seed: measure(kind, seed, quick), KINDS)
    plain, dropped = found.values()
    says = (
        f"A new digit lights {100 * plain[0]:.0f} % of the units without dropout, "
        f"{100 * dropped[0]:.0f} % with it; its pixels are rebuilt with squared errors of "
        f"{plain[1]:.2g} and {dropped[1]:.2g}."
    )
    claims = {
        "with dropout a digit lights under three quarters as many units": (
            (dropped[0] / plain[0]).below(0.75)
        ),
        "and is rebuilt less exactly": plain[1].below(dropped[1]),
    }
    numbers = {f"share lit, {kind}": spread[0] for kind, spread in found.items()}
    numbers |= {f"squared error, {kind}": spread[1] for kind, spread in found.items()}
    return Finding(says, claims, numbers, lambda figure: draw(figure, quick))


if __name__ == "__main__":
    gallery.main(__file__)
