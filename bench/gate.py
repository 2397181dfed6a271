"""The gate of every change: a dozen key workloads against the commit before.

The rule: it fails only for what no neighbour can cause. Both sides run in one process, the bound is
wide, the interval must be clear of it, and a fresh process must find the same.
"""

import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from .commands import BenchError, Command

BOUND = 1.25
ACCEPTED = Path(__file__).parent / "accepted.toml"
KEYS = (
    "matmul 128x784x512",
    "linear 64x784x256",
    "linear_backward 32x64x64",
    "exp 64x256",
    "gelu 64x256",
    "gelu_backward 64x256",
    "batchnorm 100x32",
    "batchnorm_backward 100x32",
    "dropout 64x256",
    "cross_entropy 64x10",
    "adam 4610",
    "step 4-64-64-2, batch 32",
    "step 784-256-10, batch 64",
)


@dataclass(frozen=True)
class Accepted:
    """A line of accepted.toml: so much slower is right, and why."""

    workload: str
    factor: float
    date: object
    reason: str


def accepted(path=ACCEPTED):
    """Read the slowdowns that were accepted; a line without its reason is refused."""
    rows = tomllib.loads(Path(path).read_text()).get("slower", [])
    wanted = {"workload", "factor", "date", "reason"}
    for row in rows:
        if set(row) != wanted or not str(row["reason"]).strip():
            raise BenchError(f"{Path(path).name}: {row} needs {', '.join(sorted(wanted))}")
    return [Accepted(**row) for row in rows]


def allowed(name, rows):
    """Return the factor that a workload may be slower by, and the reason where one was given."""
    fitting = [row for row in rows if fnmatchcase(name, row.workload) and row.factor > BOUND]
    if not fitting:
        return BOUND, ""
    row = max(fitting, key=lambda row: row.factor)
    return row.factor, row.reason


def failing(verdict, rows):
    """Tell whether a verdict stops a landing."""
    bound, _ = allowed(verdict.name, rows)
    return verdict.wrong or verdict.slower(bound, clear_of=bound)


def previous(root=None):
    """Return the commit to compare with, or None: main as published, or the commit before."""
    from . import commits

    root = root or commits.ROOT
    for name in ("origin/main", "HEAD~1"):
        try:
            sha = commits.resolve(name, root)
        except BenchError:
            continue
        if sha != commits.resolve("HEAD", root) and commits.is_ancestor(sha, "HEAD", root):
            return sha
    return None


def _gate(options):
    from . import commits
    from .alone import alone
    from .cases import cases

    base = options.base or previous()
    if base is None:
        print("gate: no commit before this one here, nothing to compare with")
        return 0
    base, head, rows = commits.commit(base), commits.working_tree(), accepted()
    if not commits.changed(base.sha):
        print(f"gate: src, kernels and nn are those of {base.shown}: nothing to measure")
        return 0
    keys = [case for case in cases() if case.name in KEYS]
    print(f"gate: against {base.shown}")
    with alone("gate", wait=None):
        verdicts = _verdicts(base, head, keys, rows, options.seconds)
    for verdict in verdicts:
        print(_line(verdict, rows))
    return 1 if any(failing(verdict, rows) for verdict in verdicts) else 0


def _verdicts(base, head, keys, rows, seconds):
    from .comparing import Pair, settled
    from .showing import steps_shown

    pair = Pair(base, head)
    verdicts = {
        case.name: pair.verdict(case, seconds) for case in steps_shown(keys, lambda case: case.name)
    }
    stops = lambda verdict: failing(verdict, rows)  # noqa: E731
    return list(settled(base, head, verdicts, 4 * seconds, stops).values())


def _line(verdict, rows):
    if verdict.ratio is None:
        return f"  {verdict.name:28} {verdict.why}"
    bound, reason = allowed(verdict.name, rows)
    ratio = verdict.ratio
    line = f"  {verdict.name:28} {ratio.median:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
    if failing(verdict, rows):
        return f"{line}  TOO SLOW, at most {bound:g}; if that is right, say why in {ACCEPTED.name}"
    if verdict.slower(BOUND, clear_of=BOUND):
        return f"{line}  accepted up to {bound:g}: {reason}"
    return line


def _arguments(parser):
    parser.add_argument("base", nargs="?", help="the commit before; found by itself")
    parser.add_argument("--seconds", type=float, default=0.4, help="time for one workload (0.4)")


COMMANDS = [
    Command(
        "gate",
        f"Compare {len(KEYS)} key workloads with the commit before; fails beyond {BOUND:g}.",
        _gate,
        _arguments,
        (("gate", "what .ci/run does after the tests"),),
    )
]
