"""Freeze PyTorch's alpha dropout: outputs and gradients, from which its masks can be told.

Run where PyTorch is installed: python tests/frozen/make_dropouts.py
"""

from pathlib import Path

import numpy as np
import torch

RATES = (0.05, 0.3, 0.5, 0.8)


def main():
    """Write dropouts.npz beside this script."""
    torch.manual_seed(0)
    x = torch.linspace(-3, 3, 101, dtype=torch.float64, requires_grad=True)
    found = {"x": x.detach().numpy(), "rates": np.array(RATES)}
    for number, rate in enumerate(RATES):
        y = torch.nn.functional.alpha_dropout(x, rate, training=True)
        (dx,) = torch.autograd.grad(y.sum(), x)
        found[f"y{number}"], found[f"dx{number}"] = y.detach().numpy(), dx.numpy()
    np.savez_compressed(Path(__file__).with_name("dropouts.npz"), **found)


if __name__ == "__main__":
    main()
