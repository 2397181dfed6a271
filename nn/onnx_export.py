"""export_onnx: a trained model as an ONNX graph, for other runtimes.

Single precision has ONNX's own activations; double precision is written in basic operators, as
runtimes hold few activations in it.

The rule: the graph is checked by onnx before it is written, and takes any number of rows.
"""

import numpy as np

from .extras import needed
from .files import write_whole
from .lowering import lower, widths
from .onnx_formulas import FORMULAS, Value, where

OPSET = 20  # the first with Gelu
NODES = {  # activation: operator, {attribute: place of its number, or its value}
    "relu": ("Relu", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0}),
    "elu": ("Elu", {"alpha": 0}),
    "celu": ("Celu", {"alpha": 0}),
    "selu": ("Selu", {"alpha": 1.6732632423543772, "gamma": 1.0507009873554805}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "softplus": ("Softplus", {}),
    "softsign": ("Softsign", {}),
    "mish": ("Mish", {}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "hard_swish": ("HardSwish", {}),
    "gelu": ("Gelu", {"approximate": "none"}),
    "gelu_tanh": ("Gelu", {"approximate": "tanh"}),
}
GATED = {"silu": 1.0, "quick_gelu": 1.702}  # x sigmoid(number x)


def export_onnx(model, path):
    """Write a model in eval mode as an ONNX file: input "x" (N, in), output "y" (N, out)."""
    with needed("export_onnx needs onnx", "onnx", "onnx"):
        import onnx
        from onnx import helper, numpy_helper
    steps = lower(model, "export_onnx")
    inputs, outputs = widths(model, steps, "export_onnx")
    writer = _Writer(model.dtype, helper, numpy_helper)
    last = writer.steps(steps, "x")
    writer.node("Identity", [last], output="y")
    kind = helper.np_dtype_to_tensor_dtype(model.dtype)
    graph = helper.make_graph(
        writer.nodes, "fonio",
        [helper.make_tensor_value_info("x", kind, ["N", inputs])],
        [helper.make_tensor_value_info("y", kind, ["N", outputs])],
        writer.constants,
    )  # fmt: skip
    made = helper.make_model(
        graph, producer_name="fonio", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9
    )
    onnx.checker.check_model(made, full_check=True)
    write_whole(path, made.SerializeToString())


class _Writer:
    """Collects nodes and constants; each method returns the name of what its nodes make."""

    def __init__(self, dtype, helper, numpy_helper):
        self.dtype, self.helper, self.numpy_helper = dtype, helper, numpy_helper
        self.nodes, self.constants = [], []

    def node(self, operator, inputs, output=None, **attributes):
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(self.helper.make_node(operator, inputs, [output], **attributes))
        return output

    def hold(self, value, dtype=None):
        name = f"c{len(self.constants)}"
        array = np.ascontiguousarray(value, dtype or self.dtype)
        self.constants.append(self.numpy_helper.from_array(array.reshape(np.shape(value)), name))
        return name

    def steps(self, steps, x):
        for step in steps:
            x = getattr(self, step.kind)(step, x)
        return x

    def linear(self, step, x):
        return self.node("Gemm", [x, self.hold(step.weight), self.hold(step.bias)], transB=1)

    def affine(self, step, x):
        scaled = self.node("Mul", [x, self.hold(step.scale)])
        return self.node("Add", [scaled, self.hold(step.shift)])

    def activation(self, step, x):
        name, numbers = step.name, step.numbers
        if self.dtype == np.float64 and name in FORMULAS:
            return FORMULAS[name](Value(self, x), *numbers).name
        if name in GATED:
            return self._gated(x, self.hold(GATED[name]))
        if name == "swish":
            return self._gated(x, self.hold(numbers[0]))
        if name in ("relu6", "hard_tanh"):
            low, high = (0.0, 6.0) if name == "relu6" else numbers
            return self.node("Clip", [x, self.hold(low), self.hold(high)])
        if name == "threshold":
            over = self.node("Greater", [x, self.hold(numbers[0])])
            return self.node("Where", [over, x, self.hold(numbers[1])])
        if name not in NODES:
            raise TypeError(f"export_onnx: ONNX has no form for the activation {name!r}")
        operator, attributes = NODES[name]
        told = {k: numbers[v] if type(v) is int else v for k, v in attributes.items()}
        return self.node(operator, [x], **told)

    def _gated(self, x, factor):
        gate = self.node("Sigmoid", [self.node("Mul", [x, factor])])
        return self.node("Mul", [x, gate])

    def prelu(self, step, x):
        if self.dtype == np.float64:
            v = Value(self, x)
            return where(v > 0.0, v, v * Value(self, self.hold(step.slope))).name
        return self.node("PRelu", [x, self.hold(step.slope)])

    def swish(self, step, x):
        return self._gated(x, self.hold(step.beta))

    def softmax(self, step, x):
        return self.node("Softmax", [x], axis=1)

    def log_softmax(self, step, x):
        return self.node("LogSoftmax", [x], axis=1)

    def crelu(self, step, x):
        negative = self.node("Relu", [self.node("Neg", [x])])
        return self.node("Concat", [self.node("Relu", [x]), negative], axis=1)

    def glu(self, step, x):
        halves = [f"t{len(self.nodes)}a", f"t{len(self.nodes)}b"]
        self.nodes.append(self.helper.make_node("Split", [x], halves, axis=1, num_outputs=2))
        return self.node("Mul", [halves[0], self.node("Sigmoid", [halves[1]])])

    def maxout(self, step, x):
        shape = self.hold(np.array([0, -1, step.pieces]), np.int64)
        axes = self.hold(np.array([2]), np.int64)
        return self.node("ReduceMax", [self.node("Reshape", [x, shape]), axes], keepdims=0)

    def norm(self, step, x):
        shape = self.hold(np.array([0, step.groups, -1]), np.int64)
        axes = self.hold(np.array([2]), np.int64)
        parts = self.node("Reshape", [x, shape])
        if step.centered:
            parts = self.node("Sub", [parts, self.node("ReduceMean", [parts, axes])])
        square = self.node("ReduceMean", [self.node("Mul", [parts, parts]), axes])
        root = self.node("Sqrt", [self.node("Add", [square, self.hold(step.eps)])])
        flat = self.hold(np.array([0, step.gamma.size]), np.int64)
        normed = self.node("Reshape", [self.node("Div", [parts, root]), flat])
        scaled = self.node("Mul", [normed, self.hold(step.gamma)])
        return self.node("Add", [scaled, self.hold(step.beta)])

    def _field(self, x, other, reach, width):
        """Write the mean over the features within reach: of x less each, or of each one's square.

        Beyond the ends a feature stands for itself with weight 0.
        """
        here = np.arange(width)[:, None]
        near = here + np.arange(-reach, reach + 1)
        there = (near >= 0) & (near < width)
        share = self.hold(there / there.sum(axis=1, keepdims=True))
        axes = self.hold(np.array([2]), np.int64)
        near = self.node("Gather", [x, self.hold(np.where(there, near, here), np.int64)], axis=1)
        terms = other(near, self.node("Unsqueeze", [x, axes]))
        return self.node("ReduceSum", [self.node("Mul", [terms, share]), axes], keepdims=0)

    def divisive(self, step, x):
        width = step.gamma.size
        away = self._field(
            x, lambda near, here: self.node("Sub", [here, near]), step.summation, width
        )
        square = self._field(
            away, lambda near, here: self.node("Mul", [near, near]), step.suppression, width
        )
        root = self.node("Sqrt", [self.node("Add", [square, self.hold(step.square)])])
        normed = self.node("Div", [away, root])
        scaled = self.node("Mul", [normed, self.hold(step.gamma)])
        return self.node("Add", [scaled, self.hold(step.beta)])

    def select(self, step, x):
        outside = step.places < 0
        places = self.hold(np.where(outside, 0, step.places), np.int64)
        found = self.node("Gather", [x, places], axis=1)
        if not outside.any():
            return found
        return self.node("Where", [self.hold(outside, np.bool_), self.hold(step.fill), found])

    def residual(self, step, x):
        return self.node("Add", [self.steps(step.body, x), self.steps(step.shortcut, x)])
