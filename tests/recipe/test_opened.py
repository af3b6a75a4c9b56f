"""Sources that are context managers: entered before the first record, left when a process is through with them."""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from datarax_mp import ConcatSource, Pipeline, SubsetSource
from datarax_mp.recipe.opened import Opened, managers
from tests.processes import SECONDS, comes_true


class Source:
    """Records that can be read while it is entered, alone."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.entered = folder, 0

    def __len__(self) -> int:
        return 40

    def __enter__(self) -> Any:
        self.entered += 1
        self.note("enter")
        return self

    def __exit__(self, *about: Any) -> None:
        self.entered -= 1
        self.note("exit")

    def note(self, what: str) -> None:
        with open(self.folder / "log", "a") as file:
            file.write(f"{os.getpid()} {what}\n")

    def __getitem__(self, number: int) -> dict[str, int]:
        assert self.entered == 1
        return {"n": number}

    def events(self) -> Counter[tuple[str, str]]:
        path = self.folder / "log"
        lines = path.read_text().splitlines() if path.exists() else []
        return Counter((line.split()[0], line.split()[1]) for line in lines)


WAYS: dict[str, dict[str, Any]] = {
    "in this process": {"num_workers": 0},
    "2 workers": {"num_workers": 2},
    "3 threads": {"num_workers": 3, "workers": "threads"},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("around", [lambda source: source, lambda s: SubsetSource(ConcatSource([s]), range(40))])
def test_it_is_entered_once_where_records_are_read_and_left_when_the_pipeline_is_closed(
    way: str, around: Any, tmp_path: Path
) -> None:
    source = Source(tmp_path)
    with Pipeline(source=around(source), batch_size=4, output="numpy", **WAYS[way]) as pipeline:
        for _ in range(3):
            assert [n for batch in pipeline for n in batch["n"].tolist()] == list(range(40))
        processes = {pid for pid, _ in source.events()}
        assert source.events() == {(pid, "enter"): 1 for pid in processes}
        assert 1 <= len(processes) <= (2 if way == "2 workers" else 1)
        assert (str(os.getpid()) in processes) == (way != "2 workers")
    assert comes_true(lambda: source.events() == {(pid, what): 1 for pid in processes for what in ("enter", "exit")})


@pytest.mark.parametrize("way", WAYS)
def test_a_pipeline_that_is_closed_in_the_middle_leaves_it(way: str, tmp_path: Path) -> None:
    source = Source(tmp_path)
    pipeline = Pipeline(source=source, batch_size=4, output="numpy", **WAYS[way])
    next(iter(pipeline))
    pipeline.close()

    def even() -> bool:
        events = source.events()
        return all(events[pid, "enter"] == events[pid, "exit"] for pid, _ in events)

    assert comes_true(even)


class Slow(Source):
    """One record takes until it is let go."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.reading, self.let_go, self.left = threading.Event(), threading.Event(), threading.Event()

    def __exit__(self, *about: Any) -> None:
        super().__exit__(*about)
        self.left.set()

    def __getitem__(self, number: int) -> dict[str, int]:
        if number == 4:  # of the second batch
            self.reading.set()
            assert self.let_go.wait(SECONDS)
        return super().__getitem__(number)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_last_thread_that_reads_leaves_it_where_a_record_outlasts_the_pipeline(
    threads: int, tmp_path: Path
) -> None:
    source = Slow(tmp_path)
    pipeline = Pipeline(source=source, batch_size=4, num_workers=threads, workers="threads", output="numpy")
    iterator = iter(pipeline)
    next(iterator)
    assert source.reading.wait(SECONDS)
    pipeline.close(timeout=0)
    assert source.entered == 1
    source.let_go.set()
    assert source.left.wait(SECONDS)
    pipeline.close()
    assert (source.entered, source.events()[str(os.getpid()), "exit"]) == (0, 1)


class Other(Source):
    def __enter__(self) -> Any:
        return Source(self.folder)


class Fails(Source):
    def __enter__(self) -> Any:
        raise OSError("no connection")


@pytest.mark.parametrize("way", WAYS)
def test_what_cannot_be_entered_is_an_error(way: str, tmp_path: Path) -> None:
    with (
        Pipeline(source=Other(tmp_path), batch_size=4, **WAYS[way]) as pipeline,
        pytest.raises(TypeError, match=r"Other.__enter__ returned an object of type Source"),
    ):
        next(iter(pipeline))
    with (
        Pipeline(source=Fails(tmp_path), batch_size=4, **WAYS[way]) as pipeline,
        pytest.raises(OSError, match="no connection") as raised,
    ):
        next(iter(pipeline))
    assert "while the source was entered" in raised.value.__notes__


def test_an_error_on_the_way_out_is_told_in_the_log_and_the_others_are_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Stuck(Source):
        def __exit__(self, *about: Any) -> None:
            raise RuntimeError("it does not close")

    good = Source(tmp_path)
    opened = Opened(ConcatSource([good, Stuck(tmp_path)]))
    opened.enter()
    opened.enter()
    assert good.entered == 1
    with caplog.at_level(logging.ERROR, "datarax_mp"):
        opened.leave()
    assert good.entered == 0
    assert "Stuck.__exit__ raised RuntimeError('it does not close')" in caplog.text


def test_files_and_locks_inside_a_source_are_its_own(tmp_path: Path) -> None:
    source = Source(tmp_path)
    source.file = open(tmp_path / "x", "w")  # type: ignore[attr-defined]  # noqa: SIM115
    assert list(managers(ConcatSource([source]))) == [source]
    source.file.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("around", [lambda data: data, lambda data: ConcatSource([data])], ids=["itself", "in another"])
def test_a_data_set_of_hugging_face_outlives_the_pipelines_that_read_it(way: str, around: Any) -> None:
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"n": list(range(8))}).select([3, 1, 2])
    for _ in range(2):
        with Pipeline(source=around(data), batch_size=3, output="numpy", **WAYS[way]) as pipeline:
            assert [batch["n"].tolist() for batch in pipeline] == [[3, 1, 2]]
    assert data[0] == {"n": 3}
