"""Tables and other containers of columns, brought as they are: every value arrives, or there is a clear error."""

from __future__ import annotations

import array
from collections import OrderedDict, UserDict, namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse

from datarax_mp import MapBatch, MemorySource, MemorySourceConfig, Pipeline, RecordError

NUMBERS = [3, 1, 2, 5]
TEXTS = ["a", "bc", "", "d"]


def rows_of(source: Any, workers: int = 0, **options: Any) -> list[dict[str, Any]]:
    """All rows of one epoch, what is no array beside what is one."""
    found: list[dict[str, Any]] = []
    with Pipeline(source=source, batch_size=3, num_workers=workers, output="numpy", **options) as pipeline:
        for batch in pipeline:
            fields = {**{name: batch[name].tolist() for name in batch}, **batch.info}
            found += [dict(zip(fields, row, strict=True)) for row in zip(*fields.values(), strict=True)]
    return found


def frame(backend: str = "numpy") -> Any:
    made = pd.DataFrame({"n": NUMBERS, "text": TEXTS})
    return made.convert_dtypes(dtype_backend="pyarrow") if backend == "pyarrow" else made


def polars_frame() -> Any:
    return pytest.importorskip("polars").DataFrame({"n": NUMBERS, "text": TEXTS})


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "make",
    [
        frame,
        lambda: frame("pyarrow"),
        lambda: frame().set_index(pd.Index([7, 8, 9, 10])),
        polars_frame,
        lambda: pa.table({"n": NUMBERS, "text": TEXTS}),
        lambda: pa.RecordBatch.from_pydict({"n": NUMBERS, "text": TEXTS}),
        lambda: pa.concat_tables([pa.table({"n": [n], "text": [t]}) for n, t in zip(NUMBERS, TEXTS, strict=True)]),
        lambda: OrderedDict(n=np.array(NUMBERS), text=TEXTS),
        lambda: UserDict(n=np.array(NUMBERS), text=np.array(TEXTS)),
        lambda: {"n": pd.Series(NUMBERS, index=[9, 8, 7, 6]), "text": frame()["text"]},
        lambda: {"n": pa.array(NUMBERS), "text": pa.array(TEXTS)},
        lambda: {"n": array.array("q", NUMBERS), "text": np.array(TEXTS, np.dtypes.StringDType())},
        lambda: {"n": jnp.array(NUMBERS), "text": np.array(TEXTS, object)},
        lambda: {"n": np.ma.array(NUMBERS, mask=False), "text": tuple(TEXTS)},
        lambda: namedtuple("Data", ["n", "text"])(np.array(NUMBERS), TEXTS),
        lambda: MemorySource(MemorySourceConfig(), frame()),
    ],
)
def test_a_table_is_its_columns(make: Callable[[], Any], workers: int) -> None:
    expected = [{"n": n, "text": t} for n, t in zip(NUMBERS, TEXTS, strict=True)]
    assert rows_of(make(), workers) == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_files_of_arrays_are_their_arrays(tmp_path: Path, workers: int) -> None:
    np.savez(tmp_path / "data.npz", n=NUMBERS, x=np.eye(4))
    with np.load(tmp_path / "data.npz") as opened:
        assert rows_of(opened, workers) == [
            {"n": n, "x": row} for n, row in zip(NUMBERS, np.eye(4).tolist(), strict=True)
        ]


@pytest.mark.parametrize("workers", [0, 2])
def test_hdf5_and_zarr_are_their_arrays(tmp_path: Path, workers: int) -> None:
    h5py, zarr = pytest.importorskip("h5py"), pytest.importorskip("zarr")
    expected = [{"n": n, "text": t} for n, t in zip(NUMBERS, TEXTS, strict=True)]
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["n"], file["text"] = NUMBERS, TEXTS
        assert rows_of(file, workers) == expected
        assert rows_of({"n": file["n"], "text": file["text"]}, workers) == expected
    group = zarr.group()
    group.create_array("n", data=np.array(NUMBERS))
    assert rows_of(group, workers) == [{"n": n} for n in NUMBERS]
    assert rows_of({"n": group["n"]}, workers) == [{"n": n} for n in NUMBERS]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "make", [lambda: jnp.array(NUMBERS), lambda: pd.Series(NUMBERS), lambda: pa.array(NUMBERS), lambda: range(6)[3:]]
)
def test_an_array_is_its_rows(make: Callable[[], Any], workers: int) -> None:
    values = list(make().tolist() if hasattr(make(), "tolist") else make())
    assert rows_of(make(), workers) == [
        {"value": value if isinstance(value, int) else value.as_py()} for value in values
    ]


def test_a_tensor_is_its_rows_and_shares_one_copy() -> None:
    torch = pytest.importorskip("torch")
    assert rows_of(torch.tensor(NUMBERS), 2) == [{"value": n} for n in NUMBERS]
    assert rows_of({"x": torch.ones(4, 2, requires_grad=True)}, 2) == [{"x": [1.0, 1.0]}] * 4
    assert rows_of([torch.ones(2), torch.zeros(2)]) == [{"value": [1.0, 1.0]}, {"value": [0.0, 0.0]}]


def test_numeric_columns_are_taken_without_a_copy() -> None:
    numbers = np.arange(1000)
    for data in (
        {"n": pd.Series(numbers, copy=False)},
        {"n": pa.array(numbers)},
        pd.DataFrame({"n": numbers}, copy=False),
    ):
        source = MemorySource(MemorySourceConfig(), data)
        assert np.shares_memory(source[3]["n"], numbers)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_text_column_of_a_frame_reaches_a_stage_that_reads_it(workers: int) -> None:
    found = rows_of(
        {"c": frame()["text"], "n": frame()["n"]}, workers, stages=[lambda r: {"n": r["n"], "length": len(r["c"])}]
    )
    assert [row["length"] for row in found] == [1, 2, 0, 1]


class Answers:
    """Reads several records in one call, in the form that it is told."""

    def __init__(self, form: Callable[[list[int]], Any]) -> None:
        self.form = form

    def __len__(self) -> int:
        return 4

    def __getitem__(self, number: int) -> Any:
        return {"n": NUMBERS[number], "text": TEXTS[number]}

    def __getitems__(self, numbers: list[int]) -> Any:
        return self.form(numbers)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "form",
    [
        lambda numbers: frame().iloc[numbers],
        lambda numbers: pa.table({"n": NUMBERS, "text": TEXTS}).take(numbers),
        lambda numbers: {"n": frame()["n"].iloc[numbers], "text": frame()["text"].iloc[numbers]},
        lambda numbers: {"n": pa.array(NUMBERS).take(numbers), "text": np.array(TEXTS, object)[numbers]},
        lambda numbers: {"n": np.ma.array(NUMBERS)[numbers], "text": np.array(TEXTS)[numbers]},
        lambda numbers: UserDict(n=np.array(NUMBERS)[numbers], text=[TEXTS[number] for number in numbers]),
    ],
)
def test_getitems_may_return_a_table(form: Callable[[list[int]], Any], workers: int) -> None:
    expected = [{"n": n, "text": t} for n, t in zip(NUMBERS, TEXTS, strict=True)]
    assert rows_of(Answers(form), workers) == expected
    shuffled = rows_of(Answers(form), workers, shuffle=True, seed=1)
    assert sorted(row["n"] for row in shuffled) == sorted(NUMBERS)
    assert all(row in expected for row in shuffled)


MASKED = np.ma.array([[1, 2], [3, 4], [5, 6], [7, 8]], mask=[[0, 0], [0, 0], [0, 1], [0, 0]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: {"x": MASKED}, r"column 'x': .*1 masked values \(in record 2\).*\.filled"),
        (lambda: MASKED, r"column 'value': .*masked values \(in record 2\)"),
        (lambda: {"x": [1, None, 2]}, r"column 'x': expected numbers, found None among numbers \(in record 1\)"),
        (lambda: {"x": np.array([1.0, None], object)}, r"column 'x': .*None among numbers \(in record 1\)"),
        (lambda: pd.DataFrame({"x": pd.array([1, None], "Int64")}), r"column 'x': .*nulls .*\(in record 1\).*fillna"),
        (lambda: pa.table({"x": [None, 1]}), r"column 'x': .*nulls .*\(in record 0\).*fill_null"),
        (lambda: {"a": {"x": np.zeros(2, [("p", "f4"), ("q", "i4")])}}, r"column 'a/x': .*structured.*\['p', 'q'\]"),
        (lambda: {"x": scipy.sparse.csr_matrix(np.eye(3))}, r"column 'x': .*sparse csr_matrix.*toarray"),
        (lambda: {"x": [2**64, 1]}, r"column 'x': .*no integer type"),
    ],
)
def test_what_cannot_become_numbers_is_an_error_that_names_column_and_record(make: Any, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        Pipeline(source=make(), batch_size=2)
    with pytest.raises(RecordError, match=message):
        MemorySource(MemorySourceConfig(), make())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: (np.zeros((5, 2)), np.zeros(5)), r"2 arrays, each 5 long.*'field 0': data\[0\].*{'image': X"),
        (lambda: (np.zeros((5, 2)), np.zeros((5, 2))), "would be read as 2 records"),
        (lambda: [np.zeros((5, 2)), np.zeros(5)], "would be read as 2 records"),
        (lambda: (pd.Series([1, 2, 3]), np.zeros(3)), "would be read as 2 records"),
        (lambda: pd.DataFrame([[1, 2]], columns=["a", "a"]), "several columns named 'a'"),
        (lambda: pd.DataFrame([[1, 2]]), "field names must be strings, found 0"),
        (lambda: {0: {"x": 1}}, "read as columns by name: field names must be strings"),
        (lambda: {"x": b"raw"}, "column 'x' must be an array or a list, not bytes"),
        (lambda: {"x": memoryview(b"raw")}, "column 'x' must be an array or a list, not memoryview"),
        (lambda: {"x": {1, 2}}, "column 'x' must be an array or a list, not set"),
        (lambda: bytearray(b"raw"), "must hold records, not bytearray"),
        (lambda: scipy.sparse.csr_matrix(np.eye(3)), "csr_matrix has no length"),
    ],
)
def test_what_is_no_table_is_an_error_with_the_remedy(make: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Pipeline(source=make(), batch_size=2)


def test_several_data_sets_in_one_are_an_error() -> None:
    datasets = pytest.importorskip("datasets")
    whole = datasets.DatasetDict(train=datasets.Dataset.from_dict({"x": [1, 2]}))
    with pytest.raises(TypeError, match=r"holds several data sets \['train'\].*data\['train'\]"):
        Pipeline(source=whole, batch_size=2)
    assert rows_of(whole["train"]) == [{"x": 1}, {"x": 2}]


def test_a_list_of_equally_long_arrays_is_a_list_of_records() -> None:
    assert rows_of([np.zeros(2), np.ones(2)]) == [{"value": [0.0, 0.0]}, {"value": [1.0, 1.0]}]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_mapping_of_the_users_own_that_is_asked_by_number_is_a_source(workers: int) -> None:
    class ByNumber(UserDict):
        pass

    source = ByNumber({number: {"x": number} for number in range(4)})
    assert rows_of(source, workers) == [{"x": number} for number in range(4)]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda rows: np.ma.array(np.zeros(rows), mask=[1] + [0] * (rows - 1)), "field 'x': .*masked"),
        (lambda rows: np.array(["a"] * rows, object), "field 'x': .*object array"),
        (lambda rows: pd.Series([None] * rows, dtype="Int64"), "field 'x': .*nulls"),
    ],
)
def test_results_of_stages_for_batches_are_judged_alike(value: Any, message: str, workers: int) -> None:
    with pytest.raises(RecordError, match=message):
        rows_of({"n": NUMBERS}, workers, stages=[MapBatch(lambda batch: {**batch, "x": value(len(batch["n"]))})])
