"""What fit and fit_many check of their arguments before the first epoch.

The rule: nothing of a model is changed before all has been checked.
"""

import numpy as np

from ..kernels import arrays
from .inference import prepare_inputs
from .losses import Loss, prepare_targets
from .schedules import ReduceLROnPlateau, Schedule
from .steps import output_width


def check_numbers(epochs, batch_size, clip_norm, clip_value, schedule, seed):
    """Check the numbers that a fit is given, and its schedule."""
    arrays.check_integer("fit", "epochs", epochs, 0)
    if not callable(batch_size):
        arrays.check_integer("fit", "batch_size", batch_size, 1)
    arrays.check_integer("fit", "seed", seed, 0)
    check_clips("fit", clip_norm, clip_value)
    if not isinstance(schedule, ReduceLROnPlateau):
        check_schedule("fit", schedule)


def check_clips(where, clip_norm, clip_value):
    """Refuse limits of gradients that are not positive."""
    for name, value in (("clip_norm", clip_norm), ("clip_value", clip_value)):
        if value is not None:
            arrays.check_at_least(where, name, value, 0, strictly=True)


def check_schedule(where, schedule):
    """Refuse what is no schedule of epochs or steps, and no function of the epoch."""
    known = isinstance(schedule, Schedule) or schedule is None
    if isinstance(schedule, type) or not (known or callable(schedule)):
        kind = schedule.__name__ if isinstance(schedule, type) else type(schedule).__name__
        raise TypeError(f"{where}: schedule is a {kind}, expected a schedule or a function")


def check_weighable(where, loss, **weights):
    """Refuse weights that a function of (output, target) would not see."""
    named = [name for name, given in weights.items() if given is not None]
    if named and not isinstance(loss, Loss):
        raise ValueError(
            f"{where}: {named[0]} is given, and the loss is a function of (output, target) alone, "
            "expected a loss by name, or weights inside of the function"
        )


def check_validation(model, loss, validation):
    """Refuse bad validation data before the first epoch, not after it."""
    if validation is None:
        return
    x = prepare_inputs(validation[0], model.dtype, "fit: validation")
    width = output_width(model, x)
    y = prepare_targets(loss, validation[1], width, model.dtype, "fit: validation")
    if len(y) != len(x):
        raise ValueError(f"fit: validation: y has {len(y)} rows, expected {len(x)} as x has")


def checked_weights(name, weights, count, dtype):
    """Return weights as (count,) numbers of a dtype, or None where there are none."""
    if weights is None:
        return None
    weights = np.ascontiguousarray(arrays.on_host(weights), dtype)
    if weights.shape != (count,):
        raise ValueError(f"fit: {name} has shape {weights.shape}, expected ({count},)")
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError(f"fit: {name} has negative or non-finite numbers, expected {name} >= 0")
    return weights


def split_rows(x, y, weights, validation):
    """Return training x, y, weights and validation (x, y), the last rows for a fraction."""
    if not arrays.is_number(validation):
        if validation is not None and len(validation) != 2:
            raise ValueError("fit: validation is not (x, y), expected a pair or a fraction")
        return x, y, weights, validation
    if not 0 < validation < 1:
        raise ValueError(f"fit: validation is {validation}, expected 0 < validation < 1")
    held = max(1, round(len(x) * validation))
    if held >= len(x):
        raise ValueError(
            f"fit: validation is {validation} of {len(x)} rows, expected rows to train on"
        )
    kept = None if weights is None else weights[:-held]
    return x[:-held], y[:-held], kept, (x[-held:], y[-held:])
