"""Sums and products of arrays as recorded kernels: what a layer may not do with NumPy."""

from .formulas import elementwise


@elementwise(cost=0.2)
def add(a, b):
    """y = a + b."""
    return a + b


@elementwise(cost=0.2)
def multiply(a, b):
    """y = a b."""
    return a * b


@elementwise(cost=0.2)
def copy(x):
    """y = x, by a kernel, so that it is recorded."""
    return x
