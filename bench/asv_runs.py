"""asv started by us: the machine named by us, its history put in its place, its pages published."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from .commands import BenchError

ROOT = Path(__file__).parent.parent
HTML = ROOT / ".asv" / "html"
# enough to see what a commit changed, in a minute a commit
KEY = (
    "elementary.exp",
    "activations.gelu",
    "activations.gelu_backward",
    "matrix.matmul",
    "matrix.linear",
    "matrix.linear_backward",
    "losses.softmax",
    "losses.cross_entropy",
    "normalization.batchnorm",
    "normalization.batchnorm_backward",
    "masks.dropout",
    "optimizers.adam",
    "steps.step_disc.*",
    "steps.step_784_256.*",
    "inference.predict_784_256_10_1_row",
    "cold_start.first_fit_filled_cache",
)


SOME_FAILED = 2  # asv's status where a benchmark failed: at an old commit, a wrong answer, say


def asv(*arguments, quiet=False, right=(0,)):
    """Run asv in the checkout's folder; raise BenchError where it is missing or fails."""
    try:
        import asv  # noqa: F401
    except ModuleNotFoundError:
        raise BenchError("asv is not installed: pip install 'fonio[asv]'") from None
    command = [sys.executable, "-m", "asv", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    output = subprocess.DEVNULL if quiet else None
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=output)
    if done.returncode not in right:
        raise BenchError(f"`asv {' '.join(arguments[:2])}` ended with status {done.returncode}")


def name_machine(name):
    """Tell asv of this machine under our name: it would take the host's."""
    from .report import machine

    about = machine()
    gigabytes = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    told = {
        "machine": name,
        "os": platform.system(),
        "arch": platform.machine(),
        "cpu": about["processor"],
        "num_cpu": str(about["cores"]),
        "ram": f"{gigabytes}GB",
    }
    flags = [part for key, value in told.items() for part in (f"--{key}", value)]
    asv("machine", "--yes", *flags, quiet=True)


def run(commits, name, patterns=KEY):
    """Measure commits (hashes, or a range of git) and add them to the machine's history."""
    from .history import keep

    name_machine(name)
    chosen = hashes(commits)
    listing = ROOT / ".asv" / "commits"
    listing.parent.mkdir(exist_ok=True)
    listing.write_text("\n".join(chosen) + "\n")
    flags = [part for pattern in patterns for part in ("-b", rf"^{pattern}\.track_")]
    flags += ["--machine", name, "--skip-existing-successful", "--show-stderr"]
    asv("run", f"HASHFILE:{listing}", *flags, right=(0, SOME_FAILED))
    return keep(name)


def hashes(commits):
    """Full hashes of commits and ranges (A..B), the oldest first."""
    from .commits import resolve

    found = []
    for commit in commits:
        ends = [resolve(end or "HEAD", ROOT) for end in commit.split("..")]
        if len(ends) == 1:
            found += ends
            continue
        command = ["git", "rev-list", "--reverse", "--first-parent", "..".join(ends)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        found += done.stdout.split()
    return list(dict.fromkeys(found))


def spread(count, oldest="pyproject.toml"):
    """Choose commits spread over those of main that can be installed, the newest among them."""
    command = ["git", "log", "--format=%H", "--reverse", "--first-parent"]
    first = subprocess.run([*command, "--", oldest], cwd=ROOT, capture_output=True, text=True)
    begin = first.stdout.split()[0]
    after = hashes([f"{begin}..HEAD"])
    if len(after) <= count:
        return after
    places = (
        {round(i * (len(after) - 1) / (count - 1)) for i in range(count)} if count > 1 else {-1}
    )
    return [after[place] for place in sorted(places)]


def publish(folder=HTML):
    """Write the site: asv's pages and ours; return its folder."""
    from . import history

    for machine in history.machines():
        history.restore(machine)
    asv("publish", "--no-pull", "--html-dir", str(folder), quiet=True)
    return Path(folder)


def default_name():
    """A name for this machine that tells its kind, not its owner."""
    from .report import machine
    from .stored import load, machines

    about = machine()
    for name in machines("machine"):
        kept = load(name)["machine"]
        if all(kept.get(key) == about[key] for key in ("processor", "cores", "system")):
            return name
    words = re.sub(r"[^a-z0-9]+", "-", about["processor"].lower()).strip("-")
    return f"{words or platform.machine()}-{about['cores']}cores"
