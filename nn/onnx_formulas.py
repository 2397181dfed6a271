"""Activations in ONNX's basic operators: for double precision, in which runtimes hold few of them.

onnxruntime has neither Elu, Selu, Softplus nor Erf of doubles, and ONNX itself no Celu.

The rule: arithmetic on a Value writes nodes of a graph; a formula is the mathematics alone.
"""

from ..kernels.coefficients import ERF_DOUBLE, ERF_ROOT_DOUBLE


class Value:
    """What a node of the graph makes; `name` is its name there."""

    def __init__(self, writer, name):
        self.writer, self.name = writer, name

    def node(self, operator, *others):
        """Return what an operator makes of this value and others, or numbers."""
        names = [v.name if isinstance(v, Value) else self.writer.hold(v) for v in others]
        return Value(self.writer, self.writer.node(operator, [self.name, *names]))

    def __add__(self, other):
        return self.node("Add", other)

    def __sub__(self, other):
        return self.node("Sub", other)

    def __mul__(self, other):
        return self.node("Mul", other)

    def __truediv__(self, other):
        return self.node("Div", other)

    def __neg__(self):
        return self.node("Neg")

    def __gt__(self, other):
        return self.node("Greater", other)

    def equals(self, other):
        """Return where the two are equal."""
        return self.node("Equal", other)

    def clip(self, low, high):
        """Return the value brought into [low, high]."""
        return self.node("Clip", low, high)


def where(condition, yes, no):
    """Return `yes` where the condition holds, else `no`."""
    return condition.node("Where", yes, no)


def _exp(x):
    return x.node("Exp")


def _magnitude(x):
    return x.node("Abs")


def _sigmoid(x):
    return x.node("Sigmoid")


def _tanh(x):
    return x.node("Tanh")


def _expm1(x):
    """eˣ - 1 = tanh(x/2)·(eˣ + 1), exact to the last digits near 0 too; x <= 0."""
    x = x.node("Min", 0.0)
    return _tanh(x * 0.5) * (_exp(x) + 1.0)


def _softplus(x):
    """max(x, 0) + log(1 + e), e = e^-|x|; log(1 + e) by Kahan: log(u)·e/(u - 1) of u = 1 + e."""
    e = _exp(-_magnitude(x))
    u = e + 1.0
    return x.node("Relu") + where(u.equals(1.0), e, u.node("Log") * e / (u - 1.0))


def _elu(x, alpha=1.0):
    return where(x > 0.0, x, _expm1(x) * alpha)


def _polynomial(x, coefficients):
    """Σ coefficients[k]·xᵏ, lowest first."""
    *rest, total = coefficients
    for k, coefficient in enumerate(reversed(rest)):
        total = (x * total if k == 0 else total * x) + coefficient
    return total


def _erf(x):
    """An odd polynomial near 0, else 1 - (erfc(|x|)^¼)⁴: as fonio.kernels.erf."""
    a = _magnitude(x).node("Min", 6.0)
    near = a + a * _polynomial(a * a, ERF_DOUBLE)
    root = _polynomial(a, ERF_ROOT_DOUBLE)
    root = root * root
    return where(a > 1.0, -(root * root) + 1.0, near) * x.node("Sign")


def _hard_sigmoid(x):
    return (x / 6.0 + 0.5).clip(0.0, 1.0)


FORMULAS = {
    "leaky_relu": lambda x, slope: where(x > 0.0, x, x * slope),
    "elu": _elu,
    "celu": lambda x, alpha: where(x > 0.0, x, _expm1(x / alpha) * alpha),
    "selu": lambda x: _elu(x, 1.6732632423543772) * 1.0507009873554805,
    "softplus": _softplus,
    "softsign": lambda x: x / (_magnitude(x) + 1.0),
    "mish": lambda x: x * _tanh(_softplus(x)),
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": lambda x: x * _hard_sigmoid(x),
    "gelu": lambda x: x * 0.5 * (_erf(x * 0.7071067811865476) + 1.0),
    "gelu_tanh": lambda x: x * _sigmoid((x + x * x * x * 0.044715) * 1.5957691216057308),
}
