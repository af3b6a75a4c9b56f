"""What workers log arrives in main's handlers, under the same names, with main's levels."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from datarax_mp import Pipeline, worker_info

NAME = "tests.of.logs"


class Logs:
    """A source that does something with each record's number."""

    def __init__(self, act: Callable[[int], Any]) -> None:
        self.act = act

    def __len__(self) -> int:
        return 12

    def __getitem__(self, number: int) -> int:
        self.act(number)
        return number


def run(act: Callable[[int], Any], workers: int = 2, epochs: int = 1, **options: Any) -> None:
    with Pipeline(source=Logs(act), batch_size=3, num_workers=workers, output="numpy", **options) as pipeline:
        for _ in range(epochs):
            for _ in pipeline:
                pass


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    logging.getLogger(NAME).setLevel(logging.NOTSET)
    logging.captureWarnings(False)


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == NAME]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_records_arrive_with_all_that_is_in_them(workers: int, caplog: pytest.LogCaptureFixture) -> None:
    def act(number: int) -> None:
        if number == 5:
            try:
                raise ValueError("five")
            except ValueError:
                logging.getLogger(NAME).exception("number %d of %s", number, [1], extra={"colour": "red"})

    run(act, workers)
    [record] = [record for record in caplog.records if record.name == NAME]
    assert (record.levelname, record.getMessage(), record.colour) == ("ERROR", "number 5 of [1]", "red")  # type: ignore[attr-defined]
    assert record.funcName == "act" and record.filename == "test_logs.py"
    assert (record.process != os.getpid()) == (workers > 0)
    assert "ValueError: five" in caplog.text


@pytest.mark.parametrize("workers", [0, 2])
def test_levels_are_mains_also_when_they_change(workers: int, caplog: pytest.LogCaptureFixture) -> None:
    def act(number: int) -> None:
        logging.getLogger(NAME).info("info %d", number)
        logging.getLogger(f"{NAME}.child").debug("debug %d", number)

    with Pipeline(source=Logs(act), batch_size=3, num_workers=workers, output="numpy") as pipeline:
        list(pipeline)
        assert messages(caplog) == []
        caplog.set_level(logging.INFO, NAME)
        list(pipeline)
        assert sorted(messages(caplog)) == sorted(f"info {number}" for number in range(12))
        logging.disable(logging.INFO)
        try:
            list(pipeline)
        finally:
            logging.disable(logging.NOTSET)
        assert len(messages(caplog)) == 12


def test_a_record_comes_before_the_batch_that_it_was_logged_for(caplog: pytest.LogCaptureFixture) -> None:
    with Pipeline(
        source=Logs(lambda number: logging.getLogger(NAME).warning("read %d", number)),
        batch_size=3,
        num_workers=1,
        output="numpy",
    ) as pipeline:
        for batch in pipeline:
            assert {f"read {number}" for number in batch["value"]} <= set(messages(caplog))


def test_the_last_words_of_a_worker_that_dies_arrive(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    def act(number: int) -> None:
        if number == 4 and not (tmp_path / "dead").exists():
            (tmp_path / "dead").touch()
            logging.getLogger(NAME).error("good bye")
            os.kill(os.getpid(), signal.SIGKILL)

    run(act)
    texts = [record.getMessage() for record in caplog.records]
    [death] = [place for place, text in enumerate(texts) if "SIGKILL" in text]
    assert texts.index("good bye") < death


def test_a_worker_that_logs_more_than_there_is_room_for_is_not_held_up(caplog: pytest.LogCaptureFixture) -> None:
    def act(number: int) -> None:
        if number == 0:
            for count in range(5_000):
                logging.getLogger(NAME).warning("%s %d", "x" * 300, count)

    with Pipeline(source=Logs(act), batch_size=3, num_workers=1, output="numpy") as pipeline:
        while not any("are missing" in record.getMessage() for record in caplog.records):
            list(pipeline)
    mine = messages(caplog)
    assert [int(text.split()[1]) for text in mine[:100]] == list(range(100))


def log_all(numbers: range) -> None:
    for number in numbers:
        logging.getLogger(NAME).warning(number)


def test_each_record_of_several_threads_arrives_once_and_those_of_one_in_their_order(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def act(number: int) -> None:
        if number == 0:
            return  # it is read twice, for the first batch's shape
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            numbers = range(80 * number, 80 * number + 80)  # of all records, so few that they can wait in the worker
            threads = [threading.Thread(target=log_all, args=(numbers[place::8],)) for place in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(interval)

    run(act, 1)
    came = [int(text) for text in messages(caplog)]
    assert sorted(came) == list(range(80, 12 * 80))
    for first in range(8):
        mine = [number for number in came if number % 8 == first]
        assert mine == sorted(mine)


def test_a_signal_handler_may_log_in_the_middle_of_logging(caplog: pytest.LogCaptureFixture) -> None:
    def act(number: int) -> None:
        if number == 0:
            return
        rung, handled = itertools.count(1), list[int]()

        def handle(*_: object) -> None:
            mine = next(rung)  # in one go: the handler may be called in the middle of itself
            if mine <= 30:
                logging.getLogger(NAME).warning("handled %d", 30 * number + mine)
                handled.append(mine)

        before = signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
        try:
            for count in range(30):
                logging.getLogger(NAME).warning("logged %d", 30 * number + count + 1)
            while len(handled) < 30:
                signal.pause()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    run(act, 1)
    numbers = range(31, 30 * 12 + 1)
    assert sorted(messages(caplog)) == sorted(
        f"{what} {number}" for what in ("handled", "logged") for number in numbers
    )


def test_a_process_that_is_forked_while_others_log_may_log_too(caplog: pytest.LogCaptureFixture) -> None:
    def act(number: int) -> None:
        over = threading.Event()

        def log() -> None:
            for count in itertools.count():
                if over.is_set():
                    return
                logging.getLogger(NAME).warning("thread %d of %d, read %s", count, number, read)

        read = time.perf_counter_ns()  # one is read twice
        thread = threading.Thread(target=log)
        thread.start()
        try:
            for count in range(4):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)  # that there are threads
                    pid = os.fork()
                if pid == 0:
                    logging.getLogger(NAME).warning("process %d of %d, read %s", count, number, read)
                    os._exit(0)
                assert os.waitpid(pid, 0)[1] == 0
        finally:
            over.set()
            thread.join()

    run(act, 1)
    came = messages(caplog)
    assert any(text.startswith("process") for text in came)
    assert len(set(came)) == len(came)


def test_a_record_that_is_too_long_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    run(lambda number: logging.getLogger(NAME).warning("long %s", "y" * 1_000_000) if number == 3 else None)
    [text] = messages(caplog)
    assert text.startswith("long yyy") and text.endswith("... (1000005 characters)")


def test_a_logger_that_keeps_its_records_to_itself_has_its_handlers_called() -> None:
    records: list[logging.LogRecord] = []

    class Keeps(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger = logging.getLogger(f"{NAME}.private")
    logger.propagate = False
    logger.addHandler(handler := Keeps())
    try:
        run(lambda number: logging.getLogger(f"{NAME}.private").error("secret %d", number))
    finally:
        logger.removeHandler(handler)
    assert {record.getMessage() for record in records} == {f"secret {number}" for number in range(12)}


def test_warnings_that_main_sends_to_its_log_come_there(caplog: pytest.LogCaptureFixture) -> None:
    def act(number: int) -> None:
        if number == 7:
            warnings.warn("seven", UserWarning, stacklevel=1)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        run(act)
    assert any("seven" in record.getMessage() for record in caplog.records if record.name == "py.warnings")


def test_handlers_that_worker_init_sets_up_get_the_workers_records(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def prepare() -> None:
        info = worker_info()
        assert info is not None
        handler = logging.FileHandler(tmp_path / f"worker{info.index}.log")
        logging.getLogger(NAME).addHandler(handler)

    run(lambda number: logging.getLogger(NAME).warning("record %d", number), 1, worker_init=prepare)
    assert set((tmp_path / "worker0.log").read_text().splitlines()) == set(messages(caplog))


def test_nothing_is_printed_twice_or_lost_on_the_terminal(
    run_script: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = run_script(
        """
import logging, sys
from datarax_mp import Pipeline

logging.basicConfig(stream=sys.stdout, format="%(name)s %(message)s")

def stage(record):
    logging.getLogger("mine").warning("record %d", record)
    sys.stdout.write(f"printed {record}\\n")  # in one piece, also where nothing is buffered
    sys.stdout.flush()
    return record

for _ in Pipeline(source=list(range(1, 5)), batch_size=1, stages=[stage], num_workers=2, output="numpy"):
    pass
"""
    )
    lines = done.stdout.splitlines()
    assert sorted(set(lines)) == sorted(f"{kind} {n}" for kind in ("mine record", "printed") for n in range(1, 5))
    assert lines.count("mine record 3") == lines.count("printed 3") == 1
