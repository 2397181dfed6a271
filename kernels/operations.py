"""@operation: a function that launches kernels becomes a public one, checked, for Python and for njit.

A *declaration* names the arrays and their shapes, inputs before the arrow and outputs after it:

    "x (N, C), gamma (C), labels (N) int64, bias? (C) -> y (N, C), mean (C)"

`(...)` is any shape, the same wherever it stands; such arrays reach the kernels flat. `?` marks an array
that may be None, `!` one that is written in place. The *run function* takes the outputs, the arrays, then the
numbers; it may allocate scratch, reckon with shapes and call kernels, nothing else: Python runs it to launch
and to record, and njit compiles it as it stands. doors.py makes the njit side.

The rule: nothing reaches a run function unchecked, and nothing is written before all checks have passed.
"""

import functools
import inspect
import re
from dataclasses import dataclass

import numpy as np

from . import arrays, doors
from .caching import jit
from .launch import keep
from .loops import for_each

_ITEM = re.compile(r"\s*(\w+)([?!]?)\s*\(([^)]*)\)\s*(\w*)\s*(?:,|$)")


@dataclass(frozen=True)
class Argument:
    """One array of a declaration. `dims` is None for any shape."""

    name: str
    dims: tuple | None
    dtype: np.dtype | None  # None: float32 or float64, the same as the others
    optional: bool = False
    written: bool = False


def parse(declaration):
    """Parse a declaration into its inputs and its outputs, two tuples of Arguments."""
    inputs, _, outputs = declaration.partition("->")
    return _parse_side(inputs), _parse_side(outputs)


def _parse_side(text):
    found, end = [], 0
    for item in _ITEM.finditer(text):
        name, mark, dims, dtype = item.groups()
        shape = None if dims.strip() == "..." else _dims(dims)
        kind = np.dtype(dtype) if dtype else None
        found.append(Argument(name, shape, kind, mark == "?", mark == "!"))
        end = item.end()
    if text[end:].strip():
        raise ValueError(f"cannot read the declaration at {text[end:]!r}")
    return tuple(found)


def _dims(text):
    parts = (part.strip() for part in text.split(",") if part.strip())
    return tuple(int(part) if part.isdigit() else part for part in parts)


def operation(declaration, *, in_place=(), scalars=None, check=None, strided=False):
    """Make a run function public. See the module's text for the declaration.

    in_place: names of inputs that `out` may be exactly (True: any); scalars: {name: dtype or None} of numbers
    that may also be one-element arrays, which kernels read at each replay (None: the dtype of the arrays);
    check(name, sizes, values) raises on bad numbers; strided: the kernels take views as they are.
    """

    def decorate(run):
        return Operation(run, declaration, in_place, scalars or {}, check, strided).public

    return decorate


class Operation:
    """What the decorator knows about a public function: how to check, allocate, run, and enter njit."""

    def __init__(self, run, declaration, in_place, scalars, check, strided, owner=None):
        self.run, self.name, self.owner = run, run.__name__, owner or run
        self.inputs, self.outputs = parse(declaration)
        self.in_place, self.scalars, self.check, self.strided = in_place, scalars, check, strided
        parameters = list(inspect.signature(run).parameters.values())
        names = [argument.name for argument in (*self.outputs, *self.inputs)]
        if [parameter.name for parameter in parameters[: len(names)]] != names:
            raise TypeError(f"{self.name}: its arguments do not begin as declared: {names}")
        shown = [
            p.replace(default=None) if i < len(self.inputs) and self.inputs[i].optional else p
            for i, p in enumerate(parameters[len(self.outputs) :])
        ]
        out = inspect.Parameter("out", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None)
        self.signature = inspect.Signature([*shown, out] if self.outputs else shown)
        self.public = self._make_public()

    @functools.cached_property
    def jitted(self):
        return jit(self.run)

    def _make_public(self):
        @functools.wraps(self.owner)
        def public(*args, **kwargs):
            return self.call(*args, **kwargs)

        public.__signature__ = self.signature
        public.operation = self
        public.fonio_identity = ("operation", self.owner.__module__, self.owner.__qualname__)
        doors.open_door(self, public)
        return public

    def call(self, *args, **kwargs):
        values = self.bind(args, kwargs)
        out = values.pop() if self.outputs else None
        given, rest = values[: len(self.inputs)], values[len(self.inputs) :]
        sizes, dtype = self.check_inputs(given)
        rest = self.check_scalars(rest, dtype)
        if self.check is not None:
            self.check(self.name, sizes, self.named(given, rest))
        results = self.make_outputs(out, sizes, dtype, given)
        written = [a if arg.written else None for a, arg in zip(given, self.inputs, strict=True)]
        for array, argument in zip(written, self.inputs, strict=True):
            if array is not None:
                self._check_written(argument.name, array, given)
        self._launch(results, given, rest)
        if not results:
            return None
        return results[0] if len(results) == 1 else tuple(results)

    def bind(self, args, kwargs):
        """Return all values in the order of the signature, defaults filled in."""
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}") from None
        bound.apply_defaults()
        return list(bound.arguments.values())

    def named(self, given, rest):
        names = list(self.signature.parameters)
        return dict(zip(names, (*given, *rest), strict=False))

    def check_inputs(self, given):
        """Check kinds and shapes; return the sizes by letter, and the dtype of the float arrays."""
        sizes, dtype, like = {}, None, ""
        for argument, value in zip(self.inputs, given, strict=True):
            if value is None and argument.optional:
                continue
            arrays.check_array(self.name, argument.name, value)
            if argument.dtype is None:
                arrays.check_float(self.name, argument.name, value, dtype, like)
                dtype, like = value.dtype, like or argument.name
            else:
                arrays.check_dtype(self.name, argument.name, value, argument.dtype)
            self._match(argument, value, sizes)
        return sizes, dtype

    def _match(self, argument, value, sizes):
        dims = sizes.setdefault("...", value.shape) if argument.dims is None else argument.dims
        expected = tuple(sizes.get(dim, dim) for dim in dims)
        if len(expected) == len(value.shape):
            bound = zip(expected, value.shape, strict=True)
            sizes.update({want: have for want, have in bound if isinstance(want, str)})
        arrays.check_shape(self.name, argument.name, value.shape, expected)

    def check_scalars(self, rest, dtype):
        """Turn numbers that kernels read from memory into one-element arrays."""
        names = list(self.signature.parameters)[len(self.inputs) :]
        done = []
        for name, value in zip(names, rest, strict=False):
            if name in self.scalars:
                wanted = np.dtype(self.scalars[name] or dtype)
                value = one_element(self.name, name, value, wanted)
            done.append(value)
        return done

    def make_outputs(self, out, sizes, dtype, given):
        """Allocate the outputs, or check those given as `out`."""
        if not self.outputs:
            return []
        if out is None:
            return [
                np.empty(self._shape(argument, sizes), argument.dtype or dtype)
                for argument in self.outputs
            ]
        several = len(self.outputs) > 1
        if several and not (isinstance(out, tuple | list) and len(out) == len(self.outputs)):
            names = ", ".join(argument.name for argument in self.outputs)
            raise TypeError(
                f"{self.name}: out is not a tuple of {len(self.outputs)} arrays ({names})"
            )
        results = list(out) if several else [out]
        for argument, result in zip(self.outputs, results, strict=True):
            name = f"out {argument.name}" if several else "out"
            arrays.check_array(self.name, name, result)
            arrays.check_dtype(self.name, name, result, argument.dtype or dtype)
            arrays.check_shape(self.name, name, result.shape, self._shape(argument, sizes))
            self._check_written(name, result, given)
        for i, result in enumerate(results):
            before = [(f"out {self.outputs[j].name}", results[j]) for j in range(i)]
            arrays.check_apart(self.name, f"out {self.outputs[i].name}", result, before, ())
        return results

    def _shape(self, argument, sizes):
        if argument.dims is None:
            return sizes["..."]
        return tuple(sizes.get(dim, dim) for dim in argument.dims)

    def _check_written(self, name, array, given):
        """Refuse a written array that is read-only or shares memory with an input it may not be."""
        arrays.check_writable(self.name, name, array)
        others = [
            (argument.name, value)
            for argument, value in zip(self.inputs, given, strict=True)
            if value is not None and argument.name != name
        ]
        arrays.check_apart(self.name, name, array, others, self.in_place)

    def _launch(self, results, given, rest):
        """Run on contiguous arrays: copies are kernels, so that they are recorded too."""
        everything = [
            *zip(self.outputs, results, strict=True),
            *zip(self.inputs, given, strict=True),
        ]
        ready = [self._ready(argument, array) for argument, array in everything]
        self.run(*ready, *rest)
        outputs = len(results)
        for i, (argument, array) in enumerate(everything):
            changed = i < outputs or argument.written
            if changed and array is not None and not self._as_is(array):
                copy_from_flat(array, ready[i].reshape(-1))

    def _as_is(self, array):
        return self.strided or array.flags.c_contiguous

    def _ready(self, argument, array):
        if array is None:
            return None
        whole = array if self._as_is(array) else contiguous(array)
        return whole.reshape(-1) if argument.dims is None else whole


def one_element(operation, name, value, dtype):
    """Return `value` as a one-element array that kernels read at each replay."""
    if isinstance(value, np.ndarray):
        arrays.check_dtype(operation, name, value, dtype)
        if value.size != 1:
            raise ValueError(f"{operation}: {name} has shape {value.shape}, expected one element")
        return value.reshape(1)
    if dtype.kind in "iu":
        arrays.check_integer(operation, name, value)
    else:
        arrays.check_number(operation, name, value)
    return np.array([value], dtype)


@for_each(cost=3.0)
def _read_flat(i, out, x):
    """out[i] = the i-th element of x in C order."""
    out[i] = x.flat[i]


@for_each(cost=3.0)
def _write_flat(i, x, out):
    """The i-th element of out in C order = x[i]."""
    out.flat[i] = x[i]


def contiguous(x):
    """Return x as it is where it is C-contiguous, else a copy made by a recorded kernel."""
    if x.flags.c_contiguous:
        return x
    copy = np.empty(x.shape, x.dtype)
    _read_flat(x.size, copy.reshape(-1), keep(x))
    return copy


def copy_from_flat(out, x):
    """Copy the flat array x into `out`, of any strides."""
    _write_flat(out.size, x, out)
