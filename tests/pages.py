"""Pages whose code runs: the blocks of a page one after another in one session, read by Sybil.

    python                          runs
    python title="needs PyTorch"    runs where torch is installed
    python title="needs a GPU"      does not run
    console                         lines that begin with `$ fonio` run, in this process
    text title="prints"             is what the block before it printed; ... stands for anything

The rule: a page is read as it is shown, so what it prints is what a reader sees.
"""

import contextlib
import doctest
import importlib.util
import io
import shlex

from sybil import Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

PRINTS = 'text title="prints"'
KINDS = ("python", 'python title="needs PyTorch"', 'python title="needs a GPU"', "console", PRINTS)
OTHER = {"python", "text", "console"}  # languages of which a fence must be one of these kinds
EQUAL = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Page:
    """A page as it runs: how many blocks ran and how many were compared.

    without: blocks that hold this text are left out.
    """

    def __init__(self, without=None):
        self.ran = self.compared = 0
        self._without = without
        self._printed = None
        self._python = PythonEvaluator()

    def run(self, path):
        """Run a page from its start; return this page."""
        evaluators = (
            self._run, self._run_with_torch, self._pass, self._run_commands, self._compare,
        )  # fmt: skip
        parsers = [CodeBlockParser(*pair) for pair in zip(KINDS, evaluators, strict=True)]
        for example in Sybil(parsers, path=str(path.parent)).parse(path).examples():
            example.evaluate()
        return self

    def _pass(self, example):
        self._printed = None

    def _run(self, example):
        if self._without is not None and self._without in example.parsed:
            return self._pass(example)
        with _captured() as out:
            self._python(example)
        self._printed = out.getvalue()
        self.ran += 1
        return None

    def _run_with_torch(self, example):
        if importlib.util.find_spec("torch") is None:
            return self._pass(example)
        return self._run(example)

    def _run_commands(self, example):
        lines = example.parsed.replace("\\\n", " ").splitlines()
        calls = [shlex.split(line[2:], comments=True) for line in lines if line.startswith("$ ")]
        with _captured() as out:
            for program, *arguments in calls:
                if program == "fonio":
                    _call_fonio(arguments)
                    self.ran += 1
        self._printed = out.getvalue()

    def _compare(self, example):
        if self._printed is None:
            return  # nothing ran: it wants what is not installed
        want, got = str(example.parsed), self._printed
        if not doctest.OutputChecker().check_output(want, got, EQUAL):
            raise AssertionError(f"line {example.line}: the page shows\n{want}\nand got\n{got}")
        self.compared += 1


@contextlib.contextmanager
def _captured():
    with contextlib.redirect_stdout(io.StringIO()) as out:
        yield out


def _call_fonio(arguments):
    from rich.console import Console

    from fonio.nn import cli

    before = cli.console
    cli.console = Console(width=100, color_system=None)
    try:
        cli.app(arguments, standalone_mode=False)
    finally:
        cli.console = before


def blocks(text):
    """Return the info lines of a text's fences, for a test that none has an unknown one."""
    inside, found = None, []
    for line in text.splitlines():
        mark = line.strip()
        if inside and mark == inside:
            inside = None
        elif not inside and mark.startswith(("```", "~~~")):
            inside = mark[: len(mark) - len(mark.lstrip("`~"))]
            found.append(mark[len(inside) :])
    return found
