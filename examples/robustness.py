"""A net is not invariant to shift, rotation or scale; one that was shown them nearly is."""

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, curve, error, fit, images, mlp, sweep

CARD = Card(
    title="Test digits moved, without and with augmentation",
    section="Regularisation and data",
    lectures="001, invariance problem and data augmentation",
    paper="",
    setting="10,000 digits of MNIST, drawn anew for each seed, two hidden layers of 256 ReLU, "
    "Adam, batch 100, 30 epochs; trained on digits as they are, and on digits shifted by up to 4 "
    "pixels, turned by up to 40° and scaled by 2/3 to 3/2; all 10,000 test digits moved alike.",
    published="Even convolutional nets, of which invariance to small shifts is often claimed, are "
    "not invariant to rotation and scale; data may be augmented by movements.",
    size=(10, 3.2),
)
LABELS = "shift to the right, pixels", "rotation, °", "scale"


def movements(quick):
    """Return by how much digits are moved in each way, least in the middle, and what draws them."""
    far, turn, factor, steps = (1, 25, 1.33, 7) if quick else (4, 40, 1.5, 9)
    shifts, turns = (np.linspace(-most, most, steps) for most in (far, turn))
    factors = np.geomspace(1 / factor, factor, steps)
    amounts = {
        "shift": (shifts, lambda d: nn.Shift(right=(d, d))),
        "rotation": (turns, lambda d: nn.Rotate((d, d))),
        "scaling": (factors, lambda d: nn.Scale((d, d))),
    }
    scale = 1 / factor, factor
    return amounts, nn.Affine(degrees=turn, scale=scale, right=far, down=far)


def errors(augmented, seed, quick):
    """Train one net; return its errors on test digits moved each way (3, amounts), in percent."""
    (x, y), (x_test, y_test) = images(quick)
    rows = np.random.default_rng(seed).permutation(len(x))[: 1000 if quick else 10_000]
    amounts, augment = movements(quick)
    model = mlp([x.shape[1], 256, 256, 10])
    fit(
        model, x[rows], y[rows], epochs=150 if quick else 30, batch_size=100, seed=seed,
        augment=augment if augmented else (),
    )  # fmt: skip
    return [[error(model, move(d)(x_test), y_test) for d in ds] for ds, move in amounts.values()]


def run(quick):
    """Compare two nets on moved test digits."""
    found = sweep(
        lambda augmented, seed: errors(augmented, seed, quick), (False, True), 3 if quick else 5
    )
    plain, shown = found[False], found[True]
    amounts = {name: ds for name, (ds, _) in movements(quick)[0].items()}
    middle = len(amounts["shift"]) // 2
    ends = [
        f"{name}: {plain[i, 0]:.1f} % and {plain[i, -1]:.1f} % become {shown[i, 0]:.1f} % and "
        f"{shown[i, -1]:.1f} %"
        for i, name in enumerate(amounts)
    ]
    says = (
        f"Of test digits as they are {plain[0, middle]:.1f} % are wrong, {shown[0, middle]:.1f} % "
        f"after augmentation. At the two ends of {'; of '.join(ends)}."
    )
    claims = {
        "without augmentation each movement multiplies the error by five": all(
            (plain[i, end] / plain[i, middle]).above(5) for i in range(3) for end in (0, -1)
        ),
        "augmentation takes away two thirds of the error at each end": all(
            (shown[i, end] / plain[i, end]).below(1 / 3) for i in range(3) for end in (0, -1)
        ),
    }
    numbers = {
        f"{name} {ds[place]:.3g}, {label}": spread[i, place]
        for i, (name, ds) in enumerate(amounts.items())
        for label, spread in (("plain", plain), ("augmented", shown))
        for place in (0, middle, -1)
    }

    def draw(figure):
        panels = figure.subplots(1, 3, sharey=True)
        for i, (axes, ds) in enumerate(zip(panels, amounts.values(), strict=True)):
            for spread, label in ((plain, "trained as they are"), (shown, "trained on moved ones")):
                curve(axes, ds, spread[i], marker="o", label=label)
            axes.set(xlabel=LABELS[i], ylim=(0, None))
        panels[0].set_ylabel("error on moved test digits, %")
        panels[1].legend(loc="upper center")

    return Finding(says, claims, numbers, draw)


if __name__ == "__main__":
    gallery.main(__file__)
