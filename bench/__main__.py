"""`python -m bench`: measure the table of ratios; `run PATTERN`, `list [PATTERN]`, `readme`."""

import argparse
import json

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from . import peers


def main(arguments=None):
    """Do what the command line asks."""
    options = _parser().parse_args(arguments)
    if options.command == "row":
        return _row(options.pattern)
    return {"list": _list, "readme": _readme, "run": _run}[options.command](options)


def _parser():
    parser = argparse.ArgumentParser("python -m bench", description=__doc__)
    parser.add_argument(
        "command", nargs="?", default="run", choices=["run", "list", "readme", "row"]
    )
    parser.add_argument("pattern", nargs="?", default="", help="part of a row's name or section")
    parser.add_argument(
        "--name", default="latest", help="the figures' file: bench/results/NAME.json"
    )
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="time for one workload's comparison"
    )
    return parser


def _rows(pattern=""):
    from .kernel_rows import ROWS as kernel_rows
    from .step_rows import ROWS as step_rows

    rows = [*kernel_rows, *step_rows]
    return [row for row in rows if pattern in row.name or pattern == row.section]


def _row(name):
    """Measure one row here and print its figures as JSON: what `run` starts for each row."""
    from .rows import measure

    (row,) = [row for row in _rows() if row.name == name]
    peers.pin(row.threads)
    print(json.dumps(measure(row)))


def _run(options):
    from .report import markdown, save
    from .rows import measure_apart

    rows = _rows(options.pattern)
    results = {}
    for row in _shown(rows):
        results[row.name] = measure_apart(row)
    if rows:
        path = save(options.name, results)
        print(markdown(rows, results))
        print(f"\nfigures in {path}")
    _run_workloads(options)


def _shown(rows):
    """Go through rows with a bar; where no one watches, a line for each."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        task = progress.add_task("", total=len(rows))
        for row in rows:
            progress.update(task, description=row.name)
            if not console.is_terminal:
                console.print(row.name)
            yield row
            progress.advance(task)


def _run_workloads(options):
    """The workloads that match, each against its peers; none without a pattern."""
    from .workload_times import HEADER, line
    from .workloads import workloads

    pairs = [(w, size) for w in workloads(options.pattern) for size in w.sizes]
    if options.pattern and pairs:
        print(HEADER)
        for workload, size in pairs:
            print(line(workload, size, options.seconds), flush=True)


def _list(options):
    from .workloads import workloads

    for row in _rows(options.pattern):
        print(f"row       {row.section:14} {row.name}")
    for workload in workloads(options.pattern):
        print(f"workload  {workload.group:14} {workload.name}")


def _readme(options):
    from .report import load, machine_line, markdown

    figures = load(options.name)
    print(machine_line(figures["machine"]) + "\n")
    print(markdown(_rows(options.pattern), figures["rows"]))


if __name__ == "__main__":
    main()
