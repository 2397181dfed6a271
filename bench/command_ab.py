"""`ab` and `gate`: two commits in one process, and what is slower by name.

The rule: exit status 1 says that the head is slower, 2 that nothing could be compared.
"""

from .commands import BenchError, Command

AGAIN = 3.0  # times the time of a case, for what is measured a second time


def _ab(options):
    from .alone import alone
    from .cases import find
    from .commits import changed, commit, working_tree

    base = commit(options.base)
    head = commit(options.head) if options.head else working_tree()
    files = changed(base.sha, head.sha)
    print(f"base: {base.shown}\nhead: {_head_line(head)}")
    if not files:
        print("no file of src, kernels or nn differs: only noise is to be seen")
    found = [case for case in find(options.only) if case.figure is None]
    if not found:
        raise BenchError(f"{options.only!r}: measured in processes of their own, not comparable")
    with alone(f"ab {options.base}"):
        verdicts, noise = compared(base, head, found, options.seconds)
    _print(verdicts, noise, options.all)
    return _status(verdicts)


def _head_line(head):
    from .commits import changed

    if head.sha:
        return head.shown
    files = changed("HEAD")
    if not files:
        return "working tree, clean"
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    return f"working tree, with changes in {', '.join(files[:3])}{more}"


def compared(base, head, cases, seconds):
    """Compare every case; what seems different is measured again elsewhere."""
    from .comparing import Pair, settled
    from .showing import steps_shown

    pair = Pair(base, head)
    name_of = lambda case: case.name  # noqa: E731
    verdicts = {case.name: pair.verdict(case, seconds) for case in steps_shown(cases, name_of)}
    noise = pair.noise(cases, seconds)
    return list(settled(base, head, verdicts, AGAIN * seconds).values()), noise


def _print(verdicts, noise, everything):
    from .showing import seconds

    for verdict in verdicts:
        notable = verdict.ratio is None or verdict.slower() or verdict.faster()
        if not (everything or notable):
            continue
        if verdict.ratio is None:
            print(f"  {verdict.name:44} {verdict.why}")
            continue
        word = "SLOWER" if verdict.slower() else "faster" if verdict.faster() else ""
        line = f"  {verdict.name:44} {_exactly(verdict.ratio)} {seconds(verdict.seconds):>10}"
        print(f"{line} {word}".rstrip())
    timed = [verdict for verdict in verdicts if verdict.ratio]
    slower, faster = ([v for v in timed if getattr(v, w)()] for w in ("slower", "faster"))
    same = len(timed) - len(slower) - len(faster)
    print(f"{len(slower)} slower, {len(faster)} faster, {same} the same within 2 % or in doubt")
    if noise:
        low, high = min(n.low for n in noise), max(n.high for n in noise)
        print(f"noise floor (the head against itself): {low:.4f} to {high:.4f}")


def _exactly(ratio):
    return f"{ratio.median:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"


def _status(verdicts):
    bad = [verdict for verdict in verdicts if verdict.slower() or verdict.wrong]
    for verdict in bad:
        by = verdict.why or f"{verdict.ratio.median:.2f} times the base's time"
        print(f"{verdict.name}: {by}")
    return 1 if bad else 0


def _again(options):
    import json
    import sys

    from .comparing import measure_again

    print(json.dumps(measure_again(json.load(sys.stdin))))


def _ab_arguments(parser):
    parser.add_argument("base", help="a commit, branch or tag")
    parser.add_argument("head", nargs="?", help="another; the working tree where none is named")
    parser.add_argument("--only", default="", metavar="PATTERN", help="as in `list PATTERN`")
    parser.add_argument("--seconds", type=float, default=0.5, help="time for one case (0.5)")
    parser.add_argument("--all", action="store_true", help="show what is the same, too")


COMMANDS = [
    Command(
        "ab",
        "Compare two commits in one process; exit status 1 where the head is over 2 % slower.",
        _ab,
        _ab_arguments,
        (
            ("ab main", "the working tree against main"),
            ("ab HEAD~3 HEAD --only matrix", "two commits, one group"),
        ),
    ),
    Command("ab-again", "Measure suspects of `ab` in this process.", _again, hidden=True),
]
