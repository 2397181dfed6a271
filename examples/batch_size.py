"""All points, one point or a batch at a time; and the rate that a batch wants: in proportion."""

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, Spread, curve, error, fit, images, mlp, sweep

CARD = Card(
    title="Batch size, and the rate that goes with it",
    section="Optimization",
    lectures="001, batch size and learning rate, SGD",
    paper="Goyal et al. 2017, arXiv:1706.02677",
    setting="MNIST, 784-100-10 ReLU, plain gradient descent. Left: 10,000 digits, the best of "
    "three rates for each batch. Right: 60,000 digits, 3 epochs, rate .02 at batch 8.",
    published="One point at a time is slow and all at once slower; batches are quick. On ImageNet "
    "no accuracy is lost up to batch 8192 with the rate in proportion; beyond, it is.",
)
GRIDS = {1: (0.003, 0.01, 0.03), 32: (0.1, 0.3, 0.6), 10000: (0.3, 0.6, 1.2)}


def train(size, rate, seed, quick, rows, epochs):
    """Return the loss of each epoch, and the test error in percent at the end."""
    (x, y), test = images(quick)
    model = mlp([x.shape[1], 100, 10])
    optimizer = nn.SGD(model.parameters(), lr=rate)
    history = fit(
        model, x[:rows], y[:rows], epochs=epochs, batch_size=size, optimizer=optimizer, seed=seed
    )
    return np.array([*history.loss, error(model, *test)])


def run(quick):
    """Compare three batch sizes by passes, then many with fixed and with scaled rates."""
    passes = sweep(
        lambda size, rate, seed: train(size, rate, seed, quick, 10000, 6),
        [(size, rate) for size, rates in GRIDS.items() for rate in rates],
    )
    best = {
        size: min((passes[size, rate][:6] for rate in rates), key=lambda losses: losses.mean[-1])
        for size, rates in GRIDS.items()
    }
    base, first, epochs = (4, 0.01, 20) if quick else (8, 0.02, 3)
    sizes = [base * 4**k for k in range(5)]  # 4 to 1024, 8 to 2048
    kinds = {"fixed": lambda size: first, "scaled": lambda size: nn.scale_rate(first, size, base)}
    scaled = sweep(
        lambda kind, size, seed: train(size, kinds[kind](size), seed, quick, 60000, epochs)[-1],
        [(kind, size) for kind in kinds for size in sizes],
    )
    at = {kind: [scaled[kind, size] for size in sizes] for kind in kinds}
    says = (
        f"After six passes the loss is {best[1][5]:.3f} one point at a time, {best[32][5]:.3f} in "
        f"batches of 32, {best[10000][5]:.2f} by all points at once. From batch {base} to "
        f"{sizes[2]} the error goes from {at['scaled'][0]:.2f} % to {at['scaled'][2]:.2f} % with "
        f"the rate in proportion, to {at['fixed'][2]:.1f} % with a fixed one; at {sizes[4]} the "
        f"scaled rate is too high: {at['scaled'][4]:.0f} %."
    )
    drift = at["scaled"][2] - at["scaled"][0]
    claims = {
        "batches of 32 learn in a pass nearly what single points do (loss within .1)": Spread(
            abs(best[32][5].runs - best[1][5].runs)
        ).below(0.1),
        "gradient descent on all points learns far less in as many passes": best[10000][5].above(1),
        "16 times the batch at 16 times the rate: the error rises by less than 2 %": drift.below(2),
        "at a fixed rate it rises": at["fixed"][2].above(at["fixed"][0]),
        "and 256 times the rate is too high (error over 50 %)": at["scaled"][4].above(50),
    }
    numbers = {f"{kind}, batch {size}": scaled[kind, size] for kind, size in scaled}
    numbers |= {f"loss by passes, batch {size}": losses for size, losses in best.items()}

    def draw(figure):
        left, right = figure.subplots(1, 2)
        labels = "one point at a time", "batches of 32", "all points at once"
        for losses, label in zip(best.values(), labels, strict=True):
            curve(left, range(1, 7), losses, label=label)
        left.set(yscale="log", xlabel="passes over the data", ylabel="training loss")
        for kind, errors in at.items():
            curve(right, sizes, errors, marker="o", label=f"{kind} rate")
        right.set(xscale="log", yscale="log", xlabel="batch size", ylabel="test error, %")
        for axes in (left, right):
            axes.legend()

    return Finding(says, claims, numbers, draw)


if __name__ == "__main__":
    gallery.main(__file__)
