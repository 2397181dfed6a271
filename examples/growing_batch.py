"""Growing the batch in place of decaying the rate: the same curve, half of the steps."""

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, Spread, curve, error, fit, images, mlp, sweep

CARD = Card(
    title="Growing the batch in place of decaying the rate",
    section="Optimization",
    lectures="001, batch size and learning rate",
    paper="Smith et al. 2018, arXiv:1711.00489",
    setting="MNIST, 784-100-10 ReLU, SGD with momentum .9, rate .1, batch 64, 12 epochs: every 4 "
    "epochs the rate is divided by 4, or the batch multiplied by 4, or neither.",
    published="A wide residual net on CIFAR-10 has the same curves by epoch either way; growing "
    "takes fewer steps.",
)
EPOCHS, EVERY, FACTOR = 12, 4, 4
KINDS = ("neither", "rate decays", "batch grows")


def train(kind, seed, quick):
    """Return the loss of each epoch, the test error in percent and the steps taken."""
    (x, y), test = images(quick)
    model, first = mlp([x.shape[1], 100, 10]), 16 if quick else 64
    optimizer = nn.SGD(model.parameters(), lr=0.1, momentum=0.9)
    history = fit(
        model, x, y, epochs=EPOCHS, optimizer=optimizer, seed=seed,
        batch_size=nn.GrowBatch(first, EVERY, FACTOR) if kind == "batch grows" else first,
        schedule=nn.StepLR(EVERY, 1 / FACTOR) if kind == "rate decays" else None,
    )  # fmt: skip
    return np.array([*history.loss, error(model, *test), optimizer.count[0]])


def run(quick):
    """Train in the three ways."""
    found = sweep(lambda kind, seed: train(kind, seed, quick), KINDS)
    losses = {kind: spread[:EPOCHS] for kind, spread in found.items()}
    errors = {kind: spread[EPOCHS] for kind, spread in found.items()}
    steps = {kind: int(spread.mean[-1]) for kind, spread in found.items()}
    neither, decayed, grown = (np.log(losses[kind].runs[:, EVERY:]) for kind in KINDS)
    apart, idle = (Spread(abs(other - decayed).mean(axis=1)) for other in (grown, neither))
    saved = steps["rate decays"] / steps["batch grows"]
    says = (
        f"After growing or decaying the two training losses differ by a factor of "
        f"{np.exp(apart.mean):.2f} on average, from a constant rate by {np.exp(idle.mean):.1f}. "
        f"Test error: {errors['rate decays']:.2f} % decaying, {errors['batch grows']:.2f} % "
        f"growing, in {saved:.1f} times fewer steps; {errors['neither']:.2f} % with neither."
    )
    claims = {
        "growing stays closer to decaying than to a constant rate": apart.below(idle),
        "their losses differ by under 30 %": apart.below(np.log(1.3)),
        "their test errors by under 1 %": Spread(
            abs((errors["batch grows"] - errors["rate decays"]).runs)
        ).below(1),
        "in less than half of the steps": saved > 2,
    }
    numbers = {f"loss by epoch, {kind}": spread for kind, spread in losses.items()}
    numbers |= {f"test error, {kind}": spread for kind, spread in errors.items()}
    numbers |= {f"steps, {kind}": count for kind, count in steps.items()}

    def draw(figure):
        left, right = figure.subplots(1, 2, sharey=True)
        for kind, spread in losses.items():
            curve(left, np.arange(1, EPOCHS + 1), spread, label=kind)
            sizes = [FACTOR ** (e // EVERY) if kind == "batch grows" else 1 for e in range(EPOCHS)]
            curve(right, np.cumsum(1 / np.array(sizes)) * steps["neither"] / EPOCHS, spread)
        left.set(yscale="log", xlabel="epoch", ylabel="training loss")
        right.set(xlabel="steps")
        left.legend()

    return Finding(says, claims, numbers, draw)


if __name__ == "__main__":
    gallery.main(__file__)
