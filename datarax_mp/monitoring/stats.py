"""Where a pipeline's time goes, in figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType

from datarax_mp.core.cores import usable_cores
from datarax_mp.core.series import Series
from datarax_mp.feed.timings import Figures
from datarax_mp.recipe.recorder import Phase
from datarax_mp.recipe.watch import Part

_MANY = 1 << 20  # workers: more than any number that is of use
_TRIED = 64


@dataclass(frozen=True, slots=True)
class Times:
    """Durations of one kind, in seconds; ``p50`` and ``p99`` are right to 10 %.

    Attributes:
        count: how many.
        total: altogether.
        p50: the median.
        p99: what 99 of 100 do not exceed.
        largest: the longest; of the last seconds, right to 10 %.
    """

    count: int = 0
    total: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    largest: float = 0.0

    @classmethod
    def of(cls, series: Series) -> Times:
        """What a series holds just now."""
        return cls(series.count, series.total, series.quantile(0.5), series.quantile(0.99), series.largest)

    @property
    def mean(self) -> float:
        """Seconds of one; 0 if there is none."""
        return self.total / self.count if self.count else 0.0


@dataclass(frozen=True, slots=True)
class Filling:
    """The slots of the rings that are in use just now.

    Attributes:
        held: with the caller: something looks at a batch in them.
        filled: being filled, or filled and not delivered.
        free: nothing is in them.
    """

    held: int = 0
    filled: int = 0
    free: int = 0

    @classmethod
    def of(cls, rings: Iterable[tuple[int, int, int]]) -> Filling:
        """What several rings have together."""
        held, filled, free = (sum(column) for column in zip((0, 0, 0), *rings, strict=True))
        return cls(held, filled, free)


@dataclass(frozen=True, slots=True)
class Stats:
    """What ``Pipeline.stats`` gives: figures over all epochs, since the pipeline was made or over the last seconds.

    Times are per batch. Those of ``waited``, ``away`` and ``made`` are taken run by run (several small batches are made
    and handed over together), so a quantile is one of runs. ``own``, ``moved`` and ``handed`` are of some batches, the
    fewer the quicker the caller comes back. ``parts``, ``idle``, ``threads`` and ``computing`` are of the runs that a
    worker has looked at closely, a few a second: exact times of each record or batch there, and a sample of all.

    Attributes:
        batches: batches that were made and taken.
        rows: records in them.
        bytes: bytes of their arrays, what lies between them and padding included.
        workers: how many workers there are, or if none is at work, may be.
        kind: of which kind they are: "processes", "threads", "ray", or "none"; "auto" before that is found out.
        spare: how many of them get nothing to do just now, as there are no cores for them and the others are in time.
        why: why they are of that kind, where nobody has said; otherwise empty.
        first: waits for the first batches of iterators, which say more about the start than about the stream.
        waited: waits for all others.
        away: the caller's time between two batches: its own step, with what it costs to bring a batch to its place.
        own: its own step alone.
        moved: what it takes to bring a batch to the device.
        handed: what it takes to hand over one that stands ready.
        made: a worker's time for a batch: reading, stages, writing.
        blocks: what it takes a worker to read a block of the source for all of them, where it is read in blocks.
        full: how long all slots were taken while a worker had room for a run: workers are ahead of the caller, or it
            keeps batches.
        idle: how long a worker had nothing to do before a run, whether for want of a slot or because nothing was asked
            of it; sending its answer is part of it.
        sent: how long it takes a worker process to send its answer.
        looked: the runs that were looked at.
        parts: by name what ``made`` consists of: ``read``, each host stage, ``collate``, each time one was run.
        threads: by the system's number of the thread (of a worker process, the process), the runs looked at there, of
            the newest 64.
        thread_parts: by that number and by name, seconds.
        computing: the share of its working time for which a worker has a core; 1 before anything is known.
        starving: the share for which it waits for one, because others have them; 0 where the system does not say.
        cores: how many cores this process may use.
        own_cores: how many of them it uses itself, workers that are processes left out; 0 before anything is known.
        copied: batches that were copied, because the caller held too many.
        skipped: records that were left out, since the pipeline was made.
        retried: how often reading was tried again.
        hits: records that a ``Cache`` had, in the batches that were taken.
        misses: records that it did not have.
        replaced: workers that died and were replaced.
        ring: the slots, just now.
        start: seconds that the pipeline's very first batch took, by part: ``filters`` (the pass over all records that
            those need), ``choosing`` (between threads and processes), ``workers`` (starting them and sending them what
            they need), ``loading`` (what they import), ``record`` (the first one: opening the source, reading, stages),
            ``batch``.
    """

    batches: int = 0
    rows: int = 0
    bytes: int = 0
    workers: int = 0
    spare: int = 0
    kind: str = "processes"
    why: str = ""
    first: Times = Times()
    waited: Times = Times()
    away: Times = Times()
    own: Times = Times()
    moved: Times = Times()
    handed: Times = Times()
    made: Times = Times()
    blocks: Times = Times()
    full: Times = Times()
    idle: Times = Times()
    sent: Times = Times()
    looked: Times = Times()
    parts: dict[str, Times] = field(default_factory=dict)
    threads: dict[int, Times] = field(default_factory=dict)
    thread_parts: dict[int, dict[str, float]] = field(default_factory=dict)
    computing: float = 1.0
    starving: float = 0.0
    cores: int = field(default_factory=usable_cores)
    own_cores: float = 0.0
    copied: int = 0
    skipped: int = 0
    retried: int = 0
    hits: int = 0
    misses: int = 0
    replaced: int = 0
    ring: Filling = Filling()
    start: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        figures: Figures,
        *,
        stages: Sequence[str],
        batch_bytes: int,
        workers: int,
        spare: int = 0,
        kind: str = "processes",
        why: str = "",
        skipped: int,
        rings: Iterable[tuple[int, int, int]] = (),
        start: Mapping[str, float] = MappingProxyType({}),
    ) -> Stats:
        """What follows from figures.

        Args:
            figures: what has been seen.
            stages: the names of the host stages.
            batch_bytes: bytes of a batch.
            workers: how many there may be.
            spare: how many of them get nothing to do.
            kind: of which kind they are.
            why: why they are.
            skipped: records that were left out.
            rings: of each ring in use the slots that are held, filled and free.
            start: seconds that the first batch took, by part.
        """
        names = part_names(stages)
        by_thread: dict[int, dict[str, float]] = {thread: {} for thread in figures.threads}
        for (thread, part), series in sorted(figures.thread_parts.items()):
            by_thread.setdefault(thread, {})[names.get(part, "other")] = series.total
        looked = figures.looked.total
        return cls(
            batches=figures.batches,
            rows=figures.rows,
            bytes=figures.batches * batch_bytes,
            workers=workers,
            spare=spare,
            kind=kind,
            why=why,
            parts={names.get(part, "other"): Times.of(series) for part, series in sorted(figures.parts.items())},
            threads={thread: Times.of(series) for thread, series in sorted(figures.threads.items())},
            thread_parts=by_thread,
            computing=min(figures.computed / looked, 1.0) if looked else 1.0,
            starving=min(figures.starved / looked, 1.0) if looked else 0.0,
            own_cores=figures.own_computed / figures.lasted if figures.lasted else 0.0,
            copied=figures.copied,
            skipped=skipped,
            retried=figures.retried,
            hits=figures.hits,
            misses=figures.misses,
            replaced=figures.replaced,
            ring=Filling.of(rings),
            start=dict(start),
            first=Times.of(figures.first),
            waited=Times.of(figures.waited),
            away=Times.of(figures.away),
            own=Times.of(figures.own),
            moved=Times.of(figures.moved),
            handed=Times.of(figures.handed),
            made=Times.of(figures.made),
            blocks=Times.of(figures.blocks),
            full=Times.of(figures.full),
            idle=Times.of(figures.idle),
            sent=Times.of(figures.sent),
            looked=Times.of(figures.looked),
        )

    @property
    def seconds(self) -> float:
        """How long batches were taken, the waits for first ones left out."""
        return self.waited.total + self.away.total

    @property
    def batches_per_second(self) -> float:
        """At which rate they came, the first ones left out."""
        return self.waited.count / self.seconds if self.seconds else 0.0

    @property
    def rows_per_second(self) -> float:
        """The same in records."""
        return self.batches_per_second * self.rows / self.batches if self.batches else 0.0

    @property
    def bytes_per_second(self) -> float:
        """The same in bytes."""
        return self.batches_per_second * self.bytes / self.batches if self.batches else 0.0

    @property
    def utilisation(self) -> float:
        """The share of time in which the caller did not wait; 1 as long as nothing was waited for.

        It is MLPerf Storage's accelerator utilisation (AU), where the caller's own time is the step's: the first batch
        of each iterator is left out.
        """
        return self.away.total / self.seconds if self.seconds else 1.0

    @property
    def shares(self) -> dict[str, float]:
        """By name the share of a worker's working time that each part of it takes; what is left is between them."""
        whole = self.looked.total
        return {name: times.total / whole for name, times in self.parts.items()} if whole else {}

    @property
    def busy(self) -> float:
        """The share of time in which the workers worked, if all of them were there; 0 before anything is known."""
        whole = max(self.workers, 1) * self.seconds
        return min(self.worked * self.waited.count / whole, 1.0) if whole else 0.0

    @property
    def worked(self) -> float:
        """A worker's seconds for a batch, with its share of the blocks that are read for many."""
        return self.made.mean + (self.blocks.total / self.batches if self.batches else 0.0)

    @property
    def own_computing(self) -> float:
        """Seconds for which the caller's process has a core for a batch, the making of it left out."""
        count = self.waited.count
        own = self.own_cores * self.seconds / count if count else 0.0
        beside = self.workers and self.kind != "threads"  # other processes make batches, and what they need is theirs
        return max(own - (0.0 if beside else self.worked * self.computing), 0.0)

    def pace(self, workers: int) -> float:
        """Seconds from batch to batch with so many workers, as predicted.

        A step takes the caller ``away.mean`` seconds and a worker ``worked``. Whoever is slowest sets the pace: the
        caller, the workers, or the cores, on which caller and workers are to find room for what they compute.
        """
        step, made = self.away.mean, self.worked
        unhindered = made * (1 - self.starving)
        cores = (made * self.computing + self.own_computing) / self.cores
        return max(step, unhindered / workers, cores) if workers else step + unhindered

    @property
    def enough_workers(self) -> int:
        """The fewest workers with which the pace is within 3 % of the best one; one at least."""
        best = 1.03 * self.pace(_MANY)
        return next((number for number in range(1, _TRIED) if self.pace(number) <= best), _TRIED)

    def predicted(self, workers: int) -> float:
        """The utilisation with so many workers; see ``pace``."""
        pace = self.pace(workers)
        return self.away.mean / pace if pace else 1.0

    @property
    def ceilings(self) -> dict[str, float]:
        """What the utilisation comes to at most, and by what.

        ``cores``: with any number of workers. ``part``: with as many as there are, if the slowest part of their work
        took no time. ``main``: what the caller's own step would be of the time if it never waited; the rest is what it
        takes to get at a batch.
        """
        step, own = self.away.mean, self.own.mean or self.away.mean
        made = self.worked * (1 - max(self.shares.values(), default=0.0))
        pace = max(step, made / self.workers) if self.workers else step + made
        return {
            "cores": max(self.predicted(_MANY), self.utilisation),
            "part": max(step / pace, self.utilisation) if pace else 1.0,
            "main": min(own / step, 1.0) if step else 1.0,
        }

    def asdict(self) -> dict[str, float]:
        """All figures in one flat dict, ``waited/p50`` and so on, as TensorBoard and Weights & Biases take them.

        Those of single threads, which have other numbers in every run of a program, are left out, and so are words.
        """
        flat: dict[str, float] = {}
        for one in fields(self):
            if one.name not in ("threads", "thread_parts", "kind", "why"):
                _flatten(one.name, getattr(self, one.name), flat)
        derived = ("seconds", "batches_per_second", "rows_per_second", "bytes_per_second", "utilisation", "busy")
        flat |= {name: getattr(self, name) for name in derived}
        flat |= {f"shares/{name}": share for name, share in self.shares.items()}
        return flat


def part_names(stages: Sequence[str]) -> dict[Part, str]:
    """What the parts of a worker's time are called: ``read``, the stages by their names, ``collate``.

    >>> list(part_names(["MapElement(f)", "MapElement(f)"]).values())
    ['read', 'collate', 'MapElement(f)', 'MapElement(f) (2)']
    """
    names = {(Phase.READING, 0): "read", (Phase.WRITING, 0): "collate"}
    for place, name in enumerate(stages):
        again = stages[:place].count(name)
        names[Phase.STAGE, place] = f"{name} ({again + 1})" if again else name
    return names


def _flatten(name: str, value: object, flat: dict[str, float]) -> None:
    if isinstance(value, (int, float)):
        flat[name] = value
    elif isinstance(value, dict):
        for key, part in value.items():
            _flatten(f"{name}/{key}", part, flat)
    else:
        for one in fields(value):  # type: ignore[arg-type]
            _flatten(f"{name}/{one.name}", getattr(value, one.name), flat)
