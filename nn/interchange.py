"""to_torch and from_torch: models of the layers that fonio and PyTorch share.

Layers are made with the arguments of the same name, and weights and running statistics copied by
name, so that outputs agree to rounding.

The rule: a layer or an option that the other side lacks is refused by name, never left out.
"""

import inspect

import numpy as np

from .architecture import known_arguments
from .module import Module
from .sequential import Sequential

SHARED = (
    "Linear", "BatchNorm1d", "Dropout", "AlphaDropout", "ReLU", "LeakyReLU", "PReLU", "ReLU6",
    "ELU", "CELU", "SELU", "GELU", "Sigmoid", "Tanh", "Hardtanh", "Hardsigmoid", "Hardswish",
    "Softplus", "Softsign", "SiLU", "Mish", "Threshold", "Softmax", "LogSoftmax", "GLU",
    "LayerNorm", "RMSNorm", "GroupNorm", "InstanceNorm1d", "Sequential",
)  # fmt: skip
ROWS = ("Softmax", "LogSoftmax", "GLU")  # PyTorch's take dim; ours are over each row


def to_torch(model):
    """Return a torch.nn.Sequential of the model's layers, weights and statistics, in eval mode."""
    import torch

    if not isinstance(model, Module):
        raise TypeError(f"to_torch: model is a {type(model).__name__}, expected a Module")
    dtype = torch.float64 if model.dtype == np.float64 else torch.float32
    made = _torch_layer(model, torch).to(dtype)  # first: weights are copied in its precision
    state = {name: torch.from_numpy(array) for name, array in model.state_dict().items()}
    made.load_state_dict(state, strict=False)
    return made.eval()


def _torch_layer(layer, torch):
    name = type(layer).__name__
    if name == "Sequential":
        return torch.nn.Sequential(*(_torch_layer(inner, torch) for inner in layer))
    if name not in SHARED:
        raise TypeError(f"to_torch: PyTorch has no layer like {layer!r}")
    kind = getattr(torch.nn, name)
    known = inspect.signature(kind.__init__).parameters
    arguments = {k: v for k, v in known_arguments(layer) if k in known and k != "dtype"}
    _refuse_modes(layer, name)
    return kind(**arguments, **({"dim": 1} if name in ROWS else {}))


def _refuse_modes(layer, name):
    """Refuse what PyTorch's layer of the same name does not do."""
    chances = name == "Dropout" and not isinstance(layer.p, float)
    first_form = getattr(layer, "mode", "inverted") != "inverted"
    if chances or first_form or not getattr(layer, "unbiased", True):
        raise TypeError(f"to_torch: PyTorch has no {name} like {layer!r}")


def from_torch(module):
    """Return a fonio model of a torch.nn.Sequential (or one layer), in eval mode."""
    import torch

    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"from_torch: module is a {type(module).__name__}, expected a torch.nn one")
    made = _own_layer(module, torch)
    made = made if isinstance(made, Module) else Sequential(*made)
    state = {n: t.detach().cpu().numpy() for n, t in module.state_dict().items()}
    dtypes = {a.dtype for a in state.values() if a.dtype.kind == "f"}
    if len(dtypes) > 1 or dtypes - {np.dtype(np.float32), np.dtype(np.float64)}:
        raise TypeError(
            f"from_torch: dtypes are {sorted(map(str, dtypes))}, expected float32 or 64"
        )
    for dtype in dtypes:
        made.to(dtype)
    made.load_state_dict(state)
    return made.eval()


def _own_layer(module, torch):
    from .. import nn

    name = type(module).__name__
    if isinstance(module, torch.nn.Sequential):
        return Sequential(*(_own_layer(inner, torch) for inner in module))
    if isinstance(module, torch.nn.Identity):
        return Sequential()
    if (
        name not in SHARED
        or not hasattr(nn, name)
        or type(module).__module__.split(".")[0] != "torch"
    ):
        raise TypeError(
            f"from_torch: fonio has no layer like {module!r}, expected Linear, normalizations, "
            "activations and dropout in a Sequential"
        )
    kind = getattr(nn, name)
    if name in ROWS and module.dim not in (1, -1):
        raise TypeError(f"from_torch: {module!r} is not over each row, expected dim=1")
    wanted = inspect.signature(kind.__init__).parameters
    arguments = {k: getattr(module, k) for k in wanted if k != "self" and hasattr(module, k)}
    if "bias" in arguments:
        arguments["bias"] = module.bias is not None
    if name == "PReLU":
        arguments["init"] = 0.25
    arguments.pop("dtype", None)
    _refuse_options(module, name, wanted)
    return kind(**arguments)


PLAIN = {  # options of PyTorch's that fonio's layers lack, and the value that means their absence
    "Softplus": {"beta": 1.0, "threshold": 20.0},
    "BatchNorm1d": {"affine": True, "track_running_stats": True},
    "LayerNorm": {"elementwise_affine": True},
    "RMSNorm": {"elementwise_affine": True},
    "GroupNorm": {"affine": True},
    "InstanceNorm1d": {"track_running_stats": False},
}


def _refuse_options(module, name, wanted):
    for option, value in PLAIN.get(name, {}).items():
        if option not in wanted and getattr(module, option, value) != value:
            raise TypeError(
                f"from_torch: {module!r} has {option} {getattr(module, option)}, expected {value}"
            )
