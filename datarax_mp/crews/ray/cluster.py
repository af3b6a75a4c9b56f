"""Whose Ray it is: the user's, which is left as it is, or one that was initialised here and is shut down again."""

from __future__ import annotations

import logging
import os
import threading
import weakref

import ray

_lock = threading.RLock()  # a finalizer may come in again
_stays: set[int] = set()
_started: str | None = None  # the session of the Ray that was initialised here


class Stay:
    """Ray is wanted, until ``end``.

    Args:
        address: as in ``RayWorkers``.

    Attributes:
        session: which of the Rays that this process has had, one after the other.

    Raises:
        ValueError: Ray is connected to another cluster.
        ConnectionError: there is no cluster there.
    """

    def __init__(self, address: str | None) -> None:
        with _lock:
            if not ray.is_initialized():
                _initialise(address)
            elif address not in (None, "auto", "local", ray.get_runtime_context().gcs_address):
                raise ValueError(
                    f"RayWorkers(address={address!r}), but Ray is connected to "
                    f"{ray.get_runtime_context().gcs_address} in this process. Leave address out, or call "
                    "ray.shutdown() before"
                )
            self.session = session()
            _stays.add(id(self))
        self._end = weakref.finalize(self, _leave, id(self))
        self._end.atexit = False  # Ray ends by itself then

    def there(self) -> bool:
        """Whether it is still the same Ray; the user may have shut it down."""
        return self.session == session()

    def end(self) -> None:
        """Ray is not wanted for this any more. Calling it again does nothing."""
        self._end()


def session() -> str:
    """What tells one Ray of this process from the next; empty where there is none."""
    if not ray.is_initialized():
        return ""
    context = ray.get_runtime_context()
    return f"{context.gcs_address}, job {context.get_job_id()}, worker {context.get_worker_id()}"


def _initialise(address: str | None) -> None:
    global _started
    alone = address == "local" or (address is None and not os.environ.get("RAY_ADDRESS"))
    # A dashboard, and what actors print, is for who has started a cluster for other ends than this.
    only = {"include_dashboard": False} if alone else {}
    ray.init(address, log_to_driver=False, configure_logging=False, logging_level=logging.ERROR, **only)
    _started = session()


def _leave(stay: int) -> None:
    global _started
    with _lock:
        _stays.discard(stay)
        if not _stays and _started is not None:
            if _started == session():
                ray.shutdown()
            _started = None
