"""`readme` and `row`: the README's table of ratios, each row measured in a process of its own."""

import json

from .commands import Command


def _rows(pattern=""):
    from .estimator_rows import ROWS as estimator_rows
    from .kernel_rows import ROWS as kernel_rows
    from .step_rows import ROWS as step_rows

    rows = [*kernel_rows, *step_rows, *estimator_rows]
    return [row for row in rows if pattern in row.name or pattern == row.section]


def _row(options):
    """Measure one row here and print its figures as JSON: what `readme --measure` starts."""
    from . import peers
    from .rows import measure

    (row,) = [row for row in _rows() if row.name == options.name]
    peers.pin(row.threads)
    print(json.dumps(measure(row)))


def _readme(options):
    from .report import load, machine_line, markdown, save
    from .rows import measure_apart
    from .showing import steps_shown

    rows = _rows(options.pattern)
    if options.measure:
        results = {row.name: measure_apart(row) for row in steps_shown(rows, lambda row: row.name)}
        save(options.name, results)
    figures = load(options.name)
    print(machine_line(figures["machine"]) + "\n")
    print(markdown(rows, figures["rows"]))


def _readme_arguments(parser):
    parser.add_argument("pattern", nargs="?", default="", help="part of a row's name, or a section")
    parser.add_argument(
        "--measure", action="store_true", help="measure first, and keep the figures"
    )
    parser.add_argument("--name", default="latest", help="the file: bench/results/NAME.json")


COMMANDS = [
    Command(
        "readme",
        "Print the README's table of ratios, or measure it anew.",
        _readme,
        _readme_arguments,
        (
            ("readme --name zen4-2cores", "the figures that the README shows"),
            ("readme training --measure", "measure the rows on training, then print them"),
        ),
    ),
    Command(
        "row",
        "Measure one row of the README's table in this process, as JSON.",
        _row,
        lambda parser: parser.add_argument("name"),
        hidden=True,
    ),
]
