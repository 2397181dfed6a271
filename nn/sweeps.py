"""Sweeps over a Dask cluster that survive the loss of workers, through scikit-learn's interface.

joblib's own Dask backend runs GridSearchCV and its like on a cluster, but puts the data into the
memory of one worker, so that a sweep ends with it, and waits forever for a task that Dask gave up.

The rule: Dask schedules, joblib divides, scikit-learn searches; dask_backend.py only sees to it
that what a worker held can be had again, and that errors arrive.
"""

import contextlib

from .extras import needed


@contextlib.contextmanager
def on_dask(client=None):
    """Let joblib, and with it scikit-learn, work on a Dask cluster in the block; `fonio[dask]`.

        with nn.on_dask(client):
            search = GridSearchCV(nn.MLPClassifier(), {"alpha": [1e-4, 1e-2]}).fit(x, y)

    client: a dask.distributed.Client (None: the current one). Results are those without Dask, bit
    by bit. A fit runs on one thread of its worker. What a lost worker did or held is done again by
    others; a task that Dask has seen kill its workers too often, or that cannot be pickled, ends
    the search with an error.
    """
    with needed("on_dask needs Dask", "dask", "joblib", "distributed", "dask"):
        import joblib
        from distributed import Client, get_client

        from .dask_backend import LastingBackend
    if client is not None and not isinstance(client, Client):
        kind = type(client).__name__
        raise TypeError(f"on_dask: client is a {kind}, expected a dask.distributed.Client or None")
    if client is None:
        try:
            client = get_client()
        except ValueError:
            raise ValueError(
                "on_dask: client is None and there is no current one, expected a "
                "dask.distributed.Client"
            ) from None
    with joblib.parallel_config(backend=LastingBackend(client)):
        yield
