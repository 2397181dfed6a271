"""L-BFGS: a quasi-Newton method for data that fit in one batch.

The rule: what is as long as the parameters is computed by kernels, in an order that does not depend
on threads; numbers are Python's.
"""

import math

import numpy as np

from .. import kernels
from ..kernels import arrays
from ..kernels.clipping import scale
from .groups import Optimizer
from .line_search import LineSearch, Point
from .replay import advance

_LEAST_CURVATURE = 1e-10  # a pair whose y·s is below would make the scale explode


class LBFGS(Optimizer):
    """Steps along -H⁻¹g, the Hessian H known from the last changes of the gradient.

    Liu and Nocedal 1989. One step is up to `max_iter` iterations and wants a closure, which sets
    the gradients and returns the loss: `optimizer.step(closure)`. `nn.fit` gives it one, and an
    epoch is then a step on all data at once. line_search_fn: "strong_wolfe", or None for steps of
    `lr`. What is known of H is no part of a checkpoint.
    """

    full_batch = True

    def __init__(
        self, parameters, lr=1.0, max_iter=20, max_eval=None, tolerance_grad=1e-7,
        tolerance_change=1e-9, history_size=100, line_search_fn=None,
    ):  # fmt: skip
        arrays.check_integer("LBFGS", "max_iter", max_iter, 1)
        super().__init__(
            parameters, lr=lr, max_iter=max_iter,
            max_eval=max_iter * 5 // 4 if max_eval is None else max_eval,
            tolerance_grad=tolerance_grad, tolerance_change=tolerance_change,
            history_size=history_size, line_search_fn=line_search_fn,
        )  # fmt: skip
        if len(self.groups) != 1:
            raise ValueError(f"LBFGS: there are {len(self.groups)} groups, expected one")
        self.iterations = self.evaluations = 0
        self._pairs = _Pairs(self.groups[0].history_size)
        self._direction = self._before = None
        self._t = 0.0

    def check(self, options):
        super().check(options)
        for name in ("max_iter", "max_eval", "history_size"):
            arrays.check_integer("LBFGS", name, options[name], 1)
        search = options["line_search_fn"]
        if search is not None:
            arrays.check_known("LBFGS", search, ("strong_wolfe",), "line_search_fn")

    def step(self, closure=None):
        """Take up to max_iter iterations; return the loss before the first.

        Where that loss or its gradient is not finite, nothing is changed.
        """
        if not callable(closure):
            raise TypeError(
                "LBFGS: step has no closure, expected step(closure) with a function that sets the "
                "gradients and returns the loss (nn.fit gives it one)"
            )
        self.check_home()
        options = self.groups[0]
        self._closure, self._spent = closure, 0
        first = point = self._evaluate(0.0)
        for left in reversed(range(options.max_iter)):
            if not _goes_on(point, options):
                break
            self._aim(point)
            slope = _dot(point.gradient, self._direction)
            if slope > -options.tolerance_change:
                break
            before, point = point, self._move(point, slope, left)
            small = _largest(self._direction) * self._t <= options.tolerance_change
            still = abs(point.loss - before.loss) < options.tolerance_change
            if self._spent >= options.max_eval or small or still:
                break
        self.evaluations += self._spent
        return first.loss

    def _evaluate(self, t):
        """Evaluate the closure where the parameters are, t along the direction."""
        loss = float(self._closure())
        self._spent += 1
        slope = 0.0 if t == 0 else _dot(self.grads, self._direction)
        return Point(t, loss, slope, self.grads.copy())

    def _aim(self, point):
        """Set the direction of the next iteration."""
        if self._before is not None:
            self._pairs.add(self._before, point.gradient, self._direction, self._t)
        self._direction = self._pairs.newton(point.gradient)
        self._before = point.gradient
        self.iterations += 1
        advance(1, self.count, 1)

    def _move(self, point, slope, left):
        """Go along the direction; return the point where that ends."""
        options, lr = self.groups[0], self.lr
        t = lr
        if self.iterations == 1:  # nothing is known of the scale yet
            t *= min(1.0, 1.0 / _total(point.gradient))
        origin = self.values.copy()
        if options.line_search_fn is None:
            self._place(origin, t)
            return self._evaluate(t) if left else point  # no use for the last one's loss
        start = Point(0.0, point.loss, slope, point.gradient)
        search = LineSearch(
            lambda t: self._go(origin, t), start, _largest(self._direction),
            options.tolerance_change, options.max_eval - self._spent,
        )  # fmt: skip
        try:
            found = search.run(t)
        except BaseException:  # Ctrl-C, too: back from wherever the search was
            self.values[...] = origin
            raise
        self._place(origin, found.t)
        return found

    def _go(self, origin, t):
        self._place(origin, t)
        return self._evaluate(t)

    def _place(self, origin, t):
        self.values[...] = origin
        _add(self.values, t, self._direction)
        self._t = t


class _Pairs:
    """The last changes of the parameters, s, and of the gradient, y: what is known of H."""

    def __init__(self, size):
        self.size, self.kept, self.scale = size, [], 1.0

    def add(self, before, gradient, direction, t):
        """Keep a pair, and the scale of H⁻¹ that it tells; not where the slope did not rise."""
        y, s = gradient.copy(), _zeros(gradient)
        _add(y, -1.0, before)
        _add(s, t, direction)
        curvature = _dot(y, s)
        if curvature > _LEAST_CURVATURE:
            self.kept = [*self.kept, (s, y, curvature)][-self.size :]
            self.scale = curvature / _dot(y, y)

    def newton(self, gradient):
        """Return -H⁻¹·gradient, by the recursion of two loops."""
        q, shares = _zeros(gradient), []
        _add(q, -1.0, gradient)
        for s, y, curvature in reversed(self.kept):
            shares.append(_dot(s, q) / curvature)
            _add(q, -shares[-1], y)
        scale(q.size, q, arrays.put(q, np.array([self.scale], q.dtype)))
        for (s, y, curvature), share in zip(self.kept, reversed(shares), strict=True):
            _add(q, share - _dot(y, q) / curvature, s)
        return q


def _goes_on(point, options):
    """Tell whether there is something to gain: not where a number is NaN or infinite."""
    steepest = _largest(point.gradient)
    return math.isfinite(point.loss) and options.tolerance_grad < steepest < math.inf


def _zeros(like):
    return arrays.zeros(like, like.shape, like.dtype)


def _add(target, scale, vector):
    """target += scale·vector: a step of descent."""
    kernels.sgd(target, vector, lr=-scale)


def _dot(a, b):
    return float(kernels.dot(a, b)[0])


def _largest(a):
    return float(np.abs(arrays.on_host(a)).max())


def _total(a):
    return float(np.abs(arrays.on_host(a)).sum())
