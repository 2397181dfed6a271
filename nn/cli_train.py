"""What `fonio train` and `fonio predict` do: data, the model, the fit, the report.

The rule: rows that the report is about are never trained on, nor used to choose when to stop.
"""

import json
import math

import numpy as np
from rich.markup import escape
from rich.table import Table as Grid

from . import activations, datasets, init
from .callbacks import EarlyStopping
from .data import split
from .dropouts import Dropout
from .files import load, read_tensors, save_with
from .inference import predict, predict_proba
from .layers import Linear
from .normalization import BatchNorm1d
from .optimizers import OPTIMIZERS
from .row_normalization import LayerNorm
from .sequential import Sequential
from .tables import Table, read_frame
from .training import fit

LABEL_WIDTH = 20
MOST_SHOWN = 20  # classes of many
NORMS = {"none": None, "batch": BatchNorm1d, "layer": LayerNorm}


def data_set(name):
    """Return (x, y), (x_test, y_test) of a known data set."""
    return getattr(datasets, name)()


def from_file(path, target, task, missing, drop, share, seed):
    """Return the rows of a file, split, and how they were read."""
    frame = read_frame(path)
    strange = [name for name in drop if name not in frame.columns]
    if strange:
        raise ValueError(f"--drop names {strange}, which are no columns of {path}")
    frame = frame.drop(columns=drop)
    if not target:
        raise ValueError(f"--target is missing, expected a column: {list(frame.columns)[:12]}")
    whole = Table.learn(frame, target, task, missing)
    y = whole.targets(frame)
    rows = np.arange(len(frame))
    (rows, _), (held, _) = _hold_out(rows[:, None], y, "test", share, seed)
    train, test = (frame.iloc[part[:, 0]].reset_index(drop=True) for part in (rows, held))
    table = Table.learn(train, target, task, missing)  # the report's rows teach nothing
    table.labels = whole.labels
    found = [(table.inputs(f, "ignore"), table.targets(f)) for f in (train, test)]
    return found, table


def _hold_out(x, y, option, share, seed):
    if not 0 < round(len(x) * share) < len(x):
        raise ValueError(
            f"--{option} {share:g} of {len(x)} rows leaves none on one side, expected more rows"
        )
    return split(x, y, test=share, seed=seed)


def build(width, outputs, told):
    """Return the model that the options ask for."""
    name = told["activation"]
    known = {
        n.lower(): value
        for n, value in vars(activations).items()
        if isinstance(value, type) and issubclass(value, activations.Activation)
        if value.operation != "threshold" and value is not activations.Activation
    } | {"prelu": activations.PReLU}
    if name.lower() not in known:
        expected = sorted(value.__name__ for value in known.values())
        raise ValueError(f"--activation is {name!r}, expected one of {expected}")
    layers = []
    for hidden in told["layers"]:
        norm = NORMS[told["norm"]]
        layers += [Linear(width, hidden), *([norm(hidden)] if norm else []), known[name.lower()]()]
        layers += [Dropout(told["dropout"])] if told["dropout"] else []
        width = hidden
    return Sequential(*layers, Linear(width, outputs))


def run(console, data, table, told, plot, save):
    """Train, report, save and draw; return the history."""
    (x, y), (x_test, y_test) = data
    classes = y.dtype.kind == "i"
    if told["optimizer"] not in OPTIMIZERS:
        known = list(OPTIMIZERS)
        raise ValueError(f"--optimizer is {told['optimizer']!r}, expected one of {known}")
    labels = table.labels if table else [str(v) for v in range(int(y.max()) + 1)]
    init.manual_seed(told["seed"])
    model = build(x.shape[1], len(labels) if classes else 1, told)
    optimizer = told["optimizer"]
    if told["lr"] is not None:
        made, _, options = OPTIMIZERS[optimizer]
        optimizer = made(model.parameters(), lr=told["lr"], **options)
    count = sum(parameter.size for parameter in model.parameters())
    console.print(f"{len(x):,} rows of {x.shape[1]} inputs, {count:,} weights")
    (x, y), held = _hold_out(x, y, "validation", told["validation"], told["seed"] + 1)
    stopping = EarlyStopping(patience=told["patience"])
    history = fit(
        model, x, y, epochs=told["epochs"], batch_size=told["batch_size"], optimizer=optimizer,
        loss="cross_entropy" if classes else "mse", validation=held, callbacks=[stopping],
        seed=told["seed"], progress=told["progress"],
    )  # fmt: skip
    if save is not None:  # before all that may fail: the model is what took time
        save_with(model, save, {"table": json.dumps(table.to_dict())} if table else {})
    _say_end(console, history, stopping)
    if classes:
        _report_classes(console, model, x_test, y_test, labels)
    else:
        _report_numbers(console, model, x_test, y_test, table)
    if plot is not None:
        history.plot().savefig(plot, dpi=120)
        console.print(f"curves: {plot}", markup=False)
    if save is not None:
        console.print(f"model: {save}", markup=False)
    return history


def _say_end(console, history, stopping):
    end = "interrupted" if history.interrupted else "stopped early" if stopping.stopped else "ended"
    seconds = sum(history.columns.get("seconds", []))
    best = "" if stopping.best_epoch is None else f", the best epoch {stopping.best_epoch + 1}"
    epochs = "1 epoch" if history.epochs == 1 else f"{history.epochs} epochs"
    console.print(f"{end} after {epochs}, {seconds:.2f} s{best}")


def _report_classes(console, model, x, y, labels):
    found = predict(model, x).argmax(axis=1)
    accuracy = float((found == y).mean())
    spread = math.sqrt(accuracy * (1 - accuracy) / len(y))
    console.print(f"test accuracy {accuracy:.2%} ± {spread:.2%} of {len(y):,} rows")
    counts = np.zeros((len(labels), len(labels)), int)
    np.add.at(counts, (y, found), 1)
    longest = max(map(len, labels))
    room = (console.width - min(LABEL_WIDTH, longest) - 4) // len(labels) - 3
    if room < max(min(3, longest), len(str(counts.max()))):
        _report_worst(console, counts, labels)
        return
    console.print("rows: the truth, columns: the answer", style="dim")
    grid = Grid()
    grid.add_column("", no_wrap=True)
    for label in labels:
        grid.add_column(escape(_cut(label, room)), justify="right", no_wrap=True)
    for i, label in enumerate(labels):
        cells = [_cell(count, i == j) for j, count in enumerate(counts[i])]
        grid.add_row(f"[bold]{escape(_cut(label, LABEL_WIDTH))}[/bold]", *cells)
    console.print(grid)


def _report_worst(console, counts, labels):
    """Print what each class was taken for, the least known first: for many classes."""
    rows, right = counts.sum(axis=1), counts.diagonal()
    share = right / np.maximum(rows, 1)
    order = [i for i in np.argsort(share, kind="stable") if rows[i]][:MOST_SHOWN]
    wrong = counts - np.diag(right)
    grid = Grid()
    for title in ("truth", "rows", "right", "else mostly"):
        grid.add_column(title, justify="left" if title in ("truth", "else mostly") else "right")
    for i in order:
        other = int(wrong[i].argmax())
        mistaken = (
            f"{_cut(labels[other], LABEL_WIDTH)} ({wrong[i, other]})" if wrong[i].any() else ""
        )
        label = f"[bold]{escape(_cut(labels[i], LABEL_WIDTH))}[/bold]"
        grid.add_row(label, str(rows[i]), f"{share[i]:.1%}", escape(mistaken))
    if len(order) < len(labels):
        console.print(f"the {len(order)} classes of {len(labels)} least known", style="dim")
    console.print(grid)


def _cut(label, width):
    return label if len(label) <= width else label[: width - 1] + "…"


def _cell(count, right):
    if count == 0:
        return "[dim]·[/dim]"
    return f"[green]{count}[/green]" if right else f"[red]{count}[/red]"


def _report_numbers(console, model, x, y, table):
    residual = (predict(model, x)[:, 0] - y) * table.sd
    total = ((y - y.mean()) ** 2).sum() * table.sd**2
    explained = 1 - float((residual**2).sum() / total) if total > 0 else math.nan
    console.print(
        f"test R² {explained:.4f}, root mean square error {np.sqrt((residual**2).mean()):.4g}, "
        f"mean absolute error {np.abs(residual).mean():.4g} of {len(y):,} rows"
    )
    console.print("residuals (answer less truth) by quantile", style="dim")
    grid = Grid()
    quantiles = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
    for q in quantiles:
        grid.add_column(f"{q:.0%}", justify="right")
    grid.add_row(*(f"{v:.4g}" for v in np.quantile(residual, quantiles)))
    console.print(grid)


def predict_file(path, source, out, proba, unknown):
    """Predict for the rows of a file; write CSV."""
    import sys

    told = read_tensors(path, "predict")[1]
    model = load(path)
    if "table" not in told:
        raise ValueError(f"{path} was not trained on a table by `fonio train`, use nn.load")
    table = Table.from_dict(json.loads(told["table"]))
    outputs = 1 if table.labels is None else len(table.labels)
    if (table.width, outputs) != (model.in_features, model.out_features):
        raise ValueError(f"{path}: the net and how its table is read do not fit together")
    if out is not None and not out.resolve().parent.is_dir():
        raise FileNotFoundError(f"--out: {out.resolve().parent} is no folder")
    frame = read_frame(source)
    if len(frame) == 0:
        raise ValueError(f"{source} has no rows")
    x = table.inputs(frame, unknown)
    if table.labels is None:
        columns = {table.target: predict(model, x)[:, 0].astype(np.float64) * table.sd + table.mean}
    else:
        chances = predict_proba(model, x)
        columns = {table.target: [table.labels[i] for i in chances.argmax(axis=1)]}
        if proba:
            columns |= {f"p({name})": chances[:, i] for i, name in enumerate(table.labels)}
    import pandas

    pandas.DataFrame(columns).to_csv(out or sys.stdout, index=False)
