"""Seeing inside a model: what its layers make, what comes back, and how far its weights move.

An Inspector looks at every hundredth step (or another) of a fit from within the recorded step;
`inspect` looks at one pass, `dead_units` for units that never answer.

The rule: looking changes nothing. A fit with an Inspector ends with the bits of one without.
"""

import math

import numpy as np

from .. import kernels
from ..kernels import arrays
from ..kernels.launch import kernel
from ..kernels.statistics import FIGURES
from .activations import Activation
from .callbacks import Callback
from .inference import ROWS, eval_mode, prepare_inputs
from .losses import Loss, make_loss, prepare_targets
from .records import SIDES, STATISTICS, Records
from .sequential import Sequential, observing

# the ends of activations that have two; hard_tanh's are its numbers
ENDS = {
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "hard_tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "relu6": (0.0, 6.0),
}
NEAR = 0.01  # of the way between the ends: so near one of them counts as saturated
BINS = 50


@kernel
def find_row(start, stop, row, count, every, rows):
    """row[0] = the row of a ring for this step, or -1 where it is none of every so many."""
    for _ in range(start, stop):
        row[0] = count[0] // every % rows if count[0] % every == 0 else -1


def ends_of(layer):
    """Return the ends of a layer's activation, or None where it has not two."""
    name = getattr(layer, "operation", None)
    if name == "hard_tanh" and layer.numbers:
        return layer.numbers
    return ENDS.get(name)


def limits_of(layer):
    """Return below and above what an element of a layer's output counts as saturated."""
    ends = ends_of(layer)
    if ends is None:
        return -math.inf, math.inf
    room = NEAR * (ends[1] - ends[0])
    return ends[0] + room, ends[1] - room


def names_of(model):
    """Return {id of a layer: its name, "1 ReLU"} for all that hold no layers themselves."""
    found, waiting = {}, [("", model)]
    while waiting:
        prefix, module = waiting.pop()
        if not isinstance(module, Sequential):
            found[id(module)] = f"{prefix} {type(module).__name__}".strip()
        dot = f"{prefix}." if prefix else ""
        waiting += [(dot + name, child) for name, child in module.children()]
    return found


class _Rings:
    """For each layer and direction, arrays that hold its figures at the last so many steps."""

    def __init__(self, model, rows, bins):
        self.rows, self._bins = rows, bins
        self._names = names_of(model)
        self._made = {side: {} for side in SIDES}

    def observe(self, layer, array, backward, row):
        """Launch what writes the figures of an array; layers that hold others are passed over."""
        name = self._names.get(id(layer))
        if name is None:
            return
        side = self._made[SIDES[backward]]
        if name not in side:
            summaries = arrays.zeros(array, (self.rows, FIGURES), array.dtype)
            histograms = arrays.zeros(array, (self.rows, self._bins), np.int64)
            side[name] = summaries, histograms, ends_of(layer)
        summaries, histograms, _ = side[name]
        low, high = (-math.inf, math.inf) if backward else limits_of(layer)
        kernels.observe(array, summaries, histograms, row, low, high)

    def read(self, rows):
        """Return {side: {name: (summaries, histogram)}} of these rows, layers in order."""
        return {
            SIDES[0]: {name: _read(rows, *ring) for name, ring in self._made[SIDES[0]].items()},
            SIDES[1]: {
                name: _read(rows, *self._made[SIDES[1]][name])
                for name in self._made[SIDES[0]]
                if name in self._made[SIDES[1]]
            },
        }


def _read(rows, summaries, histograms, ends):
    summaries = np.asarray(arrays.on_host(summaries))[rows]
    if ends is None:
        summaries[:, STATISTICS.index("saturated")] = np.nan
    return summaries, np.asarray(arrays.on_host(histograms))[rows]


class Inspector(Callback, Records):
    """Figures of layers and parameters at every so many steps of a fit: a callback.

        look = nn.Inspector(every=100)
        nn.fit(model, x, y, callbacks=[look])
        rich.print(look.table()); look.records["activations"]["1 ReLU"]["dead"]

    every: steps from one look to the next, the first is at step 0; histograms: False keeps one bin,
    a number that many, True 50. `records` (see Records) grows after each epoch; a fit begins it
    anew. Gradients are those before clipping. Of a Linear with the activation that it computes for
    the next layer, the activation is seen.
    """

    def __init__(self, every=100, histograms=True):
        arrays.check_integer("Inspector", "every", every, 1)
        if isinstance(histograms, bool):
            histograms = BINS if histograms else 1
        arrays.check_integer("Inspector", "histograms", histograms, 1)
        Records.__init__(self)
        self.every, self.bins = int(every), int(histograms)

    def begin(self, fit):
        Records.__init__(self)
        optimizer, like = fit.optimizer, fit.optimizer.values
        steps = -(-fit.rows // min(fit.batch_size, fit.rows))
        self._rings = _Rings(fit.model, 2 + 2 * steps // self.every, self.bins)
        self._row = arrays.zeros(like, 1, np.int64)
        self._seen, self._stale = int(optimizer.count[0]), True
        names = {id(p): name for name, p in fit.model.named_parameters()}
        self._parameters = [names.get(id(p), f"{k}") for k, p in enumerate(optimizer.parameters)]
        starts = np.array([p.home[2] for p in optimizer.parameters], np.int64)
        stops = starts + [p.size for p in optimizer.parameters]
        self._spans = arrays.put(like, starts), arrays.put(like, stops)
        self._before = arrays.scratch(like, like.shape)
        shape = self._rings.rows, 3, len(starts)
        self._norms = arrays.zeros(like, shape, like.dtype)

    def after_layer(self, fit, layer, array, backward):
        self._find_row(fit)
        self._rings.observe(layer, array, backward, self._row)

    def after_backward(self, fit):
        self._find_row(fit)
        self._measure(fit.optimizer, False)

    def after_step(self, fit):
        self._measure(fit.optimizer, True)
        self._stale = True

    def _find_row(self, fit):
        """Launch, once a step, what tells all that follows whether and where to write."""
        if self._stale:
            find_row(1, self._row, fit.optimizer.count, self.every, self._rings.rows)
        self._stale = False

    def _measure(self, optimizer, after):
        values, grads = optimizer.values, optimizer.grads
        arguments = (self._norms, self._before, values, grads, *self._spans, self._row)
        kernels.observe_update(*arguments, after)

    def end_epoch(self, fit):
        self._drain(fit)

    def end(self, fit):
        self._drain(fit)

    def _drain(self, fit):
        """Take what the rings hold of the steps since the last time."""
        count = int(fit.optimizer.count[0])
        first = -(-self._seen // self.every) * self.every
        steps = np.arange(first, count, self.every)[-self._rings.rows :]
        self._seen = count
        if len(steps):
            rows = steps // self.every % self._rings.rows
            norms = np.asarray(arrays.on_host(self._norms))[rows]
            found = {name: norms[:, :, k] for k, name in enumerate(self._parameters)}
            self.add(steps, self._rings.read(rows), found)


def inspect(model, x, y=None, loss="cross_entropy", bins=BINS):
    """Return Records of one training pass over x (N, I) as one batch; the model stays as it is.

    With y also the gradients of the loss, which stay in the parameters' `.grad`. There is no step,
    so that updates are NaN.
    """
    arrays.check_integer("inspect", "bins", bins, 1)
    loss = make_loss(loss)
    x = arrays.put(model.anchor, prepare_inputs(x, model.dtype, "inspect"))
    rings, kept = _Rings(model, 1, bins), [buffer.copy() for buffer in model.buffers()]
    modes = [(module, module.training) for module in model.modules()]

    def observe(layer, array, backward):
        rings.observe(layer, array, backward, 0)

    try:
        model.train()
        with observing(observe), kernels.not_recorded():
            output, backward = model.forward(x)
            if y is not None:
                backward(_derivative(loss, output, y))
    finally:
        for module, mode in modes:
            module.training = mode
        for buffer, before in zip(model.buffers(), kept, strict=True):
            buffer[...] = before
    found = Records()
    found.add([0], rings.read([0]), {} if y is None else _slopes(model))
    return found


def _derivative(loss, output, y):
    y = prepare_targets(loss, y, output.shape[1], output.dtype, "inspect")
    if len(y) != len(output):
        raise ValueError(f"inspect: y has {len(y)} rows, expected {len(output)} as x has")
    y = arrays.put(output, y)
    return (loss(output, y) if not isinstance(loss, Loss) else loss(output, y, None, None))[1]


def _slopes(model):
    """Return the norms of each parameter and of its gradient, (1, 3); there is no update."""

    def norm(array):
        return float(np.linalg.norm(np.asarray(arrays.on_host(array), np.float64)))

    return {
        name: np.array([[norm(p.grad), norm(p.value), np.nan]])
        for name, p in model.named_parameters()
    }


def dead_units(model, x):
    """Return {activation layer: which of its units are 0 for every row of x}, boolean arrays.

    Maas, Hannun and Ng 2013 count such units, which no gradient reaches. In eval mode; x (N, I).
    """
    x = prepare_inputs(x, model.dtype, "dead_units")
    names, alive = names_of(model), {}

    def observe(layer, array, backward):
        if isinstance(layer, Activation):
            array = arrays.on_host(array)
            found = (array != 0).any(axis=(0, *range(2, array.ndim)))
            alive[names[id(layer)]] = alive.get(names[id(layer)], False) | found

    with eval_mode(model), kernels.not_recorded(), observing(observe):
        for start in range(0, len(x), ROWS):
            model(arrays.put(model.anchor, x[start : start + ROWS]))
    return {name: ~found for name, found in alive.items()}
