"""Where a pipeline's time goes, in figures, and in a sentence that says what to do about it."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest

from datarax_mp import Pipeline
from datarax_mp.pipeline.stats import Report, Stats, Times


def slow(record: Any) -> Any:
    time.sleep(0.002)
    return {"x": np.full(1000, record, np.float32)}


def times(mean: float, count: int = 100) -> Times:
    return Times(count, mean * count, mean, mean, mean)


def stats(*, waited: float, away: float, made: float, workers: int = 2, count: int = 100) -> Stats:
    return Stats(
        batches=count,
        bytes=1000 * count,
        workers=workers,
        first=times(0.1, 1),
        waited=times(waited, count),
        away=times(away, count),
        made=times(made, count),
        moved=times(0.0001, 6),
        copied=0,
        skipped=0,
    )


@pytest.mark.parametrize("how", [{"num_workers": 0}, {"num_workers": 2}, {"num_workers": 2, "workers": "threads"}])
def test_a_pipeline_says_what_was_waited_for_and_what_its_workers_took(how: dict[str, Any]) -> None:
    with Pipeline(source=np.arange(60), batch_size=5, stages=[slow], num_epochs=2, output="numpy", **how) as pipeline:
        assert pipeline.stats().batches == pipeline.stats().bytes == 0
        for batch in pipeline:
            assert batch["x"].shape == (5, 1000)
            time.sleep(0.001)
        found = pipeline.stats()
        assert found.batches == 24
        assert 24 * 5 * 4000 <= found.bytes < 24 * 5 * 4000 * 1.01  # rows begin at multiples of 64
        assert found.made.count == 24
        assert found.made.mean >= 5 * 0.002
        assert found.away.total >= 20 * 0.001
        assert found.waited.total > 0
        assert found.moved.count == 1
        assert 0 < found.utilisation < 0.5
        assert found.predicted(100) == 1.0
        assert "Waiting for data" in pipeline.report().advice
        assert str(pipeline.report()).count("\n") == 7


def test_skipped_records_and_kept_batches_are_counted() -> None:
    def fails(record: Any) -> Any:
        if record == 7:
            raise ValueError("no")
        return {"x": np.zeros(100_000) + record}

    with Pipeline(
        source=np.arange(40), batch_size=2, stages=[fails], on_error="skip", num_workers=1, output="numpy"
    ) as pipeline:
        kept = list(pipeline)
        assert (pipeline.stats().skipped, len(kept)) == (1, 20)
        assert pipeline.stats().copied > 0


def test_the_figures_are_one_flat_dict_of_numbers() -> None:
    flat = stats(waited=0.01, away=0.03, made=0.05).asdict()
    assert flat["waited/p50"] == 0.01
    assert flat["utilisation"] == pytest.approx(0.75)
    assert json.loads(json.dumps(flat)) == flat
    assert all(isinstance(value, (int, float)) for value in flat.values())


def test_whoever_is_slower_sets_the_pace_of_what_is_predicted() -> None:
    found = stats(waited=0.07, away=0.01, made=0.08, workers=1)
    assert [round(found.predicted(workers), 3) for workers in (0, 1, 2, 4, 8, 16)] == [0.111, 0.125, 0.25, 0.5, 1, 1]


def test_the_advice_depends_on_what_would_help(monkeypatch: pytest.MonkeyPatch) -> None:
    def advice(cores: int, **figures: Any) -> str:
        monkeypatch.setattr("datarax_mp.pipeline.stats.usable_cores", lambda: cores)
        return Report(stats(**figures)).advice

    assert "not what holds the training up" in advice(8, waited=0.0001, away=0.02, made=0.01)
    assert advice(8, waited=0.03, away=0.01, made=0.04, workers=1) == (
        "Waiting for data 75% of the time: a batch takes a worker 40 ms, and the caller 10 ms. With num_workers=4 you "
        "would wait 0%."
    )
    assert "With num_workers=1, as many as this process has cores beside" in advice(
        2, waited=0.03, away=0.01, made=0.04, workers=1
    )
    assert "lack cores (there are 2)" in advice(2, waited=0.03, away=0.01, made=0.015, workers=4)
    assert "Too few batches" in advice(2, waited=0, away=0, made=0, count=0)


def test_a_notebook_shows_the_same_words() -> None:
    report = Report(stats(waited=0.03, away=0.01, made=0.04))
    assert report._repr_html_().startswith("<pre>")
    assert "your step" in report._repr_html_()
