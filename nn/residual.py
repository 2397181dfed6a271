"""Residual blocks: y = x + F(x), so that signal and gradient find a way past every layer.

He et al. 2016, arXiv:1512.03385 (activation after the sum) and arXiv:1603.05027 (before: then the
way past is clear, and depth costs nothing).
"""

from .. import kernels
from ..kernels import arrays
from . import activations
from .layers import Linear
from .module import Module
from .normalization import BatchNorm1d
from .sequential import Sequential, apply_backward


class Residual(Module):
    """y = shortcut(x) + F(x), F the layers in turn; without a shortcut x itself.

    The shortcut, a module such as a Linear without bias, is for an F that changes the width.
    """

    def __init__(self, *layers, shortcut=None):
        for layer in (*layers, *([] if shortcut is None else [shortcut])):
            if not isinstance(layer, Module):
                kind = type(layer).__name__
                raise TypeError(f"Residual: layer is a {kind}, expected a Module")
        if not layers:
            raise ValueError("Residual: has no layers, expected at least one")
        self.body = Sequential(*layers)
        self.shortcut = shortcut
        first, last = self.body.in_features, self.body.out_features
        if shortcut is None and None not in (first, last) and first != last:
            raise ValueError(
                f"Residual: the layers make {last} features of {first}, expected as many, or a "
                "shortcut"
            )

    @property
    def in_features(self):
        """The width that the layers expect."""
        return self.body.in_features

    @property
    def out_features(self):
        """The width that the layers make."""
        return self.body.out_features

    def forward(self, x):
        inner, back = self.body.forward(x)
        past, back_past = (x, None) if self.shortcut is None else self.shortcut.forward(x)
        if inner.shape != past.shape:
            raise ValueError(
                f"Residual: the layers make {inner.shape} of {x.shape}, expected {past.shape}"
            )

        def backward(dy, accumulate=False):
            dx = apply_backward(back, dy, accumulate)
            straight = dy if back_past is None else apply_backward(back_past, dy, accumulate)
            return kernels.add(dx, straight)

        def parameters_only(dy, accumulate=False):
            apply_backward(back.parameters_only, dy, accumulate)
            if back_past is not None:
                alone = getattr(back_past, "parameters_only", back_past)
                apply_backward(alone, dy, accumulate)

        backward.parameters_only = parameters_only
        return kernels.add(past, inner), backward


class ResidualBlock(Sequential):
    """Two linear layers and the way past them: features -> hidden -> features.

    preactivation: norm, activation, linear, twice, and the bare sum; else linear, norm, activation,
    linear, norm, the sum, and an activation after it. norm: a class such as BatchNorm1d, or None.
    """

    def __init__(
        self, features, hidden=None, *, preactivation=True, norm=BatchNorm1d,
        activation=activations.ReLU,
    ):  # fmt: skip
        hidden = features if hidden is None else hidden
        for name, width in (("features", features), ("hidden", hidden)):
            arrays.check_integer("ResidualBlock", name, width, 1)

        def normed(width):
            return [] if norm is None else [norm(width)]

        if preactivation:
            inner = [
                *normed(features), activation(), Linear(features, hidden),
                *normed(hidden), activation(), Linear(hidden, features),
            ]  # fmt: skip
            super().__init__(Residual(*inner))
        else:
            inner = [
                Linear(features, hidden), *normed(hidden), activation(),
                Linear(hidden, features), *normed(features),
            ]  # fmt: skip
            super().__init__(Residual(*inner), activation())
