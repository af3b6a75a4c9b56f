"""Prometheus is told what the statistics say, of all pipelines that there are."""

from __future__ import annotations

import gc
import time
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest

from datarax_mp import Pipeline
from datarax_mp.monitoring.prometheus import export


def doubled(record: Any) -> Any:
    time.sleep(0.001)
    return {"x": np.float32(2 * record)}


def pipeline(records: int) -> Pipeline[Any]:
    return Pipeline(source=np.arange(records), batch_size=10, stages=[doubled], output="numpy")


def test_what_is_told_is_what_the_statistics_say() -> None:
    registry, one = CollectorRegistry(), pipeline(200)
    export(one, "train", registry)
    for _ in one:
        time.sleep(0.001)
    stats = one.stats()

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"datarax_mp_{name}", {"pipeline": "train", **labels})

    assert value("batches_total") == 20
    assert value("records_total") == 200
    assert value("bytes_total") == stats.bytes
    assert value("waited_seconds_total") == stats.waited.total
    assert value("away_seconds_total") == stats.away.total
    assert value("skipped_records_total") == 0
    assert value("workers") == 0
    assert value("slots", state="held") == 0
    part = stats.parts["MapElement(doubled)"]
    assert value("part_seconds_count", part="MapElement(doubled)") == part.count > 0
    assert value("part_seconds_sum", part="MapElement(doubled)") == part.total


def test_several_pipelines_are_told_apart_until_they_are_gone() -> None:
    registry = CollectorRegistry(auto_describe=True)
    train, test = pipeline(20), pipeline(10)
    export(train, "train", registry)
    export(test, "test", registry)
    list(train)
    text = generate_latest(registry).decode()
    assert 'datarax_mp_batches_total{pipeline="train"} 2.0' in text
    assert 'datarax_mp_batches_total{pipeline="test"} 0.0' in text
    again = pipeline(30)
    export(again, "train", registry)
    list(again)
    del test
    gc.collect()
    text = generate_latest(registry).decode()
    assert 'datarax_mp_batches_total{pipeline="train"} 3.0' in text
    assert 'pipeline="test"' not in text
    assert text.count("# HELP datarax_mp_batches_total") == 1
