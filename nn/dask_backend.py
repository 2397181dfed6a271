"""joblib's Dask backend where it must outlive workers; imported by sweeps.py, when Dask is there.

The rule: what a worker held can be had again, and what fails is told to joblib, which would wait.
"""

import asyncio
import uuid

from joblib._dask import DaskDistributedBackend


class LastingBackend(DaskDistributedBackend):
    """joblib's backend, with data that survive their worker and errors that arrive."""

    def __init__(self, client):
        super().__init__(client=_LastingClient(client))

    def effective_n_jobs(self, n_jobs):
        """Return how many tasks run at once; at least 2, as joblib keeps 1 to its own process."""
        return max(2, super().effective_n_jobs(n_jobs))

    async def _collect(self):
        """Hand results to joblib; errors of Dask's own too, as that a task killed its workers."""
        while self._continue:
            async for future, result in self.waiting_futures:
                waiting, tell = self._results.pop(future), self._callbacks.pop(future)
                if future.status == "error":
                    result = result[1]
                waiting.set_result(result)
                tell(result)
            await asyncio.sleep(0.01)


class _LastingClient:
    """A client of Dask that sends data as results of tasks, which the scheduler can run again."""

    def __init__(self, client):
        self._client = client

    def __getattr__(self, name):
        return getattr(self._client, name)

    async def scatter(self, data, **options):
        """Return a future of the data; scattered data would be gone with their worker."""
        return self._client.submit(_itself, data, key=f"data-{uuid.uuid4().hex}")

    def submit(self, function, *args, **options):
        """Submit a task; of what cannot be pickled, one that says so."""
        try:
            return self._client.submit(function, *args, **options)
        except TypeError as error:
            key = f"refused-{uuid.uuid4().hex}"
            return self._client.submit(_refuse, f"on_dask: {error}", key=key)


def _itself(data):
    return data


def _refuse(message):
    raise TypeError(message)
