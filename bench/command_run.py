"""`list` and `run`: the table of workloads, and its rows measured against their peers."""

from .commands import Command


def _list(options):
    from .workloads import workloads

    for workload in workloads(options.pattern):
        sizes = " ".join("x".join(map(str, size)) for size in workload.sizes)
        print(f"{workload.group:14} {workload.name:24} {sizes}")


def _run(options):
    from .workload_times import HEADER, line
    from .workloads import workloads

    print(HEADER)
    for workload in workloads(options.pattern):
        for size in workload.sizes:
            print(line(workload, size, options.seconds), flush=True)


def _pattern(parser):
    parser.add_argument(
        "pattern", nargs="?", default="", help="part of a name or group, or * and ?"
    )


def _run_arguments(parser):
    _pattern(parser)
    parser.add_argument("--seconds", type=float, default=1.0, help="time for one row")


COMMANDS = [
    Command("list", "List the workloads.", _list, _pattern, (("list", "every workload"),)),
    Command(
        "run",
        "Measure workloads against their peers.",
        _run,
        _run_arguments,
        (("run matmul", "every size of matmul, against its peers"),),
    ),
]
