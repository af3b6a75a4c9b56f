"""Processes that are killed while they keep records: nothing wrong is read, nobody waits, no stream changes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarax_mp import Cache, Pipeline, RandomMapElement
from datarax_mp.cache.disk import DiskStore
from datarax_mp.cache.folder import Folder
from datarax_mp.cache.memory import Memory, MemoryStore
from datarax_mp.cache.packing import pack, unpack
from datarax_mp.cache.sealed import Sealer
from datarax_mp.cache.store import Store

pytestmark = pytest.mark.filterwarnings(
    "ignore:os.fork\\(\\) was called:RuntimeWarning", "ignore:.*multi-threaded:DeprecationWarning"
)

KEY, OLD = "0" * 32, "1" * 32
CALLS = ("open", "pwrite", "truncate", "rename", "unlink", "makedirs", "utime")  # whatever changes anything
MB = 1_000_000


def noise(number: int) -> dict[str, Any]:
    return {"x": np.random.default_rng(number).integers(0, 255, 3000, np.uint8), "n": number}


def in_a_child(work: Callable[[], None], calls: int) -> bool:
    """Whether a child that is killed in the middle of its n-th call to the system comes to its end before."""
    if (child := os.fork()) == 0:
        left = calls

        def killing(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
            def counted(*arguments: Any, **more: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0:
                    if name == "pwrite":  # half of it gets there
                        call(arguments[0], arguments[1][: len(arguments[1]) // 2], arguments[2])
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*arguments, **more)

            return counted

        try:
            for name in CALLS:
                setattr(os, name, killing(name, getattr(os, name)))
            work()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("where", ["disk", "memory"])
def test_a_writer_that_is_killed_anywhere_leaves_nothing_wrong(where: str, tmp_path: Path) -> None:
    killed, memory = 0, Memory.of(100, MB)

    def opened() -> Store:
        if where == "memory":
            return MemoryStore(memory, Sealer())
        return DiskStore(Folder(f"{tmp_path}/{killed}", 300_000), KEY, Sealer())

    def work() -> None:
        store = opened()
        for number in range(4):
            store.put(number, pack(noise(number)))

    while not in_a_child(work, killed):
        store = opened()
        for number in range(4):
            packed = store.get(number)
            if packed is not None:
                record = unpack(packed)
                assert record["n"] == number and np.array_equal(record["x"], noise(number)["x"])
        store.put(50, pack(noise(50)))  # nobody is in the way
        assert unpack(store.get(50))["n"] == 50
        killed += 1
        memory = Memory.of(100, MB)
    assert killed > 8
    final = opened()
    assert all(final.get(number) is not None for number in range(4))


def test_who_is_killed_while_he_makes_room_leaves_room_to_be_made(tmp_path: Path) -> None:
    killed = 0

    def fill(key: str) -> DiskStore:
        store = DiskStore(Folder(f"{tmp_path}/{killed}", 100_000), key, Sealer())
        for number in range(30):
            store.put(number, pack(noise(number)))
        return store

    def fill_old() -> None:
        fill(OLD)

    def work() -> None:
        fill(KEY)

    ended = False
    while not ended:
        assert in_a_child(fill_old, 10_000)
        ended = in_a_child(work, killed)
        store = fill("2" * 32)
        assert store.get(20) is not None
        files = (tmp_path / str(killed)).rglob("*")
        assert sum(file.stat().st_size for file in files if file.is_file()) < 110_000
        killed += 3
    assert killed > 30


class Deadly:
    """Its worker is killed when some records are read for the first time."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __len__(self) -> int:
        return 120

    def __getitem__(self, number: int) -> dict[str, Any]:
        if number % 40 == 30:
            try:
                os.close(os.open(f"{self.folder}/{number}", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return noise(number)
            os.kill(os.getpid(), signal.SIGKILL)
        return noise(number)


def flipped(record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {**record, "x": record["x"] ^ rng.integers(0, 255, dtype=np.uint8)}


@pytest.mark.parametrize("where", ["disk", "memory"])
def test_workers_that_die_change_nothing_in_the_stream(where: str, tmp_path: Path) -> None:
    (tmp_path / "deaths").mkdir()
    source = Deadly(tmp_path / "deaths")
    cache = Cache(folder=tmp_path / "cache" if where == "disk" else None, budget=10 * MB)

    def stream(*stages: Any, workers: int) -> list[bytes]:
        with Pipeline(
            source=source, batch_size=4, stages=stages, shuffle=True, seed=1, num_workers=workers, output="numpy"
        ) as pipeline:
            return [batch["x"].tobytes() for _ in range(3) for batch in pipeline]

    found = stream(cache, RandomMapElement(flipped), workers=3)
    assert len(os.listdir(tmp_path / "deaths")) == 3
    assert found == stream(RandomMapElement(flipped), workers=0)
