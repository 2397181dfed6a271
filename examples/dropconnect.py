"""Dropout and DropConnect on MNIST: one model and a vote of five, without and with augmentation."""

import itertools

import numpy as np

import gallery
from fonio import nn
from gallery import COLOURS, Card, Finding, Spread, fit, images, sweep

CARD = Card(
    title="No-drop, dropout, DropConnect",
    section="Dropout",
    lectures="000, slide 31",
    paper="Wan et al. 2013 (ICML), table 3",
    setting="The first 10,000 digits of MNIST, two hidden layers of 256 ReLU, p = .5 on the "
    "second (Wan: a convolutional net on all 60,000), SGD with momentum .9, rate .05 annealed by a "
    "cosine, batch 100, 30 epochs; random crops of 24 × 24, rotation by 15°, scaling by 15 %.",
    published="Model error, and vote of 5, in %: as they are, no-drop .77 (.67), dropout .59 "
    "(.52), DropConnect .63 (.57); cropped .50 (.38), .39 (.35), .39 (.32); cropped, rotated and "
    "scaled .30 (.21), .28 (.27), .28 (.21).",
    size=(8, 3.6),
)
LAYERS = ("no-drop", "dropout", "DropConnect")
SHOWN = ("as they are", "crop", "crop, rotation, scaling")
PUBLISHED = dict(
    zip(  # error of a model, its standard deviation, the vote's
        itertools.product(SHOWN, LAYERS),
        (
            *((0.77, 0.051, 0.67), (0.59, 0.039, 0.52), (0.63, 0.035, 0.57)),
            *((0.50, 0.098, 0.38), (0.39, 0.039, 0.35), (0.39, 0.047, 0.32)),
            *((0.30, 0.035, 0.21), (0.28, 0.016, 0.27), (0.28, 0.032, 0.21)),
        ),
        strict=True,
    )
)


def net(layer, side, crop):
    """Return a net of two hidden layers, the second with units or weights dropped."""
    inputs, width = (crop or side) ** 2, 256
    last = nn.DropConnect if layer == "DropConnect" else nn.Linear
    cut = [nn.CenterCrop((side, side), crop)] if crop else []
    drop = [nn.Dropout(0.5)] if layer == "dropout" else []
    return nn.Sequential(
        *cut, nn.Linear(inputs, width), nn.ReLU(), last(width, width), nn.ReLU(), *drop,
        nn.Linear(width, 10),
    )  # fmt: skip


def predictions(shown, layer, seed, quick):
    """Train a model; return its probabilities for the test set."""
    (x, y), (x_test, _) = images(quick)
    side = int(np.sqrt(x.shape[1]))
    crop = None if shown == "as they are" else side - side // 7
    moves = [nn.Rotate(15), nn.Scale((0.85, 1.15))] if "rotation" in shown else []
    model = net(layer, side, crop)
    fit(
        model, x[:10000], y[:10000], epochs=20 if quick else 30, batch_size=32 if quick else 100,
        optimizer=nn.SGD(model.parameters(), lr=0.05, momentum=0.9), seed=seed,
        schedule=nn.CosineAnnealingLR(), augment=[*moves, nn.Crop(crop)] if crop else (),
    )  # fmt: skip
    return nn.predict_proba(model, x_test)


def judged(spread, truth):
    """Return the models' errors as a Spread, and the error of their vote, in percent."""
    chances = spread.runs
    votes = np.eye(10)[chances.argmax(axis=2)].sum(axis=0) + chances.mean(axis=0) / 2  # no ties
    wrong = 100 * (chances.argmax(axis=2) != truth).mean(axis=1)
    return Spread(wrong), 100 * (votes.argmax(axis=1) != truth).mean()


def draw(figure, errors, votes):
    """Draw models, votes and the published errors side by side."""
    for axes, source in zip(figure.subplots(1, 2), ("ours", "published"), strict=True):
        for i, layer in enumerate(LAYERS):
            at, keys = np.arange(3) + 0.26 * (i - 1), [(shown, layer) for shown in SHOWN]
            found = [PUBLISHED[key] for key in keys]
            if source == "ours":
                found = [(errors[key].mean, errors[key].sd, votes[key]) for key in keys]
            models, sd, vote = zip(*found, strict=True)
            axes.bar(at, models, 0.24, yerr=sd, color=COLOURS[i], label=layer)
            axes.plot(at, vote, "k_", markersize=11, label="vote of five" if i == 2 else None)
        axes.set_xticks(range(3), ("as they are", "crop", "crop, rotation,\nscaling"))
        axes.set(title=source, ylabel="test error, %")
    axes.legend()


def run(quick):
    """Train five models of each kind, and let them vote."""
    truth = images(quick)[1][1]
    found = sweep(lambda *setting: predictions(*setting, quick), PUBLISHED, 3 if quick else 5)
    both = {key: judged(spread, truth) for key, spread in found.items()}
    errors, votes = ({key: pair[i] for key, pair in both.items()} for i in (0, 1))
    told = [
        f"{shown}: "
        + ", ".join(
            f"{layer} {errors[shown, layer]:.2f} ({votes[shown, layer]:.2f})" for layer in LAYERS
        )
        for shown in SHOWN
    ]
    says = f"Error of a model (of the vote) in %. {'; '.join(told)}."
    whole = SHOWN[0]
    claims = {
        "shown as they are, dropout and DropConnect are better than no-drop": all(
            errors[whole, layer].below(errors[whole, "no-drop"]) for layer in LAYERS[1:]
        ),
        "crop, rotation and scaling make each better": all(
            errors[SHOWN[2], layer].below(errors[whole, layer]) for layer in LAYERS
        ),
        "each vote is better than its models": all(errors[key].above(votes[key]) for key in both),
    }
    numbers = {", ".join(key): spread for key, spread in errors.items()}
    numbers |= {f"{', '.join(key)}, vote": vote for key, vote in votes.items()}
    return Finding(says, claims, numbers, lambda figure: draw(figure, errors, votes))


if __name__ == "__main__":
    gallery.main(__file__)
