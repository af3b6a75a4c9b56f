"""Sources that are read in blocks, and their blocks as values: what any of them does, whatever a block holds."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from datarax_mp import Pipeline, RecordError
from datarax_mp.ring import Segment
from datarax_mp.sources import block as one_block
from datarax_mp.sources.block import Block
from datarax_mp.sources.blocks import BlockCache, BlockSource
from datarax_mp.sources.records import Records
from datarax_mp.testing import assert_same_stream, check_source

SIZES = (4, 0, 7, 1, 5)
LENGTH = sum(SIZES)


def numbers(block: int) -> list[int]:
    end = sum(SIZES[: block + 1])
    return list(range(end - SIZES[block], end))


def row(n: int) -> dict[str, Any]:
    return {
        "n": n,
        "x": np.full((2, 3), n, np.float32),
        "text": f"row {n}",
        "tokens": np.arange(n % 4),
        "deep": {"a": n},
    }


def as_columns(block: int) -> Any:
    rows = [row(n) for n in numbers(block)]
    return {
        "n": np.array([one["n"] for one in rows], np.int64),
        "x": np.array([one["x"] for one in rows], np.float32).reshape(-1, 2, 3),
        "text": [one["text"] for one in rows],
        "tokens": [one["tokens"] for one in rows],
        "deep": {"a": np.array([one["n"] for one in rows], np.int64)},
    }


CONTENTS: dict[str, Callable[[int], Any]] = {
    "columns": as_columns,
    "records": lambda block: [row(n) for n in numbers(block)],
    "a generator of records": lambda block: (row(n) for n in numbers(block)),
    "strided columns": lambda block: as_columns(block) | {"n": np.repeat(as_columns(block)["n"], 2)[::2]},
}


class Source(BlockSource):
    def __init__(self, content: Callable[[int], Any], sizes: Any = SIZES) -> None:
        self.content, self.sizes = content, sizes

    @property
    def blocks(self) -> Any:
        return self.sizes

    def read_block(self, number: int) -> Any:
        return self.content(number)


contents = pytest.mark.parametrize("content", CONTENTS)


def same(found: Any, n: int) -> bool:
    expected = row(n)
    return (
        found.keys() == expected.keys()
        and (found["n"], found["text"], found["deep"]["a"]) == (n, expected["text"], n)
        and np.array_equal(found["x"], expected["x"])
        and np.array_equal(found["tokens"], expected["tokens"])
        and found["x"].dtype == np.float32
    )


@contents
def test_records_are_found_by_number(content: str) -> None:
    source = Source(CONTENTS[content])
    assert len(source) == LENGTH
    assert all(same(source[n], n) for n in range(LENGTH))
    assert same(source[-1], LENGTH - 1)
    for number in (LENGTH, -LENGTH - 1):
        with pytest.raises(IndexError, match=f"outside of the {LENGTH} records"):
            source[number]
    check_source(source)


@contents
@pytest.mark.parametrize("how", [{"num_workers": 1}, {"num_workers": 3}, {"num_workers": 2, "workers": "threads"}])
def test_the_stream_is_the_same_whoever_works(content: str, how: dict[str, Any]) -> None:
    def drop(record: dict[str, Any]) -> dict[str, Any]:
        assert same(record, int(record["n"]))
        record["x"][:] = -1  # a stage may write to what it is given
        record.pop("tokens")
        return record

    usual: dict[str, Any] = {"batch_size": 3, "shuffle": True, "seed": 1, "stages": [drop], "output": "numpy"}
    source = Source(CONTENTS[content])
    with Pipeline(source=source, **usual) as expected, Pipeline(source=source, **usual, **how) as found:
        assert_same_stream(expected, found, epochs=3)


@contents
def test_a_block_is_what_it_was_when_it_has_been_written_to_a_file(content: str) -> None:
    block = Block.of(CONTENTS[content](2), SIZES[2], "block 2")
    file = Segment.empty()
    size = block.write(file.descriptor())
    assert os.fstat(file.descriptor()).st_size == size >= block.nbytes
    again = Block.read(Segment(os.dup(file.descriptor()), size).map(writable=False))
    file.close()
    assert again.rows == SIZES[2]
    for place, record in enumerate(again.records(np.arange(SIZES[2]))):
        assert same(record, numbers(2)[place])
        record["x"][:] = -1
    assert all(same(record, n) for n, record in zip(numbers(2), again.records(np.arange(SIZES[2])), strict=True))


class Lines(Records):
    def __init__(self, data: np.ndarray) -> None:
        self.data = data

    @property
    def nbytes(self) -> int:
        return self.data.nbytes

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, place: int) -> Any:
        return self.data[place].tobytes()


class Finished(BlockSource):
    """Its records are made when they are asked for, and finished when they are taken; number 7 cannot be."""

    blocks = (5, 5, 2)

    def read_block(self, number: int) -> Any:
        return Lines(np.arange(5 * number, 5 * number + self.blocks[number]))

    def decode(self, record: bytes) -> Any:
        (n,) = np.frombuffer(record, np.int64).tolist()
        if n == 7:
            raise ValueError("seven is damaged")
        return {"n": Counted(n)}


class Counted:
    there = most = 0

    def __init__(self, n: int) -> None:
        self.n = n
        Counted.there += 1
        Counted.most = max(Counted.most, Counted.there)

    def __del__(self) -> None:
        Counted.there -= 1


def number_of(record: dict[str, Any]) -> dict[str, Any]:
    return {"n": record["n"].n}


@pytest.mark.parametrize("how", [{}, {"num_workers": 2}, {"num_workers": 2, "workers": "threads"}])
def test_a_record_that_cannot_be_finished_is_the_only_one_to_be_skipped(how: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"batch_size": 4, "stages": [number_of], "output": "numpy", "on_error": "skip"}
    with Pipeline(source=Finished(), **usual, **how) as pipeline:
        found = [n for batch in pipeline for n in batch["n"].tolist()]
        assert found == [n for n in range(12) if n != 7]
        assert [skip.record for skip in pipeline.skips] == [7]
    with (
        pytest.raises(ValueError, match="seven is damaged"),
        Pipeline(source=Finished(), **usual | {"on_error": "raise"}, **how) as pipeline,
    ):
        list(pipeline)
    assert Finished()[11]["n"].n == Finished()[-1]["n"].n == 11
    assert [record["n"].n for record in Finished().__getitems__([11, 0, 5])] == [11, 0, 5]


def test_one_record_of_a_batch_at_a_time_is_there_finished() -> None:
    Counted.there = Counted.most = 0
    source = Finished()
    source.blocks = (5,)  # type: ignore[assignment]
    with Pipeline(source=source, batch_size=5, stages=[number_of], output="numpy") as pipeline:
        assert [batch["n"].tolist() for batch in pipeline] == [[0, 1, 2, 3, 4]]
    assert Counted.most <= 2  # one, and its forerunner until the name is given to the next


def test_tables_of_other_libraries_are_blocks() -> None:
    frame = {"n": [0, 1, 2], "text": ["a", "b", None]}
    for table in (pa.table(frame), pd.DataFrame(frame), pa.table(frame).to_batches()[0]):
        source = Source(lambda block, table=table: table, (3,))
        assert [source[n]["n"] for n in range(3)] == [0, 1, 2]
        assert source[0]["text"] == "a"
        assert source.__getitems__([2, 0])["n"].tolist() == [2, 0]


def test_numbers_in_arrow_columns_have_their_dtype_and_shape_in_a_block() -> None:
    images = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    table = pa.table(
        {
            "image": pa.FixedShapeTensorArray.from_numpy_ndarray(images),
            "grid": pa.array([[[n, 1], [2, 3]] for n in range(3)], pa.list_(pa.list_(pa.int16(), 2), 2)),
            "lists": pa.array([[[n], [1]] for n in range(3)], pa.list_(pa.list_(pa.int8()))),
            "deep": pa.array([{"x": n / 2} for n in range(3)], pa.struct({"x": pa.float32()})),
        }
    )
    source = Source(lambda block: table, (3,))
    check_source(source)
    record = source[2]
    assert (record["image"].dtype, record["image"].tolist()) == (np.uint8, images[2].tolist())
    assert (record["grid"].dtype, record["grid"].tolist()) == (np.int16, [[2, 1], [2, 3]])
    assert (record["lists"].dtype, record["lists"].tolist()) == (np.int8, [[2], [1]])
    with Pipeline(source=source, batch_size=3, num_workers=1, output="numpy") as pipeline:
        [batch] = pipeline
    assert batch["image"].tolist() == images.tolist()
    assert (batch["deep"]["x"].dtype, batch["deep"]["x"].tolist()) == (np.float32, [0, 0.5, 1])
    assert batch["lists"].dtype == np.int8


def test_blocks_of_different_kinds_come_record_by_record() -> None:
    def content(block: int) -> Any:
        return {"n": np.array(numbers(block), np.int32 if block else np.int64)} if block != 2 else as_records(block)

    def as_records(block: int) -> Any:
        return [{"n": n} for n in numbers(block)]

    source = Source(content)
    found = source.__getitems__([16, 0, 5])
    assert [int(record["n"]) for record in found] == [16, 0, 5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            lambda block: [1, 2],
            r"block 0 of Source: expected the 4 records that its source says it has, found 2 records",
        ),
        (lambda block: {"a": np.arange(4), "b": {"c": np.arange(3)}}, "found 3 values of field 'b/c'"),
        (
            lambda block: {"a": pd.Series([1, 2, None, 4], dtype="Int64")},
            "block 0 of Source, field 'a': expected numbers",
        ),
    ],
)
def test_a_block_that_is_not_what_the_source_says_is_an_error(content: Any, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        Source(content)[0]


def test_nulls_name_the_record() -> None:
    source = Source(lambda block: pa.table({"a": [1, None, 3]}), (3,))
    assert source[0]["a"] == 1
    with pytest.raises(RecordError, match=r"field 'a': expected numbers, found 1 nulls .*\(in record 1\)"):
        source.__getitems__([2, 1])


def test_what_has_been_read_is_no_part_of_a_pickle() -> None:
    source = Tens()
    before = pickle.dumps(source)
    assert source[11]["x"] == 11
    assert pickle.dumps(source) == before
    assert pickle.loads(before)[29]["x"] == 29


class Tens(BlockSource):
    blocks = (10, 10, 10)

    def read_block(self, number: int) -> Any:
        return {"x": 10 * number + np.arange(10)}


class Doubled(Tens):
    def __getitem__(self, number: int) -> Any:
        return {"x": 2 * super().__getitem__(number)["x"]}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_class_that_changes_records_means_its_own(workers: int) -> None:
    with Pipeline(source=Doubled(), batch_size=10, num_workers=workers, output="numpy") as pipeline:
        assert [batch["x"].tolist() for batch in pipeline][2] == list(range(40, 60, 2))


def test_a_block_that_many_threads_want_is_read_by_one() -> None:
    cache, read, begun = BlockCache(1 << 20), [], threading.Barrier(4)

    def make() -> Block:
        read.append(1)
        return Block.of([1, 2], 2, "")

    def work() -> None:
        begun.wait()
        cache.get(0, make)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read) == 1


def test_kept_blocks_are_bounded_by_their_bytes_and_the_newest_stays() -> None:
    cache = BlockCache(1000)
    for number in range(5):
        cache.get(number, lambda: Block.of({"x": np.zeros(50)}, 50, ""))
    read: list[int] = []

    def again() -> Block:
        read.append(1)
        return Block.of({"x": np.zeros(500)}, 500, "")

    cache.get(4, again)
    cache.get(3, again)
    assert not read
    cache.get(2, again)
    cache.get(2, again)
    assert len(read) == 1


def test_text_that_is_too_much_for_offsets_of_32_bits_gets_longer_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"text": pa.chunked_array([["a", None], ["bc"]]), "raw": pa.chunked_array([[b"a"], [b"b", b"c"]])})
    monkeypatch.setattr(one_block, "OFFSETS_REACH", 1)
    found = Block.of(table, 3, "block 0")
    assert found.columns is not None
    assert [found.columns[name,].type for name in ("text", "raw")] == [pa.large_string(), pa.large_binary()]
    records = [{"text": "a", "raw": b"a"}, {"text": None, "raw": b"b"}, {"text": "bc", "raw": b"c"}]
    assert found.records(np.arange(3)) == records
