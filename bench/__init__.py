"""Speed, measured: one table of workloads (tests read it too), one engine, the README's table."""

import os
import sys
import tempfile


def _machine_code_apart():
    """Under asv, give each process an empty folder of machine code, named by its commit; else None.

    asv installs one commit after another in one place. Numba would find the code of the last one
    there and take it for the new one's, and no first call would compile.
    """
    if "asv_runner" not in sys.modules:
        return None
    place = os.environ.get("ASV_ENV_DIR") or os.path.join(tempfile.gettempdir(), "fonio-asv")
    commit = os.environ.get("ASV_COMMIT", "tree")
    folder = os.path.join(place, "machine-code", commit, str(os.getpid()))
    os.environ["NUMBA_CACHE_DIR"] = folder
    return folder


MACHINE_CODE = _machine_code_apart()
