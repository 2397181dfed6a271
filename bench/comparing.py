"""Two commits in one process: each case's sides interleaved on the same arrays, ratios of pairs.

The rule: a difference counts when it is there each time. Where code and scratch arrays come to lie
is worth up to 15 % (column_moments, 4096x512) and no commit's doing: what seems to differ is
measured again in fresh processes, each side recorded several times, and all recordings of one side
must be slower than all of the other's.
"""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass

from . import peers
from .answers import WrongAnswer
from .commits import ROOT, Commit, load
from .measuring import Interval, compare

BOUND = 1.02  # slower than this is named, where the interval is clear of 1
NOISE_CASES = 3
ATTEMPTS = 3  # fresh processes that must all find it
LAYOUTS = 3  # recordings of each side where a difference is looked at again


@dataclass(frozen=True)
class Verdict:
    """One case at two commits: the head's time over the base's, or why there is none."""

    name: str
    ratio: Interval | None = None
    seconds: float = 0.0  # of a call at the head
    why: str = ""
    wrong: bool = False  # the head's answer is wrong, or it fails: worse than slow

    def slower(self, bound=BOUND, clear_of=1.0):
        """Tell whether the head is slower than the bound allows, beyond doubt."""
        return self.ratio is not None and self.ratio.median > bound and self.ratio.low > clear_of

    def faster(self, bound=BOUND):
        """Tell whether the head is faster by as much, beyond doubt."""
        return self.ratio is not None and self.ratio.median < 1 / bound and self.ratio.high < 1


class Pair:
    """Two commits loaded into this process."""

    def __init__(self, base: Commit, head: Commit, head_first=False):
        self.base, self.head = base, head
        again = "_again" if base.module == head.module else ""
        if head_first:
            self.new = load(head, again)
        self.old = load(base)
        if not head_first:
            self.new = load(head, again)

    def verdict(self, case, seconds, layouts=1):
        """Compare one case; what fails becomes a word, not an error."""
        try:
            case.check(self.new)
        except WrongAnswer as error:
            return Verdict(case.name, why=f"wrong: {error}", wrong=True)
        except Exception as error:
            if self._lacks(case, self.new):
                return Verdict(case.name, why="gone")
            return Verdict(case.name, why=f"fails: {_first_line(error)}", wrong=True)
        if self._lacks(case, self.old):
            return Verdict(case.name, why="new")
        try:
            sides = self._sides(case, ["base", "head"], layouts)
            result = self._compared(sides, case, seconds)
        except Exception as error:  # an older fonio may lack what a program needs
            return Verdict(case.name, why=f"not comparable: {_first_line(error)}")
        return self._judged(case, result)

    def _sides(self, case, names, layouts):
        """Return {"base 0": side, "head 0": ..., "head 1": ..., "base 1": ...}, all on one data."""
        packages = {"base": self.old, "head": self.new, "again": self.new}
        order = [
            (name, turn)
            for turn in range(layouts)
            for name in (names if turn % 2 == 0 else names[::-1])
        ]
        sides = case.compared([packages[name] for name, _ in order])
        named = {f"{name} {turn}": s for (name, turn), s in zip(order, sides, strict=True)}
        return dict(sorted(named.items()))

    def _judged(self, case, result):
        """Compare the best recordings of both sides; others that contradict widen the interval."""
        heads, bases = (
            sorted(
                (side for side in result.seconds if side.startswith(kind)),
                key=lambda side: result.seconds[side].median,
            )
            for kind in ("head", "base")
        )
        best = result.ratio(heads[0], bases[0])
        near = (heads[0], bases[-1]) if best.median > 1 else (heads[-1], bases[0])
        nearest = result.ratio(*near)
        if (nearest.median > 1) != (best.median > 1):
            ends = (best.low, best.high, nearest.low, nearest.high)
            best = Interval(best.median, min(ends), max(ends))
        return Verdict(case.name, best, result.seconds[heads[0]].median)

    def _lacks(self, case, package):
        return hasattr(case, "call") and case.call(package) is None

    def _compared(self, sides, case, seconds):
        packages = (self.old, self.new)
        return compare(sides, seconds, case.slice_seconds, packages=packages)

    def noise(self, cases, seconds):
        """Return the head against itself, recorded anew: [Interval, ...] of the first cases."""
        found = []
        for case in cases[:NOISE_CASES]:
            try:
                sides = self._sides(case, ["head", "again"], 1)
            except Exception:  # named among the verdicts already
                continue
            result = self._compared(sides, case, seconds)
            found.append(result.ratio("again 0", "head 0"))
        return found


def _first_line(error):
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:120]


def again(base, head, names, seconds):
    """Measure the named cases in a fresh process, loaded in the other order: {name: Verdict}."""
    task = {
        "base": [base.sha, base.shown, str(base.folder), str(base.code)],
        "head": [head.sha, head.shown, str(head.folder), str(head.code)],
        "names": names,
        "seconds": seconds,
    }
    done = subprocess.run(
        [sys.executable, "-m", "bench", "ab-again"],
        input=json.dumps(task),
        cwd=ROOT,
        env=peers.environment(threads=1),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    rows = json.loads(done.stdout.splitlines()[-1])
    return {
        row["name"]: Verdict(**{**row, "ratio": row["ratio"] and Interval(**row["ratio"])})
        for row in rows
    }


def settled(base, head, verdicts, seconds, differs=None, attempts=ATTEMPTS):
    """Measure what differs again, in up to so many fresh processes; return {name: Verdict}.

    Every time the difference must be there, and the least one counts.
    """
    differs = differs or (lambda verdict: verdict.slower() or verdict.faster())
    verdicts = dict(verdicts)
    for _ in range(attempts):
        suspects = [name for name, v in verdicts.items() if v.ratio and differs(v)]
        if not suspects:
            break
        about = 1.3 * seconds * len(suspects)
        print(f"{len(suspects)} to be measured again, {about:.0f} s", file=sys.stderr, flush=True)
        for name, verdict in again(base, head, suspects, seconds).items():
            verdicts[name] = lesser(verdicts[name], verdict)
    return verdicts


def measure_again(task):
    """Do what `again` asks, in this process; return plain data."""
    from pathlib import Path

    from .cases import cases

    base, head = (
        Commit(sha, shown, Path(folder), Path(code))
        for sha, shown, folder, code in (task["base"], task["head"])
    )
    pair = Pair(base, head, head_first=True)
    wanted = [case for case in cases() if case.name in task["names"]]
    return [asdict(pair.verdict(case, task["seconds"], LAYOUTS)) for case in wanted]


def lesser(first, second):
    """Return of two verdicts on one case the one that is nearer to no difference."""
    if first.ratio is None or second.ratio is None:
        return second
    return min(first, second, key=lambda verdict: abs(verdict.ratio.median - 1))
