"""Where a pipeline's time goes, in figures, and in a sentence that says what to do about it."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import numpy as np
import pytest
import rich

from datarax_mp import Pipeline
from datarax_mp.monitoring.report import Report
from datarax_mp.monitoring.stats import Filling, Stats, Times, part_names
from datarax_mp.testing import kill_workers


def slow(record: Any) -> Any:
    time.sleep(0.01)  # far more than the caller's own time, also where that has to wait for a core
    return {"x": np.full(1000, record, np.float32)}


def times(mean: float, count: int = 100) -> Times:
    return Times(count, mean * count, mean, mean, mean)


def stats(*, waited: float, away: float, made: float, workers: int = 2, count: int = 100, **others: Any) -> Stats:
    return Stats(
        **others,
        batches=count,
        bytes=1000 * count,
        workers=workers,
        first=times(0.1, 1),
        waited=times(waited, count),
        away=times(away, count),
        made=times(made, count),
        own=times(0.9 * away, 6),
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
        assert found.made.mean >= 5 * 0.01
        assert found.away.total >= 20 * 0.001
        assert found.waited.total > 0
        assert found.rows == 120
        assert 1 <= found.moved.count <= 24
        assert 0.001 <= found.own.p50 < found.away.largest + 0.01
        assert max(found.shares, key=found.shares.__getitem__) == "MapElement(slow)"
        # Times of parts are exact, and what is left of a run lies between them, however busy the cores are just now.
        shares = {name: part.total / found.looked.total for name, part in found.parts.items()}
        assert found.shares == pytest.approx(shares)
        assert sum(found.shares.values()) <= 1
        assert found.parts["MapElement(slow)"].count % 5 == 0
        assert found.parts["MapElement(slow)"].p50 >= 0.009
        assert found.parts["read"].count == found.parts["collate"].count
        assert found.looked.count == sum(times.count for times in found.threads.values())
        assert (found.sent.count > 0) == (how == {"num_workers": 2})
        assert set(found.threads) == set(found.thread_parts)
        assert found.computing < 0.5  # it sleeps
        assert 0 <= found.starving < 1
        assert found.batches_per_second == pytest.approx(found.rows_per_second / 5)
        assert found.utilisation == pytest.approx(found.away.total / (found.away.total + found.waited.total))
        assert 0 < found.utilisation < 0.5
        assert found.predicted(1000) == 1.0
        assert "Waiting for data" in pipeline.report().advice
        assert "MapElement(slow) takes" in pipeline.report().advice


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
    found = stats(waited=0.07, away=0.01, made=0.08, workers=1, cores=64)
    assert [round(found.predicted(workers), 3) for workers in (0, 1, 2, 4, 8, 16)] == [0.111, 0.125, 0.25, 0.5, 1, 1]


def test_cores_set_it_where_caller_and_workers_need_them() -> None:
    found = stats(waited=0.07, away=0.01, made=0.08, workers=1, cores=4, own_cores=0.125, computing=0.5)
    assert found.own_computing == pytest.approx(0.01)
    assert found.predicted(1) == pytest.approx(0.125)
    assert found.pace(64) == pytest.approx((0.01 + 0.04) / 4)  # seconds of cores that a batch takes, on four of them
    assert found.ceilings["cores"] == pytest.approx(0.8)


@pytest.mark.parametrize(("kind", "workers"), [("threads", 1), ("none", 0)])
def test_what_threads_of_this_process_compute_is_counted_once(kind: str, workers: int) -> None:
    busy = {"cores": 4, "own_cores": 0.625, "computing": 0.5}
    found = stats(waited=0.07, away=0.01, made=0.08, workers=workers, kind=kind, **busy)
    assert found.own_computing == pytest.approx(0.01)


def test_workers_that_wait_for_cores_would_be_quicker_with_fewer_of_them() -> None:
    found = stats(waited=0.03, away=0.01, made=0.08, workers=2, cores=1, own_cores=0.0, computing=0.5, starving=0.5)
    assert found.pace(1) == pytest.approx(0.04)
    assert found.pace(2) == pytest.approx(0.04)


def test_a_part_that_took_no_time_would_leave_the_rest() -> None:
    parts = {"read": times(0.002), "decode": times(0.006)}
    found = stats(waited=0.03, away=0.01, made=0.04, workers=1, parts=parts, looked=times(0.008))
    assert found.shares == {"read": pytest.approx(0.25), "decode": pytest.approx(0.75)}
    assert found.ceilings["part"] == pytest.approx(1.0)


def test_the_advice_depends_on_what_would_help() -> None:
    def advice(cores: int, **figures: Any) -> str:
        return Report(stats(cores=cores, **figures)).advice

    assert "not what holds the training up" in advice(8, waited=0.0001, away=0.02, made=0.01)
    assert advice(8, waited=0.03, away=0.01, made=0.04, workers=1) == (
        "Waiting for data 75% of the time: a batch takes a worker 40 ms, and the caller 10 ms. With num_workers=4 you "
        "would wait 0%."
    )
    busy = {"parts": {"decode": times(0.03)}, "looked": times(0.04)}
    assert advice(2, waited=0.07, away=0.01, made=0.08, workers=0, **busy) == (
        "Waiting for data 88% of the time: a batch takes a worker 80 ms (stage decode takes 75% of that), and the "
        "caller 10 ms. With num_workers=2 you would wait 75%, and more would bring nothing: the 2 cores are busy then. "
        "Make stage decode cheaper, or store data closer to what is trained on."
    )
    assert "More workers bring nothing" in advice(2, waited=0.03, away=0.01, made=0.08, workers=2)
    assert "lack cores (there are 2)" in advice(2, waited=0.03, away=0.01, made=0.015, workers=4, computing=0.1)
    assert "The worker waits for a core 40% of that: more processes" in advice(
        8, waited=0.03, away=0.01, made=0.04, workers=1, starving=0.4
    )
    assert "Too few batches" in advice(2, waited=0, away=0, made=0, count=0)


def test_stages_of_one_name_are_told_apart() -> None:
    names = part_names(["MapElement(f)", "Filter(g)", "MapElement(f)"])
    assert len(set(names.values())) == 5


def test_the_last_seconds_are_told_apart_from_what_was_before() -> None:
    def read(record: Any) -> Any:
        time.sleep(0.02 if record < 8 else 0)
        return record

    with Pipeline(source=np.arange(400), batch_size=1, stages=[read], output="numpy") as pipeline:
        for place, _ in enumerate(pipeline):
            if place > 8:
                time.sleep(0.005)
        whole, late = pipeline.stats(), pipeline.stats(last=0.6)
        assert 0 < late.batches < whole.batches == 400
        assert late.waited.largest < 0.01 < whole.made.largest
        assert late.first.count == 0
        assert pipeline.stats(last=1000).batches == 400


def test_whoever_looks_from_another_thread_disturbs_nobody() -> None:
    errors, stop = [], threading.Event()

    def look(pipeline: Any) -> None:
        try:
            while not stop.is_set():
                str(pipeline.report()), str(pipeline.report(1)), pipeline.stats().asdict()
        except BaseException as error:
            errors.append(error)

    with Pipeline(source=np.arange(4000), batch_size=4, num_workers=2, output="numpy") as pipeline:
        thread = threading.Thread(target=look, args=(pipeline,))
        thread.start()
        batches = sum(1 for _ in pipeline)
        stop.set()
        thread.join()
    assert (batches, errors) == (1000, [])


def test_a_worker_that_dies_and_a_record_that_is_read_again_are_counted() -> None:
    class Flaky:
        failed = False

        def __len__(self) -> int:
            return 40

        def __getitem__(self, number: int) -> Any:
            if number == 5 and not self.failed:
                self.failed = True
                raise OSError("once")
            return {"x": np.float32(number)}

    with Pipeline(source=Flaky(), batch_size=2, retries=1, num_workers=1, output="numpy") as pipeline:
        for place, _ in enumerate(pipeline):
            if place == 12:
                kill_workers(1)
        assert pipeline.stats().retried == 1
        assert pipeline.stats().replaced <= 1
        assert pipeline.stats().ring == Filling()
        assert pipeline.stats().rows == 40


def test_the_slots_are_told_while_somebody_iterates() -> None:
    with Pipeline(source=np.arange(40), batch_size=2, num_workers=1, output="numpy") as pipeline:
        iterator = iter(pipeline)
        batch = next(iterator)
        ring = pipeline.stats().ring
        assert ring.held >= 1
        assert ring.held + ring.filled + ring.free > 2
        assert "slots:" in pipeline.report().totals
        del batch


def test_rich_and_a_notebook_show_the_same_words(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(stats(waited=0.03, away=0.01, made=0.04))
    assert report._repr_html_().startswith("<table>")
    assert "your step" in report._repr_html_()
    rich.print(report)
    assert "Waiting for data 75% of the time" in capsys.readouterr().out
    report.show()  # which is no terminal
    assert capsys.readouterr().out == f"{report}\n"
