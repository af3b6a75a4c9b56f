"""Who loads: every system in each of its forms, with a number of workers.

A system's ``open`` takes a ``Work`` and makes a ``Loader``, every iteration over which is an epoch (or endless, where
that is the system's better form and the work does not ask for a short one). Ours yields batches that are on the device
already; the others yield dicts of NumPy arrays, which ``bring`` takes there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, Protocol

from _benchmark.systems import by_grain, by_jax_dataloader, by_spdl, by_torch, ours, plain
from _benchmark.workloads import Work, Workload

Bring = Literal["none", "numpy", "device_put", "identity"]


class Loader(Protocol):
    """What makes batches."""

    def __iter__(self) -> Iterator[Any]:
        """Begin an epoch."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


@dataclass(frozen=True)
class System:
    """One form of one loader.

    Attributes:
        name: how the table calls it.
        workers: processes.
        open: makes a loader of a work and the number of workers.
        bring: how a batch gets to the device; "none" where it is there, "numpy" where it stays in host memory.
        imports: what a program that uses it imports; it must be installed.
        only: the workloads that it is for; None is all.
        forks: whether it forks workers and must do so before JAX's threads exist.
        vectors: whether it fetches a batch in one call where it can; of the others, ``device_put`` is no bottleneck.
        slots: batches that a worker may have made ahead, with the one in the making.
    """

    name: str
    workers: int
    open: Callable[[Work, int], Loader]
    bring: Bring = "device_put"
    imports: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    forks: bool = False
    vectors: bool = True
    slots: int = 3

    @property
    def label(self) -> str:
        """Name and workers, which together are unique."""
        return f"{self.name}, {self.workers} worker{'s' * (self.workers != 1)}"

    def refusal(self) -> str | None:
        """Why it cannot be measured, or None."""
        for name in self.imports:
            package = name.partition(".")[0]
            if find_spec(package) is None:
                return f'{package} is not installed: pip install "datarax-mp[bench]"'
        return None

    def fits(self, name: str, load: Workload) -> bool:
        """Whether this form is one for that workload."""
        if self.bring == "identity" and not load.small:
            return False
        return self.only is None or name in self.only


OURS, OURS_NUMPY, OURS_THREADS = "datarax_mp", "datarax_mp, NumPy out", "datarax_mp, threads"


def systems(workers: int, *, sweep: bool = False) -> list[System]:
    """All systems, ours first; ``sweep`` adds the peers with one worker and twice as many."""
    counts = sorted({0, 1, workers, 2 * workers})
    mine = functools.partial(System, imports=("datarax_mp.pipeline", "datarax_mp.core.element_batch"))
    found = [mine(OURS, count, ours.Ours, "none") for count in counts]
    found.append(mine(OURS_NUMPY, workers, functools.partial(ours.Ours, output="numpy"), "numpy"))
    found.append(mine(OURS_THREADS, workers, functools.partial(ours.Ours, kind="threads"), "none"))
    found.append(System("NumPy in main", 0, plain.Plain))
    found.append(System("jax-dataloader", 0, by_jax_dataloader.JaxDataLoader, imports=("jax_dataloader",)))
    for count in sorted({1, workers, 2 * workers} if sweep else {workers}):
        found += _peers(count)
    return found + [_identity(system) for system in found if system.bring == "device_put" and system.vectors]


def _peers(workers: int) -> list[System]:
    torch = functools.partial(System, workers=workers, imports=("torch.utils.data",), forks=True)
    grain = functools.partial(System, workers=workers, imports=("grain",))
    spdl = functools.partial(System, workers=workers, imports=("spdl.pipeline",), forks=True)
    vectors = ("large", "small", "table", "tokens")  # elsewhere a batch is read record by record anyway
    return [
        torch("torch, records", open=by_torch.records, vectors=False),
        torch("torch, batched fetch", open=by_torch.batched),
        torch("torch, in_order=False", open=by_torch.out_of_order, only=("stragglers",)),
        grain("Grain mp_prefetch, records", open=by_grain.records, vectors=False),
        grain("Grain mp_prefetch, batched fetch", open=by_grain.batched, only=vectors),
        spdl("SPDL, ring arena", open=functools.partial(by_spdl.Subprocesses, arena="ring")),
        spdl("SPDL, segment pool", open=functools.partial(by_spdl.Subprocesses, arena="pool")),
        spdl("SPDL, queue", open=functools.partial(by_spdl.Subprocesses, arena=None)),
        spdl(
            "SPDL, threads",
            open=functools.partial(by_spdl.Pool, kind=ThreadPoolExecutor),
            only=("large", "small", "photos"),
            forks=False,
        ),
        spdl("SPDL, pool of processes", open=by_spdl.Pool, only=("stragglers",)),
    ]


def _identity(system: System) -> System:
    values = {**system.__dict__, "name": f"{system.name} + jitted identity", "bring": "identity"}
    return System(**values)
