"""Transfer: digits 0 to 4 teach layers that 5 to 9 take over, by the number of labels there are."""

import copy
import itertools

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, error, fit, images, mlp, sweep

CARD = Card(
    title="Transfer from digits 0 to 4 to digits 5 to 9",
    section="Growing, pruning, transfer",
    lectures="001, transfer learning",
    paper="Yosinski et al. 2014, arXiv:1411.1792; Haase et al. 2014",
    setting="MNIST, each digit moved by up to 4 pixels at random; three hidden layers of 128 ReLU "
    "learn 0 to 4 on all 30,000 for 5 epochs. The first k of them, frozen or trained on, then go "
    "into a net for 5 to 9, new above, of 20 to 2500 labels: 2000 steps of 10, Adam.",
    published="With too little data take a net that was trained on similar, bigger data, freeze "
    "all but the last few layers, retrain those: the bigger the new data, the more of them.",
    size=(10, 3.4),
)
KINDS = [(0, False), *((k, frozen) for frozen in (True, False) for k in (1, 2, 3))]
SIZES = (20, 100, 500, 2500), (10, 50, 250, 1000)


def digits(quick, seed, high):
    """Return images and labels to train and to test on: digits from 5 (high) or up to 4."""
    side, far, frame = (8, 2, 2) if quick else (28, 4, 0)
    rng, made = np.random.default_rng([seed, high]), []
    for x, y in images(quick):
        rows = np.repeat(np.flatnonzero((y > 4) == high), 8 if quick and not made else 1)
        x = np.pad(x[rows].reshape(-1, side, side), ((0, 0), (frame, frame), (frame, frame)))
        ways = rng.integers(-far, far + 1, (len(x), 2))
        x = [np.roll(image, way, (0, 1)).ravel() for image, way in zip(x, ways, strict=True)]
        made.append((np.array(x), y[rows] - 5 * high))
    return made


def measure(seed, quick):
    """Return the test errors, (kinds, sizes)."""
    (x, y), _ = digits(quick, seed, False)
    source = mlp(widths := [x.shape[1], 128, 128, 128, 5])
    fit(source, x, y, epochs=10 if quick else 5, batch_size=50, seed=seed)
    (x, y), test = digits(quick, seed, True)
    order, found = np.random.default_rng(seed).permutation(len(x)), []
    by_class = np.stack([order[y[order] == c][:500] for c in range(5)], axis=1).ravel()
    for (kept, frozen), size in itertools.product(KINDS, SIZES[quick]):
        nn.manual_seed(seed)
        rows, epochs = by_class[:size], (6000 if quick else 20_000) // size
        model = nn.Sequential(*copy.deepcopy(source)[: 2 * kept], *mlp(widths)[2 * kept :])
        model[: 2 * kept].freeze(frozen)
        fit(model, x[rows], y[rows], epochs=epochs, batch_size=10, seed=seed)
        found.append(error(model, *test))
    return np.reshape(found, (len(KINDS), -1))


def draw(figure, found, sizes):
    """Draw two grids of errors, layers by labels, coloured by what is won over none taken."""
    panels = figure.subplots(1, 2, sharey=True)
    rows_of = {"frozen": [0, 1, 2, 3], "trained on": [0, 4, 5, 6]}
    for axes, (title, rows) in zip(panels, rows_of.items(), strict=True):
        won = found.mean[0] - found.mean[rows]
        shown = axes.imshow(won, cmap="RdBu", vmin=-40, vmax=40, aspect="auto")
        for i, j in np.ndindex(won.shape):
            best = "bold" if i == won[:, j].argmax() else "normal"
            axes.text(j, i, f"{found[rows[i], j]:.1f}", ha="center", va="center", weight=best)
        axes.set(title=title, xlabel="labels", yticks=range(4))
        axes.set_xticks(range(4), sizes)
        axes.grid(False)
    panels[0].set_ylabel("layers taken")
    figure.colorbar(shown, ax=panels, label="less error than none taken, %")


def run(quick):
    """Take none to three layers, frozen or not, for each number of labels."""
    found = sweep(lambda _, seed: measure(seed, quick), [0], 4 if quick else 5)[0]
    scratch, one, two, three, tuned = (found[i] for i in range(5))
    sizes, gap = SIZES[quick], three - one
    best = " ".join(str(3 - k) for k in found.mean[:4].argmin(axis=0))
    says = (
        f"Error from scratch on {sizes[0]} labels {scratch[0]:.0f} %, with all three layers taken "
        f"and frozen {three[0]:.0f} %; on {sizes[2]}: {scratch[2]:.0f} %, {three[2]:.0f} %, but "
        f"{tuned[2]:.0f} % with one taken and trained on. Of frozen nets those are best that leave "
        f"{best} hidden layers to train for {sizes} labels."
    )
    claims = {
        "on the fewest labels the head alone beats all from scratch": three[0].below(scratch[0]),
        "on the most it is worse by 10 % or more": (three - scratch)[3].above(10),
        "labels raise the price of freezing three against one": (gap[3] - gap[0]).above(0),
        "two frozen layers beat none on the second number": (scratch - two)[1].above(0),
    }
    numbers = {f"{k} taken, frozen {f}": found[i] for i, (k, f) in enumerate(KINDS)}
    return Finding(says, claims, numbers, lambda figure: draw(figure, found, sizes))


if __name__ == "__main__":
    gallery.main(__file__)
