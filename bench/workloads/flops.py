"""Floating-point operations of one element, as our formulas do them in float32.

An addition, a multiplication, a division, a root, a comparison that chooses: one each, a fused
multiply-add two. What works on the bits of a number counts nothing. With these and the machine's
peak the page tells how near a kernel is to the roof.
"""

import numpy as np

ELEMENTARY = {
    "exp": 26,
    "exp2": 24,
    "expm1": 28,
    "log": 26,
    "log1p": 34,
    "tanh": 26,
    "sigmoid": 25,
    "softplus": 48,
    "erf": 33,
    "erfc": 70,
}
_EXP, _SIGMOID = ELEMENTARY["exp"], ELEMENTARY["sigmoid"]
ACTIVATIONS = {
    "relu": 1,
    "leaky_relu": 2,
    "relu6": 2,
    "elu": ELEMENTARY["expm1"] + 2,
    "selu": ELEMENTARY["expm1"] + 3,
    "gelu": ELEMENTARY["erf"] + 5,
    "gelu_tanh": _SIGMOID + 6,
    "quick_gelu": _SIGMOID + 2,
    "silu": _SIGMOID + 1,
    "relu_backward": 1,
    "leaky_relu_backward": 2,
    "relu6_backward": 2,
    "elu_backward": _EXP + 3,
    "selu_backward": _EXP + 4,
    "gelu_backward": _EXP + ELEMENTARY["erf"] + 10,
    "gelu_tanh_backward": _SIGMOID + 16,
    "quick_gelu_backward": _SIGMOID + 6,
    "silu_backward": _SIGMOID + 5,
    "sigmoid_backward": _SIGMOID + 3,
    "tanh_backward": ELEMENTARY["tanh"] + 3,
    "softplus_backward": _SIGMOID + 1,
    "threshold": 1,
    "hard_tanh": 2,
    "hard_sigmoid": 4,
    "hard_swish": 5,
    "celu": ELEMENTARY["expm1"] + 3,
    "swish": _SIGMOID + 2,
    "mish": _EXP + 7,
    "softsign": 2,
    "threshold_backward": 1,
    "hard_tanh_backward": 2,
    "hard_sigmoid_backward": 3,
    "hard_swish_backward": 5,
    "celu_backward": _EXP + 3,
    "swish_backward": _SIGMOID + 6,
    "mish_backward": _EXP + 14,
    "softsign_backward": 4,
    "maxout": 2,
    "maxout_backward": 4,
    "crelu": 3,
    "crelu_backward": 3,
    "glu": _SIGMOID + 1,
    "glu_backward": _SIGMOID + 5,
    "prelu": 2,
    "prelu_backward": 5,
    "learned_swish": _SIGMOID + 2,
    "learned_swish_backward": _SIGMOID + 11,
}
LOSSES = {
    "softmax": _EXP + 4,
    "log_softmax": _EXP + 5,
    "softmax_backward": 4,
    "log_softmax_backward": _EXP + 3,
    "cross_entropy": _EXP + 12,
    "mse": 6,
    "l1": 6,
    "smooth_l1": 9,
    "huber": 9,
    "bce_with_logits": ELEMENTARY["softplus"] + 12,
    "poisson_nll": _EXP + 6,
}
NORMALIZATION = {
    "column_sum": 1,
    "column_moments": 4,
    "batchnorm": 8,
    "batchnorm_backward": 9,
    "batchnorm_inference": 2,
}
OPTIMIZERS = {
    "sgd": 9,
    "adagrad": 11,
    "rmsprop": 11,
    "rmsprop_centered": 14,
    "adadelta": 18,
    "adam": 14,
    "adamw": 14,
    "amsgrad": 15,
    "radam": 17,
    "nadam": 17,
    "dot": 2,
    "clip_grad_norm": 3,
    "clip_grad_value": 2,
    "add_elastic_net": 6,
    "add_group_lasso": 4,
    "max_norm": 4,
}
EACH = ELEMENTARY | ACTIVATIONS | LOSSES | NORMALIZATION | OPTIMIZERS | {"dropout": 1}


def each(name):
    """Return flops(*size) of an operation whose work goes with the elements; 0 where unknown."""
    count = EACH.get(name, 0)
    return lambda *size: count * int(np.prod(size))
