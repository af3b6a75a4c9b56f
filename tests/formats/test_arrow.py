"""Rows of Arrow files, streams and Feather: by number, over files and blocks, and what can be wrong with them."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather

from datarax_mp import ArrowSource, Pad, Pipeline, ShuffleWindow
from datarax_mp.testing import assert_same_stream, check_resume, check_source

ROWS = [17, 0, 9, 30]


def table(first: int, rows: int) -> pa.Table:
    numbers = list(range(first, first + rows))
    return pa.table(
        {
            "n": pa.array(numbers, pa.int64()),
            "text": pa.array([f"row {n}" for n in numbers], pa.string()),
            "tokens": pa.array([list(range(n % 5 + 1)) for n in numbers], pa.list_(pa.int32())),
            "pair": pa.array([[n, n + 1] for n in numbers], pa.list_(pa.float32(), 2)),
        }
    )


def as_file(path: str, rows: pa.Table) -> None:
    with pa.OSFile(path, "wb") as file, pa.ipc.new_file(file, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=4)


def as_stream(path: str, rows: pa.Table) -> None:
    with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=4)


def as_compressed(path: str, rows: pa.Table) -> None:
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(path, "wb") as file, pa.ipc.new_file(file, rows.schema, options=options) as writer:
        writer.write_table(rows, max_chunksize=4)


def as_feather(path: str, rows: pa.Table) -> None:
    feather.write_feather(rows, path, chunksize=4)


WRITERS: dict[str, Callable[[str, pa.Table], None]] = {
    "file": as_file,
    "stream": as_stream,
    "compressed": as_compressed,
    "feather": as_feather,
}


@pytest.fixture(params=WRITERS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    first = 0
    for number, rows in enumerate(ROWS):
        WRITERS[request.param](str(tmp_path / f"{number}.arrow"), table(first, rows))
        first += rows
    return tmp_path


@pytest.mark.parametrize("block_bytes", [1, 600, 1 << 24])
def test_every_row_is_there_under_its_number(folder: Path, block_bytes: int) -> None:
    source = ArrowSource(folder, block_bytes=block_bytes)
    assert len(source) == sum(source.blocks) == sum(ROWS)
    assert len(source.blocks) == 16 if block_bytes == 1 else len(source.blocks) >= 3
    for n in (0, 16, 17, 25, 26, 55, -1):
        found, at = source[n], n % 56
        assert (found["n"], found["text"]) == (at, f"row {at}")
        assert found["tokens"].tolist() == list(range(at % 5 + 1))
        assert found["pair"].tolist() == [at, at + 1]
    check_source(ArrowSource(folder, columns=["n", "pair"]))


@pytest.mark.parametrize("how", [{"num_workers": 2}, {"num_workers": 3, "workers": "threads"}])
def test_the_stream_is_the_same_whoever_works(folder: Path, how: dict[str, Any]) -> None:
    usual: dict[str, Any] = {
        "batch_size": 10,
        "seed": 3,
        "output": "numpy",
        "shuffle": ShuffleWindow(blocks=3),
        "stages": [Pad("tokens", 5)],
    }
    source = ArrowSource(folder, block_bytes=1)
    with Pipeline(source=source, **usual) as expected, Pipeline(source=source, **usual, **how) as found:
        assert_same_stream(expected, found, epochs=2)
        check_resume(found, steps=3)


def test_a_pickle_has_names_and_numbers_and_no_data(folder: Path) -> None:
    source = ArrowSource(folder)
    before = pickle.dumps(source)
    assert source[40]["n"] == 40
    assert pickle.dumps(source) == before
    assert len(before) < 4000
    assert pickle.loads(before)[55]["n"] == 55


def test_the_files_of_hugging_face_are_read_where_they_lie(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"n": list(range(50)), "text": [f"row {n}" for n in range(50)]}).save_to_disk(tmp_path)
    with Pipeline(source=ArrowSource(tmp_path), batch_size=8, output="numpy", num_workers=1) as pipeline:
        batches = list(pipeline)
    assert np.concatenate([batch["n"] for batch in batches]).tolist() == list(range(50))
    assert batches[0].info["text"][3] == "row 3"


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("left", [0, 3, 40, -30])
def test_a_file_that_is_cut_off_is_an_error_that_names_it(kind: str, left: int, tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"
    WRITERS[kind](str(path), table(0, 20))
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ValueError, match=r"a\.arrow: expected an Arrow file, found"):
        ArrowSource(path)


def test_what_cannot_be_is_an_error(tmp_path: Path) -> None:
    as_file(str(tmp_path / "a.arrow"), table(0, 5))
    with pytest.raises(ValueError, match="there is no column 'x'; there are n, text"):
        ArrowSource(tmp_path, columns=["x"])
    with pytest.raises(TypeError, match=r"one column is \['n'\]"):
        ArrowSource(tmp_path, columns="n")
    source = ArrowSource(tmp_path)
    as_stream(str(tmp_path / "a.arrow"), table(0, 6))
    with pytest.raises(OSError, match=r"a\.arrow: expected the file of .* Make the source anew"):
        source[0]
    as_file(str(tmp_path / "b.arrow"), pa.table({"n": [1]}))
    with pytest.raises(ValueError, match=r"files differ in their columns: n: int64, text.*a\.arrow, n: int64 in .*b"):
        ArrowSource(tmp_path)
    text = pa.array(["a", "b", "a"]).dictionary_encode()
    as_stream(str(tmp_path / "c.arrow"), pa.table({"text": text}))
    with pytest.raises(ValueError, match=r"c\.arrow: a stream with dictionaries.*new_file"):
        ArrowSource(tmp_path / "c.arrow")
    as_stream(str(tmp_path / "c.arrow"), pa.table({"deep": pa.StructArray.from_arrays([text], ["text"])}))
    with pytest.raises(ValueError, match=r"c\.arrow: a stream with dictionaries"):
        ArrowSource(tmp_path / "c.arrow")
    as_file(str(tmp_path / "d.arrow"), pa.table({"text": text}))
    assert ArrowSource(tmp_path / "d.arrow")[2]["text"] == "a"


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.arrow").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"datarax-mp\[arrow\]"):
        ArrowSource(tmp_path)
