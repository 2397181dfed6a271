"""Dropout before batchnorm: the variance that batchnorm learns is not that of the test."""

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, curve, error, fit, images, sweep

CARD = Card(
    title="Dropout with batchnorm: the variance shift",
    section="Dropout",
    lectures="000, slides 42 and 43",
    paper="Li et al. 2019, arXiv:1801.05134",
    setting="The first 10,000 digits of MNIST, three hidden layers of 128 ReLU with batchnorm, "
    "Adam, batch 128, 8 epochs; dropout between a batchnorm and the next (“between”), or behind "
    "the last of them (“behind”).",
    published="Dropout gives its layer's values another variance in training than at test time, "
    "so that the running variance of a batchnorm behind it is wrong; behind the last batchnorm "
    "dropout does no such harm.",
    size=(9, 3.4),
)
CHANCES = (0, 0.2, 0.5, 0.7)
KINDS = [(place, p) for place in ("between", "behind") for p in CHANCES]


def train(place, p, seed, quick):
    """Return train to test variance at the last batchnorm, the error, and it by new statistics."""
    (x, y), test = images(quick)
    x, y, layers, width = x[:10000], y[:10000], [], x.shape[1]
    for depth in range(3):
        drop = [nn.Dropout(p)] if place == "between" and depth else []
        layers += [*drop, nn.Linear(width, 128), nn.BatchNorm1d(128), nn.ReLU()]
        width = 128
    drop = [nn.Dropout(p)] if place == "behind" else []
    model = nn.Sequential(*layers, *drop, nn.Linear(width, 10))
    fit(model, x, y, epochs=8, batch_size=32 if quick else 128, seed=seed)
    last = max(i for i, layer in enumerate(model) if isinstance(layer, nn.BatchNorm1d))
    seen = nn.predict(model[:last], x).var(axis=0)
    ratio, wrong = np.mean(model[last].running_var / seen), error(model, *test)
    nn.recompute_statistics(model, x)  # of the values as they are at test time
    return np.array([ratio, wrong, error(model, *test)])


def draw(figure, found):
    """Draw ratios of variance, and errors with either statistics, by the chance to drop."""
    left, right = figure.subplots(1, 2)
    for place, marker in (("between", "o"), ("behind", "s")):
        ratios = [found[place, p][0] for p in CHANCES]
        curve(left, CHANCES, ratios, marker=marker, label=f"dropout {place}")
        errors = [found[place, p][1] for p in CHANCES]
        curve(right, CHANCES, errors, marker=marker, label=f"dropout {place}")
    errors = [found["between", p][2] for p in CHANCES]
    curve(right, CHANCES, errors, linestyle="--", label="between, statistics recomputed")
    left.set(title="variance in training / at test time, last batchnorm")
    right.set(title="test error, %")
    for axes in (left, right):
        axes.set(xlabel="chance to drop", xticks=CHANCES)
        axes.legend()


def run(quick):
    """Train with dropout at each place and of each chance."""
    found = sweep(lambda *setting: train(*setting, quick), KINDS)
    half, most, behind = found["between", 0.5], found["between", 0.7], found["behind", 0.5]
    none = found["between", 0]
    says = (
        f"The last batchnorm's variance in training is {none[0]:.2f} times that at test time "
        f"without dropout, {half[0]:.2f} times with dropout .5 between, {most[0]:.2f} with .7, "
        f"{behind[0]:.2f} with .5 behind. Test errors {none[1]:.2f}, {half[1]:.2f}, {most[1]:.2f} "
        f"and {behind[1]:.2f} %. New statistics without masks change the error of .5 between by "
        f"{-1 * (half[1] - half[2]):.2f}, of .7 by {-1 * (most[1] - most[2]):.2f}: "
        "here the error is dropout's own, not the shift's."
    )
    claims = {
        "with dropout .5 between, the variance shifts by over a tenth": half[0].above(1.1),
        "the more is dropped, the more it shifts": most[0].above(half[0]),
        "without it, and with dropout behind, by under a tenth": all(
            spread[0].above(0.9) and spread[0].below(1.1) for spread in (none, behind)
        ),
        "dropout .7 errs more between than behind": most[1].above(found["behind", 0.7][1]),
    }
    numbers = {f"variance ratio, {place}, {p}": s[0] for (place, p), s in found.items()}
    numbers |= {f"error, {place}, {p}": s[1] for (place, p), s in found.items()}
    numbers |= {f"error recomputed, {place}, {p}": s[2] for (place, p), s in found.items()}
    return Finding(says, claims, numbers, lambda figure: draw(figure, found))


if __name__ == "__main__":
    gallery.main(__file__)
