"""Speed, measured: one table of workloads, which tests read too, one engine, pages for people.

`python -m bench --help` lists the commands. What lies where:

    the table           workloads/ (a row for each operation, programs), cases (a row at a size),
                        answers (is it right?), ulp, machine_code (is it vectorised?), memory
    the engine          measuring (interleaved slices, intervals), sides (calls recorded), peers,
                        roofs (the machine's ceilings), figures (of one case), metrics (of a
                        workload, in one process), forked, cold (import, first fit), surveys (over
                        sizes, threads, noise)
    the README's table  rows, kernel_rows, step_rows, steps, step_peers, report
    commits             commits (unpacked, loaded beside ours), comparing, gate, accepted.toml
    asv                 asv_benchmarks (what it tracks), asv_runs (starts it), asv_plugin (makes its
                        site work without a network), history, site/
    pages               stored (results/), report_page, report_tables, pictures
    commands            commands (the registry), command_*, gate, alone (one at a time), showing
    a GPU               gpu_check: python -m bench.gpu_check, in processes of gpu_worker

The rule: importing a module costs nothing heavy, and asv imports them all.
"""

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
