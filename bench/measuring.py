"""The measuring engine: sides run in short slices, interleaved, in one process.

On a shared machine absolute times move by a factor of two, the ratio of two neighbouring slices
hardly does. So a comparison runs its sides in alternating order (A B B A A B ...), about 0.3 ms
each, and reports the median of the ratios of all rounds with a bootstrap interval.
"""

import gc
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import cycle, repeat

import numpy as np

SLICE = 0.3e-3
LEAST_ROUNDS = 7
FEWEST_ROUNDS = 3  # of calls so long that seven rounds would take three times the time given
MOST_ROUNDS = 4000
LONG = 0.1  # seconds: a call that is timed once to see how long it takes


@dataclass(frozen=True)
class Repeats:
    """A side that repeats itself: `run(n)` does n calls and waits for them."""

    run: Callable
    calls: int = 1  # what one repetition counts for
    result: Callable | None = None  # a figure to check that all sides did the same work


@dataclass(frozen=True)
class Interval:
    """A median and the 95 % bootstrap interval around it."""

    median: float
    low: float
    high: float

    def __str__(self):
        return f"{self.median:.3g} [{self.low:.3g}, {self.high:.3g}]"


@dataclass(frozen=True)
class Comparison:
    """Seconds a call of each side, and each side's time over the first side's."""

    seconds: dict
    ratios: dict
    rounds: int
    repeats: dict  # repetitions in a slice
    samples: np.ndarray = field(repr=False, compare=False)  # (rounds, sides), seconds a call

    def ratio(self, name, to):
        """Return one side's time over another's, pair by pair."""
        places = list(self.seconds)
        pairs = self.samples[:, places.index(name)] / self.samples[:, places.index(to)]
        return median_interval(pairs)

    def __str__(self):
        first, *others = self.seconds
        text = f"{first} {self.seconds[first].median * 1e6:.3f} us"
        for name in others:
            text += f", {name} {self.seconds[name].median * 1e6:.3f} us ({self.ratios[name]} times)"
        return text


def rotate(calls):
    """Make one side of several calls, taken in turn, so that no branch predictor learns an input.

    The turn goes on from slice to slice.
    """
    turn = cycle(calls)

    def run(times):
        for _, call in zip(repeat(None, times), turn, strict=False):
            call()

    return Repeats(run)


def as_side(side):
    """Make `Repeats` of a callable or a list of callables."""
    if isinstance(side, Repeats):
        return side
    if not callable(side):
        return rotate(side)

    def run(times):
        for _ in repeat(None, times):
            side()

    return Repeats(run)


def compare(sides, seconds=2.0, slice_seconds=SLICE, threads=1, rest=0.0, packages=()):
    """Compare {name: side}; the first side is the one that the others are divided by.

    A side is a callable, a list of callables (taken in turn), or `Repeats`. `threads=None` leaves
    every library alone. `rest` is a pause before each slice, and a call that is not timed: with
    several threads the pool of one side would else spin on while the next is timed.
    """
    sides = {name: as_side(side) for name, side in sides.items()}
    with limited_to(threads, packages), _no_garbage():
        counts = {name: _slice_length(side, slice_seconds) for name, side in sides.items()}
        samples = _interleave(sides, counts, seconds, rest)
    ratios = samples / samples[:, :1]
    names = list(sides)
    return Comparison(
        {name: median_interval(samples[:, i]) for i, name in enumerate(names)},
        {name: median_interval(ratios[:, i]) for i, name in enumerate(names)},
        len(samples),
        counts,
        samples,
    )


def noise_floor(side, seconds=2.0, **options):
    """The ratio of a side to itself: what a measured ratio must exceed to mean anything."""
    return compare({"a": side, "again": side}, seconds, **options).ratios["again"]


def median_interval(values, resamples=500, seed=0):
    """The median of the values with a 95 % bootstrap interval."""
    values = np.asarray(values)
    drawn = np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))
    low, high = np.quantile(np.median(values[drawn], axis=1), [0.025, 0.975])
    return Interval(float(np.median(values)), float(low), float(high))


@contextmanager
def limited_to(threads, packages=()):
    """Limit every loaded library to so many threads while inside; None leaves them alone.

    packages: other copies of fonio.
    """
    if threads is None:
        yield
        return
    with ExitStack() as undo:
        if "threadpoolctl" in sys.modules or _has_threadpoolctl():
            from threadpoolctl import threadpool_limits

            undo.enter_context(threadpool_limits(limits=threads))
        loaded = [sys.modules[name] for name in ("torch", "fonio.kernels") if name in sys.modules]
        for library in (*loaded, *(package.kernels for package in packages)):
            if hasattr(library, "set_num_threads"):
                undo.callback(library.set_num_threads, library.get_num_threads())
                library.set_num_threads(threads)
        yield


def _has_threadpoolctl():
    from importlib.util import find_spec

    return find_spec("threadpoolctl") is not None


@contextmanager
def _no_garbage():
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _timed(side, times):
    start = time.perf_counter()
    side.run(times)
    return time.perf_counter() - start


def _rested(side, times, rest):
    if rest:
        time.sleep(rest)
        side.run(1)
    return _timed(side, times)


def _slice_length(side, slice_seconds):
    """How often to repeat a side so that it fills a slice; the first run may compile: not timed."""
    side.run(1)
    times = 1
    while True:
        took = _timed(side, times)
        if took < LONG:  # a first call may still prepare something
            took = min(took, *(_timed(side, times) for _ in range(2)))
        if took >= slice_seconds / 2:
            return max(1, round(times * slice_seconds / took))
        times = max(2 * times, int(times * min(100, 0.8 * slice_seconds / max(took, 1e-9))))


def _interleave(sides, counts, seconds, rest):
    """(rounds, sides): seconds a call, every other round in reversed order."""
    order = list(sides)
    samples, begin = [], time.perf_counter()
    while (spent := time.perf_counter() - begin) < seconds or len(samples) < LEAST_ROUNDS:
        if spent > 3 * seconds and len(samples) >= FEWEST_ROUNDS:
            break
        if len(samples) == MOST_ROUNDS:
            break
        took = {name: _rested(sides[name], counts[name], rest) for name in order}
        samples.append([took[name] / (counts[name] * sides[name].calls) for name in sides])
        order.reverse()
    return np.array(samples)
