"""Dropout as an ensemble: all its masks, or many, against one pass with scaled weights."""

import numpy as np

import gallery
from fonio import kernels, nn
from gallery import COLOURS, Card, Finding, curve, error, fit, images, sweep

CARD = Card(
    title="Dropout as an ensemble of all its masks",
    section="Dropout",
    lectures="002, what dropout averages; 000, slide 22",
    paper="Srivastava et al. 2014; Hinton et al. 2012, arXiv:1207.0580",
    setting="Exact: the 64-pixel digits, 12 ReLU units under dropout .5, all 4096 masks. Monte "
    "Carlo: the first 10,000 digits of MNIST, two hidden layers of 256 ReLU, dropout .5, 10 "
    "epochs of Adam, averages of probabilities.",
    published="One pass with scaled weights is the normalised geometric mean over the masks of one "
    "hidden layer; a Monte Carlo average matches it from about 50 masks on.",
    size=(10, 3.4),
)
COUNTS = (1, 2, 5, 10, 20, 50, 100)
MEANS = ("one mask", "arithmetic", "geometric", "scaled weights")


def exact(seed):
    """Average over all masks of 12 units; return four errors in percent, and two distances."""
    (x, y), (x_test, y_test) = nn.datasets.digits()
    model = nn.Sequential(nn.Linear(64, 12), nn.ReLU(), drop := nn.Dropout(0.5), nn.Linear(12, 10))
    fit(model, x, y, epochs=60, seed=seed)
    hidden, head = model[:2](x_test), model[3]
    outputs = (head(drop(hidden, mask)) for mask in nn.all_masks(12))
    each = np.stack([kernels.log_softmax(np.float64(output)) for output in outputs])
    geometric = np.exp(each.mean(axis=0))
    geometric /= geometric.sum(axis=1, keepdims=True)
    scaled = nn.predict_proba(model, x_test)
    one = each[np.random.default_rng(seed).integers(len(each), size=100)]
    wrong = [100 * (one.argmax(axis=2) != y_test).mean()]
    averages = np.exp(each).mean(axis=0), geometric, scaled
    wrong += [100 * (p.argmax(axis=1) != y_test).mean() for p in averages]
    return np.array([*wrong, *(abs(p - scaled).max() for p in averages[:2])])


def sampled(seed, quick):
    """Return the error of averages over so many masks, and last of scaled weights, in percent."""
    (x, y), (x_test, y_test) = images(quick)
    x_test, y_test = x_test[:3000], y_test[:3000]
    model = nn.Sequential(
        nn.Linear(x.shape[1], 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 256), nn.ReLU(),
        nn.Dropout(0.5), nn.Linear(256, 10),
    )  # fmt: skip
    fit(model, x[:10000], y[:10000], epochs=10, batch_size=32 if quick else 128, seed=seed)
    draws = [nn.monte_carlo(model, x_test, count, seed, proba=True)[0] for count in COUNTS]
    wrong = [100 * (mean.argmax(axis=1) != y_test).mean() for mean in draws]
    return np.array([*wrong, error(model, x_test, y_test)])


def draw(figure, small, many):
    """Draw the errors of the exact averages, and of Monte Carlo averages by masks."""
    left, right = figure.subplots(1, 2)
    left.bar(MEANS, small.mean[:4], yerr=small.sd[:4], color=COLOURS[:4])
    left.set(title="12 units: all 4096 masks", ylabel="test error, %")
    curve(right, COUNTS, many[:-1], marker="o", label="Monte Carlo")
    middle, sd = many.mean[-1], many.sd[-1]
    right.axhline(middle, color=COLOURS[1], label="scaled weights")
    right.axhspan(middle - sd, middle + sd, color=COLOURS[1], alpha=0.2, linewidth=0)
    right.set(title="two layers of 256", xlabel="masks", xscale="log", ylabel="test error, %")
    right.set_xticks(COUNTS, map(str, COUNTS))
    right.minorticks_off()
    right.legend()


def run(quick):
    """Average over all masks of a small layer, and over some of two large ones."""
    small = sweep(lambda _, seed: exact(seed), [0], doing="all masks")[0]
    many = sweep(lambda _, seed: sampled(seed, quick), [0])[0]
    one, away, hundred, scaled = (many[i] for i in (0, COUNTS.index(50), -2, -1))
    says = (
        f"Over all 4096 masks the probabilities' geometric mean is that of scaled weights to "
        f"{small.mean[5]:.0e}, the arithmetic up to {small[4]:.2f} from it; errors "
        f"{small[2]:.1f}, {small[1]:.1f} and scaled {small[3]:.1f} %, of one mask {small[0]:.1f} "
        f"%. With two layers one mask errs by {one:.1f} %, the mean of 50 by {away:.2f}, of 100 by "
        f"{hundred:.2f}, scaled weights by {scaled:.2f} %."
    )
    claims = {
        "the geometric mean of all masks is one pass with scaled weights": small[5].below(1e-5),
        "the arithmetic mean is another": small[4].above(0.05),
        "the error of one mask is over both means": all(small[0].above(small[i]) for i in (1, 2)),
        "a mean of 50 masks errs less than one mask": away.below(one),
        "and as scaled weights within a point": (
            (away - scaled).below(1) and (away - scaled).above(-1)
        ),
    }
    numbers = {f"all masks, {name}": small[i] for i, name in enumerate(MEANS)}
    numbers |= {f"{count} masks": many[i] for i, count in enumerate(COUNTS)} | {"scaled": scaled}
    return Finding(says, claims, numbers, lambda figure: draw(figure, small, many))


if __name__ == "__main__":
    gallery.main(__file__)
