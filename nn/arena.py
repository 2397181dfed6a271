"""One arena for the parameters of a model, so that one launch steps them all.

The rule: packing moves parameters once; those that already lie so stay where they are, and what was
recorded about them stays good.
"""

import numpy as np

from ..kernels import arrays


def pack(parameters):
    """Move parameters into one arena and return it as two flat arrays, (values, gradients).

    One launch then steps them all. Parameters that lie so already stay where they are.
    """
    if not parameters:
        raise ValueError("optimizer: parameters is empty, expected at least one Parameter")
    dtypes = {parameter.dtype for parameter in parameters}
    if len(dtypes) > 1:
        raise TypeError(
            f"optimizer: parameters have dtypes {sorted(map(str, dtypes))}, expected one"
        )
    if len({arrays.device_of(parameter.value) for parameter in parameters}) > 1:
        raise ValueError("optimizer: parameters are on several devices, expected one")
    dtype = dtypes.pop()
    step = arrays.LINE // dtype.itemsize
    starts = np.cumsum([0, *(-(-p.size // step) * step for p in parameters)])
    home = _home(parameters, starts, dtype)
    if home is not None:
        return home
    like = parameters[0].value
    values, grads = (arrays.zeros(like, int(starts[-1]), dtype) for _ in range(2))
    for parameter, start in zip(parameters, starts, strict=False):
        part = slice(start, start + parameter.size)
        parameter.move(values[part].reshape(parameter.shape), grads[part].reshape(parameter.shape))
        parameter.home = (values, grads, int(start))
    return values, grads


def _home(parameters, starts, dtype):
    """Return the arena that already holds exactly these parameters, or None."""
    homes = [parameter.home for parameter in parameters]
    if any(home is None for home in homes):
        return None
    values, grads, _ = homes[0]
    fits = values.size == starts[-1] and values.dtype == dtype
    for home, start in zip(homes, starts, strict=False):
        fits = fits and home[0] is values and home[2] == start
    return (values, grads) if fits else None
