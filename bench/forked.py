"""A copy of this process that waits until it is asked, works once, and is gone.

The rule: it is made before a first call, so it finds neither machine code nor a running Numba in
its memory. It pays what a fresh process pays after its imports, and the imports are spared.
"""

import multiprocessing
import os


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
