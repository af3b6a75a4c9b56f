"""Cache: what comes before it is computed once, and nobody sees a difference otherwise."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarax_mp import (
    BlockSource,
    Cache,
    Filter,
    FlatMap,
    MapBatch,
    Pipeline,
    RandomMapElement,
    RecordError,
)
from datarax_mp.testing import assert_same_stream

LENGTH, MB = 43, 1_000_000


class Source:
    """Notes in a file which records were read, by whichever process."""

    def __init__(self, log: Path, *, damaged: bool = False) -> None:
        self.log, self.damaged = str(log), damaged

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, number: int) -> dict[str, Any]:
        with open(self.log, "a") as file:
            file.write(f"{number}\n")
        if self.damaged and number == 7:
            raise OSError("record 7 is damaged")
        return {"x": np.full(100, number, np.float32), "n": number, "text": f"record {number}"}


class Together(Source):
    """Reads several records in one call."""

    def __getitem__(self, number: int) -> dict[str, Any]:
        return super().__getitem__(number)

    def __getitems__(self, numbers: list[int]) -> list[dict[str, Any]]:
        return [self[number] for number in numbers]


class Blocks(BlockSource):
    """Reads blocks."""

    blocks = (10, 20, 13)

    def __init__(self, log: Path) -> None:
        self.log = str(log)

    def read_block(self, number: int) -> dict[str, Any]:
        with open(self.log, "a") as file:
            file.write(f"{number}\n")
        first = sum(self.blocks[:number])
        numbers = np.arange(first, first + self.blocks[number])
        return {"x": np.repeat(numbers[:, None], 100, 1).astype(np.float32), "n": numbers}


def plus_one(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "x": record["x"] + 1}


def noisy(record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    record["x"] += rng.random()  # in place: a record is this stage's own
    return record


def odd(record: dict[str, Any]) -> bool:
    return bool(record["n"] % 2)


def halves(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**record, "x": part} for part in np.split(record["x"], 2)]


def doubled(batch: dict[str, Any]) -> dict[str, Any]:
    return {**batch, "x": 2 * batch["x"]}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "log").touch()
    return tmp_path / "log"


def read(log: Path) -> list[int]:
    """What has been read since this was last asked."""
    numbers = sorted(map(int, log.read_text().split()))
    log.write_text("")
    return numbers


def pipeline(source: Any, *stages: Any, **more: Any) -> Pipeline:
    options = {"batch_size": 8, "shuffle": True, "seed": 3, "output": "numpy", **more}
    return Pipeline(source=source, stages=stages, **options)


def stream(made: Pipeline, epochs: int = 2) -> list[Any]:
    return [
        (batch["x"].tobytes(), batch["n"].tobytes(), [item.source_info for item in batch.metadata])
        for _ in range(epochs)
        for batch in made
    ]


ORDERS: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "first": lambda cache: (*cache, plus_one, RandomMapElement(noisy)),
    "behind a stage": lambda cache: (plus_one, *cache, RandomMapElement(noisy), MapBatch(doubled)),
    "behind a filter": lambda cache: (Filter(odd), plus_one, *cache, RandomMapElement(noisy)),
    "before a filter": lambda cache: (plus_one, *cache, Filter(odd), RandomMapElement(noisy)),
    "behind items": lambda cache: (FlatMap(halves, most=2), plus_one, *cache, RandomMapElement(noisy)),
    "before items": lambda cache: (plus_one, *cache, FlatMap(halves, most=2), plus_one),
    "among items": lambda cache: (FlatMap(halves, most=2), *cache, Filter(odd), plus_one, RandomMapElement(noisy)),
}


@pytest.mark.parametrize("where", ["memory", "disk"])
@pytest.mark.parametrize("name", ORDERS)
def test_the_stream_is_as_without_it_wherever_it_stands(name: str, where: str, log: Path, tmp_path: Path) -> None:
    cache = Cache(folder=tmp_path / "cache" if where == "disk" else None, budget=MB)
    plain = stream(pipeline(Source(log), *ORDERS[name](())))
    with pipeline(Source(log), *ORDERS[name]((cache,))) as made:
        start = made.get_state()
        assert stream(made, epochs=1) + stream(made, epochs=1) == plain
        read(log)
        made.set_state(start)
        assert stream(made) == plain
    assert read(log) == []


@pytest.mark.parametrize("where", ["memory", "disk", "compressed"])
@pytest.mark.parametrize("kind", [Source, Together, Blocks])
@pytest.mark.parametrize(
    ("workers", "kind_of_worker"), [(0, "processes"), (1, "processes"), (3, "processes"), (2, "threads")]
)
def test_each_record_is_computed_once_for_all_workers(
    where: str, kind: Any, workers: int, kind_of_worker: Any, log: Path, tmp_path: Path
) -> None:
    plain = stream(pipeline(kind(log), plus_one, RandomMapElement(noisy)), epochs=3)
    read(log)
    folder = None if where == "memory" else tmp_path / "cache"
    cache = Cache(folder=folder, budget=MB, compress=3 if where == "compressed" else None)
    options = {"num_workers": workers, "workers": kind_of_worker} if workers else {}
    with pipeline(kind(log), plus_one, cache, RandomMapElement(noisy), **options) as made:
        found = stream(made, epochs=1)
        first = read(log)
        if kind is Blocks:
            assert set(first) == {0, 1, 2}
        else:
            assert set(first) == set(range(LENGTH)) and len(first) <= LENGTH + 1  # the first one may be looked at twice
        assert found + stream(made) == plain
        assert read(log) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_statistics_count_what_it_had_and_what_it_had_not(workers: int, log: Path) -> None:
    with pipeline(Source(log), plus_one, Cache(budget=MB), num_workers=workers) as made:
        for _ in range(3):
            stream(made, epochs=1)
        stats = made.stats()
    assert LENGTH <= stats.misses <= LENGTH + 1  # the first one may be looked at twice
    assert 2 * LENGTH <= stats.hits <= 2 * LENGTH + 1
    assert f"{stats.hits} records out of the cache" in str(made.report())


def test_another_pipeline_and_another_run_find_it(log: Path, tmp_path: Path) -> None:
    cache = Cache(folder=tmp_path / "cache", budget=MB)
    plain = stream(pipeline(Source(log), plus_one, cache))
    read(log)
    assert stream(pipeline(Source(log), plus_one, cache, RandomMapElement(noisy), batch_size=5, num_workers=2))
    assert stream(pipeline(Source(log), plus_one, cache, num_workers=1)) == plain
    assert read(log) == []


def test_pipelines_that_live_at_the_same_time_share_memory(log: Path) -> None:
    cache = Cache(budget=MB)
    with pipeline(Source(log), plus_one, cache) as one, pipeline(Source(log), plus_one, cache, num_workers=1) as other:
        stream(one)
        read(log)
        stream(other)
    assert read(log) == []
    stream(pipeline(Source(log), plus_one, cache))
    assert len(read(log)) >= LENGTH  # it has gone with them


def test_a_budget_that_is_too_small_for_all_changes_nothing_else(log: Path, tmp_path: Path) -> None:
    plain = stream(pipeline(Source(log), plus_one), epochs=3)
    read(log)
    for folder in (None, tmp_path / "cache"):
        for workers in (0, 2):
            cache = Cache(folder=folder, budget=10_000 + workers)
            made = pipeline(Source(log), plus_one, cache, num_workers=workers)
            with made:
                assert stream(made, epochs=1) + stream(made) == plain
            assert 2 * LENGTH < len(read(log)) < 3 * LENGTH


def test_a_run_goes_on_with_a_cache_where_one_without_stopped_and_back(log: Path, tmp_path: Path) -> None:
    cache = Cache(folder=tmp_path / "cache", budget=MB)
    orders = [(plus_one, RandomMapElement(noisy)), (plus_one, cache, RandomMapElement(noisy))]
    plain = stream(pipeline(Source(log), *orders[0]))
    for before, after in (orders, orders[::-1], [orders[1]] * 2):
        for steps in (0, 3, 5):
            with pipeline(Source(log), *before, num_workers=1) as one, pipeline(Source(log), *after) as other:
                batches = iter(one)
                for _ in range(steps):
                    next(batches)
                other.set_state(one.get_state())
                rest = stream(other, epochs=2)
            assert rest[: len(plain) - steps] == plain[steps:]


def test_it_keeps_what_every_stage_must(log: Path) -> None:
    def made(num_workers: int) -> Pipeline:
        return pipeline(Source(log), plus_one, Cache(budget=MB), RandomMapElement(noisy), num_workers=num_workers)

    with made(0) as one, made(2) as other:
        assert_same_stream(one, other, epochs=2)


def test_what_raises_is_not_kept_and_skipped_again(log: Path) -> None:
    told: list[int] = []
    options: dict[str, Any] = {"on_error": "skip", "on_skip": lambda skipped: told.append(skipped.record)}
    for source in (Source(log, damaged=True), Together(log, damaged=True)):
        told.clear()
        cache = Cache(budget=MB)
        plain = stream(pipeline(source, plus_one, **options))
        with pipeline(source, plus_one, cache, **options) as made:
            assert stream(made, epochs=1) + stream(made, epochs=1) == plain
        assert told == [7] * 4
        with pipeline(source, plus_one, cache) as made, pytest.raises(OSError, match="record 7 is damaged"):
            list(made)


def test_what_was_changed_is_computed_again(log: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    cache = Cache(folder=folder, budget=MB)

    class Scale:
        def __init__(self, by: int) -> None:
            self.by = by

        def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
            return {**record, "x": self.by * record["x"]}

    scale = Scale(2)
    for workers in (0, 1):
        scale.by = 2
        with pipeline(Source(log), scale, cache, num_workers=workers) as made:
            start = made.get_state()
            first = stream(made, epochs=1)
            scale.by = 3
            made.set_state(start)
            second = stream(made, epochs=1)
            assert second == stream(pipeline(Source(log), Scale(3)), epochs=1) != first
            scale.by = 2
            made.set_state(start)
            read(log)
            assert stream(made, epochs=1) == first
            assert read(log) == []


def test_data_in_memory_that_was_changed_is_computed_again(tmp_path: Path) -> None:
    x = np.zeros((LENGTH, 100), np.float32)
    data = {"x": x, "n": np.arange(LENGTH)}
    for folder in (None, tmp_path / "cache"):
        x[:] = 0
        with pipeline(data, plus_one, Cache(folder=folder, budget=MB), num_workers=1) as made:
            assert {value for batch in made for value in batch["x"].ravel()} == {1}
            x[:] = 4
            assert {value for batch in made for value in batch["x"].ravel()} == {5}


def test_a_file_that_was_changed_is_computed_again(tmp_path: Path) -> None:
    class Files:
        def __init__(self) -> None:
            self.names = [f"{tmp_path}/{number}" for number in range(4)]

        def data_files(self) -> list[str]:
            return self.names

        def __len__(self) -> int:
            return 4

        def __getitem__(self, number: int) -> dict[str, Any]:
            return {"n": int(Path(self.names[number]).read_text())}

    for number in range(4):
        (tmp_path / str(number)).write_text(str(number))
    with pipeline(Files(), Cache(budget=MB), shuffle=False) as made:
        assert [batch["n"].tolist() for batch in made] == [[0, 1, 2, 3]]
        (tmp_path / "2").write_text("20")
        assert [batch["n"].tolist() for batch in made] == [[0, 1, 20, 3]]


@pytest.mark.parametrize(
    ("stages", "error", "message"),
    [
        ([RandomMapElement(noisy), Cache(budget=1)], ValueError, "after the random stage RandomMapElement"),
        ([Cache(budget=1), Cache(budget=1)], ValueError, "there are 2 Cache"),
        ([MapBatch(doubled), Cache(budget=1)], ValueError, "takes single records"),
        ([Cache(budget=0)], ValueError, "budget"),
        ([Cache(budget=1.5)], TypeError, "budget"),  # type: ignore[arg-type]
        ([Cache(budget=1, folder=3)], TypeError, "folder must be a path"),  # type: ignore[arg-type]
        ([Cache(budget=1, compress=99)], ValueError, "1 to 22"),
        ([Cache(budget=1, folder=__file__)], FileExistsError, "Give it another folder"),
    ],
)
def test_what_has_no_meaning_is_an_error_at_once(stages: list[Any], error: Any, message: str, log: Path) -> None:
    with pytest.raises(error, match=message):
        pipeline(Source(log), *stages)


def test_a_folder_without_permission_is_an_error_at_once(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").mkdir(mode=0o500)
    if os.getuid() == 0:  # who may do everything is refused nothing

        def refused(path: Any, *_: Any) -> int:
            raise PermissionError(errno.EACCES, "Permission denied", path)

        monkeypatch.setattr(os, "open", refused)
    with pytest.raises(PermissionError, match="Give it another folder"):
        pipeline(Source(log), Cache(budget=1, folder=tmp_path / "cache"))


def draws(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "x": record["x"] + np.random.random()}


class Listens:
    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        return record


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("stage", "error", "message"),
    [
        (draws, RecordError, "has drawn from a global random generator"),
        (Listens(), ValueError, "has set_epoch"),
        (lambda record: {**record, "f": (lambda: 0).__code__}, RecordError, "Cache cannot keep it"),
    ],
)
def test_what_is_not_the_same_every_time_or_cannot_be_kept_is_an_error(
    workers: int, stage: Any, error: Any, message: str, log: Path
) -> None:
    with (
        pipeline(Source(log), stage, Cache(budget=MB), num_workers=workers) as made,
        pytest.raises(error, match=message),
    ):
        list(made)
    with pipeline(Source(log), Cache(budget=MB), draws, num_workers=workers) as made:  # behind it they are welcome
        list(made)


def test_a_folder_that_goes_while_it_is_used_is_a_warning_and_the_stream_goes_on(
    log: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import shutil

    plain = stream(pipeline(Source(log), plus_one), epochs=3)
    with (
        caplog.at_level(logging.WARNING, "datarax_mp"),
        pipeline(Source(log), plus_one, Cache(folder=tmp_path / "cache", budget=MB), num_workers=1) as made,
    ):
        found = stream(made, epochs=1)
        shutil.rmtree(tmp_path / "cache")
        (tmp_path / "cache").touch()
        assert found + stream(made) == plain


@pytest.mark.parametrize(("package", "more"), [("xxhash", ""), ("zstandard", ", compress=1")])
def test_a_package_that_is_missing_is_named_with_its_extra(
    package: str, more: str, run_script: Callable[..., Any]
) -> None:
    run_script(
        f"import sys\nsys.modules[{package!r}] = None\n"
        "from datarax_mp import Cache, Pipeline\n"
        "try:\n"
        f"    Pipeline(source={{'x': [1]}}, batch_size=1, stages=[Cache(budget=1{more})])\n"
        "except ImportError as error:\n"
        f"    assert 'datarax-mp[cache]' in str(error) and error.name == {package!r}, error\n"
        "else:\n"
        "    raise AssertionError\n"
    )
