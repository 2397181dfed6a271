"""The check that runs the moment a GPU is there: python -m bench.gpu_check.

Every kernel against its reference, masks bit for bit, recorded steps, a training run, speeds; into
one JSON file. A check that fails is a figure too; what time did not suffice for is "not run".

The rule: checks run in a process of their own, which is started anew where one of them hangs, ends
it, or leaves the device unusable.
"""

import argparse
import contextlib
import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

from . import gpu_report
from .gpu_worker import MARK, all_checks, first_lines

ROOT = Path(__file__).resolve().parent.parent
START = 120.0  # seconds that a process may take to say what device it has
WORKER = (sys.executable, "-m", "bench.gpu_worker")
GRACE = 10.0  # seconds that it may take to end
NO_DEVICE = 2  # the exit code


class _Worker:
    """A process that runs checks, and the lines it tells; a thread reads, so that waiting ends."""

    def __init__(self, command, asked):
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        self.lines, self.last = queue.Queue(), deque(maxlen=6)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        with contextlib.suppress(BrokenPipeError), self.process.stdin as pipe:
            pipe.write(json.dumps(asked))

    def _read(self):
        for line in self.process.stdout:
            if line.startswith(MARK):
                self.lines.put(json.loads(line[len(MARK) :]))
            elif line.strip():
                self.last.append(line)
        self.lines.put(None)

    def tell(self, seconds):
        """Return what it tells next; None where it has ended, TimeoutError where it is late."""
        try:
            return self.lines.get(timeout=max(0.0, seconds))
        except queue.Empty:
            raise TimeoutError from None

    def end(self):
        """Kill it if it runs on, and return its exit code."""
        if self.reader.is_alive():
            self.process.kill()
        try:
            code = self.process.wait(GRACE)
        except subprocess.TimeoutExpired:  # a device that is stuck holds up the end as well
            self.process.kill()
            code = self.process.wait()
        self.reader.join(GRACE)
        self.process.stdout.close()
        return code


class Checks:
    """The results by name, and the processes that make them."""

    def __init__(self, minutes, mnist=None, command=WORKER, told=lambda *_: None, names=None):
        self.deadline = time.monotonic() + 60 * minutes
        self.mnist, self.command, self.told = mnist, command, told
        listed = [check for check in all_checks() if names is None or check.name in names]
        self.results = {c.name: {"section": c.section, "status": "not run"} for c in listed}
        self.about, self.reason = None, []

    def run(self):
        """Run all checks; return False where no process told of a device; `reason` says why."""
        left = list(self.results)
        while left and self._seconds_left() > 0:
            begun = self._run_some(left)
            if self.about is None:
                return False
            if begun == 0:
                break
            left = left[begun:]
        return True

    def _seconds_left(self):
        return self.deadline - time.monotonic()

    def _run_some(self, names):
        """Run checks in one process as long as it lasts; return how many were begun."""
        worker = _Worker(self.command, {"names": names, "mnist": self.mnist})
        current, begun, limit = None, 0, START
        try:
            while True:
                patience = min(limit, self._seconds_left())
                try:
                    message = worker.tell(patience)
                except TimeoutError:
                    out_of_time = patience < limit
                    if current and not out_of_time:
                        self._failed(current, [f"not done in {limit:g} s, stopped"])
                    if not begun:
                        self._explain(worker)
                    return len(names) if out_of_time else begun
                if message is None:
                    code = worker.end()
                    if current:
                        what = f"its process ended with exit status {code}"
                        self._failed(current, [what, *first_lines("".join(worker.last))])
                    if not begun:
                        self._explain(worker)
                    return begun
                if "begin" in message:
                    current, limit, begun = message["begin"], message["limit"], begun + 1
                elif "end" in message:
                    current, limit = None, START
                    self._done(message)
                elif "about" in message:
                    self.about = message["about"]
                elif "no device" in message:
                    self.reason = message["no device"]
        finally:
            worker.end()

    def _explain(self, worker):
        """Keep why no check was begun, where the process has not told itself."""
        self.reason = self.reason or first_lines("".join(worker.last)) or ["no word of why"]

    def _done(self, message):
        name = message.pop("end")
        self.results[name] |= message
        self.told(self, name)

    def _failed(self, name, error):
        self.results[name] |= {"status": "failed", "error": error}
        self.told(self, name)

    def figures(self):
        """Return all that the JSON file holds."""
        counts = {}
        for result in self.results.values():
            counts[result["status"]] = counts.get(result["status"], 0) + 1
        told = {"stopped": self.reason} if self.reason else {}
        return {**self.about, "summary": counts, **told, "checks": self.results}


def write(path, figures):
    """Write the file beside and rename it: whenever this ends, the file is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(beside, path)


def default_path(about):
    """Return results/gpu-DEVICE.json."""
    name = re.sub(r"[^a-z0-9]+", "-", about["device"]["name"].lower()).strip("-")
    return ROOT / "bench" / "results" / f"gpu-{name}.json"


def main(arguments=None, command=WORKER):
    """Run the check; the exit code is 0 where all passed, 1 where not, 2 without a device."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_check", description=__doc__)
    parser.add_argument("--out", type=Path, help="the JSON file (bench/results/gpu-<device>.json)")
    parser.add_argument("--minutes", type=float, default=8.0, help="the time for all (8)")
    parser.add_argument("--mnist", help="the folder of MNIST's files; else the digits are learned")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="run these checks alone")
    asked = parser.parse_args(arguments)
    mnist = asked.mnist and str(Path(asked.mnist).resolve())

    def told(checks, name):
        gpu_report.line(name, checks.results[name])
        write(asked.out or default_path(checks.about), checks.figures())

    checks = Checks(asked.minutes, mnist, command, told, asked.only)
    if not checks.results:
        parser.error(f"--only: no check is named {' or '.join(asked.only)}")
    if not checks.run():
        print("no CUDA device is visible", *checks.reason, sep="\n  ", file=sys.stderr)
        return NO_DEVICE
    path = asked.out or default_path(checks.about)
    figures = checks.figures()
    write(path, figures)
    gpu_report.table(figures)
    print(f"written to {path}")
    return 0 if set(figures["summary"]) <= {"passed", "skipped"} else 1


if __name__ == "__main__":
    sys.exit(main())
