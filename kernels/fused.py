"""A whole small MLP, forward and backward: on CUDA one kernel each, where all widths are up to 128.

    y_0 = x        z_l = y_(l-1)·W_lᵀ + b_l        y_l = f_l(z_l)

A block owns a tile of rows and takes it through all layers in shared memory (fused_tiles.py), after
Müller et al. 2021, arXiv:2106.12372. NumPy arrays go through the layers one by one.

The rule: all is checked before anything is launched; a row of y does not depend on the others, and
the gradients' order of summation on the size of the batch alone.
"""

import functools

import numpy as np

from . import arrays
from .activations import ACTIVATIONS
from .fused_plans import BLOCKS, MOST, PARTS, SHAPES, keeps_z, make_plan
from .launch import kind_of, run_launch
from .matrix import (
    linear,
    linear_backward_bias,
    linear_backward_input,
    linear_backward_weight,
)
from .operations import contiguous, copy_from_flat


class _Net:
    """A checked net: its arrays, and what they are called in errors."""

    def __init__(self, operation, x, weights, biases, activations):
        self.operation = operation
        self.x = self._array("x", x)
        arrays.check_float(operation, "x", self.x)
        arrays.check_shape(operation, "x", self.x.shape, ("N", "I"))
        self.rows, self.dtype = self.x.shape[0], self.x.dtype
        self._check_width("x", self.x.shape[1])
        self.weights = self._list("weights", weights)
        if not self.weights:
            raise ValueError(f"{operation}: weights is empty, expected at least one layer")
        layers = len(self.weights)
        self.biases = self._list("biases", [None] * layers if biases is None else biases, layers)
        self.activations = self._list(
            "activations", [None] * layers if activations is None else activations, layers
        )
        self._check_layers()
        self.named = [("x", self.x), *self._named("weights"), *self._named("biases")]
        arrays.check_one_device(operation, self.named)
        self.on_device = arrays.device_of(self.x) is not None
        if self.on_device:
            arrays.check_dtype(operation, "x", self.x, np.float32)

    def _check_layers(self):
        inputs = self.x.shape[1]
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            weight = self.weights[i] = self._array(f"weights[{i}]", weight)
            arrays.check_float(self.operation, f"weights[{i}]", weight, self.dtype, "x")
            arrays.check_shape(self.operation, f"weights[{i}]", weight.shape, ("O", inputs))
            self._check_width(f"weights[{i}]", weight.shape[0])
            inputs = weight.shape[0]
            if bias is not None:
                bias = self.biases[i] = self._array(f"biases[{i}]", bias)
                arrays.check_float(self.operation, f"biases[{i}]", bias, self.dtype, "x")
                arrays.check_shape(self.operation, f"biases[{i}]", bias.shape, (inputs,))
            if self.activations[i] is not None:
                arrays.check_known(self.operation, self.activations[i], ACTIVATIONS, "activation")
        self.widths = (self.x.shape[1], *(weight.shape[0] for weight in self.weights))

    def _array(self, name, value):
        return arrays.check_array(self.operation, name, value)

    def _list(self, name, values, count=None):
        if not isinstance(values, list | tuple):
            kind = type(values).__name__
            raise TypeError(f"{self.operation}: {name} is a {kind}, expected a list")
        if count is not None and len(values) != count:
            raise ValueError(
                f"{self.operation}: {name} has {len(values)} entries, expected {count}"
            )
        return list(values)

    def _named(self, name):
        return [(f"{name}[{i}]", value) for i, value in enumerate(getattr(self, name))]

    def _check_width(self, name, width):
        if not 1 <= width <= MOST:
            raise ValueError(
                f"{self.operation}: {name} makes a layer of {width} features, expected 1 to {MOST}"
            )

    def result(self, name, array, shape, others=()):
        """Return an array to write, checked, or a new one."""
        if array is None:
            return arrays.new(self.x, shape, self.dtype)
        array = self._array(name, array)
        arrays.check_one_device(self.operation, [("x", self.x), (name, array)])
        arrays.check_dtype(self.operation, name, array, self.dtype)
        arrays.check_shape(self.operation, name, array.shape, shape)
        arrays.check_writable(self.operation, name, array)
        if not array.flags.c_contiguous:
            raise ValueError(
                f"{self.operation}: {name} is not contiguous, expected a C-ordered array"
            )
        arrays.check_apart(self.operation, name, array, [*self.named, *others], ())
        return array

    def kept(self, outputs):
        """Return the checked arrays that the forward writes and the backward reads."""
        outputs = self._list("outputs", outputs, len(self.weights))
        shapes = [(self.rows, width) for width in self.widths[1:]]
        named = []
        for i, shape in enumerate(shapes):
            if outputs[i] is None:
                raise TypeError(f"{self.operation}: outputs[{i}] is None, expected an array")
            named.append((f"outputs[{i}]", self.result(f"outputs[{i}]", outputs[i], shape, named)))
        return named

    def plan(self, others):
        """Return the Plan for these and other device arrays."""
        every = [*(array for _, array in self.named if array is not None), *others]
        aligned = all(array.pointer % 16 == 0 for array in every)
        return make_plan(self.widths, self.activations, aligned)


def fused_mlp(x, weights, biases=None, activations=None, outputs=None, out=None):
    """y = f_L(...f_1(x·W_1ᵀ + b_1)...·W_Lᵀ + b_L), on CUDA in one kernel. Müller et al. 2021.

    x (N, I); weights [(O_l, O_(l-1))]; biases [(O_l,) or None]; activations [name or None]
    -> y (N, O_L)

    All widths are from 1 to 128; float32 on CUDA. `outputs`, a list of arrays (N, O_l), is what
    fused_mlp_backward needs and is written if given: the layer's output, or z where the derivative
    of its activation does not follow from the output.
    """
    net = _Net("fused_mlp", x, weights, biases, activations)
    named = [] if outputs is None else net.kept(outputs)
    last = net.activations[-1]
    shared = named and out is named[-1][1] and not keeps_z(last)
    shape = (net.rows, net.widths[-1])
    y = named[-1][1] if shared else net.result("out", out, shape, named)
    kept = [array for _, array in named]
    if not net.on_device:
        _forward_by_layers(net, kept, y)
    elif net.rows:
        _forward_on_device(net, kept, y, shared)
    return y


def _forward_by_layers(net, kept, y):
    x, last = net.x, len(net.weights) - 1
    for i, (weight, bias) in enumerate(zip(net.weights, net.biases, strict=True)):
        name = net.activations[i]
        target = y if i == last else None
        if kept and keeps_z(name):
            z = linear(x, weight, bias, out=kept[i])
            x = ACTIVATIONS[name].forward(z, out=target)
            continue
        x = linear(x, weight, bias, name, out=kept[i] if kept and target is None else target)
        if kept and target is not None and kept[i] is not y:
            copy_from_flat(kept[i], y.reshape(-1))


def _forward_on_device(net, kept, y, shared):
    nothing, no_bias = (arrays.new(y, shape, y.dtype) for shape in ((0, 0), (0,)))
    if shared:
        kept = [*kept[:-1], nothing]  # written as y
    kept = kept or [nothing] * len(net.weights)
    args = (
        y,
        contiguous(net.x),
        *map(contiguous, net.weights),
        *(no_bias if bias is None else contiguous(bias) for bias in net.biases),
        *kept,
    )
    plan, device = net.plan((y, *kept)), y.device
    blocks = min(plan.blocks(net.rows), BLOCKS * device.multiprocessors)
    threads = SHAPES[plan.width]["THREADS"]
    _launch(device, "forward", plan, blocks, threads, net.rows, args)


def fused_mlp_backward(
    dy, x, weights, biases, activations, outputs, accumulate=False, parameters_only=False, out=None
):  # fmt: skip
    """The gradients of `fused_mlp`, from the `outputs` that it left. -> dx, dweights, dbiases.

    dy (N, O_L); the others as in fused_mlp -> dx (N, I), [dweight (O_l, O_(l-1))], [dbias (O_l,)]

    `accumulate` adds the weights' and biases' gradients to those in `out`, a tuple (dx, dweights,
    dbiases) of arrays and lists to write, each of which may be None; `parameters_only` leaves dx
    out. On CUDA each block sums its part of the gradients, and a second kernel adds the parts.
    """
    net = _Net("fused_mlp_backward", x, weights, biases, activations)
    named = net.kept(outputs)
    dy = net._array("dy", dy)
    arrays.check_float(net.operation, "dy", dy, net.dtype, "x")
    arrays.check_shape(net.operation, "dy", dy.shape, (net.rows, net.widths[-1]))
    arrays.check_one_device(net.operation, [("x", net.x), ("dy", dy)])
    dx, dweights, dbiases = _results(net, [*named, ("dy", dy)], out, accumulate, parameters_only)
    kept = [array for _, array in named]
    run = _backward_on_device if net.on_device else _backward_by_layers
    run(net, dy, kept, dx, dweights, dbiases, accumulate)
    return dx, dweights, dbiases


def _results(net, others, out, accumulate, parameters_only):
    """Check or make the gradients' arrays."""
    out = (None, None, None) if out is None else out
    if not isinstance(out, tuple | list) or len(out) != 3:
        raise TypeError(f"{net.operation}: out is not a tuple (dx, dweights, dbiases)")
    layers = len(net.weights)
    lists = [net._list(f"out d{name}", [None] * layers if given is None else given, layers)
             for name, given in zip(("weights", "biases"), out[1:], strict=True)]  # fmt: skip
    if accumulate and any(array is None for array in lists[0]):
        raise ValueError(f"{net.operation}: accumulate adds to the arrays in out, which has none")
    others, made = list(others), []
    for name, given, like in (("weight", lists[0], net.weights), ("bias", lists[1], net.biases)):
        made.append([])
        for i, source in enumerate(like):
            result = None
            if source is not None:
                place = f"out d{name}[{i}]"
                result = net.result(place, given[i], source.shape, others)
                others.append((place, result))
            made[-1].append(result)
    dx = None if parameters_only else net.result("out dx", out[0], net.x.shape, others)
    return dx, *made


def _backward_by_layers(net, dy, kept, dx, dweights, dbiases, accumulate):
    for i in reversed(range(len(net.weights))):
        name = net.activations[i]
        if name is not None:
            row = ACTIVATIONS[name]
            dy = (row.backward if keeps_z(name) else row.backward_from_y)(dy, kept[i])
        x = net.x if i == 0 else kept[i - 1]
        if i and keeps_z(net.activations[i - 1]):
            x = ACTIVATIONS[net.activations[i - 1]].forward(x)
        linear_backward_weight(dy, x, accumulate, out=dweights[i])
        if dbiases[i] is not None:
            linear_backward_bias(dy, accumulate, out=dbiases[i])
        if i or dx is not None:
            dy = linear_backward_input(dy, net.weights[i], out=None if i else dx)


def _backward_on_device(net, dy, kept, dx, dweights, dbiases, accumulate):
    nothing, no_bias = (arrays.new(dy, shape, dy.dtype) for shape in ((0, 0), (0,)))
    plan = net.plan((dy, *kept, *(() if dx is None else (dx,))))
    blocks = min(plan.blocks(net.rows), PARTS[plan.width])
    layers, lines = len(net.weights), plan.width + 1
    parts = arrays.scratch(dy, blocks * layers * lines * plan.width)
    args = (
        nothing if dx is None else dx,
        parts,
        contiguous(dy),
        *map(contiguous, net.weights),
        contiguous(net.x),
        *kept,
    )
    if blocks:
        threads = SHAPES[plan.width]["THREADS"]
        _launch(dy.device, "backward", plan, blocks, threads, net.rows, args)
    args = (parts, *dweights, *(no_bias if bias is None else bias for bias in dbiases))
    grid = (lines * plan.width // 32, layers)
    _launch(dy.device, "add_parts", plan, grid, (32, 8), blocks, args, accumulate)


_compiled = {}


def _launch(device, template, plan, grid, block, size, args, accumulate=False):
    """Compile a kernel if need be, run it, and write it down in a recording."""
    kinds = tuple(map(kind_of, args))
    key = (device, template, plan, kinds, accumulate)
    if key not in _compiled:
        options = plan.options() if template != "add_parts" else {}
        _compiled[key] = device.compile(_build(template, plan, accumulate), options, kinds)
    name = f"fused.{template}"
    run_launch(device.prepare(name, _compiled[key], grid, block, kinds, size, args), args)


@functools.cache
def _build(template, plan, accumulate=False):
    from .fused_kernels import build

    made = build(template, plan, accumulate)
    made.__name__ = made.__qualname__ = f"fused_{template}_{plan.width}"
    return made
