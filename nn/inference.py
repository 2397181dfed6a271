"""predict, predict_proba and evaluate: a model's answers in eval mode.

The rule: the answer for a row does not depend on the rows beside it, so batches are cut as the
cache likes.
"""

import contextlib

import numpy as np

from .. import kernels
from ..kernels import arrays
from .losses import Loss, make_loss, prepare_targets

ROWS_ON_CUDA = 1 << 16  # enough to fill a large GPU
ROWS = 512  # a batch whose activations stay in the second-level cache for widths of some hundreds


def prepare_inputs(x, dtype, where="fit", check_finite=False):
    """Return x as a contiguous (N, I) array of the model's precision; no copy where it is one."""
    x = np.asarray(arrays.on_host(x))
    if x.dtype.kind not in "iufb":
        raise TypeError(f"{where}: x has dtype {x.dtype}, expected numbers")
    if x.ndim != 2:
        raise ValueError(f"{where}: x has shape {x.shape}, expected (N, features)")
    if len(x) == 0:
        raise ValueError(f"{where}: x has shape {x.shape}, expected at least one row")
    x = np.ascontiguousarray(x, dtype)
    if check_finite:
        bad = np.argwhere(~np.isfinite(x))
        if len(bad):
            row, column = bad[0]
            raise ValueError(
                f"{where}: x[{row}, {column}] is {x[row, column]}, expected finite numbers "
                f"({len(bad)} are not)"
            )
    return x


@contextlib.contextmanager
def eval_mode(model):
    """Set eval mode in the block, and each module's own mode after it."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def predict(model, x):
    """Return the model's outputs (N, O) for x (N, I), in eval mode."""
    return _outputs(model, prepare_inputs(x, model.dtype, "predict"))


def _outputs(model, x):
    parts, anchor = [], model.anchor
    rows = ROWS if arrays.device_of(anchor) is None else ROWS_ON_CUDA
    with eval_mode(model), kernels.not_recorded():
        for start in range(0, len(x), rows):
            batch = arrays.put(anchor, x[start : start + rows])
            parts.append(arrays.on_host(model(batch)))
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def predict_proba(model, x):
    """Return the probability of each class (N, C): softmax, or for one output the sigmoid."""
    return probabilities(predict(model, x))


def probabilities(output):
    """Return the softmax of each row of outputs, or for one output [1 - sigmoid, sigmoid]."""
    if output.shape[1] > 1:
        return kernels.softmax(output)
    one = kernels.sigmoid(output)
    return np.concatenate([1 - one, one], axis=1)


def evaluate(model, x, y, loss="cross_entropy"):
    """Return {"loss", "accuracy"} of a model on data; accuracy only where y are labels."""
    loss = make_loss(loss)
    x = prepare_inputs(x, model.dtype, "evaluate")
    output = _outputs(model, x)
    y = prepare_targets(loss, y, output.shape[1], model.dtype, "evaluate")
    if len(y) != len(x):
        raise ValueError(f"evaluate: y has {len(y)} rows, expected {len(x)} as x has")
    value = loss(output, y)[0]
    result = {"loss": float(np.asarray(value).reshape(-1)[0])}
    hits = accuracy(loss, output, y)
    return result if hits is None else result | {"accuracy": hits}


def accuracy(loss, output, y):
    """Return the share of rows whose largest output is the label's, None without labels."""
    if isinstance(loss, Loss) and loss.classes:
        labels = y if y.ndim == 1 else y.argmax(axis=1)
        return float((output.argmax(axis=1) == labels).mean())
    if isinstance(loss, Loss) and loss.name == "bce_with_logits":
        return float(((output > 0) == (y > 0.5)).mean())
    return None
