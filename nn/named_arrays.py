"""Arrays by name, as files and PyTorch hold them, put into a module.

The rule: nothing is written before all of them are known to fit.
"""

import numpy as np

from ..kernels import arrays


def load_arrays(module, state, where):
    """Copy arrays by name into a module's parameters and buffers, once all of them fit."""
    for target, array in matched_arrays(module, state, where):
        target[...] = array


def _counted(name, array, targets):
    """Return PyTorch's count of batches as our array of one, or None where we keep none."""
    if not name.endswith("num_batches_tracked"):
        return array
    return np.reshape(arrays.on_host(array), -1) if name in targets else None


def matched_arrays(module, state, where):
    """Return (the module's array, the array of that name on the host) of all, checked."""
    targets = {name: parameter.value for name, parameter in module.named_parameters()}
    targets |= dict(module.named_buffers())
    state = {n: _counted(n, a, targets) for n, a in state.items()}
    state = {n: a for n, a in state.items() if a is not None}
    wanted = {name for name, array in targets.items() if array.dtype.kind == "f"}
    missing, unknown = sorted(wanted - set(state)), sorted(set(state) - set(targets))
    if missing or unknown:
        parts = [f"lacks {missing}"] if missing else []
        parts += [f"has unknown {unknown}"] if unknown else []
        raise ValueError(f"{where}: the state {' and '.join(parts)}")
    for name, array in state.items():
        if tuple(array.shape) != targets[name].shape:
            raise ValueError(
                f"{where}: {name} has shape {tuple(array.shape)}, expected {targets[name].shape}"
            )
    return [(targets[name], np.asarray(arrays.on_host(a))) for name, a in state.items()]
