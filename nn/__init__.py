"""Trainable MLPs composed of fonio.kernels: layers, losses, optimizers, fit.

The rule: a name is imported when it is first asked for; `__init__.pyi` lists them all. What needs
an extra (scikit-learn, matplotlib, onnx, PyTorch) names it then.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
