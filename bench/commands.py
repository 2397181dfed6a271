"""The sub-commands of `python -m bench`: a registry of modules that offer them.

The rule: a module listed here offers `COMMANDS`, and imports what is heavy (NumPy, Numba, peers,
asv) inside the functions that do the work, so that `--help` answers at once.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

MODULES = ("command_run", "command_ab", "gate", "command_site", "command_readme")


def _no_arguments(parser):
    return


@dataclass(frozen=True)
class Command:
    """One sub-command: `run(options)` does it and returns the exit status, None being 0."""

    name: str
    summary: str  # one line; it opens the command's own help, too
    run: Callable
    arguments: Callable = _no_arguments  # arguments(parser) adds what the command takes
    examples: tuple = ()  # ("run matmul", "every size of matmul, against its peers") ...
    hidden: bool = False  # for processes that commands start


class BenchError(Exception):
    """What the user can mend: shown as one line, exit status 2."""


def commands(modules=MODULES):
    """List every command, in the order of the modules."""
    return [
        command
        for module in modules
        for command in import_module(f".{module}", __package__).COMMANDS
    ]


def make_parser(offered):
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        "python -m bench",
        description="Measure fonio's kernels: against the machine, peers, and other commits.",
        epilog=_examples([row for command in offered for row in command.examples[:1]]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    places = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for command in offered:
        # argparse puts values in place of a %
        shown = {} if command.hidden else {"help": command.summary.replace("%", "%%")}
        place = places.add_parser(
            command.name,
            description=command.summary,
            epilog=_examples(command.examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **shown,
        )
        command.arguments(place)
        place.set_defaults(run=command.run)
    return parser


def _examples(rows):
    if not rows:
        return None
    width = max(len(line) for line, _ in rows)
    lines = [f"  python -m bench {line:{width}}   {what}" for line, what in rows]
    return "\n".join(["examples:", *lines])


def main(arguments=None):
    """Do what the command line asks; return the exit status."""
    import sys

    parser = make_parser(commands())
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        return options.run(options) or 0
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"bench: {error}; `make test` makes .venv with all that is needed", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130
