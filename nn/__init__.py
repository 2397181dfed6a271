"""Trainable MLPs composed of fonio.kernels: layers, losses, optimizers, fit."""

from . import datasets, init
from .activations import (
    CELU,
    ELU,
    GELU,
    SELU,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    LogSoftmax,
    Mish,
    PReLU,
    QuickGELU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Swish,
    Tanh,
    Threshold,
)
from .averaging import EMA, SWA
from .callbacks import Callback, EarlyStopping
from .dropouts import Dropout
from .fusion import set_fusion
from .history import History
from .inference import evaluate, predict, predict_proba
from .init import manual_seed
from .layers import Linear
from .module import Module, Parameter
from .normalization import BatchNorm1d
from .optimizers import SGD, Adam, AdamW, RMSprop
from .pieces import GLU, CReLU, Maxout
from .schedules import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    GrowBatch,
    LambdaLR,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    Schedule,
    StepLR,
    Warmup,
    scale_rate,
)
from .sequential import Sequential
from .steps import step
from .training import fit

__all__ = [
    "CELU",
    "ELU",
    "EMA",
    "GELU",
    "GLU",
    "SELU",
    "SGD",
    "SWA",
    "Adam",
    "AdamW",
    "BatchNorm1d",
    "CReLU",
    "Callback",
    "ConstantLR",
    "CosineAnnealingLR",
    "Dropout",
    "EarlyStopping",
    "ExponentialLR",
    "GrowBatch",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "History",
    "LambdaLR",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "Maxout",
    "Mish",
    "Module",
    "MultiStepLR",
    "OneCycleLR",
    "PReLU",
    "Parameter",
    "QuickGELU",
    "RMSprop",
    "ReLU",
    "ReLU6",
    "ReduceLROnPlateau",
    "Schedule",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "StepLR",
    "Swish",
    "Tanh",
    "Threshold",
    "Warmup",
    "datasets",
    "evaluate",
    "fit",
    "init",
    "manual_seed",
    "predict",
    "predict_proba",
    "scale_rate",
    "set_fusion",
    "step",
]
