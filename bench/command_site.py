"""`report`, `publish`, `serve`, `history`: results that are kept, and the pages that show them."""

import json
import sys

from .commands import BenchError, Command

LIMIT = 600  # seconds for one subject or survey
REPORT = ".asv/report.html"


def _report(options):
    from pathlib import Path

    from . import stored
    from .asv_runs import ROOT, default_name
    from .report_page import page

    name = options.name or (default_name() if options.measure is not None else None)
    if options.measure is not None:
        _measure(options.measure, name, options.seconds)
    elif name and not stored.load(name):
        raise BenchError(f"no results of {name!r}; there are {', '.join(stored.machines())}")
    path = Path(options.out) if options.out else ROOT / REPORT
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(name), "utf-8")
    print(f"{path} ({path.stat().st_size / 1000:.0f} kB)")


def _measure(pattern, name, seconds):
    """Measure subjects and surveys that match, each in a process of its own, and keep them."""
    from . import stored, surveys
    from .alone import alone
    from .cases import unknown
    from .metrics import subjects
    from .report import machine
    from .showing import steps_shown

    found = subjects(pattern)
    kernels = {subject.name for subject in found if subject.workload}
    chosen = [("subject", subject.name) for subject in found]
    chosen += [(section, e) for section, e, _ in surveys.listed() if pattern in f"{section} {e}"]
    if not chosen:
        raise unknown(pattern, [name for _, name, _ in surveys.listed()])
    with alone("report"):
        for kind, entry in steps_shown(chosen, lambda item: item[1]):
            figures = measure_apart(kind, entry, seconds, entry in kernels)
            if kind != "subject":
                if "wrong" in figures:
                    raise BenchError(f"{entry}: {figures['wrong']}")
                stored.update(name, kind, {entry: figures}, machine())
                continue
            stored.update(name, "cases", _named(entry, figures), machine())
            cold = {key: figures.get(key) for key in ("compile", "first_call")}
            if any(cold.values()):
                stored.update(name, "cold", {entry: cold})


def _named(subject, found):
    """{case: figures}, as the page reads them."""
    if "wrong" in found:
        return {subject: found}
    dropped = ("name", "version")
    return {
        f"{subject} {size}".strip(): {k: v for k, v in case.items() if k not in dropped}
        for size, case in found["sizes"].items()
    }


def measure_apart(kind, entry, seconds, cold=False):
    """Measure in a fresh process; a failure there is a figure too: {"wrong": ...}.

    cold: without machine code on disk, for the cost of a first call.
    """
    import subprocess
    import tempfile

    from . import peers
    from .asv_runs import ROOT

    threads = 1 if kind != "threads" else None
    with tempfile.TemporaryDirectory() as code:
        extra = {"NUMBA_CACHE_DIR": code} if cold else None
        environment = peers.environment(threads or 2, extra)
        command = [sys.executable, "-m", "bench", "measure", kind, entry, str(seconds)]
        options = {"capture_output": True, "text": True, "timeout": LIMIT}
        try:
            done = subprocess.run(command, cwd=ROOT, env=environment, **options)
        except subprocess.TimeoutExpired:
            return {"wrong": f"not done in {LIMIT} s", "group": ""}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return {"wrong": last[:200], "group": ""}
    return json.loads(done.stdout.splitlines()[-1])


def _measure_here(options):
    """Measure one subject or survey in this process and print its figures as JSON."""
    from . import metrics, peers, surveys

    metrics.find_roofs_compiled()
    if options.kind == "subject":
        peers.pin(1)
        (subject,) = (s for s in metrics.subjects() if s.name == options.entry)
        found = metrics.measure(subject, options.seconds)
    else:
        if options.kind != "threads":
            peers.pin(1)
        calls = {(section, entry): call for section, entry, call in surveys.listed()}
        found = calls[options.kind, options.entry]()
    print(json.dumps(found))


def _publish(options):
    from .asv_runs import HTML, publish

    folder = publish(options.out or HTML)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder / 'index.html'} (the site: {size / 1e6:.1f} MB)")


def _serve(options):
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
    from pathlib import Path

    from .asv_runs import HTML

    folder = Path(options.folder or HTML)
    if not (folder / "index.html").exists():
        raise BenchError(f"{folder} holds no published site; `python -m bench publish` makes it")
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    try:
        server = ThreadingHTTPServer(("127.0.0.1", options.port), handler)
    except OSError as error:
        raise BenchError(f"port {options.port}: {error.strerror}; take another --port") from None
    print(f"http://127.0.0.1:{server.server_port}/  (Ctrl-C ends it)", flush=True)
    with server:
        server.serve_forever()


def _history(options):
    from .alone import alone
    from .asv_runs import KEY, default_name, run, spread

    commits = options.commits or spread(options.count)
    patterns = (r".*",) if options.all else KEY
    with alone("history"):
        path, count = run(commits, options.name or default_name(), patterns)
    print(f"{path}: {count} commits")


def _report_arguments(parser):
    parser.add_argument("--name", help="the machine: bench/results/NAME.json (the latest)")
    parser.add_argument(
        "--measure", nargs="?", const="", metavar="PATTERN", help="measure first, and keep it"
    )
    parser.add_argument("--seconds", type=float, default=0.5, help="for one size (0.5)")
    parser.add_argument("--out", metavar="FILE", help=f"the page ({REPORT})")


def _measure_arguments(parser):
    parser.add_argument("kind")
    parser.add_argument("entry")
    parser.add_argument("seconds", type=float)


def _serve_arguments(parser):
    parser.add_argument("folder", nargs="?", help="a published site (.asv/html)")
    parser.add_argument("--port", type=int, default=8000)


def _history_arguments(parser):
    parser.add_argument("commits", nargs="*", help="commits, or ranges A..B (spread over main)")
    parser.add_argument("--count", type=int, default=8, help="how many, where none is named (8)")
    parser.add_argument("--all", action="store_true", help="every workload, not the key ones alone")
    parser.add_argument("--name", help="the machine's name in bench/results/history")


COMMANDS = [
    Command(
        "report",
        "Write the report, one HTML page, from what is kept under bench/results.",
        _report,
        _report_arguments,
        (
            ("report", "the page from figures that are kept"),
            ("report --measure", "measure everything first: half an hour"),
            ("report --measure softmax", "measure what bears that name, then write the page"),
        ),
    ),
    Command(
        "history",
        "Measure commits with asv, and keep their figures under bench/results/history.",
        _history,
        _history_arguments,
        (
            ("history", "eight commits spread over main, key workloads"),
            ("history HEAD~5..HEAD --all", "every workload at each of five commits"),
        ),
    ),
    Command(
        "publish",
        "Write the site: the report, and asv's pages by commit; it needs no internet.",
        _publish,
        lambda parser: parser.add_argument("--out", metavar="FOLDER", help=".asv/html unless said"),
        (("publish", "then `serve` shows it"),),
    ),
    Command(
        "serve",
        "Show the published site on this machine.",
        _serve,
        _serve_arguments,
        (("serve --port 8080", "http://127.0.0.1:8080"),),
    ),
    Command(
        "measure",
        "Measure one subject or survey in this process, as JSON.",
        _measure_here,
        _measure_arguments,
        hidden=True,
    ),
]
