"""@operation: a function that launches kernels becomes public: checked, for Python and njit.

A declaration (declarations.py) names the arrays and their shapes. The *run function* takes the
outputs, the arrays, then the numbers; it may allocate scratch, reckon with shapes and call kernels,
nothing else: Python runs it to launch and to record, on NumPy and on CUDA arrays, and njit compiles
it as it stands. doors.py makes the njit side.

The rule: nothing reaches a run function unchecked, and nothing is written before all checks have
passed.
"""

import functools
import inspect

import numpy as np

from . import arrays, doors
from .caching import jit
from .copies import contiguous, copy_from_flat
from .declarations import parse

_MISSING = inspect.Parameter.empty


def operation(declaration, *, in_place=(), scalars=None, check=None, strided=False, options=None):
    """Make a run function public. See the module's text for the declaration.

    in_place: names of inputs that `out` may be exactly (True: any); scalars: {name: dtype or None}
    of numbers that may also be one-element arrays, which kernels read at each replay (None: the
    dtype of the arrays); check(name, sizes, values) raises on bad numbers, and settles the sizes of
    outputs that follow from them; strided: the kernels take views as they are; options: {name:
    default} of keywords for CUDA alone (on_device).
    """

    def decorate(run):
        made = Operation(run, declaration, in_place, scalars or {}, check, strided, options=options)
        return made.public

    return decorate


class Operation:
    """What is known of a public function: how to check, allocate, run, and enter njit."""

    def __init__(
        self, run, declaration, in_place, scalars, check, strided, owner=None, options=None
    ):
        self.run, self.name, self.owner = run, run.__name__, owner or run
        self.inputs, self.outputs = parse(declaration)
        self.in_place, self.scalars, self.check, self.strided = in_place, scalars, check, strided
        self.device_run = None
        parameters = list(inspect.signature(run).parameters.values())
        self.options = options or {}
        names = [argument.name for argument in (*self.outputs, *self.inputs)]
        if [parameter.name for parameter in parameters[: len(names)]] != names:
            raise TypeError(f"{self.name}: its arguments do not begin as declared: {names}")
        shown = _shown(parameters[len(self.outputs) :], self.inputs)
        out = inspect.Parameter("out", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None)
        self.signature = inspect.Signature([*shown, out] if self.outputs else shown)
        self.names = list(self.signature.parameters)
        self.places = {name: place for place, name in enumerate(self.names)}
        self.defaults = [p.default for p in self.signature.parameters.values()]
        self.public = self._make_public()

    @functools.cached_property
    def jitted(self):
        return jit(self.run, inner=True)

    def _make_public(self):
        @functools.wraps(self.owner)
        def public(*args, **kwargs):
            return self.call(*args, **kwargs)

        public.__signature__ = self._public_signature()
        public.operation = self
        public.fonio_identity = ("operation", self.owner.__module__, self.owner.__qualname__)
        doors.open_door(self, public)
        return public

    def _public_signature(self):
        """Return the signature that Python shows: with the options, which njit calls lack."""
        options = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
            for name, default in self.options.items()
        ]
        return self.signature.replace(parameters=[*self.signature.parameters.values(), *options])

    def on_device(self, run):
        """Let another run function, of the same arguments, serve CUDA arrays."""
        self.device_run = run
        return run

    def call(self, *args, **kwargs):
        options = {name: kwargs.pop(name, value) for name, value in self.options.items()}
        values = self.bind(args, kwargs)
        out = values.pop() if self.outputs else None
        given, rest = values[: len(self.inputs)], values[len(self.inputs) :]
        sizes, dtype = self.check_inputs(given)
        like = next(array for array in given if array is not None)
        if self.scalars:
            rest = self.check_scalars(rest, dtype, like)
        if self.check is not None:
            named = dict(zip(self.names, [*given, *rest], strict=False))
            self.check(self.name, sizes, named | options)
        results = self.make_outputs(out, sizes, dtype, given, like)
        for argument, array in zip(self.inputs, given, strict=True):
            if argument.written and array is not None:
                self._check_written(argument.name, array, given)
        self._launch(results, given, rest, options)
        if not results:
            return None
        if out is not None:
            return out
        return results[0] if len(results) == 1 else tuple(results)

    def bind(self, args, kwargs):
        """Return all values in the order of the signature, defaults filled in."""
        values = [*args, *self.defaults[len(args) :]]
        for name, value in kwargs.items():
            place = self.places.get(name, -1)
            if place < len(args):
                self._explain(args, kwargs)
            values[place] = value
        if len(values) > len(self.names) or any(value is _MISSING for value in values):
            self._explain(args, kwargs)
        return values

    def _explain(self, args, kwargs):
        """Raise what Python says of a call with the wrong arguments."""
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}") from None

    def check_inputs(self, given):
        """Check kinds and shapes; return the sizes by letter, and the dtype of the float arrays.

        Other libraries' CUDA arrays in `given` become ours.
        """
        sizes, dtype, like = {}, None, ""
        for i, (argument, value) in enumerate(zip(self.inputs, given, strict=True)):
            if value is None and argument.optional:
                continue
            value = given[i] = arrays.check_array(self.name, argument.name, value)
            if argument.dtype is not None:
                arrays.check_dtype(self.name, argument.name, value, argument.dtype)
            elif dtype is None or value.dtype != dtype:
                arrays.check_float(self.name, argument.name, value, dtype, like)
                dtype, like = value.dtype, argument.name
            self._match(argument, value.shape, sizes)
        if len(given) > 1:
            self._check_one_device(given)
        return sizes, dtype

    def _check_one_device(self, given):
        if any(type(value) is arrays.DeviceArray for value in given):
            named = [
                (argument.name, value) for argument, value in zip(self.inputs, given, strict=True)
            ]
            arrays.check_one_device(self.name, named)

    def _match(self, argument, shape, sizes):
        dims = argument.dims
        if dims is not None and len(shape) == len(dims) - 1 and arrays.may_lack(dims):
            sizes.setdefault(dims[-1], None)
            dims = self._present(dims, sizes)
        if dims is None:
            fits = sizes.setdefault("...", shape) == shape
        else:
            fits = len(shape) == len(dims) and all(
                (dim if isinstance(dim, int) else sizes.setdefault(dim, size)) == size
                for dim, size in zip(dims, shape, strict=True)
            )
        if not fits:
            expected = sizes["..."] if dims is None else self._known(dims, sizes)
            arrays.check_shape(self.name, argument.name, shape, expected)

    def _known(self, dims, sizes):
        return tuple(sizes.get(dim, dim) for dim in self._present(dims, sizes))

    def _present(self, dims, sizes):
        """Return the dims without a last one that the arrays before were found to lack."""
        lacking = dims and sizes.get(dims[-1], dims[-1]) is None
        return dims[:-1] if lacking else dims

    def check_scalars(self, rest, dtype, like):
        """Turn numbers that kernels read from memory into one-element arrays."""
        done = []
        for name, value in zip(self.names[len(self.inputs) :], rest, strict=False):
            if name in self.scalars:
                wanted = np.dtype(self.scalars[name] or dtype)
                value = one_element(self.name, name, value, wanted, (self.names[0], like))
            done.append(value)
        return done

    def make_outputs(self, out, sizes, dtype, given, like):
        """Allocate the outputs, or check those given as `out`."""
        if not self.outputs:
            return []
        if out is None:
            return [
                arrays.new(like, self._shape(argument, sizes), argument.dtype or dtype)
                for argument in self.outputs
            ]
        several = len(self.outputs) > 1
        if several and not (isinstance(out, tuple | list) and len(out) == len(self.outputs)):
            names = ", ".join(argument.name for argument in self.outputs)
            raise TypeError(
                f"{self.name}: out is not a tuple of {len(self.outputs)} arrays ({names})"
            )
        results = list(out) if several else [out]
        for i, argument in enumerate(self.outputs):
            name = f"out {argument.name}" if several else "out"
            result = results[i] = arrays.check_array(self.name, name, results[i])
            arrays.check_one_device(self.name, ((self.names[0], like), (name, result)))
            arrays.check_dtype(self.name, name, result, argument.dtype or dtype)
            arrays.check_shape(self.name, name, result.shape, self._shape(argument, sizes))
            self._check_written(name, result, given)
        for i, result in enumerate(results):
            before = [(f"out {self.outputs[j].name}", results[j]) for j in range(i)]
            arrays.check_apart(self.name, f"out {self.outputs[i].name}", result, before, ())
        return results

    def _shape(self, argument, sizes):
        return sizes["..."] if argument.dims is None else self._known(argument.dims, sizes)

    def _check_written(self, name, array, given):
        """Refuse a written array that is read-only or shares memory with an input it may not be."""
        arrays.check_writable(self.name, name, array)
        others = [
            (argument.name, value)
            for argument, value in zip(self.inputs, given, strict=True)
            if value is not None and argument.name != name
        ]
        arrays.check_apart(self.name, name, array, others, self.in_place)

    def _launch(self, results, given, rest, options):
        """Run on contiguous arrays: copies are kernels, so that they are recorded too."""
        arguments = (*self.outputs, *self.inputs)
        everything = (*results, *given)
        ready = [self._ready(*pair) for pair in zip(arguments, everything, strict=True)]
        run = self.run
        if self.device_run is not None and _on_device(ready):
            run = functools.partial(self.device_run, **options)
        run(*ready, *rest)
        for i, array in enumerate(everything):
            if (i < len(results) or arguments[i].written) and not self._as_is(array):
                copy_from_flat(array, ready[i].reshape(-1))

    def _as_is(self, array):
        return array is None or array.flags.c_contiguous or self.strided

    def _ready(self, argument, array):
        whole = array if self._as_is(array) else contiguous(array)
        if argument.dims is None and whole is not None and whole.ndim != 1:
            return whole.reshape(-1)
        return whole


def _on_device(ready):
    return any(type(array) is arrays.DeviceArray for array in ready)


def _shown(parameters, inputs):
    """Return the public parameters: optional arrays are None where what follows allows it."""
    shown = list(parameters)
    for i in reversed(range(len(inputs))):
        followed = i + 1 == len(shown) or shown[i + 1].default is not _MISSING
        if inputs[i].optional and followed:
            shown[i] = shown[i].replace(default=None)
    return shown


def one_element(operation, name, value, dtype, beside):
    """Return `value` as a one-element array that kernels read at each replay.

    beside: (name, array) of an argument, where it lives.
    """
    if arrays.is_array(value) or arrays.is_foreign(value):
        value = arrays.check_array(operation, name, value)
        arrays.check_one_device(operation, (beside, (name, value)))
        arrays.check_dtype(operation, name, value, dtype)
        if value.size != 1:
            raise ValueError(f"{operation}: {name} has shape {value.shape}, expected one element")
        return value.reshape(1)
    if dtype.kind in "iu":
        arrays.check_integer(operation, name, value)
    else:
        arrays.check_number(operation, name, value)
    return arrays.put(beside[1], np.array([value], dtype))
