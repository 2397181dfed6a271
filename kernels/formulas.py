"""@elementwise: a scalar formula becomes an operation on arrays, and stays scalar inside njit.

The formula is written once, in plain Python, in the precision of its first argument: `T = type(x);
T(0.5)`. Arguments without a default are arrays; those with one are numbers, cast to the arrays'
precision.

The rule: an elementwise operation may write exactly onto any of its inputs.
"""

import functools
import inspect

import numpy as np
from numba import types
from numba.core import errors
from numba.core.typing.templates import signature

from . import arrays, cuda_doors
from .caching import jit, specialise
from .launch import Kernel
from .loops import for_each
from .operations import Operation


def _body_1(i, out, x, *numbers):
    value = x[i]
    out[i] = formula(value, *numbers)  # noqa: F821  (bound by specialise)


def _body_2(i, out, x1, x2, *numbers):
    value1, value2 = x1[i], x2[i]  # load before you choose: a select vectorises, a branch does not
    out[i] = formula(value1, value2, *numbers)  # noqa: F821


_BODIES = {1: _body_1, 2: _body_2}


def elementwise(formula=None, *, cost=0.4, check=None):
    """Make a scalar formula an operation. `cost` is about what an element takes, in ns.

    check(name, sizes, values) raises on bad numbers, where Python calls.
    """
    if formula is None:
        return functools.partial(elementwise, cost=cost, check=check)
    return _Elementwise(formula, cost, check).public


class _ElementwiseKernel(Kernel):
    """The kernel of a formula; on CUDA it moves four float32 at once where they lie for it."""

    def __init__(self, formula, count, make_share, cost):
        super().__init__(formula, make_share, cost, spread="grid")
        self._formula, self._count = formula, count

    def device_variant(self, args):
        arrays_ = args[: self._count + 1]
        wide = all(a.itemsize == 4 and a.pointer % 16 == 0 for a in arrays_)
        return "wide" if wide else None

    def device_entry(self, variant=None):
        if variant is None:
            return super().device_entry()
        from .cuda_loops import TEAMS, WIDE

        return TEAMS["grid"].entry(self.__name__, WIDE[self._count], formula=self._formula)


class _Elementwise(Operation):
    def __init__(self, formula, cost, check=None):
        self.formula, self.check_values = formula, check
        parameters = list(inspect.signature(formula).parameters.values())
        self.array_names = [p.name for p in parameters if p.default is p.empty]
        self.number_names = [p.name for p in parameters if p.default is not p.empty]
        self.kernel = self._make_kernel(formula, cost)
        declared = ", ".join(f"{name} (...)" for name in self.array_names)
        self.output = "dx" if "dy" in self.array_names else "y"
        declaration = f"{declared} -> {self.output} (...)"
        super().__init__(
            self._make_run(), declaration, True, {}, self._check_numbers, False, owner=formula
        )

    def _make_kernel(self, formula, cost):
        @functools.cache
        def body():
            template = _BODIES[len(self.array_names)]
            copy = specialise(template, formula, "body", formula=self.jitted_formula)
            return for_each(copy)._make_share()

        return _ElementwiseKernel(formula, len(self.array_names), body, lambda *args: cost)

    @functools.cached_property
    def jitted_formula(self):
        return jit(self.formula, inner=True)

    def _make_run(self):
        kernel, arrays_, numbers = self.kernel, len(self.array_names), len(self.number_names)
        run = _RUNS[arrays_, numbers]
        copy = specialise(run, self.formula, "run", kernel=kernel)
        parameters = [
            inspect.Parameter(self.output, inspect.Parameter.POSITIONAL_OR_KEYWORD),
            *inspect.signature(self.formula).parameters.values(),
        ]
        copy.__signature__ = inspect.Signature(parameters)
        return copy

    @functools.cached_property
    def jitted(self):
        run = specialise(self.run, self.formula, "run", kernel=self.kernel)
        return jit(
            run, inner=True
        )  # without the signature of the public function, which Numba would take

    def call(self, *args, **kwargs):
        if args and arrays.is_number(args[0]):
            return self._call_scalar(args, kwargs)
        return super().call(*args, **kwargs)

    def _check_numbers(self, operation, sizes, values):
        for name, value in values.items():
            if not arrays.is_array(value):
                arrays.check_number(operation, name, value)
        if self.check_values is not None:
            self.check_values(operation, sizes, values)

    def _call_scalar(self, args, kwargs):
        """Apply the formula to numbers: float32 stays float32, all else is float64."""
        values = self.bind(args, kwargs)[:-1]
        count = len(self.array_names)
        for name, value in zip(self.array_names, values, strict=False):
            arrays.check_number(self.name, name, value)
        single = all(isinstance(value, np.float32) for value in values[:count])
        dtype = np.float32 if single else np.float64
        given = [np.array([value], dtype) for value in values[:count]]
        return super().call(*given, *values[count:])[0]

    def resolve_scalar(self, context, full):
        """Return the signature of a call on numbers inside njit, or None where arrays are given."""
        count = len(self.array_names)
        kinds = [types.unliteral(kind) for kind in full[:count]]
        if not all(isinstance(kind, types.Number | types.Boolean) for kind in kinds):
            return None
        if not isinstance(full[-1], types.Omitted):
            raise errors.TypingError(f"{self.name}: out= goes with arrays, not with numbers")
        single = all(kind == types.float32 for kind in kinds)
        kind = types.float32 if single else types.float64
        self._scalar_type(context, kind)
        return signature(kind, *full).replace(pysig=self.signature)

    def _scalar_type(self, context, kind):
        count = len(self.array_names) + len(self.number_names)
        return self._scalar_side(context).get_call_type(context, (kind,) * count, {})

    def _scalar_side(self, context):
        """Return the type of the compiled formula, for njit or for cuda.jit."""
        if cuda_doors.is_cuda(context):
            return types.Dispatcher(cuda_doors.device_side(self.public))
        return types.Dispatcher(self.jitted_formula)

    def lower_scalar(self, context, builder, signature, args):
        kind = signature.return_type
        values = []
        for given, value in zip(signature.args[:-1], args[:-1], strict=True):
            if isinstance(given, types.Omitted):
                values.append(context.get_constant(kind, float(given.value)))
            else:
                values.append(context.cast(builder, value, given, kind))
        call_type = self._scalar_type(context.typing_context, kind)
        function = context.get_function(self._scalar_side(context.typing_context), call_type)
        return function(builder, values)


def _run_1_0(y, x):
    kernel(y.size, y, x)  # noqa: F821  (bound by specialise)


def _run_1_1(y, x, a):
    kernel(y.size, y, x, x.dtype.type(a))  # noqa: F821


def _run_1_2(y, x, a, b):
    kernel(y.size, y, x, x.dtype.type(a), x.dtype.type(b))  # noqa: F821


def _run_2_0(y, x1, x2):
    kernel(y.size, y, x1, x2)  # noqa: F821


def _run_2_1(y, x1, x2, a):
    kernel(y.size, y, x1, x2, x1.dtype.type(a))  # noqa: F821


def _run_2_2(y, x1, x2, a, b):
    kernel(y.size, y, x1, x2, x1.dtype.type(a), x1.dtype.type(b))  # noqa: F821


_RUNS = {
    (1, 0): _run_1_0,
    (1, 1): _run_1_1,
    (1, 2): _run_1_2,
    (2, 0): _run_2_0,
    (2, 1): _run_2_1,
    (2, 2): _run_2_2,
}
