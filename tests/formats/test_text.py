"""Lines of JSON and rows of CSV: by number, over files and blocks, and what can be wrong with them."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datarax_mp import CsvSource, JsonLinesSource, Pipeline, RecordError, ShuffleWindow
from datarax_mp.formats import line_index
from datarax_mp.formats.indexes import indexed
from datarax_mp.testing import assert_same_stream, check_resume, check_source

ROWS = [17, 0, 9, 30]


def line(n: int) -> str:
    return json.dumps({"n": n, "text": f"row {n}\n", "xs": [n, n / 2], "deep": {"a": [n]}})


def row(n: int) -> list[str]:
    return [str(n), f'a "quoted", {n}\nline', f"{n / 4}"]


def as_csv(numbers: range) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["n", "text", "x"])
    writer.writerows(map(row, numbers))
    return text.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    first = 0
    for number, count in enumerate(ROWS):
        numbers = range(first, first + count)
        lines = "\n \n".join(map(line, numbers)) + "\n" * (number % 2)
        (tmp_path / f"{number}.jsonl").write_text(lines)
        (tmp_path / f"{number}.csv").write_text(as_csv(numbers))
        first += count
    return tmp_path


@pytest.mark.parametrize("block_bytes", [1, 300, 1 << 24])
def test_every_line_is_there_under_its_number(folder: Path, block_bytes: int) -> None:
    source = JsonLinesSource(folder, block_bytes=block_bytes)
    assert len(source) == sum(ROWS)
    for n in (0, 16, 17, 25, 26, 55, -1):
        found = source[n]
        assert found == json.loads(line(n % 56))
    check_source(source)


@pytest.mark.parametrize("block_bytes", [1, 300, 1 << 24])
def test_every_row_is_there_under_its_number(folder: Path, block_bytes: int) -> None:
    source = CsvSource(folder, block_bytes=block_bytes)
    assert len(source) == sum(ROWS)
    for n in (0, 16, 17, 25, 26, 55, -1):
        found = source[n]
        assert [found["n"], found["x"]] == [n % 56, n % 56 / 4]
        assert found["text"].replace("\r", "") == row(n % 56)[1]
        assert (found["n"].dtype, found["x"].dtype) == (np.int64, np.float64)
    check_source(source)
    assert list(CsvSource(folder, columns=["x"])[3]) == ["x"]
    assert CsvSource(folder, column_types={"n": "float"})[3]["n"].dtype == np.float32


@pytest.mark.parametrize(
    "make", [JsonLinesSource, lambda folder, **more: CsvSource(folder, columns=["n", "x"], **more)]
)
@pytest.mark.parametrize("how", [{"num_workers": 2}, {"num_workers": 3, "workers": "threads"}])
def test_the_stream_is_the_same_whoever_works(folder: Path, make: Any, how: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"batch_size": 10, "seed": 3, "output": "numpy", "shuffle": ShuffleWindow(blocks=3)}
    source = make(folder, block_bytes=300)
    with Pipeline(source=source, **usual) as expected, Pipeline(source=source, **usual, **how) as found:
        assert_same_stream(expected, found, epochs=2)
        check_resume(found, steps=3)


PACK = {".gz": gzip.compress, ".zst": lambda data: zstandard.ZstdCompressor().compress(data)}


@pytest.mark.parametrize("packed", PACK)
def test_compressed_files_are_read_as_a_whole(folder: Path, tmp_path: Path, packed: str) -> None:
    other = tmp_path / "packed"
    other.mkdir()
    for path in [*folder.glob("*.jsonl"), *folder.glob("*.csv")]:
        (other / f"{path.name}{packed}").write_bytes(PACK[packed](path.read_bytes()))
    for kind in (JsonLinesSource, CsvSource):
        plain, source = kind(folder), kind(other)
        assert len(source.blocks) == 3
        assert [repr(source[n]) for n in range(56)] == [repr(plain[n]) for n in range(56)]
    damaged = next(other.glob("3.jsonl*"))
    damaged.write_bytes(damaged.read_bytes()[:-20])
    with pytest.raises(OSError, match=r"3\.jsonl.*: it is truncated|damaged"):
        JsonLinesSource(other)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    lines=st.lists(st.sampled_from(["1", "", " ", "\t\t", '"a b"', "[1, 2]", "\r", "22"]), max_size=12),
    chunk=st.integers(1, 9),
)
def test_lines_are_found_however_a_file_is_cut_into_chunks(
    lines: list[str], chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_index, "_CHUNK", chunk)
    for ending in ("", "\n"):
        path = tmp_path / "a.jsonl"
        path.write_bytes(("\n".join(lines) + ending).encode())
        expected = [json.loads(text) for text in lines if text.strip()]
        source = JsonLinesSource(path)
        assert [source[n] for n in range(len(source))] == expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    fields=st.lists(st.text('ab",\n\r', min_size=1, max_size=5), min_size=1, max_size=8),
    ending=st.sampled_from(["\n", "\r\n", "\r"]),
    chunk=st.integers(1, 9),
    block=st.integers(1, 40),
)
def test_rows_are_found_however_a_file_is_cut_into_chunks(
    fields: list[str], ending: str, chunk: int, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_index, "_CHUNK", chunk)
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator=ending)
    writer.writerows([["t"], *([field] for field in fields)])
    path = tmp_path / "a.csv"
    path.write_bytes(text.getvalue().encode())
    source = CsvSource(path, block_bytes=block, column_types={"t": "string"})
    assert [source[n]["t"] for n in range(len(source))] == fields


def test_a_line_that_is_no_json_names_file_line_and_byte_and_is_skipped_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"n": 0}\n\n{"n": 1,}\n{"n": 2}\n')
    source = JsonLinesSource(path)
    with pytest.raises(RecordError, match=r"a\.jsonl, line 3 \(byte 10\): expected a value of JSON"):
        source[1]
    with Pipeline(source=source, batch_size=4, on_error="skip", num_workers=1, output="numpy") as pipeline:
        assert [batch["n"].tolist() for batch in pipeline] == [[0, 2]]
        assert pipeline.skipped == 1


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        ("", {}, "expected a first row with the columns' names"),
        ("a,a\n1,2\n", {}, "two columns are called 'a'"),
        ("a,b\n1,2\n", {"columns": ["c"]}, "there is no column 'c'; there are a, b"),
        ("a,b\n1,2\n", {"column_types": {"c": "int64"}}, "there is no column 'c'"),
        ('a,b\n1,2\n3,"4\n5,6\n', {}, r"a\.csv: the row that begins at byte 8 opens a quote that is never closed"),
        ("a,b\n1,2\n3\n", {}, r"a\.csv, records 0 to 2 \(row #1 is line 2, byte 4\).*Expected 2 columns, got 1"),
    ],
)
def test_csv_that_cannot_be_is_an_error(tmp_path: Path, text: str, more: Any, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        CsvSource(tmp_path / "a.csv", **more)


def test_a_value_of_another_kind_than_the_first_rows_names_its_row_and_what_to_say(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n\n1\n2\n3.5\n")
    source = CsvSource(tmp_path / "a.csv", block_bytes=1)
    assert source[1]["n"] == 2
    with pytest.raises(ValueError, match=r"records 2 to 3 \(row #1 is line 4.*'3\.5'.*column_types="):
        source[2]
    assert CsvSource(tmp_path / "a.csv", block_bytes=1, column_types={"n": "double"})[2]["n"] == 3.5


def test_lines_may_end_with_a_return_alone_and_are_counted_so(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'n,text\r1,"one\rtwo"\r\r2,b\r3.5,c')
    source = CsvSource(path, block_bytes=1, column_types={"n": "int64"})
    assert len(source) == 3
    assert [source[n] for n in range(2)] == [{"n": 1, "text": "one\rtwo"}, {"n": 2, "text": "b"}]
    with pytest.raises(ValueError, match=r"records 2 to 3 \(row #1 is line 6, byte 24\).*'3\.5'"):
        source[2]


def test_an_index_of_rows_from_before_returns_were_known_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"n\r1\r2\r")
    stale = {"begins": np.array([6])}
    indexed(str(path), "csv 1", tmp_path / "kept", lambda _: stale)
    assert len(CsvSource(path, index_folder=tmp_path / "kept")) == 2


def test_integers_beyond_int64_are_kept_apart(tmp_path: Path) -> None:
    numbers = [1 << 63, (1 << 63) + 1, 5]
    path = tmp_path / "a.csv"
    path.write_text("id,x\n" + "".join(f"{n}, {n / 2}\n" for n in numbers) + "NA,\n")
    source = CsvSource(path)
    assert [source[n]["id"] for n in range(3)] == numbers
    assert source[0]["id"].dtype == np.uint64
    assert source[0]["x"] == 2.0**62
    assert CsvSource(path, column_types={"id": "double"})[0]["id"].dtype == np.float64


@pytest.mark.parametrize("other", [1 << 64, -(1 << 63) - 1, -1])
def test_integers_that_no_type_holds_are_an_error_that_says_what_to_say(other: int, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"n,id\n1,{1 << 63}\n2,{other}\n")
    with pytest.raises(ValueError, match=rf"a\.csv, records 0 to 2, column 'id': .*'{other}'.*column_types=\{{'id': "):
        CsvSource(path)
    assert CsvSource(path, column_types={"id": "string"})[1]["id"] == str(other)
    assert CsvSource(path, columns=["n"])[1] == {"n": 2}


def test_large_floats_stay_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x,y,z\n1e20,inf,9223372036854775808.0\n2e30,3,4\n")
    source = CsvSource(path)
    assert source[0] == {"x": 1e20, "y": float("inf"), "z": 2.0**63}
    assert {value.dtype for value in source[1].values()} == {np.dtype(np.float64)}


def test_files_with_other_columns_are_an_error_and_tabs_are_known_by_the_name(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("n\ttext\n1\ta,b\n")
    assert CsvSource(tmp_path)[0] == {"n": 1, "text": "a,b"}
    (tmp_path / "b.tsv").write_text("n\tother\n1\ta\n")
    with pytest.raises(ValueError, match=r"\['n', 'text'\] in .*a\.tsv, \['n', 'other'\] in .*b\.tsv"):
        CsvSource(tmp_path)
    with pytest.raises(TypeError, match=r"one column is \['n'\]"):
        CsvSource(tmp_path / "a.tsv", columns="n")


def test_an_empty_field_among_numbers_names_the_record(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n,t\n1,\n,x\n3,y\n")
    source = CsvSource(tmp_path / "a.csv")
    assert source[0] == {"n": 1, "t": ""}
    with pytest.raises(RecordError, match=r"field 'n': expected numbers, found 1 nulls .*in record 1"):
        source.__getitems__([1, 2])


def test_a_file_that_was_changed_or_is_not_there_is_an_error(folder: Path) -> None:
    sources = [JsonLinesSource(folder / "0.jsonl"), CsvSource(folder / "0.csv")]
    for source, name in zip(sources, ("0.jsonl", "0.csv"), strict=True):
        (folder / name).write_text("n\n1\n")
        with pytest.raises(OSError, match="Make the source anew"):
            source[5]
    with pytest.raises(FileNotFoundError):
        JsonLinesSource(folder / "none.jsonl")
    (folder / "packed.csv").write_bytes(bz2.compress(b"n\n1\n"))
    with pytest.raises(ValueError, match=r"packed\.csv"):
        CsvSource(folder / "packed.csv", columns=["n"])


def test_without_pyarrow_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.csv", None)
    with pytest.raises(ImportError, match=r"datarax-mp\[csv\]"):
        CsvSource(folder)
