"""export_numpy: a trained model as one Python file that needs NumPy alone.

For packages that ship a trained net. The rule: the file holds numbers and formulas, readable, and
computes in the model's precision.
"""

import base64
import textwrap

import numpy as np

from .files import write_whole
from .lowering import lower, widths

FORMULAS = {
    "relu": "np.maximum(x, 0)",
    "leaky_relu": "np.where(x > 0, x, x * T({0}))",
    "relu6": "np.clip(x, 0, 6)",
    "threshold": "np.where(x > T({0}), x, T({1}))",
    "hard_tanh": "np.clip(x, T({0}), T({1}))",
    "hard_sigmoid": "np.clip(x / 6 + T(0.5), 0, 1)",
    "hard_swish": "x * np.clip(x / 6 + T(0.5), 0, 1)",
    "elu": "np.where(x > 0, x, T({0}) * np.expm1(np.minimum(x, 0)))",
    "celu": "np.where(x > 0, x, T({0}) * np.expm1(np.minimum(x, 0) / T({0})))",
    "selu": "T(1.0507009873554805) * np.where(x > 0, x, "
    "T(1.6732632423543772) * np.expm1(np.minimum(x, 0)))",
    "sigmoid": "sigmoid(x)",
    "tanh": "np.tanh(x)",
    "softplus": "np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))",
    "softsign": "x / (1 + np.abs(x))",
    "silu": "x * sigmoid(x)",
    "swish": "x * sigmoid(T({0}) * x)",
    "quick_gelu": "x * sigmoid(T(1.702) * x)",
    "mish": "x * np.tanh(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))",
    "gelu": "x * T(0.5) * (1 + erf(x * T(0.7071067811865476)))",
    "gelu_tanh": "x * sigmoid(T(1.5957691216057308) * (x + T(0.044715) * x * x * x))",
}

HEAD = '''"""A neural network of {inputs} inputs and {outputs} outputs; needs NumPy alone.

    from {name} import predict
    predict(x)  # (N, {inputs}) -> (N, {outputs})

Written by fonio.nn.export_numpy.
"""

import base64

import numpy as np

T = np.{dtype}
IN, OUT = {inputs}, {outputs}


def _array(text, kind, *shape):
    return np.frombuffer(base64.b85decode(text.replace("\\n", "")), kind).reshape(shape)
'''

SIGMOID = '''

def sigmoid(x):
    """1 / (1 + exp(-x)), without overflow."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))
'''

ERF = '''

def erf(x):
    """The error function, by the C library of Python."""
    from math import erf as one

    return np.array([one(v) for v in x.ravel().tolist()], x.dtype).reshape(x.shape)
'''

FIELD = '''

def field(term, x, reach):
    """Return the mean of term(x, neighbour) over the features within reach, as far as they go."""
    n = x.shape[1]
    total, count = np.zeros_like(x), np.zeros(n, T)
    for k in range(-reach, reach + 1):
        here, there = slice(max(-k, 0), n - max(k, 0)), slice(max(k, 0), n - max(-k, 0))
        total[:, here] += term(x[:, here], x[:, there])
        count[here] += 1
    return total / count
'''

HELPERS = {"sigmoid(": SIGMOID, "erf(": ERF, "field(": FIELD}

PREDICT = '''

def predict(x):
    """Return the outputs (N, OUT) for x (N, IN)."""
    x = np.ascontiguousarray(x, T)
    if x.ndim != 2 or x.shape[1] != IN:
        raise ValueError(f"predict: x has shape {x.shape}, expected (N, {IN})")
'''


def export_numpy(model, path):
    """Write a Python file with a function `predict(x)`: the model in eval mode, in NumPy alone."""
    steps = lower(model, "export_numpy")
    inputs, outputs = widths(model, steps, "export_numpy")
    writer = _Writer(model.dtype)
    body = writer.lines(steps)
    name = str(path).replace("\\", "/").split("/")[-1].removesuffix(".py")
    text = HEAD.format(inputs=inputs, outputs=outputs, name=name, dtype=model.dtype)
    source = text + "".join(code for call, code in HELPERS.items() if call in body)
    source += PREDICT + textwrap.indent(body, "    ") + "    return x\n\n\n" + writer.constants()
    write_whole(path, source.encode())


class _Writer:
    """Collects the constants of a model while its lines are written."""

    def __init__(self, dtype):
        self.dtype, self.arrays, self.depth = dtype, [], 0

    def hold(self, array, dtype=None):
        """Name a constant."""
        self.arrays.append(np.ascontiguousarray(array, dtype or self.dtype))
        return f"_C{len(self.arrays) - 1}"

    def constants(self):
        lines = []
        for i, array in enumerate(self.arrays):
            little = array.astype(array.dtype.newbyteorder("<"))
            text = base64.b85encode(little.tobytes()).decode()
            wrapped = "\n".join(textwrap.wrap(text, 96)) or ""
            told = ", ".join([f'"<{array.dtype.str[1:]}"', *map(str, array.shape)])
            lines.append(f'_C{i} = _array(r"""\n{wrapped}\n""", {told})\n')
        return "".join(lines)

    def lines(self, steps):
        return "".join(getattr(self, step.kind)(step) + "\n" for step in steps)

    def linear(self, step):
        weight, bias = self.hold(step.weight.T), self.hold(step.bias)
        return f"x = x @ {weight} + {bias}"

    def affine(self, step):
        return f"x = x * {self.hold(step.scale)} + {self.hold(step.shift)}"

    def activation(self, step):
        return f"x = {FORMULAS[step.name].format(*step.numbers)}"

    def prelu(self, step):
        return f"x = np.where(x > 0, x, x * {self.hold(step.slope)})"

    def swish(self, step):
        return f"x = x * sigmoid({self.hold(step.beta)} * x)"

    def softmax(self, step):
        return "x = np.exp(x - x.max(axis=1, keepdims=True))\nx = x / x.sum(axis=1, keepdims=True)"

    def log_softmax(self, step):
        return (
            "x = x - x.max(axis=1, keepdims=True)\n"
            "x = x - np.log(np.exp(x).sum(axis=1, keepdims=True))"
        )

    def crelu(self, step):
        return "x = np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)], axis=1)"

    def glu(self, step):
        return "x = x[:, : x.shape[1] // 2] * sigmoid(x[:, x.shape[1] // 2 :])"

    def maxout(self, step):
        return f"x = x.reshape(len(x), -1, {step.pieces}).max(axis=2)"

    def norm(self, step):
        center = "g = g - g.mean(axis=2, keepdims=True)\n" if step.centered else ""
        return (
            f"g = x.reshape(len(x), {step.groups}, -1)\n{center}"
            f"g = g / np.sqrt((g * g).mean(axis=2, keepdims=True) + T({step.eps}))\n"
            f"x = g.reshape(x.shape) * {self.hold(step.gamma)} + {self.hold(step.beta)}"
        )

    def divisive(self, step):
        return (
            f"x = field(lambda a, b: a - b, x, {step.summation})\n"
            f"g = field(lambda a, b: b * b, x, {step.suppression})\n"
            f"x = x / np.sqrt(g + T({step.square})) * {self.hold(step.gamma)}"
            f" + {self.hold(step.beta)}"
        )

    def select(self, step):
        places = self.hold(step.places, np.int32)
        if (step.places >= 0).all():
            return f"x = x[:, {places}]"
        return f"x = np.where({places} < 0, T({step.fill}), x[:, {places}])"

    def residual(self, step):
        self.depth += 1
        kept, inner = f"x{self.depth}", f"y{self.depth}"
        body, past = self.lines(step.body), self.lines(step.shortcut)
        return f"{kept} = x\n{body}{inner} = x\nx = {kept}\n{past}x = x + {inner}"
