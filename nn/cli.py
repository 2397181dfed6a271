"""The command line: fonio train, predict, info, warmup, cache, bench.

The rule: what goes wrong is one line that says what to do, without a traceback, and the exit status
is 1; wrong usage is 2, Ctrl-C 130 (of a training too, which reports and saves what it has).
"""

import importlib.util
import math
import sys
from pathlib import Path
from typing import Annotated

try:
    import typer
except ModuleNotFoundError:
    sys.exit("fonio: the command line needs typer: pip install 'fonio[cli]'")

from rich.console import Console
from rich.table import Table as Grid


def _examples(*lines):
    return "\n\n".join(["Examples:", *(f"`{line}`" for line in lines)])


app = typer.Typer(
    help="Train small networks on tables and digits, with kernels by Numba.",
    epilog=_examples(
        "fonio train digits",
        "fonio train people.csv --target income --save income.safetensors",
        "fonio predict income.safetensors others.csv",
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
cache = typer.Typer(help="The machine code on disk.", no_args_is_help=True)
app.add_typer(cache, name="cache")
console = Console(highlight=False)

PICTURES = (".png", ".svg", ".pdf", ".jpg")
SETS = {"digits": "digits", "mnist": "mnist", "fashion": "fashion_mnist"}
EXPECTED = (ValueError, TypeError, OSError, ImportError, RuntimeError)


def main():
    """Run the command line; the entry point of `fonio`."""
    for stream in (sys.stdout, sys.stderr):  # what a terminal cannot show is no reason to stop
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        sys.exit(130)
    except EXPECTED as error:
        print(f"fonio: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)


def _say_version(wanted: bool):
    if wanted:
        from .. import __version__

        print(f"fonio {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version."),
]


@app.callback()
def everywhere(version: Version = False):
    """Take the options that stand before a command."""


def _option(panel, text, *names):
    return typer.Option(*names, help=text, rich_help_panel=panel)


Target = Annotated[str, _option("Data", "the column to predict, of a file")]
Task = Annotated[str, _option("Data", "auto, classify or regress")]
Missing = Annotated[str, _option("Data", "refuse or fill missing values")]
Drop = Annotated[list[str] | None, _option("Data", "a column to leave out (once for each)")]
Test = Annotated[float, _option("Data", "share of a file's rows held out to report")]
Validation = Annotated[float, _option("Data", "share of rows held out to stop by")]
Layers = Annotated[str, _option("Net", "widths of the hidden layers ('' for none)")]
Activation = Annotated[str, _option("Net", "as nn names it: ReLU, GELU, ...")]
Norm = Annotated[str, _option("Net", "none, batch or layer")]
Dropout = Annotated[float, _option("Net", "chance to drop a hidden unit")]
Optimizer = Annotated[str, _option("Training", "adam, adamw, sgd, ...")]
Rate = Annotated[float | None, _option("Training", "learning rate, else the optimizer's own")]
Epochs = Annotated[int, _option("Training", "at most")]
Batch = Annotated[int, _option("Training", "rows of a step")]
Patience = Annotated[int, _option("Training", "epochs without a better validation loss")]
Seed = Annotated[int, _option("Training", "of weights, split and shuffling")]
Plot = Annotated[Path | None, _option("Output", "a picture of the curves: .png, .svg or .pdf")]
Save = Annotated[Path | None, _option("Output", "a file for the model")]
Quiet = Annotated[bool, _option("Output", "no progress bar", "--quiet")]


@app.command(
    epilog=_examples(
        "fonio train digits",
        "fonio train adult.csv --target income --norm batch --save income.safetensors",
    )
)
def train(
    source: Annotated[
        str, typer.Argument(help="digits, mnist, fashion, or a .csv, .tsv, .parquet, .npz")
    ],
    target: Target = "",
    task: Task = "auto",
    missing: Missing = "refuse",
    drop: Drop = None,
    test: Test = 0.2,
    validation: Validation = 0.1,
    layers: Layers = "64,64",
    activation: Activation = "ReLU",
    norm: Norm = "none",
    dropout: Dropout = 0.0,
    optimizer: Optimizer = "adam",
    lr: Rate = None,
    epochs: Epochs = 50,
    batch_size: Batch = 64,
    patience: Patience = 10,
    seed: Seed = 0,
    plot: Plot = None,
    save: Save = None,
    quiet: Quiet = False,
):
    """Train a network and report what it got right.

    Ctrl-C ends the training, not the report: what was learnt until then is kept.
    """
    from . import cli_train

    _known("task", task, ("auto", "classify", "regress"))
    _known("missing", missing, ("refuse", "fill"))
    _known("norm", norm, cli_train.NORMS)
    _within("test", test, 0, 1)
    _within("validation", validation, 0, 1)
    _within("lr", 1 if lr is None else lr, 0, math.inf)
    least = {"epochs": (epochs, 1), "batch-size": (batch_size, 1), "patience": (patience, 1)}
    for name, (value, lowest) in {**least, "seed": (seed, 0)}.items():
        if value < lowest:
            raise ValueError(f"--{name} is {value}, expected at least {lowest}")
    told = {
        "layers": _widths(layers), "activation": activation, "norm": norm, "dropout": dropout,
        "optimizer": optimizer, "lr": lr, "epochs": epochs, "batch_size": batch_size,
        "patience": patience, "validation": validation, "seed": seed, "progress": not quiet,
    }  # fmt: skip
    _check_places(plot, save)
    if source in SETS:
        if target or drop:
            raise ValueError(f"--target and --drop are of files, {source} knows its labels")
        data, table = cli_train.data_set(SETS[source]), None
    else:
        data, table = cli_train.from_file(source, target, task, missing, drop or [], test, seed)
    if cli_train.run(console, data, table, told, plot, save).interrupted:
        raise typer.Exit(130)


@app.command(
    epilog=_examples("fonio predict income.safetensors people.csv --proba --out found.csv")
)
def predict(
    model: Annotated[Path, typer.Argument(help="a model that train saved")],
    source: Annotated[Path, typer.Argument(help="a file with the columns of training")],
    out: Annotated[Path | None, typer.Option(help="a CSV file, else the terminal")] = None,
    proba: Annotated[bool, typer.Option(help="the probability of each class too")] = False,
    unknown: Annotated[str, typer.Option(help="refuse or ignore new categories")] = "refuse",
):
    """Predict the target for the rows of a file."""
    from . import cli_train

    _known("unknown", unknown, ("refuse", "ignore"))
    cli_train.predict_file(model, source, out, proba, unknown)


@app.command()
def info():
    """Show the CPU, vectors, threads, the cache, CUDA and versions."""
    from . import cli_info

    grid = Grid(show_header=False, box=None)
    for name, value in cli_info.facts().items():
        grid.add_row(f"[bold]{name}[/bold]", value)
    console.print(grid)


@app.command()
def warmup(
    dtype: Annotated[str, typer.Option(help="float32, float64 or both")] = "float32",
):
    """Compile what nets need ahead of their first fit, into the cache."""
    from . import cli_info

    _known("dtype", dtype, ("float32", "float64", "both"))
    cli_info.warm_up(console, ("float32", "float64") if dtype == "both" else (dtype,))


@cache.command("clear")
def clear(yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False):
    """Remove all machine code that fonio has cached; it is made again when needed."""
    from . import cli_info

    folder, size, count = cli_info.cached()
    if count == 0:
        console.print(f"{folder} is empty")
        return
    if not yes:
        typer.confirm(f"Remove {count} files, {size / 1e6:.0f} MB, in {folder}?", abort=True)
    cli_info.clear_cache()
    console.print(f"removed {count} files, {size / 1e6:.0f} MB")


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def bench(context: typer.Context):
    """Run `python -m bench ...` of a checkout: list, run, ab, report and more."""
    import subprocess

    if not Path("bench/__main__.py").is_file():
        raise FileNotFoundError("bench runs from a checkout of fonio, there is no bench/ here")
    done = subprocess.run([sys.executable, "-m", "bench", *context.args], check=False)
    raise typer.Exit(done.returncode)


def _known(name, value, known):
    if value not in known:
        raise ValueError(f"--{name} is {value!r}, expected one of {list(known)}")


def _within(name, value, low, high):
    if not low < value < high:
        raise ValueError(f"--{name} is {value:g}, expected {low} < {name} < {high}")


def _check_places(plot, save):
    """Refuse before the training what could not be written after it."""
    for name, path in (("plot", plot), ("save", save)):
        if path is None:
            continue
        if not path.resolve().parent.is_dir():
            raise FileNotFoundError(f"--{name}: {path.resolve().parent} is no folder")
        if path.is_dir():
            raise IsADirectoryError(f"--{name} is {path}, a folder, expected a file")
    if plot is not None and plot.suffix.lower() not in PICTURES:
        raise ValueError(f"--plot is {plot}, expected a name that ends in one of {list(PICTURES)}")
    if plot is not None and importlib.util.find_spec("matplotlib") is None:
        raise ImportError("--plot needs matplotlib: pip install 'fonio[plots]'")


def _widths(layers):
    parts = [part for part in layers.replace(" ", "").split(",") if part]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"--layers is {layers!r}, expected widths such as 64,64")
    return [int(part) for part in parts]


if __name__ == "__main__":
    main()
