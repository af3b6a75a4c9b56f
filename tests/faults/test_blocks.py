"""Blocks that cannot be read, and workers that die or hang over one."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from datarax_mp import Pipeline, ShuffleWindow, WorkerError, WorkerTimeoutError
from datarax_mp.sources.blocks import BlockSource
from tests.processes import comes_true, workers
from tests.ways import WAYS, ways

SIZES = (7, 3, 10, 5, 9, 1, 0, 12, 6, 4) * 2
BAD = 7  # whose records are 35 to 46


class Blocks(BlockSource):
    """Numbers in blocks; says in a folder which it has read."""

    blocks = SIZES

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read_block(self, number: int) -> dict[str, Any]:
        with open(self.folder / "read", "a") as file:
            file.write(f"{number}\n")
        self.meet(number)
        end = sum(SIZES[: number + 1])
        return {"n": np.arange(end - SIZES[number], end)}

    def meet(self, number: int) -> None:
        """What happens on the way."""

    def read(self) -> Counter[int]:
        return Counter(map(int, (self.folder / "read").read_text().split()))


class Torn(Blocks):
    def meet(self, number: int) -> None:
        if number == BAD:
            raise OSError(5, "block 7 is torn")


class TornTwice(Blocks):
    def meet(self, number: int) -> None:
        if number == BAD and self.read()[number] <= 2:
            raise OSError(5, "block 7 is torn")


class Deadly(Blocks):
    times = 1

    def meet(self, number: int) -> None:
        if number == BAD and self.read()[number] <= self.times:
            os.kill(os.getpid(), signal.SIGKILL)


class DeadlyTwice(Deadly):
    times = 2


class Hanging(Blocks):
    def meet(self, number: int) -> None:
        while number == BAD and not (self.folder / "over").exists():
            time.sleep(0.02)


def make(source: Blocks, **more: Any) -> Pipeline:
    usual: dict[str, Any] = {"batch_size": 4, "shuffle": ShuffleWindow(blocks=3), "seed": 2, "output": "numpy"}
    return Pipeline(source=source, **usual | more)


def batches(pipeline: Pipeline) -> list[list[int]]:
    return [batch["n"].tolist() for batch in pipeline]


def expected(tmp_path: Path, **more: Any) -> list[list[int]]:
    with make(Blocks(tmp_path), **more) as pipeline:
        found = batches(pipeline)
    (tmp_path / "read").unlink()
    return found


@ways
def test_each_block_is_read_once_an_epoch_whoever_asks_for_its_records(way: str, tmp_path: Path) -> None:
    source = Blocks(tmp_path)
    with make(source, **WAYS[way]) as pipeline:
        batches(pipeline)
        first = source.read()  # the first record was looked at before anything else
        assert sum(first.values()) <= 1 + sum(size > 0 for size in SIZES)
        batches(pipeline)
        assert source.read() - first == Counter(number for number, size in enumerate(SIZES) if size)


@ways
def test_an_epoch_that_is_left_early_reads_no_more_than_two_windows(way: str, tmp_path: Path) -> None:
    source = Blocks(tmp_path)
    with make(source, batch_size=2, prefetch_size=0, **WAYS[way]) as pipeline:
        whole = batches(pipeline)
        (tmp_path / "read").unlink()
        for _ in pipeline:
            break
        following = batches(pipeline)
        assert 3 <= sum(source.read().values()) - sum(size > 0 for size in SIZES) <= 6
    with make(source, batch_size=2) as pipeline:
        assert batches(pipeline) == whole
        batches(pipeline)
        assert batches(pipeline) == following


@ways
def test_a_block_that_cannot_be_read_is_an_error_behind_the_batches_before_it(way: str, tmp_path: Path) -> None:
    whole = expected(tmp_path)
    before = next(step for step, batch in enumerate(whole) if any(35 <= n < 47 for n in batch))
    found = []
    with make(Torn(tmp_path), **WAYS[way]) as pipeline:
        with pytest.raises(OSError, match="block 7 is torn") as raised:
            for batch in pipeline:
                found.append(batch["n"].tolist())
        assert found == whole[:before]
        assert any("while reading record" in note for note in raised.value.__notes__)
        assert any(f"(step {before} of epoch 0)" in note for note in raised.value.__notes__)


@ways
def test_the_records_of_a_block_that_cannot_be_read_are_skipped_and_counted(way: str, tmp_path: Path) -> None:
    whole = expected(tmp_path)
    with make(Torn(tmp_path), on_error="skip", **WAYS[way]) as pipeline:
        assert batches(pipeline) == [[n for n in batch if not 35 <= n < 47] for batch in whole]
        assert pipeline.skipped == 12


@ways
def test_a_block_is_tried_again_as_often_as_is_wanted(way: str, tmp_path: Path) -> None:
    whole = expected(tmp_path)
    with make(TornTwice(tmp_path), retries=2, **WAYS[way]) as pipeline:
        assert batches(pipeline) == whole


@pytest.mark.parametrize("workers", [1, 3])
def test_a_worker_that_dies_over_a_block_is_replaced_and_nothing_is_lost(
    workers: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = expected(tmp_path)
    source = Deadly(tmp_path)
    with caplog.at_level(logging.WARNING, "datarax_mp"), make(source, num_workers=workers) as pipeline:
        assert batches(pipeline) == whole
        assert source.read()[BAD] == 2
    assert "while it read block 7 of Deadly for epoch 0" in caplog.text


def test_a_block_that_kills_a_second_worker_is_an_error_that_names_it(tmp_path: Path) -> None:
    with (
        make(DeadlyTwice(tmp_path), num_workers=2) as pipeline,
        pytest.raises(WorkerError, match="read block 7 of Dead"),
    ):
        batches(pipeline)


@pytest.mark.parametrize("way", ["1 worker", "3 threads"])
def test_the_time_limit_names_the_block(way: str, tmp_path: Path) -> None:
    (tmp_path / "read").touch()
    with (
        make(Hanging(tmp_path), shuffle=ShuffleWindow(blocks=100), timeout=3, **WAYS[way]) as pipeline,
        pytest.raises(WorkerTimeoutError, match="(while it read|at) block 7"),
    ):
        batches(pipeline)
    (tmp_path / "over").touch()  # a thread has no other end


NO_ROOM = """
import resource, signal
import numpy as np
from datarax_mp import Pipeline, ShuffleWindow
from datarax_mp.sources.blocks import BlockSource

class Tens(BlockSource):
    blocks = (10,) * 12
    def read_block(self, number):
        return {"n": 10 * number + np.arange(10)}

def refuse():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # no file can be written to, as where memory is full
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

streams = []
for more in ({"num_workers": 0}, {"num_workers": 2, "worker_init": refuse}):
    usual = {"source": Tens(), "batch_size": 4, "shuffle": ShuffleWindow(blocks=3), "seed": 1}
    with Pipeline(**usual, output="numpy", **more) as pipeline:
        streams.append([batch["n"].tolist() for batch in pipeline])
assert streams[0] == streams[1]
"""


def test_where_there_is_no_room_for_blocks_workers_read_them_for_themselves(run_script: Callable[..., Any]) -> None:
    result = run_script(NO_ROOM)
    assert result.returncode == 0, result.stderr


@pytest.mark.needs("proc", "memfd_create")
def test_blocks_leave_no_descriptor_and_no_memory_behind(tmp_path: Path) -> None:
    def blocks_open(process: psutil.Process) -> int:
        folder = f"/proc/{process.pid}/fd"
        return sum("memfd:datarax_mp" in os.readlink(f"{folder}/{name}") for name in os.listdir(folder))

    with make(Blocks(tmp_path), num_workers=2) as pipeline:
        batches(pipeline)
        before = psutil.Process().num_fds()
        for _ in range(3):
            batches(pipeline)
        assert psutil.Process().num_fds() <= before
        assert comes_true(lambda: all(blocks_open(worker) <= 1 for worker in workers()))  # 1: the ring


def test_a_window_above_the_memory_budget_is_an_error_that_says_so(tmp_path: Path) -> None:
    with (
        make(Wide(tmp_path), num_workers=1, memory_budget=40_000_000, shuffle=ShuffleWindow(blocks=10)) as pipeline,
        pytest.raises(ValueError, match=r"memory_budget leaves .* MB for blocks.*10 blocks of a window"),
    ):
        batches(pipeline)


class Wide(Blocks):
    blocks = (100,) * 20

    def read_block(self, number: int) -> dict[str, Any]:
        return {"n": 100 * number + np.arange(100), "x": np.zeros((100, 10_000))}


@ways
def test_steps_may_be_left_out_and_an_epoch_begun_anywhere(way: str, tmp_path: Path) -> None:
    whole = expected(tmp_path, batch_size=2, shuffle=ShuffleWindow(blocks=1))
    with make(Blocks(tmp_path), batch_size=2, shuffle=ShuffleWindow(blocks=1), **WAYS[way]) as pipeline:
        pipeline.skip([*range(4, 30), *range(33, 50)])
        assert batches(pipeline) == whole[:4] + whole[30:33] + whole[50:]
        following = batches(pipeline)
        for step in (0, 3, 20, len(whole) - 1):
            pipeline.set_state({**pipeline.get_state(), "epoch": 1, "step": step})
            assert batches(pipeline) == following[step:]
        assert pipeline.at(1, 7)["n"].tolist() == following[7]


@ways
def test_several_epochs_are_one_stream(way: str, tmp_path: Path) -> None:
    with make(Blocks(tmp_path)) as pipeline:
        whole = [batch for _ in range(3) for batch in batches(pipeline)]
    source = Blocks(tmp_path)
    (tmp_path / "read").unlink()
    with make(source, num_epochs=3, **WAYS[way]) as pipeline:
        assert batches(pipeline) == whole
    assert sum(source.read().values()) <= 1 + 3 * sum(size > 0 for size in SIZES)
