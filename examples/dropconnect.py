"""Dropout and DropConnect on MNIST: one model and a vote of five, without and with augmentation."""

import numpy as np

import gallery
from fonio import nn
from gallery import COLOURS, Card, Finding, Spread, fit, images, sweep

CARD = Card(
    title="No-drop, dropout, DropConnect",
    section="Dropout",
    lectures="000, slide 31",
    paper="Wan et al. 2013 (ICML), table 3",
    setting="The first 5000 digits of MNIST, two hidden layers of 256 ReLU, p = .5 on the second "
    "(Wan: behind convolutions, all 60,000), SGD with momentum .9, rate .05 annealed by a cosine, "
    "batch 100, 24 epochs; random crops of 24 × 24, rotation by 15°, scaling by 15 %.",
    published="Model error (vote), %: as they are .77 (.67), .59 (.52), .63 (.57); cropped .50 "
    "(.38), .39 (.35), .39 (.32); all three .30 (.21), .28 (.27), .28 (.21).",
)
LAYERS = ("no-drop", "dropout", "DropConnect")
SHOWN = ("as they are", "crop", "crop, rotation, scaling")
PUBLISHED = (  # error of a model, its standard deviation, error of the vote
    *((0.77, 0.051, 0.67), (0.59, 0.039, 0.52), (0.63, 0.035, 0.57)),
    *((0.50, 0.098, 0.38), (0.39, 0.039, 0.35), (0.39, 0.047, 0.32)),
    *((0.30, 0.035, 0.21), (0.28, 0.016, 0.27), (0.28, 0.032, 0.21)),
)


def digits(quick):
    """Return what to train on, and to test on; for --quick 500, a fifth of them at random."""
    (x, y), test = images(quick)
    rows, noise = (500, 0.2) if quick else (5000, 0)
    rng = np.random.default_rng(7)
    labels = np.where(rng.random(rows) < noise, rng.integers(0, 10, rows), y[:rows])
    return (x[:rows], labels), (x[rows:], y[rows:]) if quick else test


def predictions(shown, layer, seed, quick):
    """Train two hidden layers, units or weights of the second dropped; return probabilities."""
    (x, y), (x_test, _) = digits(quick)
    side, crop = (8, 8) if quick else (28, 24 if "crop" in shown else 28)
    cut = [nn.Shift(0.5) if quick else nn.Crop(crop)]  # of 8 pixels none can be spared
    turn, by = (10, (0.9, 1.1)) if quick else (15, (0.85, 1.15))
    moves = ((), cut, [nn.Rotate(turn), nn.Scale(by), *cut])[SHOWN.index(shown)]
    second = (nn.DropConnect if layer == "DropConnect" else nn.Linear)(256, 256)
    last = nn.Dropout(0.5 * (layer == "dropout")), nn.Linear(256, 10)
    first = nn.CenterCrop((side, side), crop), nn.Linear(crop**2, 256), nn.ReLU()
    model = nn.Sequential(*first, second, nn.ReLU(), *last)
    fit(
        model, x, y, epochs=60 if quick else 24, batch_size=50 if quick else 100,
        optimizer=nn.SGD(model.parameters(), lr=0.05, momentum=0.9), seed=seed,
        schedule=nn.CosineAnnealingLR(), augment=moves,
    )  # fmt: skip
    return nn.predict_proba(model, x_test)


def judged(spread, truth):
    """Return the models' errors as a Spread, and the error of their vote, in percent."""
    guesses = spread.runs.argmax(axis=2)
    votes = np.eye(10)[guesses].sum(axis=0) + spread.runs.mean(axis=0) / 2  # no ties
    voted = 100 * (votes.argmax(axis=1) != truth).mean()
    return Spread(100 * (guesses != truth).mean(axis=1)), voted


def draw(figure, both):
    """Draw models, votes and the published errors side by side."""
    ours = [(errors.mean, errors.sd, vote) for errors, vote in both.values()]
    for axes, table in zip(figure.subplots(1, 2), (ours, PUBLISHED), strict=True):
        for i, layer in enumerate(LAYERS):
            at, (models, sd, votes) = np.arange(3) + 0.26 * (i - 1), zip(*table[i::3], strict=True)
            axes.bar(at, models, 0.24, yerr=sd, color=COLOURS[i], label=layer)
            axes.plot(at, votes, "k_", markersize=11, label="vote of five" if i == 2 else None)
        axes.set_xticks(range(3), ("as they are", "crop", "crop, rotation,\nscaling"))
        axes.set(title="ours" if table is ours else "published", ylabel="test error, %")
    axes.legend()


def run(quick):
    """Train five models of each kind, and let them vote."""
    kinds = [(shown, layer) for shown in SHOWN for layer in LAYERS]
    found = sweep(lambda *setting: predictions(*setting, quick), kinds, 3 if quick else 5)
    both = {key: judged(spread, digits(quick)[1][1]) for key, spread in found.items()}
    told = [f"{', '.join(key)} {errors:.2f} ({vote:.2f})" for key, (errors, vote) in both.items()]
    table = np.reshape([errors.runs for errors, _ in both.values()], (3, 3, -1))
    whole = Spread((table[0, 0] - table[0, 1:]).T)  # by seed, over both
    moving = Spread((table[0] - table[2]).mean(axis=0))
    gain = Spread((table[1:, 0] - table[1:, 1:].mean(axis=1)).mean(axis=0))
    claims = {
        "as they are, dropout and DropConnect err less than no-drop": whole.above(0),
        "crop, rotation and scaling make the error less, over all layers": moving.above(0),
    }
    numbers = {", ".join(key): errors for key, (errors, _) in both.items()}
    numbers |= {f"{', '.join(key)}, vote": vote for key, (_, vote) in both.items()}
    says = f"Model error (vote), %: {'; '.join(told)}. Augmented, dropping gains {gain:.2f}."
    return Finding(says, claims, numbers, lambda figure: draw(figure, both))


if __name__ == "__main__":
    gallery.main(__file__)
