"""Forks of this process that wait until they are asked: one that knows nothing, one that is warm.

The rule: a Twin is made before a first call, so it finds neither machine code nor a running Numba
in its memory. It pays what a fresh process pays after its imports, and the imports are spared.
"""

import json
import multiprocessing
import os
import signal


class Twin:
    """A fork of this process, for one call of `work`; what that returns comes back by a pipe."""

    def __init__(self, work):
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        process = context.Process(target=_wait, args=(self.pipe, theirs, work), daemon=True)
        process.start()
        theirs.close()

    def result(self, timeout):
        """Ask for the work and return its result."""
        self.pipe.send(None)
        if not self.pipe.poll(timeout):
            raise RuntimeError(f"a forked process did not answer within {timeout} s")
        try:
            return self.pipe.recv()
        except EOFError:
            raise RuntimeError("a forked process failed; its error stands above") from None


def twin(work):
    """Return a Twin; None where the system cannot fork."""
    return Twin(work) if hasattr(os, "fork") else None


def _wait(other_end, pipe, work):
    other_end.close()  # or the end of the first process would go unseen
    try:
        pipe.recv()
    except EOFError:
        return  # nobody asks any more
    pipe.send(work())


class Nursery:
    """A fork of this process that prepares itself once and then forks a process for each task.

    So what all tasks need is loaded once, and no task finds what another left in memory. Processes
    forked from this one may ask it, too, one at a time; it ends when all of them have ended.
    """

    def __init__(self, prepare, work):
        asked, self.ask = os.pipe()
        self.told, tell = os.pipe()
        if os.fork() == 0:
            os.close(self.ask)
            os.close(self.told)
            try:
                _serve(asked, tell, prepare, work)
            finally:
                os._exit(0)
        os.close(asked)
        os.close(tell)
        _answer(self.told, "ready")

    def result(self, task):
        """Return work(task), by a fork of the prepared process; raise RuntimeError if it failed."""
        tag = os.getpid()
        os.write(self.ask, f"{json.dumps([tag, task])}\n".encode())
        found = _answer(self.told, tag)
        if "failed" in found:
            raise RuntimeError(found["failed"])
        return found["done"]


def _answer(told, tag):
    """Read lines until one bears the tag: who asked before may have been killed meanwhile."""
    line = b""
    while True:
        byte = os.read(told, 1)
        if not byte:
            raise RuntimeError("the process that forks others has ended")
        line += byte
        if byte == b"\n":
            of, found = json.loads(line)
            if of == tag:
                return found
            line = b""


def _serve(asked, tell, prepare, work):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with those who ask
    prepare()
    _say(tell, "ready", {})
    with os.fdopen(asked) as lines:
        for line in lines:
            tag, task = json.loads(line)
            child = os.fork()
            if child == 0:
                _work(tell, tag, work, task)
            _, status = os.waitpid(child, 0)
            if status:
                _say(
                    tell,
                    tag,
                    {"failed": f"a process died, with status {os.waitstatus_to_exitcode(status)}"},
                )


def _work(tell, tag, work, task):
    try:
        found = {"done": work(task)}
    except Exception as error:
        found = {"failed": f"{type(error).__name__}: {error}"}
    _say(tell, tag, found)
    os._exit(0)


def _say(tell, tag, found):
    told = f"{json.dumps([tag, found])}\n".encode()
    while told:
        told = told[os.write(tell, told) :]
