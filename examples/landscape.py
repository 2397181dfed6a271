"""Batchnorm smooths the landscape: loss and gradient along the gradient vary less."""

import numpy as np

import gallery
from fonio import kernels, nn
from gallery import Card, Finding, Spread, curve, images, mlp, sweep

CARD = Card(
    title="Batchnorm smooths the landscape",
    section="Normalization",
    lectures="001, batch normalization; 004, limits of batch normalization",
    paper="Santurkar et al. 2018, arXiv:1805.11604",
    setting="MNIST, ten hidden layers of 100 ReLU, weights he, SGD at rate .1, batch 128, 200 "
    "steps; every 10 steps the batch's loss and gradient at .05, .1, .2 and .4 times its gradient "
    "ahead.",
    published="With batchnorm the loss along the gradient has a far smaller range, and the "
    "gradient changes far less.",
    size=(10, 3.2),
)
AHEAD, EVERY = (0.05, 0.1, 0.2, 0.4), 10
KINDS = {"without": None, "with batchnorm": nn.BatchNorm1d}


def slope(model, x, y):
    """Return the loss of a batch and its gradient, one vector."""
    output, backward = model.forward(x)
    loss, doutput = kernels.cross_entropy(output, y)
    backward(doutput)
    return float(loss[0]), np.concatenate([p.grad.ravel() for p in model.parameters()])


def move(model, start, way):
    """Put the parameters at start less the vector `way`."""
    at = 0
    for parameter, value in zip(model.parameters(), start, strict=True):
        parameter.value = value - way[at : at + value.size].reshape(value.shape)
        at += value.size


def along(kind, seed, quick):
    """Return (3, steps): the range of the loss ahead, how far the gradient moves, the loss."""
    (x, y), _ = images(quick)
    model, rng = mlp([x.shape[1], *[100] * 10, 10], norm=KINDS[kind]), np.random.default_rng(seed)
    gallery.start(model, nn.init.kaiming_normal)
    model.train()
    found = []
    for step in range(100 if quick else 200):
        rows = rng.choice(len(x), 64 if quick else 128, replace=False)
        loss, gradient = slope(model, x[rows], y[rows])
        here = [parameter.value.copy() for parameter in model.parameters()]
        if step % EVERY == 0:
            ahead = []
            for far in AHEAD:
                move(model, here, far * gradient)
                ahead.append(slope(model, x[rows], y[rows]))
            losses = [loss, *(value for value, _ in ahead)]
            moved = max(np.linalg.norm(other - gradient) for _, other in ahead)
            found.append((np.ptp(losses), moved, loss))
        move(model, here, 0.1 * gradient)
    return np.array(found).T


def draw(figure, found):
    """Draw the three figures by step."""
    titles = ("range of the loss ahead", "change of the gradient ahead", "loss of the batch")
    for i, axes in enumerate(figure.subplots(1, 3)):
        for kind, spread in found.items():
            curve(axes, EVERY * np.arange(spread.mean.shape[1]), spread[i], label=kind)
        axes.set(title=titles[i], xlabel="step", yscale="log")
    axes.legend()


def run(quick):
    """Train with and without batchnorm, looking ahead."""
    found = sweep(lambda kind, seed: along(kind, seed, quick), KINDS)
    plain, normed = (Spread(np.median(found[kind].runs, axis=2)) for kind in KINDS)
    says = (
        f"In the median over steps the loss ahead ranges over {plain[0]:.2f} without batchnorm, "
        f"{normed[0]:.2f} with it, and the gradient changes by {plain[1]:.1f} and {normed[1]:.1f}; "
        f"the loss is {plain[2]:.2f} and {normed[2]:.2f}."
    )
    claims = {
        "with batchnorm the loss ahead ranges over less than half": (
            (normed[0] / plain[0]).below(0.5)
        ),
        "and the gradient changes by less than half": (normed[1] / plain[1]).below(0.5),
        "and the loss is lower": (normed[2] / plain[2]).below(1),
    }
    names = ("range of the loss", "change of the gradient", "loss")
    numbers = {f"{name}, without": plain[i] for i, name in enumerate(names)}
    numbers |= {f"{name}, with batchnorm": normed[i] for i, name in enumerate(names)}
    return Finding(says, claims, numbers, lambda figure: draw(figure, found))


if __name__ == "__main__":
    gallery.main(__file__)
