"""Rows of Parquet files as records: by number, over files and row groups, with what can be wrong with them."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from datarax_mp import Pad, ParquetSource, Pipeline, RecordError, ShuffleWindow
from datarax_mp.testing import assert_same_stream, check_resume, check_source

ROWS = [17, 0, 9, 30]  # of each file


def table(first: int, rows: int) -> Any:
    numbers = np.arange(first, first + rows)
    return pa.table(
        {
            "n": pa.array(numbers, pa.int64()),
            "x": pa.array(numbers / 2, pa.float32()),
            "text": [f"row {n}" for n in numbers],
            "tokens": pa.array([list(range(n % 5 + 1)) for n in numbers], pa.list_(pa.int32())),
            "pair": pa.array([[n, n + 1] for n in numbers], pa.list_(pa.int16(), 2)),
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    first = 0
    for number, rows in enumerate(ROWS):
        pq.write_table(table(first, rows), tmp_path / f"train-{number}.parquet", row_group_size=7)
        first += rows
    return tmp_path


def test_every_row_is_there_under_its_number(folder: Path) -> None:
    source = ParquetSource(folder)
    assert len(source) == sum(ROWS)
    for number in (0, 6, 7, 16, 17, 25, 26, 55, -1):
        at = number % len(source)
        record = source[number]
        assert (record["n"], record["text"], record["x"]) == (at, f"row {at}", at / 2)
        assert record["tokens"].tolist() == list(range(at % 5 + 1))
        assert record["pair"].tolist() == [at, at + 1]
    for number in (56, -57):
        with pytest.raises(IndexError, match="56 records"):
            source[number]
    check_source(ParquetSource(folder, columns=["n", "text", "pair"]))


@pytest.mark.parametrize("shuffle", [False, ShuffleWindow(records=14)], ids=["in order", "window"])
@pytest.mark.parametrize("how", [{}, {"num_workers": 2}, {"num_workers": 3, "workers": "threads"}])
def test_the_stream_is_that_of_the_same_table_in_memory(folder: Path, how: dict[str, Any], shuffle: Any) -> None:
    columns = ["n", "x", "text", "pair"]
    usual: dict[str, Any] = {"batch_size": 10, "shuffle": shuffle, "seed": 3, "output": "numpy"}
    memory = table(0, sum(ROWS)).select(columns)
    source = ParquetSource(str(folder / "*.parquet"), columns=columns)
    with Pipeline(source=memory, **usual) as expected, Pipeline(source=source, **usual, **how) as found:
        assert_same_stream(expected, found, epochs=2)
        check_resume(found, steps=3)


def test_lists_of_unequal_length_are_padded(folder: Path) -> None:
    stages = [Pad("tokens", 5, to="longest", lengths="length")]
    with Pipeline(source=ParquetSource(folder), batch_size=8, stages=stages, num_workers=1, output="numpy") as pipeline:
        for batch in pipeline:
            assert batch["length"].tolist() == [n % 5 + 1 for n in batch["n"].tolist()]


@pytest.mark.parametrize("how", [{}, {"num_workers": 2}])
def test_structs_are_nested_fields_and_lists_of_them_travel_beside_the_arrays(
    how: dict[str, Any], tmp_path: Path
) -> None:
    boxes = [{"name": f"box {n}", "size": [n, n + 1]} for n in range(10)]
    nested = pa.table({"n": list(range(10)), "box": boxes, "boxes": [boxes[: n % 3 + 1] for n in range(10)]})
    pq.write_table(nested, tmp_path / "a.parquet", row_group_size=4)
    source = ParquetSource(tmp_path)
    assert source[7]["box"]["name"] == "box 7"
    assert source[7]["box"]["size"].tolist() == [7, 8]
    with Pipeline(source=source, batch_size=5, output="numpy", **how) as pipeline:
        for batch in pipeline:
            numbers = batch["n"].tolist()
            found = batch.to_dict()
            assert found["box"]["size"].tolist() == [boxes[n]["size"] for n in numbers]
            assert batch.info["box"]["name"] == [boxes[n]["name"] for n in numbers]
            assert batch.info["boxes"] == [boxes[: n % 3 + 1] for n in numbers]


def test_a_worker_gets_names_and_numbers_of_rows_and_no_data(folder: Path) -> None:
    source = ParquetSource(folder)
    before = len(pickle.dumps(source))
    for number in range(50):
        assert source[number]["n"] == number
    again = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) == before < 3000
    assert again[40]["n"] == 40


def test_row_groups_are_kept_up_to_some_bytes_and_decoded_once_in_order(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    whole = pq.ParquetFile.read_row_group

    def count(file: Any, place: int, **options: Any) -> Any:
        read.append(place)
        return whole(file, place, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", count)
    groups = sum(-(-rows // 7) for rows in ROWS)
    with Pipeline(source=ParquetSource(folder, columns=["n"], cache_bytes=0), batch_size=3, output="numpy") as pipeline:
        assert sum(batch.batch_size for batch in pipeline) == 56
        assert len(read) == groups
    read.clear()
    with Pipeline(
        source=ParquetSource(folder, columns=["n"]),
        batch_size=3,
        shuffle=ShuffleWindow(records=14),
        seed=0,
        output="numpy",
    ) as pipeline:
        assert sorted(n for batch in pipeline for n in batch["n"].tolist()) == list(range(56))
        assert len(read) == groups  # all of them fit


def test_nulls_among_numbers_name_the_record_and_can_be_skipped(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [0, 1, None, 3]}), tmp_path / "a.parquet")
    source = ParquetSource(tmp_path)
    with (
        pytest.raises(RecordError, match=r"expected numbers, found 1 nulls .*in record 2"),
        Pipeline(source=source, batch_size=2) as pipeline,
    ):
        list(pipeline)
    with Pipeline(source=source, batch_size=2, on_error="skip", num_workers=1, output="numpy") as pipeline:
        assert [n for batch in pipeline for n in batch["n"].tolist()] == [0, 1, 3]
        assert [skip.record for skip in pipeline.skips] == [2]


def test_what_is_no_parquet_file_is_named(folder: Path) -> None:
    whole = (folder / "train-3.parquet").read_bytes()
    for content, message in (
        (b"", "an empty one"),
        (b"text" * 100, "a damaged footer"),
        (whole[:-30], "damaged footer"),
    ):
        (folder / "train-3.parquet").write_bytes(content)
        with pytest.raises(ValueError, match=rf"train-3\.parquet: .*{message}"):
            ParquetSource(folder)
    with pytest.raises(FileNotFoundError, match="nothing there"):
        ParquetSource(folder / "missing.parquet")


def test_a_damaged_row_group_is_named_with_its_file_and_the_others_are_read(folder: Path) -> None:
    path = folder / "train-3.parquet"
    offset = pq.ParquetFile(path).metadata.row_group(1).column(2).file_offset or 0
    column = pq.ParquetFile(path).metadata.row_group(1).column(2)
    offset = min(at for at in (column.dictionary_page_offset, column.data_page_offset, offset) if at)
    raw = bytearray(path.read_bytes())
    raw[offset : offset + 20] = b"\xff" * 20
    path.write_bytes(raw)
    source = ParquetSource(folder, columns=["n", "text"])
    with pytest.raises(OSError, match=r"train-3\.parquet, row group 1: it cannot be read"):
        source[26 + 7]
    with Pipeline(source=source, batch_size=56, on_error="skip", num_workers=1, output="numpy") as pipeline:
        [batch] = pipeline
        assert batch.batch_size == 56 - 7
        assert [skip.record for skip in pipeline.skips] == list(range(33, 40))


def test_files_with_other_columns_are_refused_with_both_names(folder: Path) -> None:
    for other, message in (
        ({"n": [1.5]}, r"column 'n': it is int64 in .*train-0.*, and is double in .*train-4"),
        ({"m": [1]}, r"column 'n': it is int64 in .*train-0.*, and is missing in .*train-4"),
    ):
        pq.write_table(pa.table(other), folder / "train-4.parquet")
        with pytest.raises(ValueError, match=message):
            ParquetSource(folder)
    pq.write_table(pa.table({"n": [56]}), folder / "train-4.parquet")
    assert ParquetSource(folder, columns=["n"])[56]["n"] == 56
    with pytest.raises(ValueError, match="no column 'y'; there are n, x, text"):
        ParquetSource(folder, columns=["y"])


def test_files_may_differ_in_whether_there_can_be_nulls(tmp_path: Path) -> None:
    for number, nullable in enumerate((True, False)):
        schema = pa.schema([pa.field("n", pa.int64(), nullable=nullable)])
        pq.write_table(pa.table({"n": [number]}, schema=schema), tmp_path / f"{number}.parquet")
    source = ParquetSource(tmp_path)
    assert [source[number]["n"] for number in range(2)] == [0, 1]
    assert source.__getitems__([1, 0])["n"].tolist() == [1, 0]
    assert len(source.__getitems__([])) == 0


def test_what_names_no_columns_or_two_at_once_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["n", "n"]), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet: two columns are called 'n'"):
        ParquetSource(tmp_path)
    with pytest.raises(TypeError, match=r"one column is \['n'\]"):
        ParquetSource(tmp_path, columns="n")


@pytest.mark.parametrize("filters", [None, [("n", ">=", 0)]], ids=["all", "filtered"])
@pytest.mark.parametrize("rows", [5, 17], ids=["fewer rows", "as many rows"])
def test_a_file_that_was_replaced_while_a_reader_has_it_open_is_noticed(folder: Path, rows: int, filters: Any) -> None:
    source, path = ParquetSource(folder, filters=filters, cache_bytes=0), folder / "train-0.parquet"
    assert source[0]["n"] == 0
    before = os.stat(path).st_mtime_ns
    pq.write_table(table(100, rows), folder / "new", row_group_size=7)
    os.replace(folder / "new", path)
    os.utime(path, ns=(before, before + 1))
    with pytest.raises(OSError, match=r"train-0\.parquet: expected the file of .* Make the source anew"):
        source[8]  # of another row group
    assert source[20]["n"] == 20
    assert ParquetSource(folder, filters=filters)[0]["n"] == 100


def test_without_pyarrow_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"datarax-mp\[parquet\]"):
        ParquetSource(folder)


FILTERS = {
    "tuples": [("n", ">=", 20), ("n", "<", 47)],
    "an expression": (pc.field("n") >= 20) & (pc.field("n") < 47),
    "a function": pc.is_in(pc.field("n"), pa.array(range(20, 47))),
}


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize("how", [{}, {"num_workers": 2}, {"num_workers": 3, "workers": "threads"}])
def test_rows_that_are_not_wanted_are_not_there(folder: Path, kind: str, how: dict[str, Any], tmp_path: Path) -> None:
    source = ParquetSource(folder, filters=FILTERS[kind], columns=["text", "x"], index_folder=tmp_path / "kept")
    assert len(source) == 27
    assert [source[n]["text"] for n in range(27)] == [f"row {n}" for n in range(20, 47)]
    assert 0 in source.blocks  # of a row group that is not read
    with Pipeline(source=source, batch_size=10, output="numpy", **how) as pipeline:
        assert [text for batch in pipeline for text in batch.info["text"]] == [f"row {n}" for n in range(20, 47)]
    with Pipeline(source=source, batch_size=10, output="numpy", shuffle=True, seed=1, **how) as pipeline:
        found = [text for batch in pipeline for text in batch.info["text"]]
    assert sorted(found) == sorted(f"row {n}" for n in range(20, 47))


def test_a_filter_of_what_is_not_there_is_an_error(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"train-0\.parquet: the rows with .*nobody.* cannot be counted"):
        ParquetSource(folder, filters=[("nobody", "==", 1)])


def test_filters_that_differ_in_the_middle_of_a_long_list_are_counted_apart(folder: Path, tmp_path: Path) -> None:
    first, second = ([*range(15), *middle, *range(41, 56)] for middle in (range(20, 25), range(30, 33)))
    assert str(pc.field("n").isin(first)) == str(pc.field("n").isin(second))  # Arrow leaves the middle out
    for wanted in (first, second, first):
        source = ParquetSource(folder, filters=[("n", "in", wanted)], columns=["n"], index_folder=tmp_path / "kept")
        assert [source[n]["n"] for n in range(len(source))] == wanted
    assert len(list((tmp_path / "kept").rglob("*.npz"))) == 2 * len(ROWS)


def test_a_filter_that_arrow_cannot_write_down_is_counted_every_time(folder: Path, tmp_path: Path) -> None:
    source = ParquetSource(folder, filters=pc.field(0) >= 50, columns=["n"], index_folder=tmp_path / "kept")
    assert [source[n]["n"] for n in range(len(source))] == list(range(50, 56))
    assert not (tmp_path / "kept").exists()


def test_a_column_with_a_dot_in_its_name_is_not_taken_for_one_in_a_struct(tmp_path: Path) -> None:
    table = pa.table({"a.b": [1, 2], "a": [{"b": 3, "c": 4}] * 2, "d": [5, 6]})
    pq.write_table(table, tmp_path / "a.parquet")
    for columns in (["a"], ["a.b"], ["d", "a"]):
        expected = table.select(columns).to_pylist()[1]
        assert ParquetSource(tmp_path, columns=columns)[1] == expected
