"""Where a pipeline's time goes, in figures and in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from datarax_mp.core.cores import usable_cores
from datarax_mp.feed.timings import Series, Timings

_ENOUGH = 0.03  # a share of time that is not worth doing anything about
_MOST_PREDICTED = 64


@dataclass(frozen=True, slots=True)
class Times:
    """Durations of one kind, in seconds; ``p50`` and ``p99`` are right to 10 %.

    Attributes:
        count: how many.
        total: altogether.
        p50: the median.
        p99: what 99 of 100 do not exceed.
        largest: the longest.
    """

    count: int
    total: float
    p50: float
    p99: float
    largest: float

    @classmethod
    def of(cls, series: Series) -> Times:
        """What a series holds just now."""
        return cls(series.count, series.total, series.quantile(0.5), series.quantile(0.99), series.largest)

    @property
    def mean(self) -> float:
        """Seconds of one; 0 if there is none."""
        return self.total / self.count if self.count else 0.0


@dataclass(frozen=True, slots=True)
class Stats:
    """What ``Pipeline.stats`` gives: figures since the pipeline was made, over all its epochs.

    Times are per batch. They are taken run by run (several small batches are made and handed over together), so a
    quantile is one of runs.

    Attributes:
        batches: batches that were made and taken.
        bytes: bytes of their arrays, what lies between them and padding included.
        workers: how many workers there may be.
        first: waits for the first batches of iterators, which say more about the start than about the stream.
        waited: waits for all others.
        away: the caller's time between two batches: its own step, with what it costs to bring a batch to its place.
        made: a worker's time for a batch: reading, stages, writing.
        moved: what it takes to bring a batch to the device, of one batch in sixteen.
        copied: batches that were copied, because the caller held too many.
        skipped: records that were left out.
    """

    batches: int
    bytes: int
    workers: int
    first: Times
    waited: Times
    away: Times
    made: Times
    moved: Times
    copied: int
    skipped: int

    @classmethod
    def of(cls, timings: Timings, *, batch_bytes: int, workers: int, skipped: int) -> Stats:
        """The figures as they are now."""
        return cls(
            batches=timings.batches,
            bytes=timings.batches * batch_bytes,
            workers=workers,
            first=Times.of(timings.first),
            waited=Times.of(timings.waited),
            away=Times.of(timings.away),
            made=Times.of(timings.made),
            moved=Times.of(timings.moved),
            copied=timings.copied,
            skipped=skipped,
        )

    @property
    def utilisation(self) -> float:
        """The share of time in which the caller did not wait; 1 as long as nothing was waited for.

        It is MLPerf Storage's accelerator utilisation, where the caller's own time is the step's: the first batch of
        each iterator is left out.
        """
        whole = self.waited.total + self.away.total
        return self.away.total / whole if whole else 1.0

    def predicted(self, workers: int) -> float:
        """The utilisation with so many workers, if they do not take cores from each other or from the caller.

        A step takes the caller ``away.mean`` seconds and a worker ``made.mean``; whoever is slower sets the pace.
        """
        step, made = self.away.mean, self.made.mean / max(workers, 1)
        if not workers:
            return step / (step + self.made.mean) if step + self.made.mean else 1.0
        return 1.0 if made <= step else step / made

    def asdict(self) -> dict[str, float]:
        """All figures in one flat dict, ``waited/p50`` and so on, as TensorBoard and Weights & Biases take them."""
        flat: dict[str, float] = {}
        for name, value in asdict(self).items():
            if isinstance(value, dict):
                flat |= {f"{name}/{part}": number for part, number in value.items()}
            else:
                flat[name] = value
        return {**flat, "utilisation": self.utilisation}


class Report:
    """Figures with what follows from them; ``print`` it, or let a notebook show it."""

    def __init__(self, stats: Stats) -> None:
        self.stats = stats

    @property
    def advice(self) -> str:
        """One sentence: is the loader the bottleneck, and what would help."""
        stats = self.stats
        if not stats.waited.count:
            return "Too few batches have been received to say anything; iterate for some seconds."
        waiting = 1 - stats.utilisation
        said = f"Waiting for data {waiting:.0%} of the time"
        if waiting <= _ENOUGH:
            return f"{said}: the loader is not what holds the training up."
        step, made = stats.away.mean, stats.made.mean
        costs = f"a batch takes a worker {_time(made)}, and the caller {_time(step)}"
        enough = next((n for n in range(1, _MOST_PREDICTED) if stats.predicted(n) >= 1 - _ENOUGH), _MOST_PREDICTED)
        cores = usable_cores()
        if stats.workers and made / stats.workers <= step:
            return (
                f"{said}, although {costs}, so that {stats.workers} workers should do: they lack cores (there are "
                f"{cores}), or single batches take much longer than others (see p99)."
            )
        if enough <= max(cores - 1, 1):
            return f"{said}: {costs}. With num_workers={enough} you would wait {1 - stats.predicted(enough):.0%}."
        most = max(cores - 1, 1)
        return (
            f"{said}: {costs}. With num_workers={most}, as many as this process has cores beside the caller's, you "
            f"would wait {1 - stats.predicted(most):.0%}; {enough} would do. Make stages cheaper, or store data closer "
            "to what is trained on."
        )

    def __str__(self) -> str:
        stats = self.stats
        lines = [f"{'':14}{'count':>9}{'mean':>10}{'p50':>10}{'p99':>10}{'largest':>10}{'total':>10}"]
        for name, label in _ROWS.items():
            times: Times = getattr(stats, name)
            shown = [_time(value) for value in (times.mean, times.p50, times.p99, times.largest, times.total)]
            lines.append(f"{label:14}{times.count:>9}" + "".join(f"{value:>10}" for value in shown))
        rate = stats.batches / whole if (whole := stats.waited.total + stats.away.total) else 0.0
        lines.append(
            f"{stats.batches} batches, {rate:.4g} a second, {stats.bytes / 1e6:.4g} MB; {stats.workers} workers; "
            f"{stats.copied} copied, {stats.skipped} records skipped"
        )
        return "\n".join([*lines, self.advice])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(str(self))}</pre>"


_ROWS = {
    "first": "first batch",
    "waited": "waiting",
    "away": "your step",
    "moved": "to the device",
    "made": "a worker",
}


def _time(seconds: float) -> str:
    for factor, unit in ((1.0, "s"), (1e3, "ms")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"
