"""Small nets for cuda.jit: the stages of small_nets.py, retargeted; their rows in local memory.

The rule: an array of a thread is made in the function that hands it on, never returned by one.
"""

from numba import cuda

from .cuda_loops import TEAMS
from .retarget import convert, device_function, retarget
from .small_nets import Builder


def _hidden(weights, x, out):
    here, there = cuda.local.array(WIDTH, KIND), cuda.local.array(WIDTH, KIND)  # noqa: F821
    run(weights, x, here, there, out)  # noqa: F821  (bound by Builder)


def _residual(weights, x, y):
    past = cuda.local.array(OUT, KIND)  # noqa: F821
    shortcut(weights, x, past)  # noqa: F821
    body(weights, x, y)  # noqa: F821
    for i in range(OUT):  # noqa: F821
        y[i] += past[i]


class CudaBuilder(Builder):
    """Makes device functions of stages."""

    hidden, residual = staticmethod(_hidden), staticmethod(_residual)

    def bind(self, template, **names):
        """Make a template a device function, with names bound."""
        return device_function(retarget(template, TEAMS["item"], KIND=self.kind, **names))

    def side(self, public):
        """Return the device function of a public function's formula."""
        return convert(public, TEAMS["item"])
