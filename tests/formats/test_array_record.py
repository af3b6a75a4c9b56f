"""Records of ArrayRecord files: by number, over files, and what can be wrong with them."""

from __future__ import annotations

import logging
import os
import pickle
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter

from datarax_mp import ArrayRecordSource, Pipeline, RecordError
from datarax_mp.formats import array_record
from datarax_mp.testing import assert_same_stream, check_resume, check_source
from tests.formats.examples import example

FILES = [17, 0, 9, 30]  # records of each
FEATURES: dict[str, Any] = {"text": str, "label": np.int64, "vec": (np.float32, (3,))}


def record(n: int) -> bytes:
    return example({"text": [f"row {n}".encode()], "label": [n], "vec": [n / 2] * 3, "rest": [b"x"]})


def write(path: Path, records: list[bytes], options: str = "group_size:1") -> Path:
    writer = ArrayRecordWriter(str(path), options)
    for data in records:
        writer.write(data)
    writer.close()
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    first = 0
    for number, count in enumerate(FILES):
        write(tmp_path / f"train-{number}.array_record", [record(n) for n in range(first, first + count)])
        first += count
    return tmp_path


def test_every_record_is_there_under_its_number(folder: Path) -> None:
    source = ArrayRecordSource(folder)
    assert len(source) == 56
    assert [source[n] for n in range(56)] == [record(n) for n in range(56)]
    assert source[-1] == record(55)
    for wanted in ([40, 2, 17, 2], [3, 4, 5, 6], [18, 17, 16, 15], [25, 26, 27], list(range(56)), []):
        assert list(source.__getitems__(wanted)) == [record(n) for n in wanted]
    for number in (56, -57):
        with pytest.raises(IndexError, match="56 records"):
            source[number]


def test_examples_are_records(folder: Path) -> None:
    source = ArrayRecordSource(str(folder / "*.array_record"), FEATURES)
    for n in (0, 16, 17, 55):
        found = source[n]
        assert (found["text"], found["label"], found["vec"].tolist()) == (f"row {n}", n, [n / 2] * 3)
    check_source(source)


@pytest.mark.parametrize("how", [{}, {"num_workers": 2}, {"num_workers": 3, "workers": "threads"}])
def test_the_stream_is_the_same_whoever_works(folder: Path, how: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"batch_size": 10, "shuffle": True, "seed": 3, "output": "numpy"}
    source = ArrayRecordSource(folder, FEATURES)
    with Pipeline(source=source, **usual) as expected, Pipeline(source=source, **usual, **how) as found:
        assert_same_stream(expected, found, epochs=2)
        labels = [n for batch in expected for n in batch["label"].tolist()]
        assert sorted(labels) == list(range(56)) != labels
        check_resume(found, steps=3)


class Counted:
    there = most = 0

    def __init__(self, data: bytes) -> None:
        self.n = int(data.decode().split()[1])
        Counted.there += 1
        Counted.most = max(Counted.most, Counted.there)

    def __del__(self) -> None:
        Counted.there -= 1


def test_one_record_of_a_batch_at_a_time_is_there_decoded(folder: Path) -> None:
    def number(found: dict[str, Any]) -> dict[str, Any]:
        return {"n": found["text"].n}

    Counted.most = 0
    source = ArrayRecordSource(folder, {"text": lambda data: Counted(data)})
    with Pipeline(source=source, batch_size=20, stages=[number], output="numpy") as pipeline:
        assert [n for batch in pipeline for n in batch["n"].tolist()] == list(range(56))
    assert Counted.most <= 2


def test_a_damaged_record_is_named_and_the_only_one_to_be_skipped(folder: Path) -> None:
    records = [record(n) + bytes(3000) for n in range(17, 26)]
    path = write(folder / "train-2.array_record", records, "group_size:1,uncompressed")
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"row 22")] ^= 1
    path.write_bytes(raw)
    source = ArrayRecordSource(folder)
    with pytest.raises(OSError, match=r"train-2\.array_record, record 5: it cannot be read: .*[Cc]orrupted"):
        source.__getitems__([20, 21, 22, 23])
    assert len(source.__getitems__([20, 21, 23])) == 3

    def length(data: bytes) -> dict[str, Any]:
        return {"length": len(data)}

    with Pipeline(source=source, batch_size=56, stages=[length], on_error="skip", num_workers=1) as pipeline:
        assert [batch.batch_size for batch in pipeline] == [55]
        assert [skip.record for skip in pipeline.skips] == [22]


def test_what_is_no_example_with_these_features_is_named_and_skipped(tmp_path: Path) -> None:
    write(tmp_path / "a.array_record", [record(0), b"no example", record(2)])
    source = ArrayRecordSource(tmp_path, {"label": np.int64})
    with pytest.raises(RecordError, match=r"a\.array_record, record 1: expected"):
        source[1]
    with Pipeline(source=source, batch_size=3, on_error="skip", num_workers=1, output="numpy") as pipeline:
        assert [batch["label"].tolist() for batch in pipeline] == [[0, 2]]
        assert [skip.record for skip in pipeline.skips] == [1]
    with pytest.raises(RecordError, match=r"record 1: expected"), Pipeline(source=source, batch_size=3) as pipeline:
        list(pipeline)


def test_a_file_that_is_none_or_truncated_is_named(folder: Path) -> None:
    path = folder / "train-2.array_record"
    whole = path.read_bytes()
    for content in (b"", b"text" * 100, whole[: len(whole) // 2], whole[:-10]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"train-2\.array_record: expected an ArrayRecord file, found .*: \w"):
            ArrayRecordSource(folder)


def test_a_file_that_was_written_anew_is_noticed(folder: Path) -> None:
    source = ArrayRecordSource(folder)
    write(folder / "train-0.array_record", [record(0)])
    with pytest.raises(OSError, match=r"train-0\.array_record: expected the file of .* Make the source anew"):
        source[0]
    assert source[20] == record(20)


def test_records_that_were_compressed_together_are_warned_of(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "datarax_mp")
    ArrayRecordSource(folder)
    assert not caplog.records
    write(folder / "train-2.array_record", [record(n) for n in range(17, 26)], "group_size:4")
    source = ArrayRecordSource(folder)
    assert "compressed 4 at a time" in caplog.text
    assert "1 of 4 files" in caplog.text
    assert [source[n] for n in range(56)] == [record(n) for n in range(56)]


def test_a_worker_gets_names_and_numbers_and_no_handles(folder: Path) -> None:
    source = ArrayRecordSource(folder)
    before = len(pickle.dumps(source))
    assert source[20] == record(20)
    assert len(pickle.dumps(source)) == before < 2000
    assert pickle.loads(pickle.dumps(source))[40] == record(40)


def test_few_files_are_open_and_threads_may_read_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_record, "_MOST_OPEN", 2)
    source, wrong = ArrayRecordSource(folder), []

    def work(seed: int) -> None:
        for n in np.random.default_rng(seed).permutation(56).tolist():
            if source[n] != record(n):
                wrong.append(n)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    links = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink() and link.exists()]
    assert sum(link.startswith(str(folder)) for link in links) == 2


def test_without_array_record_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "array_record.python", None)
    with pytest.raises(ImportError, match=r"datarax-mp\[array-record\]"):
        ArrayRecordSource(folder)
