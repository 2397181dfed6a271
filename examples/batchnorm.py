"""Batch normalization: deep sigmoid nets learn, and at thirty times the rate ReLU nets do too."""

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, curve, error, fit, images, mlp, start, sweep

CARD = Card(
    title="Seven sigmoid layers, and higher rates, by batchnorm",
    section="Normalization",
    lectures="004, module 7.5; 000, slide 43",
    paper="Ioffe and Szegedy 2015, arXiv:1502.03167",
    setting="MNIST, layers of 100, weights N(0, .1²), plain gradient descent, batch 60: seven and "
    "three sigmoid layers at rate .1 for 10 epochs (paper: three, 50 epochs); three ReLU layers "
    "for one epoch by rate.",
    published="Of seven sigmoid layers only those with batchnorm learn; three learn faster with it "
    "and end higher; Inception is trained at 5 and at 30 times its rate with batchnorm, and 5 "
    "times is too much without.",
    size=(10, 3.4),
)
NORMS = (False, True)
RATES = (0.1, 0.5, 1, 3)


def train(depth, activation, rate, epochs, normed, seed, quick):
    """Return the test error after each epoch, in percent."""
    (x, y), test = images(quick)
    norm = nn.BatchNorm1d if normed else None
    model = mlp([x.shape[1], *[100] * depth, 10], activation, norm)
    start(model, lambda weight: nn.init.normal(weight, 0, 0.1))
    errors = []
    fit(
        model, x, y, epochs=epochs, batch_size=60, seed=seed,
        optimizer=nn.SGD(model.parameters(), lr=rate),
        callbacks=[lambda model, history: errors.append(error(model, *test))],
    )  # fmt: skip
    return errors


def draw(figure, curves, fast):
    """Draw error by epoch for both depths, and error after one epoch by rate."""
    panels = figure.subplots(1, 3)
    for normed in NORMS:
        label = f"{'with' if normed else 'without'} batchnorm"
        for axes, depth in zip(panels, (7, 3), strict=False):
            epochs = np.arange(1, len(curves[depth, normed].mean) + 1)
            curve(axes, epochs, curves[depth, normed], label=label)
            axes.set_xticks(epochs[::2])
            axes.set(title=f"{depth} sigmoid layers", xlabel="epoch")
        curve(panels[2], RATES, [fast[rate, normed] for rate in RATES], marker="o", label=label)
    panels[2].set(title="3 ReLU layers", xlabel="rate", xscale="log")
    panels[2].set_xticks(RATES, map(str, RATES))
    panels[0].legend(loc="center right")
    for axes in panels:
        axes.set(yscale="log", ylim=(1, 110), ylabel="test error, %")
        axes.set_yticks([1, 3, 10, 30, 90], ["1", "3", "10", "30", "90"])
        axes.minorticks_off()


def run(quick):
    """Compare with and without, by epoch and by rate."""
    epochs, few = (15, 4) if quick else (10, 1)
    deep = [(depth, normed) for depth in (7, 3) for normed in NORMS]
    curves = sweep(
        lambda depth, normed, seed: train(depth, nn.Sigmoid, 0.1, epochs, normed, seed, quick), deep
    )
    fast = sweep(
        lambda rate, normed, seed: train(3, nn.ReLU, rate, few, normed, seed, quick)[-1],
        [(rate, normed) for rate in RATES for normed in NORMS],
    )
    (plain7, normed7, plain3, normed3), last = (curves[key] for key in deep), epochs - 1
    says = (
        f"Seven sigmoid layers end at {plain7[last]:.1f} % error without batchnorm, "
        f"{normed7[last]:.1f} % with it. Three are at {plain3[0]:.1f} % and {normed3[0]:.1f} % "
        f"after one epoch, {plain3[last]:.2f} % and {normed3[last]:.2f} % at the end. At 30 times "
        f"the rate ReLU has {fast[3, False]:.1f} % without and {fast[3, True]:.1f} % with it."
    )
    claims = {
        "seven layers learn nothing without batchnorm (over 80 %)": plain7[last].above(80),
        "and end under 10 % error with it": normed7[last].below(10),
        "three layers are better with it after one epoch and at the end": all(
            normed3[epoch].below(plain3[epoch]) for epoch in (0, last)
        ),
        "at 30 times the rate ReLU fails without it (over 80 %)": fast[3, False].above(80),
        "and learns with it (under 20 %)": fast[3, True].below(20),
    }
    numbers = {f"{d} layers, batchnorm {n}": curves[d, n][last] for d, n in deep}
    numbers |= {f"relu, rate {rate}, batchnorm {n}": fast[rate, n] for rate, n in fast}
    return Finding(says, claims, numbers, lambda figure: draw(figure, curves, fast))


if __name__ == "__main__":
    gallery.main(__file__)
