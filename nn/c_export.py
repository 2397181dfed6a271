"""export_c: a trained model as a header and a source in plain C99, with no library but libm.

The rule: one row is one call, on the caller's memory, with scratch on the stack; nothing is
allocated, and several threads may call at once.
"""

import re
from pathlib import Path

import numpy as np

from .files import write_whole
from .lowering import lower, widths

# v is the value, T the type, F(x) a function's name in its precision
FORMULAS = {
    "relu": "v > 0 || v != v ? v : 0",
    "leaky_relu": "v > 0 ? v : v * (T){0}",
    "relu6": "v < 0 ? 0 : v > 6 ? 6 : v",
    "threshold": "v > (T){0} ? v : (T){1}",
    "hard_tanh": "v < (T){0} ? (T){0} : v > (T){1} ? (T){1} : v",
    "hard_sigmoid": "v <= -3 ? 0 : v >= 3 ? 1 : v / 6 + (T)0.5",
    "hard_swish": "v <= -3 ? 0 : v >= 3 ? v : v * (v / 6 + (T)0.5)",
    "elu": "v > 0 ? v : (T){0} * F(expm1)(v)",
    "celu": "v > 0 ? v : (T){0} * F(expm1)(v / (T){0})",
    "selu": "(T)1.0507009873554805 * (v > 0 ? v : (T)1.6732632423543772 * F(expm1)(v))",
    "sigmoid": "sigmoid(v)",
    "tanh": "F(tanh)(v)",
    "softplus": "softplus(v)",
    "softsign": "v / (1 + F(fabs)(v))",
    "silu": "v * sigmoid(v)",
    "swish": "v * sigmoid((T){0} * v)",
    "quick_gelu": "v * sigmoid((T)1.702 * v)",
    "mish": "v * F(tanh)(softplus(v))",
    "gelu": "v * (T)0.5 * (1 + F(erf)(v * (T)0.7071067811865476))",
    "gelu_tanh": "v * sigmoid((T)1.5957691216057308 * (v + (T)0.044715 * v * v * v))",
}

HEADER = """/* A neural network of {inputs} inputs and {outputs} outputs, by fonio.nn.export_c. */
#ifndef {guard}_H
#define {guard}_H
#ifdef __cplusplus
extern "C" {{
#endif

#define {guard}_INPUTS {inputs}
#define {guard}_OUTPUTS {outputs}

/* Fill y[{outputs}] with the outputs for x[{inputs}]; the two may not overlap. Link with -lm. */
void {name}_predict(const {type} *x, {type} *y);

#ifdef __cplusplus
}}
#endif
#endif
"""

SOURCE = """#include "{name}.h"

#include <math.h>
#include <string.h>

typedef {type} T;
#define F(name) {function}

static inline T sigmoid(T v) {{
  T e = F(exp)(-F(fabs)(v));
  return v >= 0 ? 1 / (1 + e) : e / (1 + e);
}}

static inline T softplus(T v) {{ return F(fmax)(v, 0) + F(log1p)(F(exp)(-F(fabs)(v))); }}

"""


def export_c(model, path):
    """Write PATH.h and PATH.c: `void NAME_predict(const float *x, float *y)` for one row.

    path: with or without ending; NAME is its last part. The functions are of double for a float64
    model. Compile with any C99 compiler, link with -lm. Returns the two paths.
    """
    path = Path(path).with_suffix("")
    name = path.name
    if not (name.isidentifier() and name.isascii()):
        raise ValueError(f"export_c: the name {name!r} is no identifier of C")
    steps = lower(model, "export_c")
    inputs, outputs = widths(model, steps, "export_c")
    double = model.dtype == np.float64
    told = {"name": name, "guard": name.upper(), "inputs": inputs, "outputs": outputs}
    told |= {"type": "double" if double else "float"}
    writer = _Writer(double)
    body, width = writer.steps(steps, inputs)
    if width != outputs:
        raise ValueError(f"export_c: the steps make {width} outputs, expected {outputs}")
    function = "name" if double else "name##f"
    source = SOURCE.format(**told, function=function) + "".join(writer.constants)
    size = writer.widest
    beside = f", b[{size}]" if re.search(r"\bb\b", body) else ""  # compilers warn of an unused one
    source += (
        f"\nvoid {name}_predict(const T *x, T *y) {{\n"
        f"  T a[{size}]{beside};\n"
        + "".join(f"  T kept{i}[{w}];\n" for i, w in enumerate(writer.kept))
        + f"  memcpy(a, x, sizeof(T) * {inputs});\n{body}"
        + f"  memcpy(y, a, sizeof(T) * {outputs});\n}}\n"
    )
    write_whole(path.with_suffix(".h"), HEADER.format(**told).encode())
    write_whole(path.with_suffix(".c"), source.encode())
    return path.with_suffix(".h"), path.with_suffix(".c")


class _Writer:
    """Writes steps that work in `a`, with `b` beside it."""

    def __init__(self, double):
        self.double, self.constants, self.kept, self.widest = double, [], [], 1

    def hold(self, array):
        """Name a constant; 9 or 17 digits give every bit back."""
        digits, end = (17, "") if self.double else (9, "f")
        texts = [f"{float(v):.{digits}g}" for v in np.ravel(array)]
        texts = [t if set(t) & set(".einf") else t + ".0" for t in texts]
        texts = [
            {"inf": "INFINITY", "-inf": "-INFINITY", "nan": "NAN"}.get(t, t + end) for t in texts
        ]
        rows = ["  " + ", ".join(texts[i : i + 8]) + ",\n" for i in range(0, len(texts), 8)]
        name = f"c{len(self.constants)}"
        self.constants.append(f"static const T {name}[{len(texts)}] = {{\n{''.join(rows)}}};\n")
        return name

    def steps(self, steps, width):
        text = []
        for step in steps:
            self.widest = max(self.widest, width)
            lines, width = getattr(self, step.kind)(step, width)
            text.append(f"  /* {step.kind} */\n{lines}")
            self.widest = max(self.widest, width)
        return "".join(text), width

    def each(self, formula, width):
        """Apply a formula of v (and i) to each value."""
        loop = f"  for (int i = 0; i < {width}; i++) {{ T v = a[i]; a[i] = {formula}; }}\n"
        return loop, width

    def back(self, text, width):
        return text + f"  memcpy(a, b, sizeof(T) * {width});\n", width

    def linear(self, step, width):
        out = len(step.weight)
        w, bias = self.hold(step.weight), self.hold(step.bias)
        loop = (
            f"  for (int o = 0; o < {out}; o++) {{\n"
            f"    T sum = 0;\n"
            f"    for (int i = 0; i < {width}; i++) sum += a[i] * {w}[o * {width} + i];\n"
            f"    b[o] = sum + {bias}[o];\n  }}\n"
        )
        return self.back(loop, out)

    def affine(self, step, width):
        scale, shift = self.hold(step.scale), self.hold(step.shift)
        at = "i" if step.scale.size > 1 else "0"
        return self.each(f"v * {scale}[{at}] + {shift}[{at}]", width)

    def activation(self, step, width):
        return self.each(FORMULAS[step.name].format(*step.numbers), width)

    def prelu(self, step, width):
        at = "i" if step.slope.size > 1 else "0"
        return self.each(f"v > 0 ? v : v * {self.hold(step.slope)}[{at}]", width)

    def swish(self, step, width):
        at = "i" if step.beta.size > 1 else "0"
        return self.each(f"v * sigmoid({self.hold(step.beta)}[{at}] * v)", width)

    def _exponentials(self, width):
        return (
            "  {\n    T top = a[0], sum = 0;\n"
            f"    for (int i = 1; i < {width}; i++)\n"
            "      top = a[i] > top || a[i] != a[i] ? a[i] : top;\n"
            f"    for (int i = 0; i < {width}; i++) sum += F(exp)(a[i] - top);\n"
        )

    def softmax(self, step, width):
        end = f"    for (int i = 0; i < {width}; i++) a[i] = F(exp)(a[i] - top) / sum;\n  }}\n"
        return self._exponentials(width) + end, width

    def log_softmax(self, step, width):
        end = f"    for (int i = 0; i < {width}; i++) a[i] = a[i] - top - F(log)(sum);\n  }}\n"
        return self._exponentials(width) + end, width

    def crelu(self, step, width):
        loop = (
            f"  for (int i = 0; i < {width}; i++) {{\n"
            f"    b[i] = a[i] < 0 ? 0 : a[i];\n    b[{width} + i] = a[i] > 0 ? 0 : -a[i];\n  }}\n"
        )
        return self.back(loop, 2 * width)

    def glu(self, step, width):
        half = width // 2
        return f"  for (int i = 0; i < {half}; i++) a[i] *= sigmoid(a[{half} + i]);\n", half

    def maxout(self, step, width):
        out = width // step.pieces
        loop = (
            f"  for (int o = 0; o < {out}; o++) {{\n    T top = a[o * {step.pieces}];\n"
            f"    for (int i = 1; i < {step.pieces}; i++) {{\n"
            f"      T v = a[o * {step.pieces} + i];\n"
            "      top = v > top || v != v ? v : top;\n    }\n"
            "    a[o] = top;\n  }\n"
        )
        return loop, out

    def norm(self, step, width):
        size = width // step.groups
        gamma, beta = self.hold(step.gamma), self.hold(step.beta)
        mean = (
            f"    for (int i = 0; i < {size}; i++) mean += g[i];\n    mean /= {size};\n"
            if step.centered
            else ""
        )
        return (
            f"  for (int k = 0; k < {step.groups}; k++) {{\n"
            f"    T *g = a + k * {size}, mean = 0, square = 0;\n{mean}"
            f"    for (int i = 0; i < {size}; i++) square += (g[i] - mean) * (g[i] - mean);\n"
            f"    T scale = 1 / F(sqrt)(square / {size} + (T){step.eps});\n"
            f"    for (int i = 0; i < {size}; i++) {{\n      int c = k * {size} + i;\n"
            f"      g[i] = (g[i] - mean) * scale * {gamma}[c] + {beta}[c];\n    }}\n  }}\n"
        ), width

    def _field(self, term, reach, width):
        """Put into b the mean of `term`, of i and its neighbour k, over those within reach."""
        return (
            f"  for (int i = 0; i < {width}; i++) {{\n"
            f"    int from = i > {reach} ? i - {reach} : 0;\n"
            f"    int to = i < {width - reach} ? i + {reach} : {width - 1};\n"
            "    T sum = 0;\n"
            f"    for (int k = from; k <= to; k++) sum += {term};\n"
            "    b[i] = sum / (T)(to - from + 1);\n  }\n"
        )

    def divisive(self, step, width):
        gamma, beta = self.hold(step.gamma), self.hold(step.beta)
        text, _ = self.back(self._field("a[i] - a[k]", step.summation, width), width)
        text += self._field("a[k] * a[k]", step.suppression, width)
        scaled = f"v / F(sqrt)(b[i] + (T){step.square}) * {gamma}[i] + {beta}[i]"
        return text + self.each(scaled, width)[0], width

    def select(self, step, width):
        count = len(step.places)
        name = f"p{len(self.constants)}"
        rows = [", ".join(map(str, step.places[i : i + 16])) for i in range(0, count, 16)]
        body = ",\n  ".join(rows)
        self.constants.append(f"static const int {name}[{count}] = {{\n  {body},\n}};\n")
        loop = (
            f"  for (int i = 0; i < {count}; i++)\n"
            f"    b[i] = {name}[i] < 0 ? (T){step.fill} : a[{name}[i]];\n"
        )
        return self.back(loop, count)

    def residual(self, step, width):
        place = len(self.kept)
        self.kept += [width, 0]
        body, out = self.steps(step.body, width)
        self.kept[place + 1] = out
        past, _ = self.steps(step.shortcut, width)
        copy = "  memcpy({}, {}, sizeof(T) * {});\n".format
        text = copy(f"kept{place}", "a", width) + body + copy(f"kept{place + 1}", "a", out)
        text += copy("a", f"kept{place}", width) + past
        return text + f"  for (int i = 0; i < {out}; i++) a[i] += kept{place + 1}[i];\n", out
