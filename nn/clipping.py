"""Gradients kept within bounds, for training loops of one's own; `fit` has clip_norm, clip_value.

The rule: kernels alone, so that a recorded step may clip.
"""

from .. import kernels
from ..kernels import arrays
from ..kernels.clipping import SEGMENT, find_factor, scale, sum_squares
from .groups import Optimizer
from .module import Module, Parameter


def clip_grad_norm(parameters, max_norm):
    """Scale the gradients so that their joint norm is at most max_norm; return the norm before.

    parameters: an Optimizer, a Module or a list of Parameters -> norm (1,), of a recorded call that
    of the last replay. Pascanu et al. 2013, arXiv:1211.5063.
    """
    arrays.check_at_least("clip_grad_norm", "max_norm", max_norm, 0)
    grads = _gradients("clip_grad_norm", parameters)
    starts = [0]
    for g in grads:
        starts.append(starts[-1] + (g.size + SEGMENT - 1) // SEGMENT)
    partial, found = arrays.scratch(grads[0], starts[-1]), arrays.scratch(grads[0], 2)
    for g, start, stop in zip(grads, starts, starts[1:], strict=False):
        sum_squares(stop - start, partial, g, start)
    find_factor(1, found, partial, partial.dtype.type(max_norm))
    for g in grads:
        scale(g.size, g, found)
    return found[1:]


def clip_grad_value(parameters, limit):
    """Hold each element of the gradients within [-limit, limit].

    parameters: an Optimizer, a Module or a list of Parameters
    """
    for g in _gradients("clip_grad_value", parameters):
        kernels.clip_grad_value(g, limit)


def _gradients(name, parameters):
    """Return the gradients as flat arrays."""
    if isinstance(parameters, Optimizer):
        return [parameters.grads]
    listed = parameters.parameters() if isinstance(parameters, Module) else list(parameters)
    for parameter in listed:
        if not isinstance(parameter, Parameter):
            kind = type(parameter).__name__
            raise TypeError(f"{name}: parameter is a {kind}, expected a Parameter")
    grads = [p.grad.reshape(-1) for p in listed if p.trainable]
    if not grads:
        raise ValueError(f"{name}: there are no gradients, expected a parameter to train")
    if len({(g.dtype, arrays.device_of(g)) for g in grads}) > 1:
        raise TypeError(f"{name}: parameters differ in dtype or device, expected one")
    return grads
