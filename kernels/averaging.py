"""Averages of weights along the path of training.

The rule: the share of the new value is read at each replay, so that it may change from step to
step.
"""

from .loops import for_each
from .operations import operation


@for_each(cost=0.2)
def _move_toward(i, average, p, weight):
    before = average[i]
    average[i] = before + weight[0] * (p[i] - before)


@operation("average! (...), p (...)", scalars={"weight": None})
def lerp(average, p, weight):
    """average += weight (p - average), in place: a step toward p.

    average, p (...); weight a number or (1,)
    """
    _move_toward(p.size, average, p, weight)
