"""One run in many is looked at closely, and tells what it consists of."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from datarax_mp.recipe.recorder import WHOLE_BATCH, Phase, Recorder, sighting
from datarax_mp.recipe.watch import Timed, Watch, spans, starved, summary
from tests.fakes import FakeClock


def a_run(recorder: Recorder, records: int) -> None:
    recorder.step(0, 3)
    for record in range(records):
        recorder.read(record)
        recorder.stage(0, record)
        recorder.stage(1, record)
        recorder.before_writing(lambda number: None)(record)


def looked_at(watch: Watch, recorder: Recorder, records: int = 4, *, keep: bool = False) -> Timed:
    look = watch.begin(time.perf_counter(), closely=True)
    assert look is not None
    a_run(recorder, records)
    assert watch.leave(look)
    return watch.timed(look, time.perf_counter(), 0.5, None, keep=keep)


def test_each_part_is_counted_once_for_each_record() -> None:
    recorder = Recorder()
    began = time.perf_counter()
    timed = looked_at(Watch(recorder), recorder)
    wall = time.perf_counter() - began
    assert {part: series.count for part, series in timed.parts.items()} == {
        (Phase.READING, 0): 4,
        (Phase.STAGE, 0): 4,
        (Phase.STAGE, 1): 4,
        (Phase.WRITING, 0): 4,
    }
    assert 0 < sum(series.total for series in timed.parts.values()) < wall
    assert timed.thread == threading.get_native_id()
    assert timed.marks == []
    assert 0 <= timed.computed < wall


def test_the_line_says_the_same_while_somebody_looks() -> None:
    recorder = Recorder()
    line, watch = recorder.line, Watch(recorder)
    look = watch.begin(0, closely=True)
    recorder.step(2, 7)
    recorder.stage(1, 40)
    assert sighting(line) == sighting(recorder.line) == (Phase.STAGE, 2, 7, 40, 1)
    assert look is not None and watch.leave(look)
    assert recorder.line is line


def test_marks_are_kept_where_a_trace_wants_them() -> None:
    recorder = Recorder()
    marks = looked_at(Watch(recorder), recorder, keep=True).marks
    assert marks[0][1] == ~3  # the step
    times = [when for when, _ in marks]
    assert times == sorted(times)
    assert marks[-1][1] == 0
    names = [part[0].name for part, _, _ in spans(marks)]
    assert names == ["IDLE", *["READING", "STAGE", "STAGE", "WRITING"] * 4]


def test_what_is_said_twice_in_a_row_is_one() -> None:
    recorder = Recorder()
    watch = Watch(recorder)
    look = watch.begin(0, closely=True)
    assert look is not None
    recorder.write(3)
    recorder.write(WHOLE_BATCH)
    assert watch.leave(look)
    [series] = summary([*look.marks, (look.marks[-1][0] + 5000, 0)]).values()
    assert series.count == 1


def test_looks_come_at_pauses_and_never_at_a_processs_first_run() -> None:
    clock = FakeClock()
    watch = Watch(Recorder(), lambda: 0.0)
    looks = []
    for _ in range(3000):
        look = watch.begin(clock.now, closely=False)
        if look is not None:
            assert watch.leave(look)
            watch.timed(look, clock.now, 0.0, None, keep=False)
            looks.append(clock.now)
        clock.now += 0.001
    assert looks[0] > 1000.0
    assert 12 <= len(looks) <= 18  # 10, 20, 40, ... 250 ms, and then every 250 ms
    assert looks[-1] - looks[-2] == pytest.approx(0.25, abs=0.002)


def test_a_look_that_costs_much_is_followed_by_a_long_pause() -> None:
    recorder, computed = Recorder(), iter([7.0, 7.01])  # seconds before it tells what came of it, and after that
    watch = Watch(recorder, lambda: next(computed))
    look = watch.begin(100.0, closely=True)
    assert look is not None
    a_run(recorder, records=1000)
    assert watch.leave(look)
    watch.timed(look, 200.0, 0.0, None, keep=False)
    cost = 0.01 + 4000 * 0.5e-6
    assert watch.begin(200.0 + 399 * cost, closely=False) is None
    assert watch.begin(200.0 + 402 * cost, closely=False) is not None


def test_threads_look_at_their_own_runs_alone() -> None:
    recorder = Recorder()
    watch, line = Watch(recorder), recorder.line
    inside, found = threading.Barrier(2), list[Timed]()

    def work(records: int) -> None:
        look = watch.begin(0, closely=True)
        assert look is not None
        inside.wait(10)
        a_run(recorder, records)
        inside.wait(10)
        assert watch.leave(look)
        found.append(watch.timed(look, time.perf_counter(), 0.0, None, keep=False))

    threads = [threading.Thread(target=work, args=(records,)) for records in (3, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(timed.parts[Phase.READING, 0].count for timed in found) == [3, 5]
    assert recorder.line is line


def test_a_run_in_the_middle_of_a_run_leaves_the_outer_one_untold() -> None:
    recorder = Recorder()
    watch, line = Watch(recorder), recorder.line
    outer = watch.begin(0, closely=True)
    inner = watch.begin(0, closely=True)
    assert outer is not None and inner is not None
    assert watch.leave(inner)
    assert not watch.leave(outer)
    assert recorder.line is line


def test_what_was_tried_again_is_told_once() -> None:
    recorder = Recorder()
    watch = Watch(recorder)
    recorder.retried += 2
    assert watch.timed(None, 0.0, 0.0, None, keep=False).retried == 2
    assert looked_at(watch, recorder).retried == 0


def test_a_thread_that_has_to_share_a_core_is_starved() -> None:
    if not hasattr(os, "sched_setaffinity") or not os.path.exists("/proc/thread-self/schedstat"):
        pytest.skip("this system does not say")
    code = "import time; end = time.thread_time() + 0.2\nwhile time.thread_time() < end: pass"
    one, cores = min(os.sched_getaffinity(0)), os.sched_getaffinity(0)
    os.sched_setaffinity(0, {one})
    try:
        before = starved()
        with subprocess.Popen([sys.executable, "-c", code]) as other:
            while other.poll() is None:
                pass
        assert starved() - before > 0.05
    finally:
        os.sched_setaffinity(0, cores)
