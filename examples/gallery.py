"""The frame of the gallery: each script here reproduces one figure or claim of the lectures.

    python examples/NAME.py [--quick] [--out FILE.png]
    python examples/make_gallery.py [--quick] [NAME ...]    all of them, or those named

In full a script writes docs/gallery/NAME.png and NAME.json, of which docs/gallery.md is made;
--quick trains on the embedded digits and writes its picture elsewhere.

How to add an example: a file of under a hundred lines that holds

    CARD = Card(title=..., section=..., lectures=..., paper=..., setting=..., published=...)

    def run(quick):
        ...                            # the experiment, by sweep() over settings and seeds
        return Finding(says, claims, numbers, draw)

    if __name__ == "__main__":
        gallery.main(__file__)

`quick` takes 5 to 15 s on two cores, and its claims hold too: tests/test_gallery.py runs it. In
full it has three seeds or more and takes a minute or two. A claim is put by Spread.below and above,
which leave a margin of two standard deviations. Run it in full, look at the picture, and write the
page: `python examples/make_gallery.py --page`.

The rule: what is printed, checked and drawn comes from one run, and nothing here knows the machine.
"""

import argparse
import functools
import importlib.util
import itertools
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track as rich_track

from fonio import nn

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "gallery.md"
FOLDER = PAGE.with_suffix("")
OTHERS = {"gallery", "make_gallery", "demo", "mpi_train"}  # files that are no examples of it
SECTIONS = (
    *("Depth and activations", "Initialisation", "Normalization", "Dropout", "Optimization"),
    *("Regularisation and data", "Growing, pruning, transfer", "Inside Numba code"),
)
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.titlesize": 10,
    "axes.axisbelow": True,
    "font.size": 9,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}
_shown = {"progress": False}  # a script shows it, a test does not


@dataclass(frozen=True)
class Card:
    """What the page says of an example beside its picture."""

    title: str
    section: str  # one of SECTIONS
    lectures: str  # "000, slides 44 and 45"
    paper: str  # "Ioffe and Szegedy 2015, arXiv:1502.03167", "" where there is none
    setting: str  # of the full run
    published: str  # the figure or the claim that ours stands beside
    size: tuple = (9, 3.6)  # of the picture, in inches


@dataclass(frozen=True)
class Finding:
    """What a run found: words, claims and whether they hold, numbers, and how to draw it."""

    says: str  # the finding, with its numbers
    claims: dict  # what must hold -> whether it does, by two standard deviations
    numbers: dict  # name -> Spread or number, for the JSON
    draw: Callable  # draw(figure)

    def seeds(self):
        """Return over how many seeds the numbers go, 0 where all are exact."""
        return min((len(n.runs) for n in self.numbers.values() if isinstance(n, Spread)), default=0)


class Spread:
    """Equal measurements over the seeds: `runs` (seeds, ...), their mean and standard deviation."""

    def __init__(self, runs):
        self.runs = np.asarray(runs, float)
        self.mean = self.runs.mean(axis=0)
        self.sd = self.runs.std(axis=0, ddof=1) if len(self.runs) > 1 else 0 * self.mean

    def below(self, other):
        """Tell whether this is smaller, everywhere, by two standard deviations of the gap."""
        other = other if isinstance(other, Spread) else Spread([other])
        return bool(np.all(other.mean - self.mean > 2 * np.hypot(self.sd, other.sd)))

    def above(self, other):
        """Tell whether this is larger, everywhere, by two standard deviations of the gap."""
        return (-self).below(-other)

    def __neg__(self):
        return Spread(-self.runs)

    def __sub__(self, other):
        """Return the difference seed by seed, whose spread is smaller where seeds share luck."""
        return Spread(self.runs - (other.runs if isinstance(other, Spread) else other))

    def __truediv__(self, other):
        return Spread(self.runs / (other.runs if isinstance(other, Spread) else other))

    def __rmul__(self, factor):
        return Spread(factor * self.runs)

    def __getitem__(self, index):
        """Return the Spread of one element (or a slice) of each run, as of the end of a curve."""
        return Spread(self.runs[(slice(None), *(index if isinstance(index, tuple) else [index]))])

    def __format__(self, spec):
        spec = spec or ".3g"
        return f"{self.mean:{spec}} ± {self.sd:{spec}}"

    def __str__(self):
        return format(self)


def track(items, doing):
    """Yield the items, showing how many are done where a script runs."""
    items, console = list(items), Console(file=sys.stderr)
    yield from rich_track(items, doing, console=console, disable=not _shown["progress"])


def sweep(measure, settings, seeds=3, doing="training"):
    """Return {setting: Spread of measure(setting, seed) over seeds}; a tuple is passed unpacked.

    Initial weights are seeded before each.
    """
    settings = list(settings)
    found = {setting: [] for setting in settings}
    for seed, setting in track(itertools.product(range(seeds), settings), doing):
        arguments = setting if isinstance(setting, tuple) else (setting,)
        nn.manual_seed(seed)
        found[setting].append(measure(*arguments, seed))
    return {setting: Spread(runs) for setting, runs in found.items()}


def fit(model, x, y, **options):
    """nn.fit without its bar; Ctrl-C ends the whole script, not this fit alone."""
    history = nn.fit(model, x, y, progress=False, **options)
    if history.interrupted:
        raise KeyboardInterrupt
    return history


def mlp(widths, activation=nn.ReLU, norm=None):
    """Return Linear, norm (if any), activation for each hidden width, and a last Linear."""
    layers = []
    for before, width in itertools.pairwise(widths[:-1]):
        layers += [nn.Linear(before, width), *([norm(width)] if norm else []), activation()]
    return nn.Sequential(*layers, nn.Linear(*widths[-2:]))


def start(model, weights):
    """Fill the weights of each Linear by `weights(weight)`, its biases with 0; return the model."""
    for layer in model:
        if isinstance(layer, nn.Linear):
            weights(layer.weight)
            nn.init.zeros(layer.bias)
    return model


def error(model, x, y):
    """Return the share of rows that a model puts in the wrong class, in percent."""
    return 100 * (1 - nn.evaluate(model, x, y)["accuracy"])


@functools.cache
def images(quick):
    """Return (x, y), (x_test, y_test): the embedded digits where quick, MNIST in full."""
    if quick:
        return nn.datasets.digits()
    try:
        return nn.datasets.mnist()
    except FileNotFoundError as problem:
        sys.exit(f"{problem}; or --quick, which runs on the digits that ship with fonio")


def curve(axes, x, spreads, **options):
    """Draw means over x, in a band of one standard deviation; a list of Spreads, or one of many."""
    spreads = spreads if isinstance(spreads, list) else [spreads]
    mean, sd = (np.ravel([getattr(spread, what) for spread in spreads]) for what in ("mean", "sd"))
    line = axes.plot(x, mean, **options)[0]
    axes.fill_between(x, mean - sd, mean + sd, color=line.get_color(), alpha=0.2, linewidth=0)


def load(name):
    """Import an example by its name, once."""
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    return importlib.import_module(name)


def names():
    """Return the names of all examples."""
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem not in OTHERS)


def perform(name, quick, out=None):
    """Run an example, print what it found and write its picture; tell whether all claims hold."""
    module = load(name)
    _shown["progress"], before = True, _shown["progress"]
    began = time.perf_counter()
    try:
        found = module.run(quick)
    finally:
        _shown["progress"] = before
    print(f"{module.CARD.title}\n\n{found.says}\n")
    for claim, holds in found.claims.items():
        print(f"  {'holds' if holds else 'DOES NOT HOLD'}: {claim}")
    folder = Path(tempfile.gettempdir()) if quick else FOLDER
    picture = Path(out) if out else folder / f"{name}.png"
    paint(found, module.CARD, picture)
    if not quick and out is None:
        write_results(found, FOLDER / f"{name}.json")
    print(f"\n{picture} ({time.perf_counter() - began:.1f} s)")
    return all(found.claims.values())


def paint(found, card, path):
    """Draw a finding into a PNG."""
    try:
        import matplotlib
        from cycler import cycler
        from matplotlib.figure import Figure
    except ImportError:
        print("no picture: matplotlib is not installed, pip install fonio[plots]")
        return
    with matplotlib.rc_context({**STYLE, "axes.prop_cycle": cycler(color=COLOURS)}):
        figure = Figure(figsize=card.size, layout="constrained")
        found.draw(figure)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110, metadata={"Software": None})


def write_results(found, path):
    """Write what a full run found, rounded to what is sure, as JSON."""
    numbers = {}
    for name, number in found.numbers.items():
        spread = number if isinstance(number, Spread) else Spread([number])
        numbers[name] = {"mean": _rounded(spread.mean), "sd": _rounded(spread.sd)}
    claims = {claim: bool(holds) for claim, holds in found.claims.items()}
    results = {"seeds": found.seeds(), "says": found.says, "claims": claims, "numbers": numbers}
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _rounded(value):
    rounded = [float(f"{v:.4g}") if math.isfinite(v) else None for v in np.ravel(value)]
    return rounded if np.ndim(value) else rounded[0]


def main(file):
    """Run one example from the command line."""
    name = Path(file).stem
    parser = argparse.ArgumentParser(description=load(name).__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="seconds, on embedded data")
    parser.add_argument("--out", metavar="FILE.png", help="where the picture goes")
    options = parser.parse_args()
    sys.exit(until_ctrl_c(lambda: perform(name, options.quick, options.out)))


def until_ctrl_c(work):
    """Return the exit status of work, which tells whether all held; 130 after Ctrl-C."""
    try:
        return 0 if work() else 1
    except KeyboardInterrupt:
        return 130
