"""Activations that change the width: Maxout, CReLU, GLU.

The rule: `width_after(width)` tells what a layer makes of a width, so that Sequential checks the
layers behind it too.
"""

from .. import kernels
from ..kernels import arrays
from .module import Module


class _Pieces(Module):
    """y (N, other C) of x (N, C). `operation` names the kernel, `numbers` are its arguments."""

    operation = ""
    numbers = ()

    def forward(self, x):
        y = getattr(kernels, self.operation)(x, *self.numbers)
        derivative = getattr(kernels, f"{self.operation}_backward")

        def backward(dy, accumulate=False):
            return derivative(dy, x, *self.numbers)

        return y, backward

    def width_after(self, width):
        """Return how many columns come out of `width`."""
        raise NotImplementedError


class Maxout(_Pieces):
    """y = the largest of each `pieces` features side by side. Goodfellow et al. 2013.

    arXiv:1302.4389. Linear(I, O * pieces) before it makes O units of so many linear pieces.
    """

    operation = "maxout"

    def __init__(self, pieces):
        arrays.check_integer("Maxout", "pieces", pieces, 1)
        self.numbers = (int(pieces),)

    def width_after(self, width):
        (pieces,) = self.numbers
        if width % pieces:
            raise ValueError(
                f"Maxout: pieces is {pieces}, expected a divisor of the {width} features before it"
            )
        return width // pieces

    def describe(self):
        return f"pieces={self.numbers[0]}"


class CReLU(_Pieces):
    """y = max(x, 0) beside max(-x, 0): twice as wide. Shang et al. 2016, arXiv:1603.05201."""

    operation = "crelu"

    def width_after(self, width):
        return 2 * width


class GLU(_Pieces):
    """y = a σ(b), a and b the halves of x: half as wide. Dauphin et al. 2016, arXiv:1612.08083."""

    operation = "glu"

    def width_after(self, width):
        if width % 2:
            raise ValueError(f"GLU: {width} features come before it, expected an even number")
        return width // 2
