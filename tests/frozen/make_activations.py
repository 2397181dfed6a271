"""Freeze PyTorch's activations, forward and backward, for tests that need no PyTorch.

    python tests/frozen/make_activations.py        (with PyTorch installed; made by torch 2.13.0)

Each array of activations.npz bears its case as name, 'Hardtanh {"min_val": -2.0} y': the output of
the module of that name for x (6, 8) or (6, 4, 2), its gradients "dx" and "dweight" for dy, and
"special": the output at infinity, minus infinity and NaN. x holds every kink.
"""

import json
import pathlib

import numpy as np
import torch

KINKS = (0.0, -0.0, 1.0, -1.0, 3.0, -3.0, 6.0, -6.0, 2.0, -2.0, 0.5, -0.5, 1e4, -1e4, 30.0, -30.0)
SPECIAL = np.array([np.inf, -np.inf, np.nan])
CASES = {
    "Threshold": [{"threshold": 0.5, "value": -2.0}, {"threshold": -1.0, "value": 3.0}],
    "Hardtanh": [{}, {"min_val": -2.0, "max_val": 0.5}],
    "Hardsigmoid": [{}],
    "Hardswish": [{}],
    "CELU": [{}, {"alpha": 0.3}],
    "ELU": [{}, {"alpha": 0.3}],
    "LeakyReLU": [{}, {"negative_slope": 0.3}],
    "ReLU6": [{}],
    "SELU": [{}],
    "Mish": [{}],
    "Softsign": [{}],
    "Softplus": [{}],
    "SiLU": [{}],
    "GELU": [{}, {"approximate": "tanh"}],
    "Swish": [{"beta": 1.5}, {"beta": 0.7, "learned": True}],
    "PReLU": [{}, {"num_parameters": 8}, {"num_parameters": 4}],
    "GLU": [{}],
    "CReLU": [{}],
    "Maxout": [{"pieces": 2}, {"pieces": 4}],
}
CHANGES_WIDTH = ("GLU", "CReLU", "Maxout")


class Swish(torch.nn.Module):
    """PyTorch has no module of it, but its gradients."""

    def __init__(self, beta, learned=False):
        super().__init__()
        beta = torch.tensor([beta], dtype=torch.float64)
        self.beta = torch.nn.Parameter(beta) if learned else beta

    def forward(self, x):
        return x * torch.sigmoid(self.beta * x)


class CReLU(torch.nn.Module):
    def forward(self, x):
        return torch.cat((torch.relu(x), torch.relu(-x)), 1)


class Maxout(torch.nn.Module):
    def __init__(self, pieces):
        super().__init__()
        self.pieces = pieces

    def forward(self, x):
        return x.reshape(len(x), -1, self.pieces).max(2).values


def inputs():
    """Return x (6, 8), its first two rows the kinks and the third with equal pieces, and a dy."""
    rng = np.random.default_rng(0)
    x = 2 * rng.standard_normal((6, 8))
    x[:2] = np.reshape(KINKS, (2, 8))
    x[2, 1::2] = x[2, ::2]
    return x, rng.standard_normal((6, 16))


def make(name, options):
    """Return {"y", "dx", "dweight", "special"} of one case."""
    known = {"Swish": Swish, "CReLU": CReLU, "Maxout": Maxout}
    module = (known.get(name) or getattr(torch.nn, name))(**options).double()
    values, dy = inputs()
    for parameter in module.parameters():
        if parameter.numel() > 1:
            parameter.data = torch.linspace(-0.5, 1.0, parameter.numel(), dtype=torch.float64)
    shape = (6, 4, 2) if options.get("num_parameters") == 4 else (6, 8)
    x = torch.tensor(values.reshape(shape), requires_grad=True)
    y = module(x)
    dy = torch.tensor(dy[:, : y[0].numel()].reshape(y.shape))
    dx, *rest = torch.autograd.grad(y, [x, *module.parameters()], dy)
    made = {"y": y, "dx": dx}
    if rest:
        made["dweight"] = rest[0]
    elif name not in CHANGES_WIDTH:
        made["special"] = module(torch.tensor(SPECIAL))
    return {key: array.detach().numpy() for key, array in made.items()}


def main():
    """Write activations.npz beside this file."""
    frozen = dict(zip(("x", "dy"), inputs(), strict=True))
    for name, several in CASES.items():
        for options in several:
            for key, array in make(name, options).items():
                frozen[f"{name} {json.dumps(options)} {key}"] = array
    np.savez_compressed(pathlib.Path(__file__).with_name("activations.npz"), **frozen)


if __name__ == "__main__":
    main()
