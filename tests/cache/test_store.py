"""Both ways to keep records, by one contract; and what only files can meet: others, damage, no room."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datarax_mp.cache.disk import DiskStore
from datarax_mp.cache.folder import Folder
from datarax_mp.cache.index import LINE, line, lines_of
from datarax_mp.cache.memory import Memory, MemoryStore, memory_of
from datarax_mp.cache.packing import pack, unpack
from datarax_mp.cache.sealed import Sealer
from datarax_mp.cache.store import Store
from datarax_mp.core.descriptors import open_count

pytestmark = pytest.mark.filterwarnings(
    "ignore:os.fork\\(\\) was called:RuntimeWarning", "ignore:.*multi-threaded:DeprecationWarning"
)

KEY, OTHER, THIRD = "0" * 32, "1" * 32, "2" * 32
MB = 1_000_000


def disk(path: Path, key: str = KEY, budget: int = 100 * MB, level: int | None = None) -> DiskStore:
    return DiskStore(Folder(str(path), budget), key, Sealer(level))


@pytest.fixture(params=["disk", "disk, compressed", "memory", "memory, compressed"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[int], Callable[[], Store]]:
    """For a budget: what makes stores over the same records."""
    level = 3 if "compressed" in request.param else None

    def made(budget: int) -> Callable[[], Store]:
        if "disk" in request.param:
            return lambda: disk(tmp_path, budget=budget, level=level)
        memory = Memory.of(1000, budget)
        return lambda: MemoryStore(memory, Sealer(level))

    return made


def noise(number: int, size: int = 5000) -> dict[str, Any]:
    return {
        "x": np.random.default_rng(number).integers(0, 255, size, np.uint8),
        "n": number,
        "text": f"record {number}",
    }


def same(packed: Any, number: int, size: int = 5000) -> bool:
    record = unpack(packed)
    return record["n"] == number and np.array_equal(record["x"], noise(number, size)["x"])


RECORDS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(RECORDS, st.lists(st.integers(0, 70), max_size=4))
def test_a_record_comes_out_as_it_went_in(plain: Any, sizes: list[int]) -> None:
    arrays = [np.arange(size, dtype=np.int16) for size in sizes]
    found, *others = unpack(pack([plain, *arrays]))
    assert found == plain
    assert all(
        np.array_equal(one, other) and other.dtype == one.dtype for one, other in zip(arrays, others, strict=True)
    )
    assert all(other.flags.writeable for other in others)


def test_what_was_put_can_be_got_by_everybody(make: Callable[[int], Callable[[], Store]]) -> None:
    store = make(100 * MB)
    one, other = store(), store()
    assert one.get(3) is None and not one.has(3)
    for number in (3, 700, 0):
        one.put(number, pack(noise(number)))
    other.put(4, pack(noise(4)))
    for each in (one, other, store()):
        for number in (3, 700, 0, 4):
            assert each.has(number)
            assert same(each.get(number), number)
        assert each.get(5) is None


def test_what_it_gives_is_the_callers_own(make: Callable[[int], Callable[[], Store]]) -> None:
    store = make(100 * MB)()
    store.put(1, pack(noise(1)))
    unpack(store.get(1))["x"][:] = 0
    assert same(store.get(1), 1)


def test_a_budget_is_not_exceeded_and_what_is_there_stays(
    make: Callable[[int], Callable[[], Store]], tmp_path: Path
) -> None:
    store = make(2 * MB)()
    for number in range(1000):
        store.put(number, pack(noise(number)))
    kept = [number for number in range(1000) if store.get(number) is not None]
    assert kept == list(range(len(kept)))
    assert 300 < len(kept) < 400
    assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) <= 2 * MB + 40 * len(kept)


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    memory = Memory.of(1000, 100 * MB)

    def write(first: int) -> None:
        for store in (disk(tmp_path), MemoryStore(memory, Sealer())):
            for number in range(first, 300, 3):
                store.put(number, pack(noise(number)))

    processes = [multiprocessing.get_context("fork").Process(target=write, args=(first,)) for first in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    for store in (disk(tmp_path), MemoryStore(memory, Sealer())):
        assert all(same(store.get(number), number) for number in range(300))


def test_threads_that_write_at_once_lose_nothing(make: Callable[[int], Callable[[], Store]]) -> None:
    store = make(100 * MB)

    def write(first: int) -> None:
        mine = store()
        for number in range(first, 300, 3):
            mine.put(number, pack(noise(number)))

    threads = [threading.Thread(target=write, args=(first,)) for first in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = store()
    assert all(same(last.get(number), number) for number in range(300))


def test_a_process_that_was_forked_writes_to_files_of_its_own(tmp_path: Path) -> None:
    store = disk(tmp_path)
    store.put(0, pack(noise(0)))
    if (child := os.fork()) == 0:
        try:
            store.put(1, pack(noise(1)))
        finally:
            os._exit(0)
    store.put(2, pack(noise(2)))
    os.waitpid(child, 0)
    assert all(same(store.get(number), number) for number in range(3))
    assert len(list(tmp_path.rglob("*.data"))) == 2


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_nothing_that_is_damaged_is_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("cache")
    level = data.draw(st.sampled_from([None, 3]))
    writer = disk(folder, level=level)
    for number in range(5):
        writer.put(number, pack(noise(number, 300)))
    del writer
    gc.collect()
    path = next(iter(folder.rglob(data.draw(st.sampled_from(["*.data", "*.index"])))))
    content = bytearray(path.read_bytes()[: 5 * 1024 if path.suffix == ".data" else None])
    match data.draw(st.sampled_from(["cut", "flip", "swap"])):
        case "cut":
            content = content[: data.draw(st.integers(0, len(content)))]
        case "flip":
            content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        case "swap":
            half = len(content) // 2
            content = content[half:] + content[:half]
    path.write_bytes(content)
    store = disk(folder, level=level)
    for number in range(5):
        packed = store.get(number)
        assert packed is None or same(packed, number, 300)
        store.put(number, pack(noise(number, 300)))
        assert same(store.get(number), number, 300)


def test_lines_that_are_none_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "a.index"
    path.write_bytes(bytes(line(7, 64, 128)) + b"x" * LINE.itemsize + bytes(line(8, 192, 64)) + b"half")
    with open(path, "rb") as file:
        lines = lines_of(file.fileno(), 0)
        assert lines["number"].tolist()[::2] == [7, 8]
        assert lines["size"].tolist() == [128, 0, 64]
        assert len(lines_of(file.fileno(), 3 * LINE.itemsize)) == 0


def test_what_nobody_uses_makes_room_and_the_longest_unused_first(tmp_path: Path) -> None:
    for age, key in enumerate([OTHER, THIRD]):
        store = disk(tmp_path, key, 4 * MB)
        for number in range(250):
            store.put(number, pack(noise(number)))
        del store
        gc.collect()
        os.utime(tmp_path / key / "lock", (1000 + age, 1000 + age))
    store = disk(tmp_path, KEY, 4 * MB)
    for number in range(250):
        store.put(number, pack(noise(number)))
    assert store.get(249) is not None
    assert not (tmp_path / OTHER).exists()
    assert disk(tmp_path, THIRD, 4 * MB).get(249) is not None


def test_what_somebody_uses_stays(tmp_path: Path) -> None:
    used = disk(tmp_path, OTHER, 4 * MB)
    for number in range(500):
        used.put(number, pack(noise(number)))
    store = disk(tmp_path, KEY, 4 * MB)
    for number in range(1000):
        store.put(number, pack(noise(number)))
    assert same(used.get(499), 499)
    assert store.get(0) is not None and store.get(999) is None


def test_a_full_disk_is_one_warning_and_nothing_is_kept_any_more(
    make: Callable[[int], Callable[[], Store]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = make(100 * MB)()
    store.put(0, pack(noise(0)))
    pwrite = os.pwrite

    def full(file: int, data: memoryview, start: int) -> int:
        if len(data) > 1000:
            pwrite(file, data[:1000], start)
            raise OSError(28, "No space left on device")
        return pwrite(file, data, start)

    monkeypatch.setattr(os, "pwrite", full)
    with caplog.at_level(logging.WARNING, "datarax_mp"):
        store.put(1, pack(noise(1)))
        store.put(2, pack(noise(2)))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "No space left" in caplog.text
    assert same(store.get(0), 0) and store.get(1) is None and store.get(2) is None


def test_a_folder_that_is_removed_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import shutil

    folder = tmp_path / "cache"
    store = disk(folder)
    shutil.rmtree(folder)
    with caplog.at_level(logging.WARNING, "datarax_mp"):
        for number in range(3):
            store.put(number, pack(noise(number)))
    assert len(caplog.records) == 1
    assert store.get(0) is None


def test_descriptors_that_other_code_has_closed_are_written_to_by_nobody(tmp_path: Path) -> None:
    store = disk(tmp_path)
    store.put(0, pack(noise(0)))
    before = set(map(int, os.listdir("/proc/self/fd")))
    ours = [
        fd for fd in before if os.path.exists(f"/proc/self/fd/{fd}")
        and str(tmp_path) in os.readlink(f"/proc/self/fd/{fd}")
    ]  # fmt: skip
    others = []
    for fd in ours:
        os.close(fd)
        others.append(os.open(tmp_path / f"mine{fd}", os.O_RDWR | os.O_CREAT))
    store.put(1, pack(noise(1)))
    assert same(store.get(1), 1)
    assert all(os.fstat(fd).st_size == 0 for fd in others)
    del store
    gc.collect()
    for fd in others:
        os.close(fd)


def test_descriptors_go_with_the_store(tmp_path: Path) -> None:
    gc.collect()  # what earlier tests have left
    before = open_count()
    store = disk(tmp_path)
    for number in range(3):
        store.put(number, pack(noise(number)))
        assert store.get(number) is not None
    assert open_count() != before
    del store
    gc.collect()
    assert open_count() == before


def test_memory_is_the_same_for_pipelines_that_have_it_at_the_same_time() -> None:
    one = memory_of(KEY, 10, MB)
    assert memory_of(KEY, 10, MB) is one
    assert memory_of(OTHER, 10, MB) is not one


def test_what_needs_the_main_script_is_packed_with_its_class(run_script: Callable[..., Any], tmp_path: Path) -> None:
    run_script(
        "import pathlib, pickle\n"
        "from datarax_mp.cache.packing import pack\n"
        "class Mine:\n"
        "    def __init__(self, x): self.x = x\n"
        f"pathlib.Path({str(tmp_path / 'packed')!r}).write_bytes(pack({{'mine': Mine(3)}}).tobytes())\n"
    )
    packed = np.frombuffer((tmp_path / "packed").read_bytes(), np.uint8)
    assert unpack(packed.copy())["mine"].x == 3
