"""Dropout as an ensemble: all its masks, or many, against one pass with scaled weights."""

import numpy as np

import gallery
from fonio import nn
from gallery import COLOURS, Card, Finding, curve, fit, images, sweep

CARD = Card(
    title="Dropout as an ensemble of all its masks",
    section="Dropout",
    lectures="002, what dropout averages; 000, slide 22",
    paper="Srivastava et al. 2014; Hinton et al. 2012, arXiv:1207.0580",
    setting="Exact: the 64-pixel digits, 12 ReLU units under dropout .5, all 4096 masks. Monte "
    "Carlo: the first 10,000 digits of MNIST, two hidden layers of 256 ReLU, dropout .5, 15 "
    "epochs of Adam.",
    published="One pass with scaled weights is the geometric mean over the masks of one hidden "
    "layer, and near the arithmetic one; a Monte Carlo average is as good from 50 masks on.",
    size=(10, 3.4),
)
COUNTS = (1, 2, 5, 10, 20, 50, 100)


def exact(seed):
    """Average over all masks; return errors in percent, and distances from one scaled pass."""
    (x, y), (x_test, y_test) = nn.datasets.digits()
    model = nn.Sequential(nn.Linear(64, 12), nn.ReLU(), drop := nn.Dropout(0.5), nn.Linear(12, 10))
    fit(model, x, y, epochs=60, seed=seed)
    hidden, head = model[:2](x_test), model[3]
    each = np.stack([head(drop(hidden, mask)) for mask in nn.all_masks(12) / 0.5 * 0.5 > 0])
    each = each.astype(np.float64)
    logs = each - np.log(np.exp(each).sum(axis=2, keepdims=True))
    geometric = np.exp(logs.mean(axis=0))
    geometric /= geometric.sum(axis=1, keepdims=True)
    means = {
        "one mask": np.exp(logs[np.random.default_rng(seed).integers(len(logs))]),
        "arithmetic": np.exp(logs).mean(axis=0),
        "geometric": geometric,
        "scaled": nn.predict_proba(model, x_test),
    }
    errors = [100 * (p.argmax(axis=1) != y_test).mean() for p in means.values()]
    gaps = [abs(means[k] - means["scaled"]).mean() for k in ("arithmetic", "geometric")]
    return *errors, *gaps
