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
from .dropouts import Dropout
from .fusion import set_fusion
from .history import History
from .inference import evaluate, predict, predict_proba
from .init import manual_seed
from .layers import BatchNorm1d, Linear
from .module import Module, Parameter
from .optimizers import SGD, Adam, AdamW, RMSprop
from .sequential import Sequential
from .steps import step
from .training import fit

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "SGD",
    "Adam",
    "AdamW",
    "BatchNorm1d",
    "Dropout",
    "History",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "Module",
    "Parameter",
    "QuickGELU",
    "RMSprop",
    "ReLU",
    "ReLU6",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "datasets",
    "evaluate",
    "fit",
    "init",
    "manual_seed",
    "predict",
    "predict_proba",
    "set_fusion",
    "step",
]
