"""The figures of one case: seconds of every side, ratios, the roof, the error; as plain data.

The rule: what is wrong is not timed; a peer that is absent says why.
"""

from dataclasses import asdict

from . import peers
from .answers import WrongAnswer
from .measuring import Repeats, compare


def measure(case, seconds=1.0, with_peers=True, with_roof=True):
    """Return the figures of a case.

    {"name", "group", "version", "unit"}, then {"value"} of what is measured in processes of its
    own, {"wrong": why} or

        seconds, ratios   {side: {median, low, high}}, ratios over ours; sides are "fonio",
                          "called" (from Python, with all checks), the peers and "roof"
        absent            {peer: why}
        error, ulp        how far from the reference
        flops, bytes      of one call
    """
    about = {"name": case.name, "group": case.group, "version": case.version, "unit": case.unit}
    if case.figure is not None:
        return about | {"value": case.figure()}
    try:
        answer = case.check()
    except WrongAnswer as wrong:
        return about | {"wrong": str(wrong)}
    sides, absent = case.sides(), {}
    if with_peers:
        for peer, make in case.peers.items():
            side = peers.build(peer, make)
            (sides if isinstance(side, Repeats) else absent)[peer] = side
    if with_roof:
        sides |= _roof(case)
    result = compare(sides, seconds, case.slice_seconds)
    return about | {
        "seconds": {name: asdict(value) for name, value in result.seconds.items()},
        "ratios": {name: asdict(value) for name, value in list(result.ratios.items())[1:]},
        "absent": {peer: str(why) for peer, why in absent.items()},
        "error": answer.error,
        "ulp": answer.ulp,
        "flops": case.flops,
        "bytes": case.bytes,
    }


def _roof(case):
    from .roofs import of_case

    side = of_case(case)
    return {} if side is None else {"roof": side}
