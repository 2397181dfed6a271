"""Freeze PyTorch's normalizations, forward and backward, for tests that need no PyTorch.

    python tests/frozen/make_normalization.py      (with PyTorch installed; made by torch 2.13.0)

Each array of normalization.npz bears its case as name, 'BatchNorm1d [8] {"affine": false} 2 y':
what the module of that name, made with these arguments, leaves after three batches x (3, 6, 8), or
x reshaped to (3, 2, 8, 3): its last output y, the gradients dx, dweight and dbias for dy, and of
batch normalization the running mean and var, and y and dx in eval mode. Also the weights that
weight_norm makes, with its gradients, and the statistics that update_bn finds for a net.
"""

import json
import pathlib

import numpy as np
import torch

CASES = [
    ("BatchNorm1d", [8], {}, (2, 3)),
    ("BatchNorm1d", [8], {"momentum": 0.3, "eps": 1e-3}, (2, 3)),
    ("BatchNorm1d", [8], {"momentum": None}, (2, 3)),
    ("BatchNorm1d", [8], {"affine": False}, (2, 3)),
    ("BatchNorm1d", [8], {"track_running_stats": False}, (2, 3)),
    ("LayerNorm", [8], {}, (2,)),
    ("LayerNorm", [8], {"eps": 0.1, "bias": False}, (2,)),
    ("LayerNorm", [8], {"elementwise_affine": False}, (2,)),
    ("RMSNorm", [8], {}, (2,)),
    ("RMSNorm", [8], {"eps": 0.1, "elementwise_affine": False}, (2,)),
    ("GroupNorm", [4, 8], {}, (2, 3)),
    ("GroupNorm", [1, 8], {"eps": 0.1}, (2, 3)),
    ("GroupNorm", [2, 8], {"affine": False}, (2, 3)),
    ("InstanceNorm1d", [8], {}, (3,)),
    ("InstanceNorm1d", [8], {"affine": True, "eps": 0.1}, (3,)),
]


def numbers(shape, start):
    """Numbers without a pattern that a normalization would take away."""
    return np.sin(start + 1.7 * np.arange(np.prod(shape))).reshape(shape) * 2 + 0.5


def freeze_module(name, made_with, options, ndim, data):
    module = getattr(torch.nn, name)(*made_with, **options, dtype=torch.float64)
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for part, parameter in parameters.items():
            parameter.copy_(torch.from_numpy(data[part]))
    shape = (3, 6, 8) if ndim == 2 else (3, 2, 8, 3)
    batches = torch.from_numpy(data["x"].reshape(shape))
    dy = torch.from_numpy(data["dy"].reshape(shape[1:]))
    for batch in batches:
        x = batch.clone().requires_grad_()
        y = module(x)
    found = {"y": y}
    wanted = [x, *parameters.values()]
    gradients = torch.autograd.grad(y, wanted, dy)
    for part, gradient in zip(("x", *parameters), gradients, strict=True):
        found[f"d{part}"] = gradient
    for part in ("mean", "var"):
        if getattr(module, f"running_{part}", None) is not None:
            found[part] = getattr(module, f"running_{part}")
    if name == "BatchNorm1d":
        y = module.eval()(x)
        found |= {"eval y": y, "eval dx": torch.autograd.grad(y, x, dy)[0]}
    case = f"{name} {json.dumps(made_with)} {json.dumps(options)} {ndim}"
    return {f"{case} {part}": tensor.detach().numpy() for part, tensor in found.items()}


def freeze_weights(data):
    linear = torch.nn.Linear(8, 5, dtype=torch.float64)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(data["v"]))
    torch.nn.utils.parametrizations.weight_norm(linear)
    g, v = linear.parametrizations.weight.original0, linear.parametrizations.weight.original1
    with torch.no_grad():
        g.copy_(torch.from_numpy(data["g"][:, None]))
    weight = linear.weight
    dg, dv = torch.autograd.grad(weight, (g, v), torch.from_numpy(data["dw"]))
    return {"weight": weight.detach().numpy(), "dg": dg.numpy()[:, 0], "dv": dv.numpy()}


def freeze_statistics(data):
    """What update_bn finds for Linear, BatchNorm1d, ReLU, Linear, BatchNorm1d."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(8, 6), torch.nn.BatchNorm1d(6), torch.nn.ReLU(),
        torch.nn.Linear(6, 4), torch.nn.BatchNorm1d(4),
    ).double()  # fmt: skip
    batches = torch.from_numpy(data["x"].reshape(3, 6, 8))
    torch.optim.swa_utils.update_bn(list(batches), net)
    state = {f"net {name}": tensor.numpy() for name, tensor in net.state_dict().items()}
    return {name: array for name, array in state.items() if "tracked" not in name}


def main():
    """Write normalization.npz beside this script."""
    data = {
        "x": numbers((3, 48), 0.3),
        "dy": numbers(48, 1.1),
        "weight": numbers(8, 2.0),
        "bias": numbers(8, 3.0),
        "v": numbers((5, 8), 4.0),
        "g": numbers(5, 5.0),
        "dw": numbers((5, 8), 6.0),
    }
    frozen = dict(data) | {f"weightnorm {n}": a for n, a in freeze_weights(data).items()}
    for name, made_with, options, dimensions in CASES:
        for ndim in dimensions:
            frozen |= freeze_module(name, made_with, options, ndim, data)
    frozen |= freeze_statistics(data)
    np.savez_compressed(pathlib.Path(__file__).with_name("normalization.npz"), **frozen)


if __name__ == "__main__":
    main()
