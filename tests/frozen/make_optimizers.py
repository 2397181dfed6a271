"""Freeze the first ten steps of PyTorch's optimizers, for tests that need no PyTorch.

    python tests/frozen/make_optimizers.py        (with PyTorch installed; made by torch 2.13.0)

Each array of optimizers.npz bears its case as name, 'Adam {"lr": 0.1}', and holds the parameters
after each step (10, 5). Two parameters, of shape (3,) and (2,), get the gradients of `grads`; after
the fifth step the rates fall to a tenth. L-BFGS gets those of `valley` instead.
"""

import json
import pathlib

import numpy as np
import torch

STEPS, SHAPES = 10, (3, 2)
CASES = {
    "SGD": [
        {},
        {"weight_decay": 0.1},
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1, "maximize": True},
        {"momentum": 0.8, "dampening": 0.3, "weight_decay": 0.1, "maximize": True},
        {"groups": [{"lr": 0.5, "momentum": 0.9}, {"weight_decay": 0.3}]},
    ],
    "Adagrad": [
        {},
        {"lr_decay": 0.2},
        {"weight_decay": 0.1},
        {"initial_accumulator_value": 0.5},
        {"eps": 1e-2},
        {"weight_decay": 0.1, "maximize": True},
    ],
    "RMSprop": [
        {},
        {"alpha": 0.8, "eps": 1e-2},
        {"weight_decay": 0.1},
        {"momentum": 0.9},
        {"centered": True},
        {"centered": True, "momentum": 0.5, "weight_decay": 0.1},
        {"momentum": 0.9, "weight_decay": 0.1, "maximize": True},
    ],
    "Adadelta": [
        {},
        {"rho": 0.8, "eps": 1e-2},
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "maximize": True},
    ],
    "Adam": [
        {},
        {"betas": [0.5, 0.9], "eps": 1e-2},
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
        {"betas": [0.9, 0.5], "amsgrad": True},
        {"betas": [0.0, 0.5], "amsgrad": True, "weight_decay": 0.1, "maximize": True},
        {"weight_decay": 0.1, "maximize": True},
        {"groups": [{"lr": 0.5, "betas": [0.8, 0.9]}, {"weight_decay": 0.3, "eps": 1e-2}]},
    ],
    "AdamW": [
        {},
        {"weight_decay": 0.5, "eps": 1e-2},
        {"betas": [0.9, 0.5], "amsgrad": True, "weight_decay": 0.5},
        {"weight_decay": 0.5, "maximize": True},
    ],
    "NAdam": [
        {},
        {"betas": [0.5, 0.9], "eps": 1e-2},
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
        {"momentum_decay": 0.3},
        {"weight_decay": 0.1, "maximize": True},
        {"groups": [{"momentum_decay": 0.3}, {"lr": 0.01}]},
    ],
    "RAdam": [
        {},
        {"betas": [0.5, 0.9], "eps": 1e-2},
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
        {"weight_decay": 0.1, "maximize": True},
    ],
    "LBFGS": [
        {"lr": 0.01},
        {"lr": 0.5, "max_iter": 1, "line_search_fn": "strong_wolfe"},
        {"lr": 1.0, "max_iter": 2, "line_search_fn": "strong_wolfe"},
        {"lr": 1.0, "max_iter": 2, "history_size": 1, "line_search_fn": "strong_wolfe"},
        {"lr": 1.0, "max_iter": 4, "max_eval": 3, "line_search_fn": "strong_wolfe"},
        {"lr": 0.01, "tolerance_grad": 5.0},
        {"lr": 0.01, "max_iter": 3, "tolerance_change": 0.1},
    ],
}


def valley(x):
    """Return the loss and gradient of a curved valley: Rosenbrock's function of five numbers."""
    ahead, here = x[1:] - x[:-1] ** 2, 1 - x[:-1]
    gradient = np.zeros_like(x)
    gradient[:-1] = -40 * x[:-1] * ahead - 2 * here
    gradient[1:] += 20 * ahead
    return float((10 * ahead**2 + here**2).sum()), gradient


def run(name, options, start, grads):
    """Return the parameters after each step."""
    own = dict(options)
    groups = own.pop("groups", None)
    own.setdefault("lr", 0.1)
    parameters = [torch.nn.Parameter(torch.from_numpy(p.copy())) for p in split(start)]
    given = parameters
    if groups:
        given = [{"params": [p], **group} for p, group in zip(parameters, groups, strict=True)]
    optimizer = getattr(torch.optim, name)(given, **own)
    path = []
    for count in range(STEPS):
        if count == STEPS // 2:
            for group in optimizer.param_groups:
                group["lr"] *= 0.1 if name != "LBFGS" else 1

        def closure():
            loss, gradient = valley(join(parameters))
            give(parameters, gradient)
            return loss

        give(parameters, grads[count])
        optimizer.step(closure) if name == "LBFGS" else optimizer.step()
        path.append(join(parameters))
    return np.array(path)


def split(values):
    """Cut an array into those of the parameters."""
    return np.split(values, np.cumsum(SHAPES)[:-1])


def join(parameters):
    """Return the values of the parameters as one array."""
    return np.concatenate([p.detach().numpy() for p in parameters])


def give(parameters, gradient):
    """Set the gradients of the parameters."""
    for parameter, part in zip(parameters, split(gradient), strict=True):
        parameter.grad = torch.from_numpy(part.copy())


def main():
    """Write optimizers.npz beside this file."""
    torch.set_default_dtype(torch.float64)  # NAdam keeps its product of momenta in it
    rng = np.random.default_rng(0)
    start = rng.standard_normal(sum(SHAPES))
    grads = rng.standard_normal((STEPS, sum(SHAPES)))
    grads[:, 1] *= 100
    grads[:3, 2] = grads[6:, 3] = 0
    frozen = {"start": start, "grads": grads}
    for name, cases in CASES.items():
        for options in cases:
            frozen[f"{name} {json.dumps(options)}"] = run(name, options, start, grads)
    np.savez_compressed(pathlib.Path(__file__).with_name("optimizers.npz"), **frozen)


if __name__ == "__main__":
    main()
