"""matmul and linear on CUDA arrays: a plan for the shapes, its kernels compiled once, launched.

The rule: everything that may run on the tensor cores' reduced precisions is asked for by name; by
default float32 is multiplied as float32.
"""

import numpy as np

from . import arrays, tile_plans
from .launch import kind_key, kind_of, run_launch

PRECISIONS = ("float32", "tf32", "bf16")
_default = ["float32"]
_codes = {}  # (device, launch, activation, kinds) -> compiled code and Numba types


def check_precision(operation, precision):
    """Refuse an unknown name; None stands for the default."""
    if precision is not None:
        arrays.check_known(operation, precision, PRECISIONS, "precision")


def set_matmul_precision(precision):
    """Set what float32 products on CUDA are computed in where a call does not say.

    "float32" (at the start), "tf32" or "bf16", on tensor cores (compute capability 8.0 or more);
    the gradients of `linear` are computed so too. A recording keeps what was set when it was made.
    """
    arrays.check_known("set_matmul_precision", precision, PRECISIONS, "precision")
    _default[0] = precision


def get_matmul_precision():
    """Return what set_matmul_precision has set."""
    return _default[0]


def matmul(c, a, b, precision=None):
    """C = A·B on CUDA."""
    multiply(c, a, b, precision=precision)


def linear(y, x, weight, bias, activation=None, precision=None):
    """y = f(x·Wᵀ + b) on CUDA, in one pass."""
    multiply(y, x, weight.T, bias, activation, precision)


def linear_backward_input(dx, dy, weight):
    """dx = dy·W on CUDA."""
    multiply(dx, dy, weight)


def linear_backward_weight(dweight, dy, x, accumulate=False):
    """dW = dyᵀ·x on CUDA, or added to what is there."""
    if not accumulate:
        multiply(dweight, dy.T, x)
        return
    from .arithmetic import add

    product = arrays.scratch(dweight, dweight.shape)
    multiply(product, dy.T, x)
    add(dweight, product, out=dweight)


def linear_backward(dx, dweight, dbias, dy, x, weight):
    """dx = dy·W, dW = dyᵀ·x and db = Σ_rows dy on CUDA."""
    from .columns import column_sum

    multiply(dx, dy, weight)
    multiply(dweight, dy.T, x)
    column_sum(dy, out=dbias)


def multiply(c, a, b, bias=None, activation=None, precision=None):
    """C = f(A·B + bias) for device arrays: a (M, K), b (K, N) of any strides, c (M, N)."""
    if not c.flags.c_contiguous:
        from .copies import copy_from_flat

        whole = arrays.scratch(c, c.shape)
        multiply(whole, a, b, bias, activation, precision)
        copy_from_flat(c, whole.reshape(-1))
        return
    plan = _plan(c, a, b, precision or _default[0])
    nothing = arrays.scratch(c, 0)
    given = {"c": c, "a": a, "b": b, "bias": nothing if bias is None else bias, "nothing": nothing}
    if plan.scratch is not None:
        given["scratch"] = arrays.scratch(c, plan.scratch)
    for launch in plan.launches:
        _launch(launch, tuple(given[name] for name in launch.arguments), activation)


def _plan(c, a, b, precision):
    """Return the plan of a product: by tensor cores where they are asked for."""
    (m, k), n = a.shape, b.shape[1]
    left = tile_plans.layout(a.shape, a.strides, a.pointer, a.itemsize, 1)
    right = tile_plans.layout(b.shape, b.strides, b.pointer, b.itemsize, 0)
    where = left, right, c.device.multiprocessors, c.pointer % tile_plans.PIECE == 0
    if precision == "float32" or c.dtype != np.float32:
        return tile_plans.plan(m, n, k, c.dtype.name, *where)
    if c.device.capability < (8, 0):
        raise ValueError(
            f"matmul: precision is {precision!r} and the device has compute capability "
            f"{'.'.join(map(str, c.device.capability))}, expected 8.0 or more"
        )
    return tile_plans.tensor_plan(m, n, k, precision, *where)


def _launch(launch, args, activation):
    device, applied = args[0].device, activation if launch.last else None
    key = device, launch.template, launch.constants, launch.options, applied
    key += tuple(map(kind_key, args))
    if key not in _codes:
        kinds = tuple(map(kind_of, args))
        code = device.compile(_build(launch, applied), dict(launch.options), kinds)
        _codes[key] = code, kinds
    (code, kinds), name = _codes[key], f"matrix.{launch.template}"
    run_launch(device.prepare(name, code, launch.grid, launch.block, kinds, None, args), args)


def _build(launch, activation):
    if launch.template in ("product_tf32", "product_bf16"):
        from .tensor_cores import build
    else:
        from .tiles import build
    return build(launch, _epilogue(activation))


def _epilogue(activation):
    """Return the device function that adds the bias and applies an activation by name."""
    if activation is None:
        return None
    from .activations import ACTIVATIONS
    from .cuda_loops import TEAMS
    from .retarget import convert, device_function, retarget

    team, public = TEAMS["item"], ACTIVATIONS[activation].forward
    numbers = tuple(public.operation.defaults[1:-1])
    template, formula = _ACTIVATED[len(numbers)], convert(public, team)
    return device_function(retarget(template, team, formula=formula, NUMBERS=numbers))


def _activated(value, shift):
    return formula(value + shift)  # noqa: F821  (bound by retarget)


def _activated_by_1(value, shift):
    return formula(value + shift, type(value)(NUMBERS[0]))  # noqa: F821


def _activated_by_2(value, shift):
    T = type(value)  # a default as it stands would make float32 code float64
    return formula(value + shift, T(NUMBERS[0]), T(NUMBERS[1]))  # noqa: F821


_ACTIVATED = {0: _activated, 1: _activated_by_1, 2: _activated_by_2}
