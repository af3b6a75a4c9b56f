from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pytest
from flax import nnx

from datarax_mp import MemorySource, MemorySourceConfig, Pipeline
from datarax_mp.sources.columns import ArrayColumn, InFile, InSegment, ObjectColumn


def columns(length: int = 10) -> dict[str, Any]:
    return {
        "x": np.arange(length * 2).reshape(length, 2),
        "text": [f"t{i}" for i in range(length)],
        "deep": {"y": list(range(length))},
    }


def source(data: Any = None, rngs: Any = None, **config: Any) -> MemorySource:
    return MemorySource(MemorySourceConfig(**config), columns() if data is None else data, rngs=rngs)


def test_records_by_number() -> None:
    records = source()
    assert len(records) == 10
    assert records[3]["x"].tolist() == [6, 7]
    assert records[-1]["text"] == "t9"
    assert records[4]["deep"]["y"] == 4
    for outside in (10, -11):
        with pytest.raises(IndexError, match=str(outside)):
            records[outside]


def test_a_list_of_records_is_served_as_it_is() -> None:
    records = source([{"a": 1}, {"a": 2}])
    assert [record["a"] for record in records] == [1, 2]
    assert records[-1] == {"a": 2}


def test_an_array_serves_its_rows() -> None:
    assert [row.tolist() for row in source(np.arange(4).reshape(2, 2))] == [[0, 1], [2, 3]]


def test_jax_arrays_and_memmaps_are_columns(tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "m", np.int32, "w+", shape=(4, 3))
    mapped[:] = np.arange(12).reshape(4, 3)
    records = source({"j": jnp.arange(4), "m": mapped})
    assert records[2]["j"] == 2
    assert records[2]["m"].tolist() == [6, 7, 8]


def test_a_slice_of_an_arrow_table_has_the_numbers_that_it_had() -> None:
    numbers = source(pa.table({"t": [[1, None], [2**53 + 1]]}).slice(1))[0]["t"]
    assert numbers.dtype == np.int64
    assert numbers.tolist() == [2**53 + 1]


def test_a_records_arrays_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        source()[0]["x"][0] = 1


def test_iterating_serves_a_shard_in_order_and_shuffles_anew_each_time() -> None:
    assert [r["deep"]["y"] for r in source(shard_id=1, num_workers=3)] == [1, 4, 7]
    shuffled = source(shuffle=True, rngs=nnx.Rngs(0))
    first, second = ([int(r["deep"]["y"]) for r in shuffled] for _ in range(2))
    assert first != second
    assert sorted(first) == sorted(second) == list(range(10))
    with pytest.raises(ValueError, match="needs rngs"):
        list(source(shuffle=True))


def test_get_batch_moves_on_and_is_short_at_the_end() -> None:
    records = source()
    assert records.get_batch(6)["deep"]["y"].tolist() == [0, 1, 2, 3, 4, 5]
    last = records.get_batch(6)
    assert last["x"].shape == (4, 2)
    assert last["text"] == ["t6", "t7", "t8", "t9"]
    assert records.get_batch(6)["deep"]["y"].tolist() == [0, 1, 2, 3, 4, 5]
    records.reset()
    assert records.get_batch(1)["x"].tolist() == [[0, 1]]
    with pytest.raises(ValueError, match="batch_size >= 1"):
        records.get_batch(0)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ("text", TypeError, "not str"),
        (7, TypeError, "not int"),
        ({"a": np.zeros(3), "b": np.zeros(4)}, ValueError, "'a': 3, 'b': 4"),
        ({}, ValueError, "no column"),
        ({"a": 5}, TypeError, "column 'a'"),
        ({"a": np.float32(5)}, TypeError, "column 'a'"),
        ({"a": np.array([[1, "x"]], object)}, TypeError, "column 'a'.*object array"),
    ],
)
def test_data_of_another_kind_is_an_error(data: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        source(data)


@pytest.mark.parametrize(
    "wrong", [{"num_workers": 2}, {"num_workers": 2, "shard_id": 2}, {"num_workers": 0}, {"shard_id": -1}]
)
def test_shards_out_of_range_are_an_error(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"shard_id|number of shards"):
        MemorySourceConfig(**wrong)  # type: ignore[arg-type]


# --- placement


def test_placing_moves_everything_into_one_segment_and_lets_the_own_copy_go() -> None:
    records = source()
    before = [copy.deepcopy(records[i]) for i in range(10)]
    records.place()
    homes = set()
    for column in records.columns:
        if isinstance(column, ObjectColumn):
            assert column.values is None
        for part in column.packed if isinstance(column, ObjectColumn) else [column]:  # type: ignore[union-attr]
            assert isinstance(part.home, InSegment)
            homes.add(id(part.home.segment))
    assert len(homes) == 1
    for i in range(10):
        assert records[i]["x"].tolist() == before[i]["x"].tolist()
        assert records[i]["text"] == before[i]["text"]
    segment = records.columns[0].home.segment  # type: ignore[union-attr]
    records.place()
    assert records.columns[0].home.segment is segment  # type: ignore[union-attr]


@pytest.mark.needs("proc")  # which tells what is a mapped file
@pytest.mark.parametrize("cut", [slice(None), slice(3, 9), slice(5000, 9000), slice(None, None, -3)])
def test_memmaps_and_their_views_stay_in_their_file(tmp_path: Path, cut: slice) -> None:
    whole = np.memmap(tmp_path / "m", np.int64, "w+", offset=24, shape=(10000, 2))
    whole[:] = np.arange(20000).reshape(10000, 2)
    column = placed(whole[cut])
    assert isinstance(column.home, InFile)
    assert np.array_equal(ArrayColumn.at(column.home).array, whole[cut])


def test_a_memmap_whose_changes_are_private_is_copied(tmp_path: Path) -> None:
    np.zeros(20).tofile(tmp_path / "m")
    assert isinstance(placed(np.memmap(tmp_path / "m", np.int64, "c")).home, InSegment)


def test_a_memmap_whose_file_was_replaced_is_served_from_the_file_that_main_has(tmp_path: Path) -> None:
    np.arange(1000).tofile(tmp_path / "m")
    mapped = np.memmap(tmp_path / "m", np.int64, "r")
    np.zeros(1000, np.int64).tofile(tmp_path / "new")
    (tmp_path / "new").replace(tmp_path / "m")
    with Pipeline(source={"x": mapped}, batch_size=1000, num_workers=1, output="numpy") as pipeline:
        [batch] = pipeline
    assert np.array_equal(batch["x"], np.arange(1000))


def placed(array: np.ndarray) -> ArrayColumn:
    memory = MemorySource(MemorySourceConfig(), {"x": array})
    memory.place()
    [column] = memory.columns
    assert isinstance(column, ArrayColumn)
    return column


def test_a_placed_source_pickles_by_value() -> None:
    records = source()
    records.place()
    again = pickle.loads(pickle.dumps(records))
    assert again[3]["x"].tolist() == [6, 7]
    assert again[3]["text"] == "t3"


def test_a_record_that_does_not_pickle_is_an_error_that_names_it() -> None:
    with pytest.raises(TypeError, match="record 1 cannot be sent.*generator"):
        source([{"a": 1}, (i for i in range(3))]).place()
