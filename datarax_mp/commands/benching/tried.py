"""Which settings are tried, one after the other: what has been found says whether more workers are worth a try."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from datarax_mp.commands.benching.measured import KINDS, Kind, Measured, Setting
from datarax_mp.core.cores import usable_cores

_WAITS = 0.5  # a share of a core: workers that use less of one wait for something, so that more than cores may help
_GAIN = 1.1  # or else more are not tried
_MOST = 64


def counts(cores: int) -> list[int]:
    """Numbers of workers up to the cores: ``counts(6) == [1, 2, 4, 6]``."""
    found = [1]
    while found[-1] < cores:
        found.append(min(2 * found[-1], cores))
    return found


def measure_all(
    processes: Sequence[int] | None,
    threads: Sequence[int] | None,
    measure: Callable[[Setting], Measured],
) -> list[Measured]:
    """Measure without workers, then with more and more of each kind.

    Args:
        processes: numbers of worker processes; None is up to the cores, and on for as long as that helps.
        threads: the same for threads.
        measure: measures one setting.
    """
    found = [measure(Setting(0))]
    for workers, wanted in zip(KINDS, (processes, threads), strict=True):
        found += _of_kind(workers, wanted, measure)
    return found


def _of_kind(workers: Kind, wanted: Sequence[int] | None, measure: Callable[[Setting], Measured]) -> Iterable[Measured]:
    found: list[Measured] = []
    for number in counts(usable_cores()) if wanted is None else sorted({*wanted} - {0}):
        found.append(measure(Setting(number, workers)))
        if found[-1].error is not None:
            return found
    while wanted is None and found[-1].setting.num_workers < _MOST and _worth_more(found):
        found.append(measure(Setting(2 * found[-1].setting.num_workers, workers)))
    return found


def _worth_more(found: Sequence[Measured]) -> bool:
    """Whether workers wait for something that is no core, and the last ones have helped."""
    last = found[-1]
    if last.error is not None or last.stats.computing > _WAITS:
        return False
    return len(found) < 2 or last.rate > _GAIN * found[-2].rate
