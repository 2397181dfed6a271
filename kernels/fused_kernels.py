"""The CUDA kernels of a fused MLP, put together: templates, constants of a Plan, formulas.

The rule: an activation is the formula of activations.py, chosen by its code, the same for all of a
block: one kernel serves every layer.
"""

# ruff: noqa: F821  (what is bound: CODE, function, rest, formula, NUMBERS)

import numpy as np

from . import fused_gradients, fused_tiles
from .activations import ACTIVATIONS
from .cuda_loops import TEAMS
from .ptx_products import Fragment, multiply_across, multiply_block
from .retarget import convert
from .tiles import bind, device

_TEMPLATES = {
    "forward": (fused_tiles.forward, 2),  # and the arguments before the lists of arrays
    "backward": (fused_gradients.backward, 3),
    "add_parts": (fused_gradients.add_parts, 1),
}


def build(template, plan, accumulate=False):
    """Return a kernel of a Plan: "forward", "backward" or "add_parts", plain for cuda.jit."""
    function, before = _TEMPLATES[template]
    layers = len(plan.codes)
    names = plan.constants | _lists(before, layers)
    names |= {"CODES": plan.codes, "LAYERS": layers, "LAST_FROM_Y": plan.last_from_y}
    names |= {"ALIGNED": plan.aligned, "ADD": accumulate, "PAD": 8 if template == "forward" else 32}
    if template != "add_parts":
        formulas, slopes = _formulas(plan)
        names["choose"] = _switch(_choose, _keep, formulas)
        names["choose_slope"] = _switch(_choose_slope, _keep_slope, slopes)
        _products(names)
        for module, made in _IN_ORDER:
            names[made] = device(getattr(module, made), **names)
        _slabs(names)
    return bind(function, **names)


_IN_ORDER = [  # each calls only those before it
    *((fused_tiles, name) for name in ("fetch", "spot", "groups", "my_sums", "read_tile")),
    *((fused_tiles, name) for name in ("write_tile", "keep", "activate", "start")),
    *((fused_tiles, name) for name in ("fetch_weights", "place_weights", "sum_forward")),
    *((fused_gradients, name) for name in ("steepen", "my_part", "add_weights", "add_bias")),
]


def _lists(start, layers):
    """Return where the lists of arrays stand among the arguments, as slices."""
    first, second = start + layers, start + 2 * layers
    return {
        "FIRST": slice(start, first),
        "SECOND": slice(first, second),
        "THIRD": slice(second, None),
        "REST": slice(first, None),
    }


def _formulas(plan):
    """Return the device functions f(x) and f'(dy, kept) of the plan's activations."""
    rows = [ACTIVATIONS[name] for name in plan.names]
    slopes = [row.backward_from_y or row.backward for row in rows]
    return [_formula(row.forward) for row in rows], [_formula(slope) for slope in slopes]


def _formula(public):
    """Return a device function of an elementwise operation's arrays, its numbers the defaults."""
    operation = public.operation
    formula, count = convert(public, TEAMS["item"]), len(operation.array_names)
    numbers = operation.defaults[count : count + len(operation.number_names)]
    if not numbers:
        return formula
    return device(_NUMBERED[count], formula=formula, NUMBERS=tuple(map(np.float32, numbers)))


def _products(names):
    """Add the micro-kernels of the three products."""
    depth, width, line = names["DEPTH"], names["WIDTH"], names["LINE"]
    rows = Fragment(8, line, 32)
    panel = Fragment(names["ACROSS"], names["PANEL"], 32)
    names["multiply_forward"] = multiply_block(depth, Fragment(8, names["SLAB_LINE"], 16), rows)
    names["multiply_input"] = multiply_block(depth, Fragment(8, width, 16), rows)
    names["multiply_weights"] = multiply_across(depth, names["DOWN"], 4 * line, panel)


def _slabs(names):
    """Add the loads of slabs as wide as the tile and as a panel, and the products they feed."""
    for name, span in (("rows", names["WIDTH"]), ("panel", names["PANEL"])):
        for step in ("fetch", "place"):
            template = getattr(fused_gradients, f"{step}_slab")
            names[f"{step}_{name}"] = device(template, **names | {"SPAN": span})
    for product in (fused_gradients.sum_weights, fused_gradients.sum_input):
        names[product.__name__] = device(product, **names)


def _switch(template, last, functions):
    """Chain functions: that of code i is called where the code is i, the first's is 1."""
    chain = device(last)
    for code in range(len(functions), 0, -1):
        chain = device(template, CODE=code, function=functions[code - 1], rest=chain)
    return chain


def _choose(code, x):
    return function(x) if code == CODE else rest(code, x)


def _choose_slope(code, dy, kept):
    return function(dy, kept) if code == CODE else rest(code, dy, kept)


def _keep(code, x):
    return x


def _keep_slope(code, dy, kept):
    return dy


def _numbered_1(x):
    return formula(x, *NUMBERS)


def _numbered_2(dy, x):
    return formula(dy, x, *NUMBERS)


_NUMBERED = {1: _numbered_1, 2: _numbered_2}
