"""What a net with dropout does not know: many masks instead of one pass.

The rule: a model is left as it was found, and the same seed gives the same answer.
"""

import numpy as np

from .. import kernels
from ..kernels import arrays
from .inference import ROWS, ROWS_ON_CUDA, eval_mode, prepare_inputs, probabilities
from .steps import seed_masks

MOST_UNITS = 20


def monte_carlo(model, x, samples=100, seed=0, proba=False):
    """Return (mean, standard deviation) of the outputs (N, O) over passes with dropout active.

    Gal and Ghahramani 2016, arXiv:1506.02142. Layers that draw are in training mode, all others in
    eval mode. The deviation is that of the passes: their squares' mean is over `samples`. proba: of
    the probabilities, as predict_proba has them, rather than of the outputs.
    """
    arrays.check_integer("monte_carlo", "samples", samples, 1)
    arrays.check_integer("monte_carlo", "seed", seed, 0)
    drawing = [module for module in model.modules() if hasattr(module, "stream")]
    if not drawing:
        raise ValueError("monte_carlo: the model has no layer that draws, expected Dropout")
    x = prepare_inputs(x, model.dtype, "monte_carlo")
    keys = [(module.seed, module.stream) for module in drawing]
    counts = [arrays.on_host(counter).copy() for counter in _counters(drawing)]
    found = []
    rows = ROWS if arrays.device_of(model.anchor) is None else ROWS_ON_CUDA
    with eval_mode(model), kernels.not_recorded():
        try:
            seed_masks(drawing, seed)
            for module in drawing:
                module.training = True
            for start in range(0, len(x), rows):
                found.append(_moments(model, drawing, x[start : start + rows], samples, proba))
        finally:
            for module, key in zip(drawing, keys, strict=True):
                module.seed, module.stream = key
            for counter, count in zip(_counters(drawing), counts, strict=True):
                counter[...] = count
    return tuple(np.concatenate(parts).astype(model.dtype) for parts in zip(*found, strict=True))


def _moments(model, drawing, x, samples, proba):
    """Return mean and deviation for one batch, in float64, by Welford 1962."""
    batch = arrays.put(model.anchor, x)
    for counter in _counters(drawing):
        counter[...] = 0
    mean = squares = 0.0
    for count in range(1, samples + 1):
        output = arrays.on_host(model(batch))
        y = (probabilities(output) if proba else output).astype(np.float64)
        away = y - mean
        mean = mean + away / count
        squares = squares + away * (y - mean)
    return mean, np.sqrt(squares / samples)


def _counters(drawing):
    return [module.counter for module in drawing if hasattr(module, "counter")]


def all_masks(units):
    """Return the 2ⁿ masks of n units, (2ⁿ, n), True where they keep: for exact averages.

    A mask that drops d of them has the chance p^d (1-p)^(n-d).
    """
    arrays.check_integer("all_masks", "units", units, 0)
    if units > MOST_UNITS:
        raise ValueError(f"all_masks: units is {units}, expected units <= {MOST_UNITS}")
    return (np.arange(1 << units)[:, None] >> np.arange(units)) % 2 == 1
