"""Figures of pipelines for Prometheus, made when somebody asks for them; needs ``datarax-mp[prometheus]``.

from datarax_mp.monitoring.prometheus import export

export(pipeline, "train")
prometheus_client.start_http_server(9000)      # unless the program has an endpoint already
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

try:
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError(
        "datarax_mp.monitoring.prometheus needs prometheus-client, which is not installed: "
        'pip install "datarax-mp[prometheus]"'
    ) from error

from datarax_mp.monitoring.stats import Stats

_COUNTERS = {
    "batches": "batches that were made and taken",
    "records": "records in them",
    "bytes": "bytes of their arrays",
    "waited_seconds": "time for which the caller waited for a batch, first ones left out",
    "away_seconds": "time between two batches: the caller's step, and bringing a batch to its place",
    "worker_seconds": "time for which workers made batches",
    "copied_batches": "batches that were copied, because the caller held too many",
    "skipped_records": "records that were left out",
    "read_again": "times that reading was tried again",
    "workers_replaced": "workers that died and were replaced",
}
_PREFIX = "datarax_mp_"

_collectors: weakref.WeakKeyDictionary[CollectorRegistry, _Pipelines] = weakref.WeakKeyDictionary()


def export(pipeline: Any, name: str, registry: CollectorRegistry = REGISTRY) -> None:
    """Have a registry tell of a pipeline, for as long as there is the pipeline.

    Each scrape asks for ``pipeline.stats()``; nothing is counted besides. The accelerator utilisation is
    ``rate(datarax_mp_away_seconds_total[1m]) / (rate(datarax_mp_away_seconds_total[1m]) +
    rate(datarax_mp_waited_seconds_total[1m]))``.

    Args:
        pipeline: the pipeline.
        name: the value of its label ``pipeline``; another pipeline that had it does not come any more.
        registry: of ``prometheus_client``.

    >>> import numpy as np, prometheus_client
    >>> from datarax_mp import Pipeline
    >>> registry = prometheus_client.CollectorRegistry()
    >>> pipeline = Pipeline(source={"x": np.arange(10.0)}, batch_size=5)
    >>> export(pipeline, "train", registry)
    >>> for batch in pipeline:
    ...     pass
    >>> registry.get_sample_value("datarax_mp_records_total", {"pipeline": "train"})
    10
    """
    collector = _collectors.get(registry)
    if collector is None:
        collector = _collectors[registry] = _Pipelines()
        registry.register(collector)
    collector.named[name] = pipeline


class _Pipelines(Collector):
    """The pipelines of one registry: one collector for all, because each metric may be told once."""

    def __init__(self) -> None:
        self.named: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()

    def collect(self) -> Iterator[Metric]:
        """See ``prometheus_client``."""
        stats = {name: pipeline.stats() for name, pipeline in sorted(self.named.items())}
        for metric, purpose in _COUNTERS.items():
            counter = CounterMetricFamily(_PREFIX + metric, purpose, labels=["pipeline"])
            for name, one in stats.items():
                counter.add_metric([name], _counts(one)[metric])
            yield counter
        workers = GaugeMetricFamily(f"{_PREFIX}workers", "workers that there may be", labels=["pipeline"])
        slots = GaugeMetricFamily(f"{_PREFIX}slots", "slots of the ring, just now", labels=["pipeline", "state"])
        parts = SummaryMetricFamily(
            f"{_PREFIX}part_seconds", "parts of the workers' time, of the runs looked at", labels=["pipeline", "part"]
        )
        for name, one in stats.items():
            workers.add_metric([name], one.workers)
            for state in ("held", "filled", "free"):
                slots.add_metric([name, state], getattr(one.ring, state))
            for part, times in one.parts.items():
                parts.add_metric([name, part], count_value=times.count, sum_value=times.total)
        yield from (workers, slots, parts)


def _counts(stats: Stats) -> dict[str, float]:
    return {
        "batches": stats.batches,
        "records": stats.rows,
        "bytes": stats.bytes,
        "waited_seconds": stats.waited.total,
        "away_seconds": stats.away.total,
        "worker_seconds": stats.made.total + stats.blocks.total,
        "copied_batches": stats.copied,
        "skipped_records": stats.skipped,
        "read_again": stats.retried,
        "workers_replaced": stats.replaced,
    }
