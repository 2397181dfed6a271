"""Rows for what users meet first: scikit-learn's interface, a model's file, the command line."""

from functools import partial

from . import cold
from .rows import Row
from .workloads.estimators import FITS

FIT_TARGETS = {"digits": 5.0, "784": 3.0}  # scikit-learn's time over ours
LIMITS = {  # name: (unit, at most)
    "MLPClassifier.predict, 1 row": ("us", 15.0),
    "save a million weights": ("ms", 20.0),
}
SECTION = "scikit-learn, files, command line"


def _beside_peers(name):
    """Return the sides of a case of the table of workloads."""
    from . import peers
    from .workloads import programs

    (program,) = [program for program in programs() if program.name == name]
    others = {peer: make() if peers.find(peer) else None for peer, make in program.peers.items()}
    return {**program.sides(), **others}


def _fit_rows():
    for name in FITS:
        (target,) = (least for data, least in FIT_TARGETS.items() if f"fit {data}" in name)
        for threads in (1, 2):
            yield Row(
                name + (f", {threads} threads each" if threads > 1 else ""),
                SECTION,
                partial(_beside_peers, name),
                targets={"sklearn": target},
                threads=threads,
                rest=10e-3 * (threads - 1),
                seconds=8.0,
            )


ROWS = [
    *_fit_rows(),
    *(
        Row(name, SECTION, partial(_beside_peers, name), limit=limit, unit=unit)
        for name, (unit, limit) in LIMITS.items()
    ),
    Row("fonio info", SECTION, figure=cold.info_seconds, limit=0.6),
]
