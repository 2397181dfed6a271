"""Seven optimizers on digits, each at its best rate; and Adagrad's own rate, which dies."""

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, curve, fit, images, mlp, sweep

CARD = Card(
    title="Seven optimizers on digits, and how Adagrad's rate dies",
    section="Optimization",
    lectures="001, alternatives to SGD",
    paper="Duchi et al. 2011; Zeiler 2012, arXiv:1212.5701; Kingma and Ba 2015, arXiv:1412.6980",
    setting="20,000 digits of MNIST, 128 ReLU, batch 128, 8 epochs; of three rates the one with "
    "the lowest loss in the end. A weight's own rate is lr / √(its sum or mean of squares).",
    published="Adagrad's steps only get smaller, so that some weights cannot learn any more; "
    "RMSprop mends it. Adam joins both to momentum and is a good default.",
    size=(10, 3.8),
)
MADE = {
    "gradient descent": (nn.SGD, (0.1, 0.3, 1)),
    "momentum": (lambda p, lr: nn.SGD(p, lr, momentum=0.9), (0.03, 0.1, 0.3)),
    "Nesterov": (lambda p, lr: nn.SGD(p, lr, momentum=0.9, nesterov=True), (0.03, 0.1, 0.3)),
    "Adagrad": (nn.Adagrad, (0.01, 0.03, 0.1)),
    "RMSprop": (nn.RMSprop, (3e-4, 1e-3, 3e-3)),
    "Adadelta": (nn.Adadelta, (0.3, 1, 3)),
    "Adam": (nn.Adam, (1e-3, 3e-3, 1e-2)),
}
SQUARES = {"Adagrad": "total", "RMSprop": "square"}


def train(name, lr, seed, quick):
    """Return the loss of each epoch, and the median rate of a weight against that of the first."""
    (x, y), _ = images(quick)
    model, rates = mlp([x.shape[1], 128, 10]), []
    optimizer = MADE[name][0](model.parameters(), lr)
    squares = optimizer.groups[0].state.get(SQUARES.get(name))

    def look(model, history):
        rates.append(np.nan if squares is None else np.median(squares[squares > 0]) ** -0.5)

    history = fit(
        model, x[:20000], y[:20000], epochs=12 if quick else 8, batch_size=32 if quick else 128,
        optimizer=optimizer, callbacks=[look], seed=seed,
    )  # fmt: skip
    return history.loss, np.array(rates) / rates[0]


def draw(figure, best, rates):
    """Draw loss and rate by epoch."""
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    epochs = np.arange(1, 1 + len(rates["Adagrad"].mean))
    for name, spread in best.items():
        curve(left, epochs, spread, label=name)
    curve(right, epochs, rates["Adagrad"], color="C3", label="Adagrad, lr .01")
    curve(right, epochs, rates["RMSprop"], color="C4", label="RMSprop, lr .001")
    right.plot(epochs, epochs**-0.5, "k--", label="1/√t")
    left.set(title="training loss", xlabel="epoch", yscale="log")
    right.set(title="median rate of a weight", xlabel="epoch", ylim=(0, None))
    left.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    right.legend()


def run(quick):
    """Train by each optimizer at each rate."""
    settings = [(name, lr) for name in MADE for lr in MADE[name][1]]
    tried = sweep(lambda *setting: train(*setting, quick), settings)
    best = {
        name: min((tried[name, lr][0] for lr in lrs), key=lambda spread: spread.mean[-1])
        for name, (_, lrs) in MADE.items()
    }
    rates = {"Adagrad": tried["Adagrad", 0.01][1], "RMSprop": tried["RMSprop", 1e-3][1]}
    last = len(rates["Adagrad"].mean) - 1
    first = {name: spread[0] for name, spread in best.items()}
    plain = first["gradient descent"]
    adagrad, rmsprop = rates["Adagrad"][last], rates["RMSprop"][last]
    listed = ", ".join(f"{name} {spread[last]:.3f}" for name, spread in best.items())
    says = (
        f"The first epoch's loss is {plain:.2f} by gradient descent, {first['momentum']:.2f} with "
        f"momentum, {first['Nesterov']:.2f} with Nesterov's, {first['Adam']:.2f} by Adam; the last "
        f"one's, {listed}: well tuned, gradient descent is not far behind. A median weight's rate "
        f"falls to {adagrad:.2f} of the first epoch's in Adagrad, goes to {rmsprop:.2f} in RMSprop."
    )
    claims = {
        f"{name} is ahead of gradient descent after an epoch": (plain - first[name]).above(0)
        for name in ("momentum", "Nesterov", "Adam")
    }
    claims["Adagrad's rate falls by half"] = adagrad.below(0.5)
    claims["RMSprop's rate stays over three quarters"] = rmsprop.above(0.75)
    numbers = {f"last loss, {name}": spread[last] for name, spread in best.items()}
    numbers |= {"rate, Adagrad": adagrad, "rate, RMSprop": rmsprop}
    return Finding(says, claims, numbers, lambda figure: draw(figure, best, rates))


if __name__ == "__main__":
    gallery.main(__file__)
