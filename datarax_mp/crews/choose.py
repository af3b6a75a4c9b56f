"""The one place where it is chosen who makes batches. What is not chosen is not imported."""

from __future__ import annotations

from typing import Literal, TypeAlias

from datarax_mp.crews.base import Engine
from datarax_mp.crews.local import LocalEngine
from datarax_mp.recipe.recipe import Recipe

Workers: TypeAlias = Literal["processes", "threads"]
WORKERS: tuple[Workers, ...] = ("processes", "threads")


def choose(
    recipe: Recipe, *, workers: Workers, num_workers: int, fewer: bool, restart: bool, timeout: float | None
) -> Engine:
    """Who carries out a recipe.

    Args:
        recipe: what is done.
        workers: of which kind workers are.
        num_workers: the most workers there may be; with 0, the calling thread does it.
        fewer: whether less will do, where so many cannot be started.
        restart: whether a worker that dies is replaced; otherwise its death is an error.
        timeout: seconds that the first batch may take, or None.
    """
    if num_workers == 0:
        return LocalEngine(recipe)
    if workers == "threads":
        from datarax_mp.crews.threads.engine import ThreadEngine

        return ThreadEngine(recipe, num_workers, timeout=timeout)
    from datarax_mp.crews.processes.engine import ProcessEngine

    return ProcessEngine(recipe, num_workers, fewer=fewer, restart=restart, timeout=timeout)


def prepare(workers: Workers, num_workers: int) -> None:
    """Start what takes a while, so that it is there by the time workers are wanted."""
    if num_workers and workers == "processes":
        from datarax_mp.crews.processes.pool import pool

        pool().prepare()


def missing(workers: Workers, num_workers: int) -> list[str]:
    """What this system lacks of what so many workers need."""
    if not num_workers or workers == "threads":
        return []
    from datarax_mp.crews.processes import launch

    return launch.missing()
