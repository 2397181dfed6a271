"""ReLU against tanh and the sigmoid: epochs to a training error, dead units, zeros."""

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, curve, fit, images, mlp, start, sweep

CARD = Card(
    title="ReLU against units that saturate",
    section="Depth and activations",
    lectures="000, slides 13 to 15; 004, module 7.3",
    paper="Krizhevsky et al. 2012; Glorot, Bordes and Bengio 2011",
    setting="The first 10,000 digits of MNIST, two hidden layers of 256, plain gradient descent, "
    "batch 128; the best of four rates for each activation by itself.",
    published="A convolutional net on CIFAR-10 comes to 25 % training error in a sixth of tanh's "
    "epochs. Half of a rectifier's activations are zero at the start.",
    size=(10, 3.4),
)
RATES = {"ReLU": (0.1, 0.2, 0.4, 0.8), "Tanh": (0.1, 0.2, 0.4, 0.8), "Sigmoid": (0.8, 1.6, 3.2, 6)}
WILD = (0.01, 0.03, 0.1, 0.3, 1, 3)


def train(name, rate, seed, quick, epochs, goal=0):
    """Return the model and its training error by epoch, in percent; stop at the goal."""
    (x, y), _ = images(quick)
    x, y = x[:10000], y[:10000]
    model = mlp([x.shape[1], 256, 256, 10], getattr(nn, name))
    start(model, nn.init.kaiming_normal if name == "ReLU" else nn.init.xavier_normal)
    history = fit(
        model, x, y, epochs=epochs, batch_size=32 if quick else 128, seed=seed,
        optimizer=nn.SGD(model.parameters(), lr=rate),
        callbacks=[lambda model, history: history.accuracy[-1] >= 1 - goal / 100],
    )  # fmt: skip
    return model, 100 * (1 - np.array(history.accuracy))


def needed(name, rate, seed, quick):
    """Return the epochs to 1 % training error, counted on between two epochs."""
    errors = np.array([90, *train(name, rate, seed, quick, 40, goal=1)[1]])
    if len(errors) > 40:
        return 40
    return len(errors) - 2 + np.log(errors[-2]) / np.log(errors[-2] / max(errors[-1], 0.01))


def codes(name, rate, seed, quick):
    """Return the shares of units at 0 for every digit, and of zeros, of both hidden layers."""
    model = train(name, rate, seed, quick, 5)[0]
    first = model[:2](images(quick)[0][0][:2000])
    lit = np.hstack([first, model[2:4](first)]) > 0  # what overflowed is not lit
    return 1 - lit.any(axis=0).mean(), 1 - lit.mean()


def draw(figure, tried, wild):
    """Draw epochs needed and units dead by rate."""
    left, right = figure.subplots(1, 2)
    for name, rates in RATES.items():
        curve(left, rates, [tried[name, rate] for rate in rates], marker="o", label=name)
    left.set(xscale="log", xlabel="rate", title="epochs to 1 % training error (40: never)")
    left.legend()
    for i, label in enumerate(("ReLU units at 0 for every digit", "zeros among all activations")):
        curve(right, WILD, [100 * wild[rate][i] for rate in WILD], marker="o", label=label)
    right.set(xscale="log", xlabel="rate", title="after 5 epochs, %", ylim=(-3, 120))
    right.legend()


def run(quick):
    """Find each activation's best rate, and what high rates do to ReLU."""
    tried = sweep(
        lambda name, rate, seed: needed(name, rate, seed, quick),
        [(name, rate) for name, rates in RATES.items() for rate in rates],
    )
    wild = sweep(lambda rate, seed: codes("ReLU", rate, seed, quick), WILD)
    relu, tanh, sigmoid = (
        min((tried[name, rate] for rate in RATES[name]), key=lambda spread: spread.mean)
        for name in RATES
    )
    calm, hot, zeros = wild[0.1][0], wild[3][0], wild[0.1][1]
    says = (
        f"To 1 % training error ReLU takes {relu:.1f} epochs, tanh {tanh:.1f} and the sigmoid "
        f"{sigmoid:.1f}, each at its best rate: {tanh.mean / relu.mean:.1f} and "
        f"{sigmoid.mean / relu.mean:.1f} times as many. At rate .1 a share of {zeros:.2f} of "
        f"ReLU's activations is 0 and of {calm:.3f} of its units dead; at rate 3, {hot:.2f}."
    )
    claims = {
        "ReLU needs fewer epochs than both": relu.below(tanh) and relu.below(sigmoid),
        "over a third of ReLU's activations are exactly 0": zeros.above(1 / 3),
        "under 15 % of its units are dead at rate .1, over 80 % at 3": (
            calm.below(0.15) and hot.above(0.8)
        ),
    }
    numbers = {"relu": relu, "tanh": tanh, "sigmoid": sigmoid, "zeros": zeros, "dead": hot}
    return Finding(says, claims, numbers, lambda figure: draw(figure, tried, wild))


if __name__ == "__main__":
    gallery.main(__file__)
