"""Trainable MLPs composed of fonio.kernels: layers, losses, optimizers, fit."""

from . import datasets, init
from .activations import (
    ELU,
    GELU,
    SELU,
    LeakyReLU,
    LogSoftmax,
    QuickGELU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
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
    "ELU",
    "EMA",
    "GELU",
    "SELU",
    "SGD",
    "SWA",
    "Adam",
    "AdamW",
    "BatchNorm1d",
    "Callback",
    "ConstantLR",
    "CosineAnnealingLR",
    "Dropout",
    "EarlyStopping",
    "ExponentialLR",
    "GrowBatch",
    "History",
    "LambdaLR",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "Module",
    "MultiStepLR",
    "OneCycleLR",
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
    "StepLR",
    "Tanh",
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
