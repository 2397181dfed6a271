"""Weights of a given length: w = g·v/‖v‖ of each unit, and the same of weights less their mean.

Salimans & Kingma 2016, arXiv:1602.07868; centered: Huang et al. 2017, arXiv:1710.02338.

The rule: a unit's weights are a segment whose norm stands in place of the standard deviation, so
the kernels are those of segments.py. A unit whose v (less its mean) is 0 has no direction: NaN.
"""

from numba.extending import register_jitable

from .arrays import scratch
from .operations import operation
from .segment_gradients import differentiate_in_units
from .segments import normalize


@register_jitable
def _normalize(w, v, g, mean):
    units, inputs = v.shape
    rstd, kind = scratch(v, units), v.dtype.type
    normalize(units, inputs, w, mean, rstd, v, g, None, units, 1, inputs, kind(1), kind(0))


@operation("v (O, I), g (O) -> w (O, I)", in_place=("v",))
def weightnorm(w, v, g):
    """Give the weights of each unit the length g: w = g·v/‖v‖.

    v (O, I); g (O,) -> w like v. Salimans & Kingma 2016, arXiv:1602.07868
    """
    _normalize(w, v, g, None)


@operation("dw (O, I), v (O, I), g (O) -> dv (O, I), dg (O)")
def weightnorm_backward(dv, dg, dw, v, g):
    """Differentiate weightnorm: dg = Σ dw·v̂, dv = g/‖v‖·(dw - v̂·dg), v̂ = v/‖v‖.

    dw, v (O, I); g (O,) -> dv like v; dg (O,)
    """
    differentiate_in_units(v.shape[0], 2 * v.shape[1], dv, dg, dw, v, g, None)


@operation("v (O, I), g (O) -> w (O, I)", in_place=("v",))
def centered_weightnorm(w, v, g):
    """Give the weights of each unit mean 0 and the length g: w = g·v̂, v̂ = (v - v̄)/‖v - v̄‖.

    v (O, I); g (O,) -> w like v. Huang et al. 2017, arXiv:1710.02338
    """
    _normalize(w, v, g, scratch(v, v.shape[0]))


@operation("dw (O, I), v (O, I), g (O) -> dv (O, I), dg (O)")
def centered_weightnorm_backward(dv, dg, dw, v, g):
    """Differentiate centered_weightnorm: dv = g/‖v - v̄‖·(dw - mean of dw - v̂·dg), dg = Σ dw·v̂.

    dw, v (O, I); g (O,) -> dv like v; dg (O,)
    """
    differentiate_in_units(v.shape[0], 2 * v.shape[1], dv, dg, dw, v, g, scratch(v, v.shape[0]))
