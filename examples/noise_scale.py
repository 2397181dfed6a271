"""The noise of gradient descent: as strong as ηN/b, until the batch comes near to all the data."""

import functools

import numpy as np

import gallery
from fonio import nn
from gallery import COLOURS, Card, Finding, fit, sweep

CARD = Card(
    title="The noise scale of a batch",
    section="Optimization",
    lectures="001, batch size and learning rate",
    paper="Smith and Le 2018, arXiv:1710.06451",
    setting="Softmax regression with L2 .1 on the 1437 embedded digits, started at its minimum; "
    "4000 steps on batches drawn afresh, at rates .04 and .16.",
    published="Noise scale g = η (N/b - 1), about ηN/b while b is far below N; as b nears N the "
    "dynamics turn deterministic and the rule should fail.",
)
DECAY, RATES, SIZES = 0.1, (0.04, 0.16), (8, 32, 128, 512, 1024, 1437)


def objective(model, x, y):
    """Return the loss on all digits with its penalty."""
    penalty = sum((parameter.value**2).sum() for parameter in model.parameters())
    return nn.evaluate(model, x, y)["loss"] + DECAY / 2 * penalty


@functools.cache
def minimum():
    """Return the digits in float64, a model, and the parameters where its objective is least."""
    (x, y), _ = nn.datasets.digits()
    x, model = x.astype(np.float64), nn.Sequential(nn.Linear(64, 10)).to(np.float64)
    optimizer = nn.SGD(model.parameters(), lr=0.3, weight_decay=DECAY)
    fit(model, x, y, epochs=1500, batch_size=len(x), optimizer=optimizer)
    return x, y, model, [parameter.value.copy() for parameter in model.parameters()]


def excess(rate, size, seed, steps):
    """Return how far above its minimum the objective hovers on average."""
    x, y, model, best = minimum()
    optimizer = nn.SGD(model.parameters(), lr=rate, weight_decay=DECAY)
    for parameter, value in zip(model.parameters(), best, strict=True):
        parameter.value = value
    least, rng, found = objective(model, x, y), np.random.default_rng(seed), []
    step = nn.step(model, "cross_entropy", optimizer, size)
    for i in range(steps):
        rows = rng.permutation(len(x))[:size]
        step(x[rows], y[rows])
        if i >= steps // 4 and i % 20 == 0:
            found.append(objective(model, x, y) - least)
    return np.mean(found)


def run(quick):
    """Measure the excess of each rate and batch, and divide it by the noise scale."""
    settings = [(rate, size) for rate in RATES for size in SIZES]
    steps = 700 if quick else 4000
    found = sweep(lambda rate, size, seed: excess(rate, size, seed, steps), settings)
    per = {key: found[key] / (key[0] * 1437 / key[1]) for key in settings}
    small = [per[rate, size] for rate in RATES for size in SIZES[:3]]
    most = [per[rate, 1024] / np.mean([p.mean for p in small]) for rate in RATES]
    every = [found[rate, size] / (rate * (1437 / size - 1)) for rate in RATES for size in SIZES[:5]]
    spreads = [max(s.mean for s in some) / min(s.mean for s in some) for some in (small, every)]
    says = (
        f"From batch 8 to 128, while ηN/b goes from .45 to 29, the excess of the objective is "
        f"proportional to it, within a factor of {spreads[0]:.2f}. At batch 1024 of 1437 it is "
        f"{most[0]:.2f} and {most[1]:.2f} times what ηN/b says, and with all digits nothing; "
        f"η (N/b - 1) is right throughout, within a factor of {spreads[1]:.2f}."
    )
    claims = {
        "up to batch 128 the noise is as ηN/b, within a factor of 1.3": spreads[0] < 1.3,
        "at batch 1024 it is under half of that": all(ratio.below(0.5) for ratio in most),
        "with all digits there is none": all(found[r, 1437].below(1e-9) for r in RATES),
        "η (N/b - 1) is right within a factor of 1.3 up to batch 1024": spreads[1] < 1.3,
    }
    numbers = {f"excess at rate {rate}, batch {size}": found[rate, size] for rate, size in settings}

    def draw(figure):
        axes = figure.subplots()
        for rate, marker in zip(RATES, "os", strict=True):
            for i, size in enumerate(SIZES[:5]):
                scale, spread = rate * 1437 / size, found[rate, size]
                label = f"batch {size}" if rate == RATES[0] else None
                axes.errorbar(
                    scale, spread.mean, spread.sd, marker=marker, color=COLOURS[i], label=label
                )
        scales = np.array([0.03, 60])
        axes.plot(scales, scales * np.mean([p.mean for p in small]), "k", linewidth=0.8)
        axes.set(xscale="log", yscale="log", xlabel="ηN/b", ylabel="objective above its minimum")
        axes.legend(title="rate .04 round, .16 square; batch 1437: none")

    return Finding(says, claims, numbers, draw)


if __name__ == "__main__":
    gallery.main(__file__)
