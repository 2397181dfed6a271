"""Pages whose code runs: the blocks of a page one after another in one session, read by Sybil.

    python                          runs
    python title="needs PyTorch"    runs where torch is installed
    python title="needs a GPU"      does not run
    python title="train.py"         is written to that file, in the working folder
    console                         lines that begin with `$ fonio` run, in this process, and those
                                    with `$ mpirun` where that and mpi4py are installed
    text title="prints"             is what the block before it printed; ... stands for anything

The rule: a page is read as it is shown, so what it prints is what a reader sees.
"""

import contextlib
import doctest
import importlib.util
import io
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from sybil import Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

PRINTS = 'text title="prints"'
KINDS = (
    "python", 'python title="needs PyTorch"', 'python title="needs a GPU"',
    'python title="train.py"', "console", PRINTS,
)  # fmt: skip
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
            self._run, self._run_with_torch, self._pass, self._write, self._run_commands,
            self._compare,
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

    def _write(self, example):
        Path("train.py").write_text(example.parsed, encoding="utf-8")
        self._printed = None

    def _run_commands(self, example):
        lines = example.parsed.replace("\\\n", " ").splitlines()
        calls = [shlex.split(line[2:], comments=True) for line in lines if line.startswith("$ ")]
        self._printed = ""
        for program, *arguments in calls:
            printed = {"fonio": _call_fonio, "mpirun": _call_mpirun}[program](arguments)
            if printed is None:
                return self._pass(example)
            self._printed += printed
            self.ran += 1
        return None

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
    """Run the command line in this process; return what it printed, errors too."""
    from rich.console import Console

    from fonio.nn import cli

    before = cli.console, sys.argv
    with _captured() as out, contextlib.redirect_stderr(out):
        cli.console, sys.argv = Console(width=82, color_system=None), ["fonio", *arguments]
        try:
            cli.main()
        except SystemExit as end:
            if end.code == 2:
                raise AssertionError(f"wrong usage: {arguments}\n{out.getvalue()}") from None
        finally:
            cli.console, sys.argv = before
    return out.getvalue()


def _call_mpirun(arguments):
    """Run a program by mpirun; None where there is none."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    program = shutil.which("mpirun", path=places)
    if program is None or importlib.util.find_spec("mpi4py") is None:
        return None
    command = [program, *(sys.executable if a == "python" else a for a in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


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
