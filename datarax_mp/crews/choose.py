"""The one place where it is chosen who makes batches. What is not chosen is not imported."""

from __future__ import annotations

from typing import Literal, TypeAlias

from datarax_mp.crews.auto.verdict import Decision
from datarax_mp.crews.base import Engine
from datarax_mp.crews.local import LocalEngine
from datarax_mp.crews.ray.workers import RayWorkers
from datarax_mp.recipe.recipe import Recipe

Named: TypeAlias = Literal["processes", "threads", "ray", "auto"]
Workers: TypeAlias = Named | RayWorkers
WORKERS: tuple[Named, ...] = ("processes", "threads", "ray", "auto")


def choose(
    recipe: Recipe,
    *,
    workers: Workers,
    num_workers: int,
    fewer: bool,
    restart: bool,
    timeout: float | None,
    decision: Decision | None = None,
) -> Engine:
    """Who carries out a recipe.

    Args:
        recipe: what is done.
        workers: of which kind workers are.
        num_workers: the most workers there may be; with 0, the calling thread does it.
        fewer: whether less will do, where so many cannot be started.
        restart: whether a worker that dies is replaced; otherwise its death is an error.
        timeout: seconds that the first batch may take, or None.
        decision: where it is kept what ``workers="auto"`` has come to, over all engines of a pipeline.
    """
    if num_workers == 0:
        return LocalEngine(recipe)
    if workers == "auto":
        from datarax_mp.crews.auto.engine import AutoEngine

        return AutoEngine(
            recipe,
            num_workers,
            Decision() if decision is None else decision,
            lacking=missing("processes", num_workers),
            asked="num_workers='auto'" if fewer else "workers='auto'",
            fewer=fewer,
            restart=restart,
            timeout=timeout,
        )
    if workers == "threads":
        from datarax_mp.crews.threads.engine import ThreadEngine

        return ThreadEngine(recipe, num_workers, timeout=timeout)
    local = local_of(workers, num_workers)
    if local == 0:
        return _actors(recipe, workers, others=0, restart=restart, timeout=timeout)
    from datarax_mp.crews.processes.engine import ProcessEngine

    others = num_workers - local
    processes = ProcessEngine(recipe, local, others=others, fewer=fewer, restart=restart, timeout=timeout)
    if others == 0:
        return processes
    from datarax_mp.crews.mixed.engine import BothEngine

    return BothEngine(processes, _actors(recipe, workers, others=local, restart=restart, timeout=timeout), local)


def _actors(recipe: Recipe, workers: Workers, *, others: int, restart: bool, timeout: float | None) -> Engine:
    from datarax_mp.crews.ray.engine import RayEngine

    options = workers if isinstance(workers, RayWorkers) else RayWorkers()
    return RayEngine(recipe, options, others=others, restart=restart, timeout=timeout)


def kind_of(workers: Workers) -> Named:
    """What their kind is called."""
    return "ray" if isinstance(workers, RayWorkers) else workers


def local_of(workers: Workers, num_workers: int) -> int:
    """How many of the workers are processes of this machine."""
    if isinstance(workers, RayWorkers):
        return min(workers.local, num_workers)
    return num_workers if workers == "processes" else 0


def prepare(workers: Workers, num_workers: int) -> None:
    """Start what takes a while, so that it is there by the time workers are wanted."""
    if local_of(workers, num_workers):
        from datarax_mp.crews.processes.pool import pool

        pool().prepare()


def missing(workers: Workers, num_workers: int) -> list[str]:
    """What this system lacks of what so many workers need."""
    if not local_of(workers, num_workers):
        return []
    from datarax_mp.crews.processes import launch

    return launch.missing()
