"""Growing: a net that is too small is given neurons wherever it stands still."""

import time

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, error, fit, images, mlp, sweep

CARD = Card(
    title="A net that grows where it stands still",
    section="Growing, pruning, transfer",
    lectures="002, growing",
    paper="Ash 1989; Fahlman and Lebiere 1990",
    setting="10,000 digits of MNIST, one hidden layer; from 4 ReLU to 32, by 4 whenever the "
    "loss gains less than .002 in 3 epochs, against 4 and 32 from the start. New neurons learn "
    "alone for 5 epochs: on the quarter of rows of largest loss, a random quarter, from a quarter "
    "of the inputs, or from 4 starts, of which the best stays. Work: epochs times neurons.",
    published="In total growing usually takes but 1.5 to 2 times as long as the final net would "
    "have taken from the start, and what was learned is kept.",
    size=(10, 3.4),
)
WAYS = {"worst": 0.25, "subsample": 0.25, "inputs": 1, "restarts": 4}  # rows to learn on, as share
NAMES = {"small": "4 from the start", "fixed": "32 from the start", "worst": "worst rows"}
NAMES |= {"subsample": "random rows", "inputs": "inputs", "restarts": "4 starts"}


def grow(how, seed, quick, epochs=200):
    """Return test error, last loss, work, seconds, the loss's largest rise at a growth; curves."""
    (x, y), test = images(quick)
    x, y, gain = x[:10_000], y[:10_000], 5e-3 if quick else 2e-3
    model, began = mlp([x.shape[1], 32 if how == "fixed" else 4, 10]), time.perf_counter()
    options = {"epochs": epochs, "batch_size": 50, "seed": seed}
    if how in WAYS:
        options |= {"units": 4, "rounds": 7, "how": how, "grow_epochs": min(5, epochs)}
        history = nn.fit_growing(model, 0, x, y, min_delta=gain, progress=False, **options)
        grown, widths = history.grown, np.arange(4, 33, 4)
        work = np.diff([0, *grown, history.epochs]) @ widths + 5 * WAYS[how] * widths[1:].sum()
    else:
        stop = nn.EarlyStopping("loss", 3, gain, restore_best=False)
        history, grown = fit(model, x, y, callbacks=[stop], **options), []
        work = history.epochs * model[0].out_features
    took, loss, grown = time.perf_counter() - began, np.array(history.loss), np.array(grown, int)
    rise = max(loss[grown] - loss[grown - 1], default=0)
    return [error(model, *test), loss[-1], work, took, rise], (loss, grown)


def draw(figure, found, curves):
    """Draw a run of each, the errors, and what growing takes against 32 from the start."""
    left, middle, right = figure.subplots(1, 3)
    for how in ("fixed", "worst"):
        loss, grown = curves[how]
        line = left.plot(np.arange(1, 1 + len(loss)), loss, label=NAMES[how])[0]
        left.plot(grown, loss[grown - 1], "o", markersize=4, color=line.get_color())
    left.set(xlabel="epoch", title="training loss; dots: 4 neurons more", yscale="log")
    left.legend()
    for place, how in enumerate(reversed(NAMES)):
        middle.plot(found[how].runs[:, 0], [place] * len(found[how].runs), "C0o", alpha=0.5)
        for what, at in ((2, 0.15), (3, -0.15)) if how in WAYS else ():
            ratio = found[how][what] / found["fixed"][what]
            right.barh(place + at, ratio.mean, 0.3, xerr=ratio.sd, color=f"C{what - 2}")
    right.axvspan(1.5, 2, color="0.85", zorder=0)
    for axes in (middle, right):
        axes.set_yticks(range(6), reversed(NAMES.values()))
    middle.set(title="test error, %", xlim=(0, None), ylim=(-0.5, 5.5))
    right.set(title="work (blue) and time, as multiples", ylim=(-0.5, 3.5))


def run(quick):
    """Compare the ways to grow by what they reach and what they take."""
    curves = {how: grow(how, 0, quick, epochs=1)[1] for how in NAMES}  # to compile

    def measure(how, seed):
        found, curves[how] = grow(how, seed, quick)
        return found

    found = sweep(measure, NAMES, 3 if quick else 5)
    small, fixed, *ways = found.values()
    work, took = ([way[i] / fixed[i] for way in ways] for i in (2, 3))
    parts = zip([*NAMES.values()][2:], ways, work, strict=True)
    each = "; ".join(f"{name} {way[0]:.1f} %, {cost:.1f} the work" for name, way, cost in parts)
    says = (
        f"Test error {small[0]:.1f} % with 4 neurons, {fixed[0]:.1f} % with 32 from the start; "
        f"grown on {each}. The time is {took[0].mean:.1f} to {took[3].mean:.1f} times: steps of "
        f"small nets take hardly less. Loss: {fixed[1]:.2g}; grown on worst rows {ways[0][1]:.2g}."
    )
    claims = {
        "all end under .7 of the small error": all((w[0] / small[0]).below(0.7) for w in ways),
        "the loss rises by under .02 as neurons come": all(way[4].below(0.02) for way in ways),
        "growing on the worst rows takes less than twice the work": work[0].below(2),
        "4 starts take more than the worst rows": (work[3] - work[0]).above(0),
    }
    numbers = {NAMES[how]: spread for how, spread in found.items()}
    return Finding(says, claims, numbers, lambda figure: draw(figure, found, curves))


if __name__ == "__main__":
    gallery.main(__file__)
