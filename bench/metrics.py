"""Everything that is measured of a workload, in one process: what asv and the report read.

A subject is a row of the table with its sizes, or a program. The rule: a figure that this machine
cannot tell is None, never 0.
"""

import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial

# what every commit's time is divided by; another one begins new lines, too
REFERENCE = "11ff40ced45838654344535581e54f77bcd26b07"
VERSION = "1"  # of the way figures are taken: another begins a new line in their history
FIRST_CALL_TIMEOUT = 120
SHORT_BYTES, SHORT_FLOPS = 1 << 21, 3e7


@dataclass(frozen=True)
class Subject:
    """Cases that are measured in one process: {size: case}; a program's only size is ""."""

    name: str
    group: str
    version: str
    cases: dict
    workload: object = None


def subjects(pattern="", absent=False):
    """List what can be measured, in the table's order; `absent`: what this fonio lacks, too."""
    from . import cases, workloads

    rows = workloads.absent() if absent else ()
    lacking = [cases.KernelCase(row, size) for row in rows for size in row.sizes]
    found = {}
    for case in [*cases.cases(pattern), *lacking]:
        workload = getattr(case, "workload", None)
        name = workload.name if workload else case.name
        size = "x".join(map(str, case.size)) if workload else ""
        made = found.setdefault(name, Subject(name, case.group, case.version, {}, workload))
        made.cases[size] = case
    return list(found.values())


def ends(subject):
    """The same subject with two sizes at most: that of its ratio, and the largest."""
    largest = max(subject.cases.values(), key=lambda case: (case.bytes, case.flops))
    wanted = (short(subject), largest)
    kept = {size: case for size, case in subject.cases.items() if case in wanted}
    kept = dict(sorted(kept.items(), key=lambda item: item[1].bytes))
    return Subject(subject.name, subject.group, subject.version, kept, subject.workload)


def short(subject):
    """The largest case that a cache holds and that is over within a slice, or the smallest.

    The ratio of two commits is exact there: what is longer is interrupted, and what is larger
    depends on where its arrays came to lie.
    """
    ordered = [case for case in sorted(subject.cases.values(), key=lambda case: case.bytes)]
    fitting = [case for case in ordered if case.bytes <= SHORT_BYTES and case.flops <= SHORT_FLOPS]
    return fitting[-1] if fitting else ordered[0]


def measure(subject, seconds=0.25, cold=True, reference=None):
    """Measure a subject: a dictionary for JSON.

    Without `cold` the cost of the first call (see first_calls) is not asked. reference: a commit
    to be compared with.
    """
    figures = {"name": subject.name, "group": subject.group, "version": subject.version}
    if cold and subject.workload:
        figures |= first_calls(subject)
    figures["sizes"] = {size: at_size(case, seconds) for size, case in subject.cases.items()}
    if reference:
        figures["against"] = against(short(subject), reference, seconds)
    if subject.workload:
        from .machine_code import scalar_share

        figures["scalar"] = scalar_share(getattr(subject.workload.call, "operation", None))
    return figures


def at_size(case, seconds=0.25, with_peers=True):
    """Return figures.measure of a case, and the scratch memory of a call."""
    from .figures import measure
    from .memory import scratch_bytes

    found = measure(case, seconds, with_peers)
    for figure in ("error", "ulp"):
        if figure in found:
            found[figure] = float(found[figure])  # NumPy's have no place in JSON
    if "seconds" in found and hasattr(case, "calls"):
        found["scratch"] = scratch_bytes(case.calls()[0])
    return found


def against(case, reference, seconds=0.25):
    """Our time over that of another commit, both on the same arrays in this process; or None.

    None where the commit is not in this clone, or lacks what the case needs.
    """
    import fonio

    from .commands import BenchError
    from .commits import commit, load
    from .measuring import compare

    if case.figure is not None:
        return None
    try:
        other = load(commit(reference))
        theirs, ours = case.compared((other, fonio))
    except (BenchError, ImportError, AttributeError, TypeError):
        return None
    if theirs is None or ours is None:
        return None
    sides = {"reference": theirs, "fonio": ours}
    return asdict(compare(sides, seconds, case.slice_seconds, packages=(other,)).ratios["fonio"])


def warm_up(elements=1 << 20):
    """Load what measurements share: SciPy, the roofs, the reference commit, what replays launches.

    Not before a first call is timed: another fonio known to Numba makes it 15 % longer.
    """
    import numpy as np

    import fonio

    from . import roofs
    from .commits import commit, load
    from .measuring import compare
    from .sides import recorded

    with suppress(ImportError):  # references alone call it, and say so where it is missing
        import scipy.special  # noqa: F401
    roofs.side(1 << 20, 1 << 20)
    roofs.forget()
    x, y = np.ones(elements, np.float32), np.empty(elements, np.float32)
    for package in (fonio, load(commit(REFERENCE))):
        package.kernels.set_num_threads(1)  # threads would not survive a fork
        side = recorded(partial(package.kernels.relu, x, out=y), package=package)
        compare({"relu": side}, 0.01, packages=(package,))


def find_roofs_compiled():
    """Import the roofs with their machine code kept in one place, whatever holds the kernels'.

    A process that compiles its kernels anew need not compile these: they are no commit's.
    """
    import numba

    from .alone import cache_folder

    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(cache_folder() / "roofs")
    try:
        from . import roofs  # noqa: F401
    finally:
        numba.config.CACHE_DIR = before


def first_calls(subject):
    """{"compile": seconds of a first call, "first_call": of one that finds its code on disk}.

    The second is made by a process forked before the first; None where the system cannot fork.
    No call of the workload may have been made before in this process, nor its code be on disk.
    """
    from .forked import twin

    call = partial(_timed_once, subject)
    waiting = twin(call)
    compiled = call()
    return {"compile": compiled, "first_call": waiting and waiting.result(FIRST_CALL_TIMEOUT)}


def _timed_once(subject):
    case = short(subject)
    inputs = case.workload.draw(case.size, case.dtype)
    start = time.perf_counter()
    case.workload.call(*inputs)
    return time.perf_counter() - start
