"""Rows of the table for the figures that are taken of layers and of parameters.

The references bin in the arrays' own precision, by the same formula: an element at the edge of a
bin falls where rounding puts it.
"""

import numpy as np

from .table import Workload, kernels, register

ROWS, BINS, PARTS = 3, 10, 4
LOW, HIGH = -1.5, 1.5


def _observe(x, summaries, histograms, row, low, high):
    summaries, histograms = np.array(summaries, np.float64), histograms.copy()
    wide, columns = x.astype(np.float64), x.reshape(len(x), int(np.prod(x.shape[1:])))
    count, finite = np.float64(x.size), x[np.isfinite(x)]
    least, most = (finite.min(), finite.max()) if finite.size else (np.nan, np.nan)
    mean = wide.sum() / count
    dead = (columns == 0).all(0) & (len(x) > 0)
    outside = (wide < low) | (wide > high)
    summaries[row] = (
        *(mean, np.sqrt(((wide - mean) ** 2).sum() / count), least, most),
        *((wide == 0).sum() / count, dead.sum() / np.float64(dead.size), outside.sum() / count),
    )
    bins = histograms.shape[1]
    scale = x.dtype.type(bins) / (most - least) if most > least else x.dtype.type(0)
    place = (x[~np.isnan(x)] - least) * scale if scale else np.zeros(int((~np.isnan(x)).sum()))
    histograms[row] = np.bincount(np.clip(place, 0, bins - 1).astype(int), minlength=bins)
    return summaries, histograms


def _observed(rng, size, dtype):
    x = rng.standard_normal(size).astype(dtype)
    x[:, ::2] = np.maximum(x[:, ::2], 0)
    x[:, -1:] = 0
    rings = np.ones((ROWS, 7), dtype), np.ones((ROWS, BINS), np.int64)
    return x, *rings, 1, LOW, HIGH


def _numpy_observe(x, summaries, histograms, row, low, high):
    def peer():
        shares = [(x == 0).mean(), (x == 0).all(0).mean(), ((x < low) | (x > high)).mean()]
        return x.mean(), x.std(), x.min(), x.max(), *shares, np.histogram(x, BINS)

    return peer


def _update(norms, before, values, grads, starts, stops, row, after):
    norms = np.array(norms, np.float64)
    for part, array in enumerate((grads, values)):
        for k, stretch in enumerate(map(slice, starts, stops)):
            norms[row, part, k] = np.linalg.norm(array[stretch].astype(np.float64))
    return norms, values.copy()


def _updated(rng, size, dtype):
    (count,) = size
    edges = np.linspace(0, count, PARTS + 1).astype(np.int64)
    before, values, grads = (rng.standard_normal(count).astype(dtype) for _ in range(3))
    norms = np.ones((ROWS, 3, PARTS), dtype)
    return norms, before, values, grads, edges[:-1].copy(), edges[1:].copy(), 1, False


def _numpy_update(norms, before, values, grads, starts, stops, row, after):
    stretches = [*map(slice, starts, stops)]

    def peer():
        before[:] = values
        return [(np.linalg.norm(grads[s]), np.linalg.norm(values[s])) for s in stretches]

    return peer


register(
    Workload(
        name="observe",
        group="statistics",
        call=kernels.observe,
        reference=_observe,
        inputs=_observed,
        sizes=((128, 256), (4096, 512), (128, 10)),
        test_sizes=((0, 3), (3, 0), (1, 1), (5, 7), (65, 17), (4, 3, 5), (130, 33)),
        peers={"numpy": _numpy_observe},
        flops=lambda *size: 10 * int(np.prod(size)),
        bytes=lambda size, itemsize: (
            itemsize * (int(np.prod(size)) + 2 * 7 * ROWS) + 2 * 8 * BINS * ROWS
        ),
        out_argument=False,
    ),
    Workload(
        name="observe_update",
        group="statistics",
        call=kernels.observe_update,
        reference=_update,
        inputs=_updated,
        sizes=((4610,), (203_530,)),
        test_sizes=((0,), (1,), (7,), (4097,), (20_000,)),
        peers={"numpy": _numpy_update},
        flops=lambda *size: 4 * size[0],
        bytes=lambda size, itemsize: itemsize * (4 * size[0] + 6 * PARTS * ROWS) + 16 * PARTS,
        out_argument=False,
    ),
)
