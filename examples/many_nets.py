"""A sweep of many small nets at once: how patient should early stopping be?"""

import itertools

import numpy as np

import gallery
from fonio import nn
from gallery import COLOURS, Card, Finding, curve, images, mlp, sweep

CARD = Card(
    title="When to stop: a sweep of a thousand nets",
    section="Regularisation and data",
    lectures="002, early stopping",
    paper="Prechelt 1998, Early Stopping — But When?",
    setting="1500 digits of MNIST, a fifth labelled at random, validated on 500 others: "
    "one hidden layer of 4 to 64 ReLU, 6 starts each, Adam, at most 200 epochs; each net stopped "
    "after 1 to 32 epochs without a lower validation loss, its best weights put back. "
    "`nn.fit_many` trains the nets of a seed in one call, one a thread.",
    published="Over 12 architectures and 12 problems, slower stopping criteria gave errors about "
    "4 % lower on average, and took about 4 times as long.",
    size=(10, 3.4),
)
PATIENCE = (1, 2, 4, 8, 16, 32, None)  # None: all epochs, and the last weights
EPOCHS = 200
WIDTHS = (4, 8, 16, 32, 64)


def data(seed, quick):
    """Return training, validation and test rows; a fifth of all labels but the test's is noise."""
    (x, y), (x_test, y_test) = images(quick)
    first, count, noise = *((500, 800) if quick else (1500, 2000)), np.random.default_rng(seed)
    order = noise.permutation(len(x))[:count]
    x, y = x[order], np.where(noise.random(count) < 0.2, noise.integers(0, 10, count), y[order])
    return (x[:first], y[:first]), (x[first:], y[first:]), (x_test, y_test)


def stopped(seed, quick):
    """Return epochs, test losses and test errors (3, patiences), means over widths and starts."""
    (x, y), held, test = data(seed, quick)
    grid = list(itertools.product(PATIENCE, WIDTHS, range(3 if quick else 6)))
    models = []
    for _, width, start in grid:
        nn.manual_seed(100 * seed + start)
        models.append(mlp((x.shape[1], width, 10)))
    found = nn.fit_many(
        models, x, y, epochs=EPOCHS, lr=3e-3, validation=held, progress=False,
        seeds=[start for *_, start in grid], patience=[patience for patience, *_ in grid],
    )  # fmt: skip
    if found.interrupted:
        raise KeyboardInterrupt
    told = [nn.evaluate(model, *test) for model in models]
    losses, right = ([one[name] for one in told] for name in ("loss", "accuracy"))
    figures = found.epochs, losses, 100 * (1 - np.array(right))
    return np.reshape(figures, (3, len(PATIENCE), -1)).mean(axis=2)


def run(quick):
    """Sweep patience over sizes and starts."""
    found = sweep(lambda _, seed: stopped(seed, quick), [0], 3 if quick else 5, "sweeps")[0]
    epochs, losses, errors = (found[i] for i in range(3))
    longer, gain = epochs[5] / epochs[0], losses[5] / losses[0]
    says = (
        f"{longer:.2g} times the epochs ({epochs[0]:.3g} with patience 1, {epochs[5]:.3g} with 32) "
        f"give {gain:.2g} times the test loss, and errors of {errors[5]:.3g} % instead of "
        f"{errors[0]:.3g} %. Most of that is had with 8: {losses[3] / losses[0]:.2g} times, in "
        f"{epochs[3]:.3g} epochs. All {EPOCHS} epochs without stopping give "
        f"{losses[6] / losses[0]:.2g} times the loss of patience 1."
    )
    claims = {
        "patience 32 has lower losses than patience 1": (losses[5] - losses[0]).below(0),
        "and takes 2.5 to 10 times as long": longer.above(2.5) and longer.below(10),
        "patience 8 has most of the gain": (losses[3] - losses[5]).below(
            0.25 * (losses[0] - losses[5])
        ),
    }
    numbers = {"epochs": epochs, "test loss": losses, "test error, %": errors}

    def draw(figure):
        ticks, shown = range(len(PATIENCE)), list(numbers.items())[::-1]
        for axes, (name, what) in zip(figure.subplots(1, 3), shown, strict=True):
            curve(axes, ticks, what, marker="o", color=COLOURS[0])
            axes.set(title=name, xlabel="patience, epochs")
            axes.set_xticks(ticks, [*map(str, PATIENCE[:-1]), "all"])

    return Finding(says, claims, numbers, draw)


if __name__ == "__main__":
    gallery.main(__file__)
