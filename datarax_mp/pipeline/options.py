"""How batches are made, whichever they are."""

from __future__ import annotations

from dataclasses import dataclass

from datarax_mp.crews.choose import Workers


@dataclass(frozen=True, slots=True)
class Options:
    """The part of a pipeline's arguments that says how batches are made, not which.

    Attributes:
        num_workers: workers, the most there may be under ``auto``; 0 works in the calling thread.
        workers: of which kind they are.
        prefetch_size: batches that stand ready on the device ahead of the caller.
        timeout: seconds that a batch may take once it is waited for, or None.
        restart_workers: whether a worker that dies is replaced.
        run_steps: steps that a worker does at a time; None leaves it to the feed.
        auto: whether the number of workers is found while they work.
        memory_budget: bytes for batches in flight, or None.
    """

    num_workers: int
    workers: Workers = "processes"
    prefetch_size: int = 2
    timeout: float | None = None
    restart_workers: bool = True
    run_steps: int | None = None
    auto: bool = False
    memory_budget: int | None = None
