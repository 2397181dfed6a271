"""The page of techniques: every name of the lectures has a row, and every row names what exists."""

import ast
import functools
import importlib.util
from pathlib import Path

import pytest

import fonio

ROOT = Path(__file__).resolve().parents[1]
_spec = importlib.util.spec_from_file_location("make_techniques", ROOT / "docs/make_techniques.py")
make_techniques = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_techniques)
ROWS = [row for rows in make_techniques.techniques().values() for row in rows]

# what the five lectures name, in their own order; a row's name or functions must contain it
NAMES = {
    "000": """relu, leaky_relu, prelu, maxout, crelu, dropout, inverted, dropout2d, dropconnect,
        moment matching, batchnorm, batchnorm_backward, running statistics,
        batchnorm_inference, xavier, normal, ensemble, autoencoder, dead, tanh""",
    "001": """linear scaling, growing the batch, warm-up, momentum, nesterov, adagrad, rmsprop,
        adam, decay, standardi, batchnorm, dropout, shift, rotat, reflection, scal, crop, noise,
        cutout, mixup, transfer, freez, mini-batch""",
    "002": """batchnorm, moving average, dropout, test time, mask, early stopping, l1, l2, growing,
        pruning, saliency, undoing, pre-training, shuffling, max-norm""",
    "003": """standardi, decorrelat, pca, zca, batchnorm, layernorm, weightnorm,
        centered_weightnorm, divisive, normalization propagation, natural neural, residual,
        pre-activation, adam""",
    "004": """pre-training, denoising, sigmoid, tanh, relu, relu6, leaky_relu, prelu, elu, bagging,
        maxout, gelu, selu, alpha_dropout, swish, silu, zeros, symmetry, xavier, kaiming, lecun,
        bias, saturated, layernorm, groupnorm, instancenorm, powernorm, batchnorm,
        l1, l2, eye""",
    "beyond": """celu, mish, softsign, hard_sigmoid, hard_tanh, hard_swish, threshold, glu,
        adadelta, nadam, radam, adamw, amsgrad, lbfgs, elastic, clip, cosine, one-cycle, plateau,
        ema, swa,
        parameter groups, class-balanced, gaussian dropout, monte carlo, rmsnorm, orthogonal, lsuv,
        fold, label smoothing, histogram, gradient norm, update to weight, cumulative average""",
}


def _known():
    return "\n".join(f"{row['name']} {' '.join(row['api'])}" for row in ROWS).lower()


@pytest.mark.parametrize("lecture", NAMES)
def test_every_name_of_the_lectures_has_a_row(lecture):
    wanted = [" ".join(name.split()) for name in NAMES[lecture].split(",")]
    known = _known()
    assert [name for name in wanted if name not in known] == []


@functools.cache
def _tests(path):
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_a_row_names_what_exists(row):
    for name in row["api"]:
        thing = fonio
        for part in name.removeprefix("fonio.").split("."):
            thing = getattr(thing, part)
        assert thing.__doc__, name
    path, _, test = row["test"].partition("::")
    assert (ROOT / path).exists(), path
    assert not test or test.split("[")[0] in _tests(path), row["test"]
    assert not row["example"] or (ROOT / row["example"]).exists(), row["example"]


def test_the_page_is_up_to_date():
    text = make_techniques.PAGE.read_text(encoding="utf-8")
    assert text == make_techniques.page(), "python docs/make_techniques.py"


def test_no_name_stands_twice():
    names = [row["name"] for row in ROWS]
    assert sorted(set(names)) == sorted(names)
