"""Trainable MLPs composed of fonio.kernels: layers, losses, optimizers, fit."""

import importlib

from . import datasets, init, plots
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
from .adaptive import Adadelta, Adagrad, Adam, AdamW, NAdam, RAdam, RMSprop
from .augmentation import (
    Affine,
    Augmentation,
    Crop,
    Cutout,
    Flip,
    Mixup,
    Noise,
    Rotate,
    Scale,
    Shift,
)
from .averaging import EMA, SWA
from .callbacks import Callback, EarlyStopping
from .clipping import clip_grad_norm, clip_grad_value
from .compiled import CompiledNet, compile
from .compositions import CenterCrop, Compose
from .data import BalancedSampler, batches, one_hot, split
from .dropconnect import DropConnect
from .dropouts import AlphaDropout, Dropout, Dropout2d, GaussianDropout
from .ensembles import Ensemble, bootstrap, fit_ensemble
from .files import load, save
from .folding import fold_batchnorm, recompute_statistics
from .fusion import set_fusion
from .growing import fit_growing, grow, sample_losses
from .history import History
from .inference import evaluate, predict, predict_proba
from .init import manual_seed
from .inspection import Inspector, dead_units, inspect
from .layers import Linear
from .lbfgs import LBFGS
from .losses import CrossEntropy
from .masking import Masked
from .module import Module, Parameter
from .natural import RefreshWhitening, WhitenedLinear, refresh_whitening
from .normalization import BatchNorm1d
from .optimizers import SGD
from .penalties import L1, L2, ElasticNet, GroupLasso, MaxNorm
from .pieces import GLU, CReLU, Maxout
from .pretraining import pretrain, replace_head
from .pruning import Pruning, compact, prune, prune_and_retrain
from .residual import Residual, ResidualBlock
from .row_normalization import (
    DivisiveNorm,
    GroupNorm,
    InstanceNorm1d,
    LayerNorm,
    PowerNorm,
    RMSNorm,
)
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
from .uncertainty import all_masks, monte_carlo
from .weight_normalization import CenteredWeightNorm, NormPropLinear, WeightNorm
from .whitening import PCAWhitening, Standardize, ZCAWhitening

__all__ = [
    "CELU",
    "ELU",
    "EMA",
    "GELU",
    "GLU",
    "L1",
    "L2",
    "LBFGS",
    "SELU",
    "SGD",
    "SWA",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Affine",
    "AlphaDropout",
    "Augmentation",
    "BalancedSampler",
    "BatchNorm1d",
    "CReLU",
    "Callback",
    "CenterCrop",
    "CenteredWeightNorm",
    "CompiledNet",
    "Compose",
    "ConstantLR",
    "CosineAnnealingLR",
    "Crop",
    "CrossEntropy",
    "Cutout",
    "DivisiveNorm",
    "DropConnect",
    "Dropout",
    "Dropout2d",
    "EarlyStopping",
    "ElasticNet",
    "Ensemble",
    "ExponentialLR",
    "Flip",
    "GaussianDropout",
    "GroupLasso",
    "GroupNorm",
    "GrowBatch",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "History",
    "Inspector",
    "InstanceNorm1d",
    "LambdaLR",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "Masked",
    "MaxNorm",
    "Maxout",
    "Mish",
    "Mixup",
    "Module",
    "MultiStepLR",
    "NAdam",
    "Noise",
    "NormPropLinear",
    "OneCycleLR",
    "PCAWhitening",
    "PReLU",
    "Parameter",
    "PowerNorm",
    "Pruning",
    "QuickGELU",
    "RAdam",
    "RMSNorm",
    "RMSprop",
    "ReLU",
    "ReLU6",
    "ReduceLROnPlateau",
    "RefreshWhitening",
    "Residual",
    "ResidualBlock",
    "Rotate",
    "Scale",
    "Schedule",
    "Sequential",
    "Shift",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "Standardize",
    "StepLR",
    "Swish",
    "Tanh",
    "Threshold",
    "Warmup",
    "WeightNorm",
    "WhitenedLinear",
    "ZCAWhitening",
    "all_masks",
    "batches",
    "bootstrap",
    "clip_grad_norm",
    "clip_grad_value",
    "compact",
    "compile",
    "datasets",
    "dead_units",
    "evaluate",
    "fit",
    "fit_ensemble",
    "fit_growing",
    "fold_batchnorm",
    "grow",
    "init",
    "inspect",
    "load",
    "manual_seed",
    "monte_carlo",
    "one_hot",
    "plots",
    "predict",
    "predict_proba",
    "pretrain",
    "prune",
    "prune_and_retrain",
    "recompute_statistics",
    "refresh_whitening",
    "replace_head",
    "sample_losses",
    "save",
    "scale_rate",
    "set_fusion",
    "split",
    "step",
]

# what needs an extra is imported when first asked for
_LAZY = {
    "MLPClassifier": "estimators",
    "MLPRegressor": "estimators",
    "export_c": "c_export",
    "export_numpy": "numpy_export",
    "export_onnx": "onnx_export",
    "from_torch": "interchange",
    "to_torch": "interchange",
    "plots": None,
}


def __getattr__(name):
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_LAZY[name] or name}")
    return module if _LAZY[name] is None else getattr(module, name)


def __dir__():
    return sorted({*globals(), *_LAZY})
