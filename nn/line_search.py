"""A line search for the strong Wolfe conditions: a step long enough, and not too long.

Along a direction, φ(t) is the loss and φ'(t) its slope. Wanted is a t with

    φ(t) <= φ(0) + c₁·t·φ'(0)    and    |φ'(t)| <= c₂·|φ'(0)|

First the step grows until an interval is known to hold such a t, then the interval shrinks, each
new t the minimum of the cubic through its two ends (Nocedal and Wright 2006, algorithms 3.5 and
3.6). Bounds and safeguards are PyTorch's, so that the path is the same.

The rule: a loss or slope that is not finite is a step too long.
"""

import math
from dataclasses import dataclass
from typing import Any

DECREASE, CURVATURE = 1e-4, 0.9  # c₁ and c₂


@dataclass(frozen=True)
class Point:
    """A step, its loss, its slope along the direction, and the gradient there."""

    t: float
    loss: float
    slope: float
    gradient: Any

    def finite(self):
        """Tell whether loss and slope are numbers."""
        return math.isfinite(self.loss) and math.isfinite(self.slope)


class LineSearch:
    """A search from `start` (t = 0); `evaluate(t)` returns the Point at t."""

    def __init__(self, evaluate, start, length, tolerance, most):
        self.evaluate, self.start = evaluate, start
        self.length, self.tolerance, self.most = length, tolerance, most
        self.tries = 0

    def run(self, t):
        """Return the best Point found, the first step tried being t."""
        low, high, done = self._bracket(t)
        stuck = False
        while not done and self.tries < self.most:
            if abs(high.t - low.t) * self.length < self.tolerance:
                break
            t, stuck = _inside(low, high, stuck)
            point = self._try(t)
            if self._too_long(point) or point.loss >= low.loss:
                high = point
                if high.loss < low.loss:
                    low, high = high, low
                continue
            done = self._flat(point)
            if not done and point.slope * (high.t - low.t) >= 0:
                high = low
            low = point
        return low

    def _try(self, t):
        self.tries += 1
        return self.evaluate(t)

    def _too_long(self, point):
        bound = self.start.loss + DECREASE * point.t * self.start.slope
        return point.loss > bound or not point.finite()

    def _flat(self, point):
        return abs(point.slope) <= -CURVATURE * self.start.slope

    def _bracket(self, t):
        """Return the ends of an interval, the better one first, and whether that will do."""
        before, point = self.start, self.evaluate(t)
        while self.tries < self.most:
            if self._too_long(point) or (self.tries > 1 and point.loss >= before.loss):
                break
            if self._flat(point):
                return point, point, True
            if point.slope >= 0:
                break
            least, most = point.t + 0.01 * (point.t - before.t), 10 * point.t
            t = cubic_minimum(before, point, least, most)
            before, point = point, self._try(t)
        else:
            before = self.start
        better = point.loss < before.loss and point.finite()
        return (point, before, False) if better else (before, point, False)


def _inside(low, high, stuck):
    """Return the next t of an interval, and whether it lies near an end for the first time."""
    first, last = min(low.t, high.t), max(low.t, high.t)
    t = cubic_minimum(low, high, first, last)
    margin = 0.1 * (last - first)
    if min(last - t, t - first) >= margin:
        return t, False
    if stuck or t >= last or t <= first:
        return (last - margin if abs(t - last) < abs(t - first) else first + margin), False
    return t, True


def cubic_minimum(a, b, least, most):
    """Return where the cubic through two points with their slopes is least, within bounds."""
    if b.t < a.t:
        a, b = b, a
    middle = (least + most) / 2
    if not (a.finite() and b.finite()) or a.t == b.t:
        return middle
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    squared = d1 * d1 - a.slope * b.slope
    if squared < 0:
        return middle
    d2 = math.sqrt(squared)
    below = b.slope - a.slope + 2 * d2
    if below == 0:
        return middle
    t = b.t - (b.t - a.t) * ((b.slope + d2 - d1) / below)
    return min(max(t, least), most) if math.isfinite(t) else middle
