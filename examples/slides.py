"""Three consoles of the slides again: dropout's gradient, whole channels, batchnorm's moments."""

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, Spread, sweep

CARD = Card(
    title="Three slides, run",
    section="Dropout",
    lectures="000, slides 26, 29, 38 and 39",
    paper="Srivastava et al. 2014; Tompson et al. 2015, arXiv:1411.4280; Ioffe and Szegedy 2015",
    setting="Dropout .75 of ones (3, 9), l the sum of the rows' norms, by the slide's mask and by "
    "ours; Dropout2d of ones (2, 3, 2, 2); batchnorm of 10,000 Gaussian rows with means -10, 25, 3 "
    "and deviations 2, 5, 10, its bias 2, 4, 8 and its weight 1, 2, 3.",
    published="Values 0 and 4, gradients 1.7889, 4.0000, 2.3094 by row; channels all 0 or all 2; "
    "after batchnorm means 2.0000, 4.0000, 8.0000, deviations 1.0000, 2.0001, 3.0001.",
    size=(10, 3.4),
)
MASK = np.array([[1, 0, 1, 1, 1, 0, 1, 0, 0], [1] + 8 * [0], [0, 0, 0, 0, 1, 0, 1, 0, 1]], bool)


def dropped(mask=None):
    """Return what dropout makes of ones, and the gradient of the sum of its rows' norms."""
    y, backward = nn.Dropout(0.75).forward(np.ones((3, 9), np.float32), mask=mask)
    return y, backward(y / np.maximum(np.linalg.norm(y, axis=1, keepdims=True), 1e-9))


def rows(seed):
    """Return the rows that go into batchnorm, and what comes out."""
    x = np.random.default_rng(seed).normal((-10, 25, 3), (2, 5, 10), (10_000, 3))
    norm = nn.BatchNorm1d(3)
    norm.bias.value, norm.weight.value = [2, 4, 8], [1, 2, 3]
    return x, norm(x.astype(np.float32)).astype(float)


def measure(_, seed):
    """Return how far gradients are from 4/√k and channels from 0 or 2, and moments (2, 3)."""
    y, gradient = dropped()
    kept = np.maximum((y == 4).sum(axis=1, keepdims=True), 1)
    astray = abs(gradient - np.where(y == 4, 4 / np.sqrt(kept), 0)).max()
    channels = nn.Dropout2d()(np.ones((2, 3, 2, 2), np.float32)).reshape(6, 4)
    whole = (channels == channels[:, :1]).all() and np.isin(channels, (0, 2)).all()
    _, z = rows(seed)
    return [astray, not (whole and np.isin(y, (0, 4)).all()), *z.mean(0), *z.std(0, ddof=1)]


def draw(figure):
    """Draw the slide's gradients, channels of Dropout2d, and the rows before and after."""
    left, middle, before, after = figure.subplots(1, 4, width_ratios=(1.7, 1.1, 1, 1))
    pictures = dropped(MASK)[1], nn.Dropout2d()(np.ones((2, 3, 4, 4), np.float32))
    pictures = pictures[0], np.pad(pictures[1], 2 * [(0, 0)] + 2 * [(0, 1)]).swapaxes(1, 2)
    for axes, picture in zip((left, middle), pictures, strict=True):
        picture = picture.reshape(-1, 9 if axes is left else 15)
        axes.imshow(picture, cmap="Blues", vmin=0, vmax=picture.max() + 2, aspect="auto")
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
    for (i, j), value in np.ndenumerate(pictures[0]):
        left.text(j, i, f"{value:.2f}" if value else "0", ha="center", va="center", fontsize=7)
    left.set_title("x.grad by the slide's mask")
    middle.set_title("Dropout2d: 2 samples, 3 channels")
    for axes, values, title in zip(
        (before, after), rows(0), ("batchnorm's input", "its output"), strict=True
    ):
        axes.hist(values, 40, histtype="stepfilled", alpha=0.6, label=["1", "2", "3"])
        axes.set(title=title, yticks=[])


def run(quick):
    """Run the slides' code; `quick` changes nothing."""
    found = sweep(measure, ["slides"])["slides"]
    slide = dropped(MASK)[1].max(axis=1)
    means, deviations = Spread(found.runs[:, 2:5]), Spread(found.runs[:, 5:])
    says = (
        f"By the slide's mask the rows' gradients are {', '.join(f'{g:.4f}' for g in slide)}; by "
        f"any other 4/√k where a row keeps k, to {found.runs[:, 0].max():.0e}. Means "
        f"{', '.join(f'{m:.4f}' for m in means.mean)}, deviations "
        f"{', '.join(f'{d:.4f}' for d in deviations.mean)}."
    )
    claims = {
        "the slide's gradients: 1.7889, 4, 2.3094": np.allclose(slide, (1.7889, 4, 2.3094), 1e-4),
        "with any mask 4/√k": found[0].below(1e-5),
        "values are 0 or 4, channels whole, 0 or 2": not found.runs[:, 1].any(),
        "batchnorm's means 2, 4, 8": np.allclose(means.runs, (2, 4, 8), atol=1e-4),
        "its deviations 1.0000, 2.0001, 3.0001": np.allclose(deviations.runs, (1, 2, 3), atol=2e-4),
    }
    numbers = {"means": means, "deviations": deviations}
    return Finding(says, claims, numbers, draw)


if __name__ == "__main__":
    gallery.main(__file__)
