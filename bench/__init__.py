"""Speed, measured: one table of workloads (tests read it too), one engine, the README's table."""

import glob
import os
import shutil
import sys
import tempfile


def _place_under_asv():
    """Under asv, give each process a folder of its own, named by its commit; else None.

    Machine code goes there. asv installs one commit after another in one place: Numba would find
    the code of the last one there and take it for the new one's, and no first call would compile.
    What asv forks of this process shares the folder.
    """
    if "asv_runner" not in sys.modules:
        return None
    place = os.environ.get("ASV_ENV_DIR") or os.path.join(tempfile.gettempdir(), "fonio-asv")
    commits = os.path.join(place, "machine-code")
    folder = os.path.join(commits, os.environ.get("ASV_COMMIT", "tree"), str(os.getpid()))
    for left in glob.glob(os.path.join(commits, "*", "*")):
        if not _lives(int(os.path.basename(left))):
            shutil.rmtree(left, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = os.path.join(folder, "code")
    return folder


def _lives(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return process != os.getpid()  # whose number an older one had


UNDER_ASV = _place_under_asv()
