"""Bagging and dropout as ensembles; and how near one scaled pass comes to dropout's average."""

import numpy as np

import gallery
from fonio import kernels, nn
from gallery import COLOURS, Card, Finding, error, fit, images, sweep

CARD = Card(
    title="Bagging, dropout, and maxout's averages",
    section="Dropout",
    lectures="004, model averaging; dropout and maxout",
    paper="Breiman 1996; Goodfellow et al. 2013, arXiv:1302.4389, section 7",
    setting="The first 2000 digits of MNIST, two hidden layers of 128, Adam: one net, 10 bagged, "
    "10 on all rows, 15 epochs; dropout .5, 30 epochs, of ReLU, tanh, maxout (2 pieces): KL "
    "divergence of one scaled pass from the geometric mean of 200 masks.",
    published="A bootstrap sample holds about 36 % duplicates. Maxout averages dropout better than "
    "tanh: its scaled pass is nearer to the geometric mean of sampled nets.",
    size=(10, 3.4),
)
KINDS = ("one net", "one bagged", "10 bagged", "geometric", "10 on all", "dropout")
UNITS = ("maxout", "ReLU", "tanh")


def net(units, inputs, dropout, width=128):
    """Return two hidden layers, with dropout behind each or without."""
    pieces, layers = 1 + (units == "maxout"), []
    for before in (inputs, width):
        unit = {"maxout": lambda: nn.Maxout(2), "ReLU": nn.ReLU, "tanh": nn.Tanh}[units]
        layers += [nn.Linear(before, width * pieces), unit(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def errors(seed, quick):
    """Return the errors of KINDS in percent, and the share of duplicates in a bootstrap."""
    (x, y), (x_test, y_test) = images(quick)
    x, y = x[:2000], y[:2000]
    if quick:  # few digits, a fifth labelled at random, show in seconds what an ensemble does
        rng = np.random.default_rng(7)
        x_test, y_test, x, y = x[500:], y[500:], x[:500], y[:500]
        y = np.where(rng.random(500) < 0.2, rng.integers(0, 10, 500), y)
    inputs, size = x.shape[1], 20 if quick else 32
    options = {"epochs": 15, "batch_size": size, "progress": False, "seed": 100 * seed}
    whole = nn.fit_ensemble(lambda: net("ReLU", inputs, 0), x, y, 10, **options)
    bags = nn.fit_ensemble(lambda: net("ReLU", inputs, 0), x, y, 10, bagging=True, **options)
    fit(drop := net("ReLU", inputs, 0.5), x, y, epochs=30, batch_size=size, seed=seed)
    ones = [[error(model, x_test, y_test) for model in some] for some in (whole, bags)]
    chances = [bags.predict_proba(x_test), bags.predict_proba(x_test, "geometric")]
    chances += [whole.predict_proba(x_test), nn.predict_proba(drop, x_test)]
    several = np.mean([len(set(nn.bootstrap(len(x), 100 * seed + i))) for i in range(100)])
    wrong = 100 * (np.argmax(chances, axis=2) != y_test).mean(axis=1)
    return np.array([*np.mean(ones, axis=1), *wrong, 1 - several / len(x)])


def divergence(units, seed, quick):
    """Return the mean KL divergence of the scaled pass from the masks' geometric mean."""
    (x, y), (x_test, _) = images(quick)
    model, x_test = net(units, x.shape[1], 0.5), x_test[:500]
    fit(model, x[:2000], y[:2000], epochs=30, batch_size=32, seed=seed)
    outputs = nn.monte_carlo(model, x_test, 200, seed)[0], nn.predict(model, x_test)
    geometric, scaled = (kernels.log_softmax(np.float64(logits)) for logits in outputs)
    return (np.exp(geometric) * (geometric - scaled)).sum(axis=1).mean()


def run(quick):
    """Compare ensembles, and how well each unit averages dropout."""
    found = sweep(lambda _, seed: errors(seed, quick), [0], doing="ensembles")[0]
    gaps = sweep(lambda units, seed: divergence(units, seed, quick), UNITS)
    one, bagged, bags, geometric, whole, drop, twice = (found[i] for i in range(7))
    told = ", ".join(f"{kind} {found[i]:.2f}" for i, kind in enumerate(KINDS))
    says = (
        f"A share of {twice:.3f} of a bootstrap sample is duplicates. Test errors, %: {told}. The "
        f"scaled pass diverges from the geometric mean by {gaps['maxout']:.2g} with maxout, "
        f"{gaps['ReLU']:.2g} with ReLU, {gaps['tanh']:.2g} with tanh: on MNIST a gain by maxout is "
        "not sure."
    )
    better = all((bagged - mean).above(0) for mean in (bags, geometric))
    claims = {
        "a bootstrap sample holds 36 to 37.5 % duplicates": twice.above(0.36)
        and twice.below(0.375),
        "10 bagged nets, by either mean, err less than one of them": better,
        "so do 10 nets on all rows": (one - whole).above(0),
    }
    numbers = {kind: found[i] for i, kind in enumerate((*KINDS, "duplicates"))}
    numbers |= {f"divergence, {units}": gap for units, gap in gaps.items()}

    def draw(figure):
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        left.bar(KINDS, found.mean[:6], yerr=found.sd[:6], color=COLOURS[:6])
        left.set_title("test error, %")
        means, sds = zip(*((gaps[units].mean, gaps[units].sd) for units in UNITS), strict=True)
        right.bar(UNITS, means, yerr=sds, color=COLOURS[:3])
        right.set_title("divergence of the scaled pass")

    return Finding(says, claims, numbers, draw)


if __name__ == "__main__":
    gallery.main(__file__)
