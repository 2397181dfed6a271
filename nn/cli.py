"""The command line: fonio train, predict, info, warmup, cache, bench.

The rule: what goes wrong is one line that says what to do, without a traceback, and the exit status
is 1; wrong usage is 2, Ctrl-C 130.
"""

import sys
from pathlib import Path
from typing import Annotated

try:
    import typer
except ModuleNotFoundError:
    sys.exit("fonio: the command line needs typer: pip install 'fonio[cli]'")

from rich.console import Console
from rich.table import Table as Grid

app = typer.Typer(
    help="Train small networks on tables and digits, with kernels by Numba.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
cache = typer.Typer(help="The machine code on disk.", no_args_is_help=True)
app.add_typer(cache, name="cache")
console = Console()

SETS = {"digits": "digits", "mnist": "mnist", "fashion": "fashion_mnist"}
EXPECTED = (ValueError, TypeError, OSError, ImportError, RuntimeError)


def main():
    """Run the command line; the entry point of `fonio`."""
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        sys.exit(130)
    except EXPECTED as error:
        print(f"fonio: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)


Layers = Annotated[str, typer.Option(help="widths of the hidden layers, as 64,64 ('' for none)")]


@app.command(
    epilog="Examples: `fonio train digits` · `fonio train adult.csv --target income --norm batch "
    "--dropout 0.1 --save income.safetensors`"
)
def train(
    source: Annotated[str, typer.Argument(help="digits, mnist, fashion, or a file")],
    target: Annotated[str, typer.Option(help="the column to predict, of a file")] = "",
    layers: Layers = "64,64",
    activation: Annotated[str, typer.Option(help="as nn names it: ReLU, GELU, ...")] = "ReLU",
    norm: Annotated[str, typer.Option(help="none, batch or layer")] = "none",
    dropout: Annotated[float, typer.Option(help="chance to drop a hidden unit")] = 0.0,
    optimizer: Annotated[str, typer.Option(help="adam, adamw, sgd, ...")] = "adam",
    lr: Annotated[float, typer.Option(help="learning rate (0: the optimizer's own)")] = 0.0,
    epochs: Annotated[int, typer.Option(help="at most")] = 50,
    batch_size: Annotated[int, typer.Option(help="rows of a step")] = 64,
    patience: Annotated[int, typer.Option(help="epochs without a better validation loss")] = 10,
    validation: Annotated[float, typer.Option(help="share of rows held out to stop by")] = 0.1,
    test: Annotated[float, typer.Option(help="share of a file's rows held out to report")] = 0.2,
    task: Annotated[str, typer.Option(help="auto, classify or regress")] = "auto",
    missing: Annotated[str, typer.Option(help="refuse or fill missing values")] = "refuse",
    drop: Annotated[list[str] | None, typer.Option(help="a column to leave out")] = None,
    seed: Annotated[int, typer.Option(help="of weights, split and shuffling")] = 0,
    plot: Annotated[Path | None, typer.Option(help="a PNG of the curves")] = None,
    save: Annotated[Path | None, typer.Option(help="a file for the model")] = None,
    quiet: Annotated[bool, typer.Option(help="no progress bar")] = False,
):
    """Train a network and report what it got right."""
    from . import cli_train

    _known("task", task, ("auto", "classify", "regress"))
    _known("missing", missing, ("refuse", "fill"))
    _known("norm", norm, cli_train.NORMS)
    told = {
        "layers": _widths(layers), "activation": activation, "norm": norm, "dropout": dropout,
        "optimizer": optimizer, "lr": lr, "epochs": epochs, "batch_size": batch_size,
        "patience": patience, "validation": validation, "seed": seed, "progress": not quiet,
    }  # fmt: skip
    for path in (plot, save):
        if path is not None and not path.resolve().parent.is_dir():
            raise FileNotFoundError(f"{path.resolve().parent} is no folder")
    if source in SETS:
        data, table = cli_train.data_set(SETS[source]), None
    else:
        data, table = cli_train.from_file(source, target, task, missing, drop or [], test, seed)
    cli_train.run(console, data, table, told, plot, save)


@app.command(epilog="Example: `fonio predict income.safetensors people.csv --out found.csv`")
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


def _widths(layers):
    parts = [part for part in layers.replace(" ", "").split(",") if part]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"--layers is {layers!r}, expected widths such as 64,64")
    return [int(part) for part in parts]


if __name__ == "__main__":
    main()
