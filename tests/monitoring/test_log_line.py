"""A line in the log every so many seconds."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
import pytest

from datarax_mp import Pipeline
from datarax_mp.feed.timings import Figures
from datarax_mp.monitoring.log_line import LogLine
from datarax_mp.monitoring.stats import Stats
from tests.fakes import FakeClock
from tests.processes import comes_true


def stats(figures: Figures) -> Stats:
    return Stats.of(figures, stages=["MapElement(decode)"], batch_bytes=1000, workers=2, skipped=0)


def figures(batches: int, *, replaced: int = 0) -> Figures:
    made = Figures(batches=batches, rows=8 * batches, replaced=replaced)
    made.waited.add(0.03, batches)
    made.away.add(0.01, batches)
    made.made.add(0.08, batches)
    return made


def test_a_line_says_what_came_since_the_last_one(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "datarax_mp")
    clock = FakeClock()
    line = LogLine(30, "train", clock)
    line.tell(figures(5), stats)
    clock.now += 29
    line.tell(figures(10), stats)
    assert caplog.messages == []
    clock.now += 2
    line.tell(figures(20), stats)
    clock.now += 31
    line.tell(figures(20), stats)  # nothing has come
    line.tell(figures(30, replaced=1), stats)
    assert caplog.messages == [
        "train: 25 batches/s, 200 records/s, 0.025 MB/s; waiting 75%; a batch takes a worker 80 ms; "
        "2 workers 100% busy; slots 0 held, 0 filled, 0 free" + more
        for more in ("", "; 1 replaced")
    ]


def test_a_pipeline_logs_while_batches_are_taken(caplog: pytest.LogCaptureFixture) -> None:
    def slow(record: Any) -> Any:
        time.sleep(0.005)
        return {"x": np.float32(record)}

    caplog.set_level(logging.INFO, "datarax_mp")
    with Pipeline(source=np.arange(300), batch_size=1, stages=[slow], output="numpy") as pipeline:
        pipeline.log_every(0.1, "train")
        began = time.monotonic()
        for _ in pipeline:
            pass
        elapsed = time.monotonic() - began
    lines = [message for message in caplog.messages if message.startswith("train: ")]
    assert 1 <= len(lines) <= elapsed / 0.5 + 1  # whoever listens is called so often at most
    assert "stage MapElement(slow)" in lines[-1]


def test_whoever_asks_for_lines_again_has_the_new_ones_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "datarax_mp")
    with Pipeline(source=np.arange(10), batch_size=1, output="numpy") as pipeline:
        pipeline.log_every(0.001, "before")
        pipeline.log_every(0.001, "after")

        def said() -> bool:
            for _ in pipeline:
                pass
            return any(message.startswith("after: ") for message in caplog.messages)

        assert comes_true(said)
    assert not any(message.startswith("before: ") for message in caplog.messages)


def test_no_time_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="seconds=0"):
        Pipeline(source=[1], batch_size=1).log_every(0)
