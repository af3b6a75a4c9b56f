"""What workers log arrives in main's handlers, under the same names, with main's levels."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
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
