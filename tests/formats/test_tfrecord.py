"""Records of TFRecord files: by number, over files and blocks, and what can be wrong with them."""

from __future__ import annotations

import gzip
import pickle
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarax_mp import Pipeline, RecordError, ShuffleWindow, TFRecordSource
from datarax_mp.testing import assert_same_stream, check_resume, check_source
from tests.formats.examples import checksum, example, framed, write

FILES = [17, 0, 9, 30]  # records of each
FEATURES: dict[str, Any] = {"text": str, "label": np.int32, "vec": (np.float32, (3,)), "raw": bytes}


def record(n: int) -> bytes:
    features = {"text": [f"row {n}".encode()], "label": [n], "vec": [n / 2] * 3, "raw": [b"x" * (n % 7 * 50)]}
    return example(features | {"rest": [1, 2, 300]})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    first = 0
    for number, count in enumerate(FILES):
        write(tmp_path / f"train-{number}.tfrecord", map(record, range(first, first + count)))
        first += count
    return tmp_path


@pytest.mark.parametrize("block_bytes", [1, 1000, 16 << 20])
def test_every_record_is_there_under_its_number(folder: Path, block_bytes: int) -> None:
    source = TFRecordSource(folder, block_bytes=block_bytes)
    assert len(source) == sum(source.blocks) == 56
    assert len(source.blocks) == {1: 56, 16 << 20: 3}.get(block_bytes, len(source.blocks))
    assert [source[n] for n in range(56)] == [record(n) for n in range(56)]
    assert source[-1] == record(55)
    assert list(source.__getitems__([40, 2, 17])) == [record(n) for n in (40, 2, 17)]
    with pytest.raises(IndexError, match="56 records"):
        source[56]


def test_examples_are_records(folder: Path) -> None:
    source = TFRecordSource(folder, FEATURES)
    for n in (0, 16, 17, 55):
        found = source[n]
        assert list(found) == list(FEATURES)
        assert (found["text"], found["label"], found["raw"]) == (f"row {n}", n, b"x" * (n % 7 * 50))
        assert found["vec"].tolist() == [n / 2] * 3
        assert (found["label"].dtype, found["vec"].dtype) == (np.int32, np.float32)
    check_source(TFRecordSource(folder, FEATURES | {"vec": (np.float32, (None,))}))


@pytest.mark.parametrize("how", [{}, {"num_workers": 2}, {"num_workers": 3, "workers": "threads"}])
def test_the_stream_is_the_same_whoever_works(folder: Path, how: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"batch_size": 10, "shuffle": ShuffleWindow(blocks=3), "seed": 3, "output": "numpy"}
    source = TFRecordSource(folder, FEATURES, block_bytes=1500)
    assert len(source.blocks) > 6
    with Pipeline(source=source, **usual) as expected, Pipeline(source=source, **usual, **how) as found:
        assert_same_stream(expected, found, epochs=2)
        labels = [n for batch in expected for n in batch["label"].tolist()]
        assert sorted(labels) == list(range(56)) != labels
        check_resume(found, steps=3)


def test_bytes_are_handed_to_the_stages_of_the_user(folder: Path) -> None:
    def length(data: bytes) -> dict[str, Any]:
        return {"length": len(data)}

    with Pipeline(source=TFRecordSource(folder), batch_size=56, stages=[length], num_workers=1) as pipeline:
        assert [batch["length"].tolist() for batch in pipeline] == [[len(record(n)) for n in range(56)]]


def test_compressed_files_are_a_block_each(folder: Path) -> None:
    for path in folder.glob("*.tfrecord"):
        Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    source = TFRecordSource(folder, FEATURES)
    assert source.blocks.tolist() == [17, 9, 30]
    assert [int(source[n]["label"]) for n in range(56)] == list(range(56))


def test_a_length_that_looks_like_gzip_is_a_length(tmp_path: Path) -> None:
    write(tmp_path / "a.tfrecord", [b"x" * 0x8B1F, b"y"])
    assert [len(TFRecordSource(tmp_path)[n]) for n in range(2)] == [0x8B1F, 1]


def test_large_records_and_small_ones(tmp_path: Path) -> None:
    sizes = [3, 70_000, 0, 20_000, 20_000, 5, 1_500_000, 1]
    write(tmp_path / "a.tfrecord", [bytes([n]) * size for n, size in enumerate(sizes)])
    source = TFRecordSource(tmp_path)
    assert [source[n] for n in range(len(sizes))] == [bytes([n]) * size for n, size in enumerate(sizes)]


def test_a_damaged_record_is_named_and_the_only_one_to_be_skipped(folder: Path) -> None:
    path = folder / "train-2.tfrecord"
    at = len(framed(map(record, range(17, 22))))
    raw = bytearray(path.read_bytes())
    raw[at + 12 + 30] ^= 1
    path.write_bytes(raw)
    source = TFRecordSource(folder, {"label": np.int64})
    with pytest.raises(RecordError, match=rf"train-2\.tfrecord, record 5 at byte {at:,}: .* another checksum"):
        source[22]
    with Pipeline(source=source, batch_size=56, on_error="skip", num_workers=2, output="numpy") as pipeline:
        assert [batch["label"].tolist() for batch in pipeline] == [[n for n in range(56) if n != 22]]
        assert [skip.record for skip in pipeline.skips] == [22]
    assert TFRecordSource(folder, verify=False)[22] == bytes(raw[at + 12 : at + 12 + len(record(22))])


def test_a_truncated_file_is_named_with_record_and_offset(folder: Path) -> None:
    path = folder / "train-2.tfrecord"
    whole = path.read_bytes()
    at = len(framed(map(record, range(17, 22))))
    end = len(framed(map(record, range(17, 23))))
    for length in (at + 5, at + 12, end - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=rf"train-2\.tfrecord, record 5 at byte {at:,}: the file is truncated"):
            TFRecordSource(folder)
    path.write_bytes(whole[:end])
    assert len(TFRecordSource(folder)) == 56 - 3  # a file has no end mark
    path.write_bytes(gzip.compress(whole)[:-9])
    with pytest.raises(OSError, match=r"train-2\.tfrecord: it is truncated"):
        TFRecordSource(folder)
    path.write_bytes(gzip.compress(whole[:-1]))
    with pytest.raises(ValueError, match=r"train-2\.tfrecord, record 8 at byte"):
        TFRecordSource(folder)


def test_a_length_with_a_wrong_checksum_is_named(folder: Path) -> None:
    path = folder / "train-2.tfrecord"
    raw = bytearray(path.read_bytes())
    at = len(framed(map(record, range(17, 22))))
    raw[at : at + 8] = struct.pack("<Q", 3)
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=rf"train-2\.tfrecord, record 5 at byte {at:,}: expected a record's length"):
        TFRecordSource(folder)
    path.write_bytes(b"text" * 10)
    with pytest.raises(ValueError, match=r"record 0 at byte 0: expected a TFRecord file"):
        TFRecordSource(folder)


def test_what_is_no_example_with_these_features_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.tfrecord", [record(0), b"no example", example({"label": [1]})])
    source = TFRecordSource(tmp_path, {"label": np.int64, "raw": bytes})
    assert source[0]["label"] == 0
    with pytest.raises(RecordError, match=r"a\.tfrecord, record 1 at byte [\d,]+: expected"):
        source[1]
    with pytest.raises(RecordError, match=r"record 2 .*: feature 'raw' is not there; there are label \(1 int64\)"):
        source[2]

    def fail(data: bytes) -> int:
        raise KeyError(len(data))

    with pytest.raises(RecordError, match=r"record 0 at byte 0: KeyError\(0\)"):
        TFRecordSource(tmp_path, {"raw": fail})[0]


def test_files_without_records_are_empty(tmp_path: Path) -> None:
    write(tmp_path / "a.tfrecord", [])
    assert len(TFRecordSource(tmp_path)) == 0


def test_an_index_is_kept_and_a_file_that_was_written_anew_noticed(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kept = tmp_path_factory.mktemp("indexes")
    TFRecordSource(folder, index_folder=kept)
    assert len(list(kept.iterdir())) == 4
    source = TFRecordSource(folder, index_folder=kept)
    assert source[55] == record(55)
    write(folder / "train-0.tfrecord", [record(0)])
    with pytest.raises(OSError, match=r"train-0\.tfrecord: expected the file of .* Make the source anew"):
        TFRecordSource.__getitem__(source, 0)
    assert len(TFRecordSource(folder, index_folder=kept)) == 40


def test_a_worker_gets_names_and_numbers_and_no_data(folder: Path) -> None:
    source = TFRecordSource(folder)
    before = len(pickle.dumps(source))
    assert source[20] == record(20)
    assert len(pickle.dumps(source)) == before < 4000
    assert pickle.loads(pickle.dumps(source))[40] == record(40)


def test_without_google_crc32c_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datarax_mp.formats import tfrecord_index

    tfrecord_index.checksum.cache_clear()
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    with pytest.raises(ImportError, match=r"datarax-mp\[tfrecord\]"):
        TFRecordSource(folder)


def test_checksums_are_those_of_the_format() -> None:
    from datarax_mp.formats.tfrecord_index import checksum as ours

    for data in (b"", b"a", bytes(range(256)), b"\xff" * 32):
        assert ours()(data) == checksum(data)
    assert checksum(bytes(32)) == ((0x8A9136AA >> 15 | 0x8A9136AA << 17) + 0xA282EAD8) & 0xFFFFFFFF  # RFC 3720, B.4
