"""Sequential: modules one after another, checked when they are put together.

The rule: what each layer makes, forward and backward, can be traced, so that a recorded step is
proven layer by layer.
"""

import contextlib
import threading

from ..kernels import arrays
from . import fusion
from .module import Module

_local = threading.local()


def apply_backward(backward, dy, accumulate):
    """Call a layer's backward; a layer of a user's own need not know `accumulate`."""
    return backward(dy, accumulate=True) if accumulate else backward(dy)


class Sequential(Module):
    """Modules one after another.

    A linear or normalization layer computes the activation after it.
    """

    def __init__(self, *layers):
        for layer in layers:
            if not isinstance(layer, Module):
                kind = type(layer).__name__
                raise TypeError(f"Sequential: layer is a {kind}, expected a Module")
        self.layers = list(layers)
        _check_once(self)
        _check_widths(self.layers)

    def children(self):
        for i, layer in enumerate(self.layers):
            yield str(i), layer

    @property
    def in_features(self):
        """The width that the first layer with one expects, or None."""
        for layer in self.layers:
            width = _wanted(layer)
            if width is not None or hasattr(layer, "width_after"):  # behind it widths are others
                return width
        return None

    @property
    def out_features(self):
        """The width that the last layer with one makes, or None."""
        width = None
        for layer in self.layers:
            after = _after(layer, width)
            width = width if after is None else after
        return width

    def width_after(self, width):
        """Return how many features come out of `width`, or None where a layer does not tell."""
        for layer in self.layers:
            width = _after(layer, width)
        return width

    def __len__(self):
        return len(self.layers)

    def __iter__(self):
        return iter(self.layers)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Sequential(*self.layers[index])
        return self.layers[index]

    def forward(self, x):
        passed, i = [], 0
        while i < len(self.layers):
            layer = self.layers[i]
            x, backward, count = self._run(i, x)
            trains = any(inner.trainable for inner in self.layers[i : i + count])
            i += count
            _trace(layer, x)
            _observe(self.layers[i - 1], x, False)
            passed.append((layer, self.layers[i - 1], backward, trains))

        def backward(dy, accumulate=False):
            for layer, last, back, _ in reversed(passed):
                _observe(last, dy, True)
                dy = apply_backward(back, dy, accumulate)
                _trace(layer, dy)
            return dy

        def parameters_only(dy, accumulate=False):
            first = next((i for i, (*_, trains) in enumerate(passed) if trains), len(passed))
            for layer, last, back, _ in reversed(passed[first + 1 :]):
                _observe(last, dy, True)
                dy = apply_backward(back, dy, accumulate)
                _trace(layer, dy)
            if first < len(passed):  # what lies before it is frozen, or has nothing to train
                _, last, back, _ = passed[first]
                _observe(last, dy, True)
                apply_backward(getattr(back, "parameters_only", back), dy, accumulate)

        backward.parameters_only = parameters_only
        return x, backward

    def _run(self, i, x):
        """Run layer i, and those after it that it computes too: (y, backward, how many)."""
        apart = arrays.device_of(x) is None or _observer() is not None
        several = None if apart else fusion.run(self.layers, i, x)
        if several is not None:
            return several
        activation = self._fused_after(i)
        if activation is None:
            return *self.layers[i].forward(x), 1
        return *self.layers[i].forward_fused(x, activation), 2

    def _fused_after(self, i):
        """Return the name of the activation that layer i computes for the next, or None."""
        can = getattr(self.layers[i], "can_fuse", None)
        if can is None or i + 1 == len(self.layers):
            return None
        activation = getattr(self.layers[i + 1], "fusible", None)
        return activation if activation is not None and can(activation) else None


def _check_once(model):
    """Refuse a module that stands twice: its second backward would overwrite the first."""
    seen = set()
    for module in model.modules():
        if id(module) in seen:
            raise ValueError(f"Sequential: {module!r} stands twice in the model, expected once")
        seen.add(id(module))


def _wanted(layer):
    return getattr(layer, "in_features", None) or getattr(layer, "num_features", None)


def _made(layer):
    return getattr(layer, "out_features", None) or getattr(layer, "num_features", None)


def _after(layer, width):
    """Return the width that a layer makes of one; None where it is not known."""
    makes = _made(layer)
    if makes is not None or getattr(layer, "keeps_width", False):
        return width if makes is None else makes
    change = getattr(layer, "width_after", None)
    return None if width is None or change is None else change(width)


def _check_widths(layers):
    """Refuse a layer whose width does not fit the one before, naming both."""
    known, maker = None, None
    for i, layer in enumerate(layers):
        wants = _wanted(layer)
        if wants is not None and known is not None and wants != known:
            raise ValueError(
                f"Sequential: layer {i} {layer!r} expects {wants} features, "
                f"but layer {maker} {layers[maker]!r} makes {known}"
            )
        known = _after(layer, known)
        if _made(layer) is not None or not getattr(layer, "keeps_width", False):
            maker = i


@contextlib.contextmanager
def tracing():
    """Collect (layer, array) of what each layer of a Sequential makes, forward and backward."""
    before, _local.trace = getattr(_local, "trace", None), []
    try:
        yield _local.trace
    finally:
        _local.trace = before


def _trace(layer, array):
    trace = getattr(_local, "trace", None)
    if trace is not None:
        trace.append((layer, array))


@contextlib.contextmanager
def observing(observer):
    """Call observer(layer, array, backward) for what each layer of a Sequential makes.

    An activation that the layer before computes stands for both; backward, the array is the
    gradient of what the layer made. None observes nothing.
    """
    before, _local.observer = _observer(), observer
    try:
        yield
    finally:
        _local.observer = before


def _observer():
    return getattr(_local, "observer", None)


def _observe(layer, array, backward):
    observer = _observer()
    if observer is not None:
        observer(layer, array, backward)
