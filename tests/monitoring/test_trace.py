"""Traces: spans of main and all workers that nest, on one clock, with arrows from a step to the user's step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from datarax_mp import Pipeline

Event = dict[str, Any]

HOW = [{"num_workers": 0}, {"num_workers": 2}, {"num_workers": 2, "workers": "threads"}]


def double(record: Any) -> Any:
    return {"x": np.full(10, record * 2.0, np.float32)}


def events(path: Path) -> list[Event]:
    """What is in a file, as far as it is what the format says."""
    content = json.loads(path.read_text())
    found: list[Event] = content["traceEvents"]
    for event in found:
        assert event["ph"] in "XstfM"
        assert isinstance(event["pid"], int)
        if event["ph"] != "M":
            assert isinstance(event["tid"], int) and event["ts"] > 0 and event["name"] and event["cat"]
        assert event.get("dur", 0) >= 0
        assert ("id" in event) == (event["ph"] in "stf")
    return found


def spans(found: list[Event], name: str) -> list[Event]:
    return [event for event in found if event["ph"] == "X" and event["name"].startswith(name)]


def holds(outer: Event, when: float) -> bool:
    return outer["ts"] - 1e-3 <= when <= outer["ts"] + outer["dur"] + 1e-3


@pytest.mark.parametrize("how", HOW)
def test_spans_nest_and_arrows_go_from_a_step_to_its_batch_to_the_users_step(
    how: dict[str, Any], tmp_path: Path
) -> None:
    path, began = tmp_path / "trace.json", time.perf_counter()
    with Pipeline(source=np.arange(300), batch_size=5, stages=[double], output="numpy", **how) as pipeline:
        pipeline.trace(path, steps=12)
        for _ in pipeline:
            pass
        received = pipeline.stats().batches
    found = events(path)
    assert received == 60
    assert len(spans(found, "your step")) == 12
    assert all(began * 1e6 <= event["ts"] <= time.perf_counter() * 1e6 for event in found if event["ph"] != "M")

    threads = defaultdict(list)
    for event in found:
        if event["ph"] == "X":
            threads[event["pid"], event["tid"]].append(event)
    for one in threads.values():  # of two that overlap, one holds the other
        stack: list[Event] = []
        for event in sorted(one, key=lambda event: (event["ts"], -event["dur"])):
            while stack and not holds(stack[-1], event["ts"] + 2e-3):
                stack.pop()
            assert not stack or holds(stack[-1], event["ts"] + event["dur"]), (stack[-1], event)
            stack.append(event)

    for flow in ("s", "t", "f"):
        holder = {"s": "step ", "t": "to the device", "f": "your step"}[flow]
        for arrow in (event for event in found if event["ph"] == flow):
            epoch, step = map(int, arrow["id"].split("."))
            [span] = [
                one for one in spans(found, holder) if (one["args"]["epoch"], one["args"]["step"]) == (epoch, step)
            ]
            assert (span["pid"], span["tid"]) == (arrow["pid"], arrow["tid"])
            assert holds(span, arrow["ts"])
    starts = {event["id"] for event in found if event["ph"] == "s"}
    ends = {event["id"] for event in found if event["ph"] == "f"}
    assert ends <= starts
    assert {f"0.{step}" for step in range(12)} == ends

    records = sorted(event["args"]["record"] for event in spans(found, "MapElement(double)"))
    assert records[:60] == list(range(60))
    named = {(one["pid"], one.get("tid")): one["args"].get("name") for one in found if one["ph"] == "M"}
    assert set(threads) <= set(named)
    pids = {pid for pid, _ in threads}
    assert len(threads) > 1 or how["num_workers"] == 0
    assert (len(pids) > 1) == (how == {"num_workers": 2})


def test_a_trace_ends_with_its_steps_and_what_follows_costs_nothing(tmp_path: Path) -> None:
    with Pipeline(source=np.arange(40), batch_size=2, stages=[double], output="numpy") as pipeline:
        iterator = iter(pipeline)
        next(iterator)
        pipeline.trace(tmp_path / "one.json", steps=3)
        with pytest.raises(RuntimeError, match="another trace"):
            pipeline.trace(tmp_path / "two.json")
        for _ in range(6):
            next(iterator)
        assert len(spans(events(tmp_path / "one.json"), "your step")) == 3
        pipeline.trace(tmp_path / "three.json", steps=1000)
        for _ in iterator:
            pass
    assert 10 <= len(spans(events(tmp_path / "three.json"), "your step")) <= 13  # it was closed before
    assert not (tmp_path / "two.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.json", "three.json"]


def test_a_trace_is_written_where_it_was_wanted_also_by_a_program_that_is_elsewhere_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    with Pipeline(source=np.arange(20), batch_size=5, output="numpy") as pipeline:
        pipeline.trace("trace.json", steps=3)
        monkeypatch.chdir(elsewhere)
        for _ in pipeline:
            pass
    assert len(spans(events(tmp_path / "trace.json"), "your step")) == 3
    assert not list(elsewhere.iterdir())


def test_what_cannot_be_traced_is_refused_at_once(tmp_path: Path) -> None:
    with Pipeline(source=np.arange(4), batch_size=2) as pipeline:
        with pytest.raises(OSError, match="No such file"):
            pipeline.trace(tmp_path / "nowhere" / "trace.json")
        with pytest.raises(ValueError, match="steps=0"):
            pipeline.trace(tmp_path / "trace.json", steps=0)
        assert len(list(pipeline)) == 2


def test_several_steps_in_one_array_are_one_step_of_the_users(tmp_path: Path) -> None:
    with Pipeline(source=np.arange(48), batch_size=2, stages=[double], num_workers=1) as pipeline:
        pipeline.trace(tmp_path / "trace.json", steps=8)
        for _ in pipeline.stacked(4):
            pass
    found = events(tmp_path / "trace.json")
    assert [one["args"]["steps"] for one in spans(found, "your step")] == [4, 4]
    assert len([event for event in found if event["ph"] == "f"]) == 8


def test_a_kept_trace_keeps_no_batch(tmp_path: Path) -> None:
    with Pipeline(source=np.arange(400), batch_size=2, num_workers=1, output="numpy") as pipeline:
        pipeline.trace(tmp_path / "trace.json", steps=150)
        for _ in pipeline:
            pass
        assert pipeline.stats().copied == 0


def test_main_shows_in_jaxs_own_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    real = jax.profiler.TraceAnnotation
    monkeypatch.setattr(jax.profiler, "TraceAnnotation", lambda name: names.append(name) or real(name))
    with Pipeline(source=np.arange(8), batch_size=2) as pipeline:
        next(iter(pipeline))
        assert not names
        pipeline.trace(tmp_path / "trace.json", steps=2)
        list(pipeline)
    assert {"datarax_mp: waiting", "datarax_mp: to the device"} <= set(names)


PROGRAM = """
import numpy as np
from datarax_mp import Pipeline
for size in (2, 4):
    for batch in Pipeline(source=np.arange(8), batch_size=size, output="numpy", num_workers=1):
        pass
Pipeline(source=np.arange(8), batch_size=2)  # which nobody iterates
"""


def test_an_environment_variable_traces_the_pipelines_of_a_program(tmp_path: Path) -> None:
    environment = {**os.environ, "DATARAX_MP_TRACE": str(tmp_path / "trace.json")}
    subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trace-2.json", "trace.json"]
    assert len(spans(events(tmp_path / "trace.json"), "step ")) == 4
    assert len(spans(events(tmp_path / "trace-2.json"), "step ")) == 2
