"""A sweep over a local Dask cluster, one of whose two workers is killed on the way.

python tests/dask_sweep.py FOLDER        # run by test_sweeps.py, which reads what it prints
"""

import faulthandler
import json
import os
import signal
import sys
import threading
from pathlib import Path

import dask
import numpy as np
from dask.distributed import Client, LocalCluster
from sklearn.model_selection import GridSearchCV, cross_val_score

from fonio import kernels, nn

EPOCHS, GRID = 8, {"alpha": [1e-4, 1e-2, 1.0], "hidden_layer_sizes": [(8,), (256,)]}


def make_callback(folder, kills):
    """Return a callback that notes threads, and may kill its process in the middle of the sweep."""

    def note(model, history):
        done = len(list(folder.glob("done-*")))
        if kills and history.epochs == EPOCHS // 2 and done >= 6:
            try:
                (folder / "killed").touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        if history.epochs == EPOCHS:
            names = [thread.name for thread in threading.enumerate()]
            told = [os.getpid(), kernels.get_num_threads(), names.count("fonio-helper")]
            (folder / f"done-{os.urandom(8).hex()}").write_text(json.dumps(told))

    return note


def sweep(folder, kills):
    """Search the grid; return the search."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 20))
    y = (x[:, 0] + np.sin(2 * x[:, 1]) > 0).astype(int)
    net = nn.MLPClassifier(
        max_iter=EPOCHS, random_state=0, learning_rate_init=0.02, tol=0.0, n_iter_no_change=EPOCHS,
        dropout=0.1, batch_size=300,
        callbacks=[make_callback(folder, kills)],
    )  # fmt: skip
    return GridSearchCV(net, GRID, cv=3).fit(x, y)


def regress():
    """Return the scores of a regressor's folds."""
    x = np.random.default_rng(1).normal(size=(90, 4))
    net = nn.MLPRegressor(hidden_layer_sizes=(8,), max_iter=20, random_state=0)
    return cross_val_score(net, x, x[:, 0] * x[:, 1], cv=3).tolist()


def refused(callback):
    """Return what is said of a search that cannot come to an end."""
    net = nn.MLPClassifier(max_iter=1, callbacks=[callback])
    try:
        GridSearchCV(net, {"alpha": [1e-4]}, cv=2).fit(np.eye(8), np.arange(8) % 2)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def die(model, history):
    """Kill the process, each time."""
    os.kill(os.getpid(), signal.SIGKILL)


class Unpicklable(nn.Callback):
    """A callback that can be copied and not be pickled."""

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        raise TypeError("it holds what cannot be sent")


def main():
    faulthandler.dump_traceback_later(280, exit=True)
    folder = Path(sys.argv[1])
    # nannies tell NumPy's libraries to take one thread; that ours do is not to be owed to that
    dask.config.set({"distributed.nanny.pre-spawn-environ": {"OMP_NUM_THREADS": "2"}})
    dask.config.set({"distributed.scheduler.allowed-failures": 1})
    kernels.set_num_threads(2)
    options = {"processes": True, "dashboard_address": None, "local_directory": str(folder)}
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", **options)
    with cluster, Client(cluster) as client, nn.on_dask(client):
        found = sweep(folder / "dask", kills=True)
        numbers = regress()
        errors = [refused(Unpicklable()), refused(die)]
    alone = sweep(folder / "alone", kills=False)
    scores = "mean_test_score", "std_test_score"
    told = {
        "killed": (folder / "dask" / "killed").exists(),
        "best": [str(search.best_params_) for search in (found, alone)],
        "scores": [[search.cv_results_[s].tolist() for s in scores] for search in (found, alone)],
        "weights equal": all(
            (a == b).all()
            for a, b in zip(found.best_estimator_.coefs_, alone.best_estimator_.coefs_, strict=True)
        ),
        "notes": [note for note in notes(folder / "dask") if note[0] != os.getpid()],
        "alone": notes(folder / "alone"),
        "numbers": [numbers, regress()],
        "refused": errors,
    }
    print("\n" + json.dumps(told))


def notes(folder):
    """Return [process, threads that it may use, helpers that it has] of each fit."""
    return [json.loads(path.read_text()) for path in folder.glob("done-*")]


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore")
    main()
