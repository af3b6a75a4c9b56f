"""Samples of tar archives: by number, over archives and blocks, and what can be wrong with an archive."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import sys
import tarfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from PIL import Image

from datarax_mp import Pipeline, RecordError, ShuffleWindow, TarSource
from datarax_mp.testing import assert_same_stream, check_resume, check_source

ARCHIVES = [17, 0, 9, 30]  # samples of each


def npy(array: np.ndarray) -> bytes:
    np.save(stream := io.BytesIO(), array)
    return stream.getvalue()


def sample(n: int) -> dict[str, bytes]:
    vector = np.full(2 + n % 3, n, np.float32)
    return {
        "cls": b"%d\n" % n,
        "txt": f"sample {n}, é".encode(),
        "pair.npy": npy(np.array([n, n + 1], np.int16)),
        "json": json.dumps({"n": n, "name": f"{n}"}).encode(),
        "bin": b"\x00\xff" * (n % 5),
        "vec.npy": npy(vector),
    }


def write(path: Path, files: Iterable[tuple[str, bytes]], kind: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=kind) as archive:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def files_of(first: int, count: int) -> Iterable[tuple[str, bytes]]:
    for n in range(first, first + count):
        for suffix, data in sample(n).items():
            yield f"deep/{n:05}.{suffix}", data


def fill(folder: Path, kind: int = tarfile.PAX_FORMAT) -> Path:
    first = 0
    for number, count in enumerate(ARCHIVES):
        write(folder / f"train-{number}.tar", files_of(first, count), kind)
        first += count
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path)


def is_sample(record: dict[str, Any], n: int) -> bool:
    return (
        (record["__key__"], record["cls"], record["txt"]) == (f"deep/{n:05}", n, f"sample {n}, é")
        and (record["bin"], record["json"]) == (b"\x00\xff" * (n % 5), {"n": n, "name": f"{n}"})
        and record["pair.npy"].tolist() == [n, n + 1]
        and record["vec.npy"].tolist() == [n] * (2 + n % 3)
        and len(record) == 7
    )


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("block_bytes", [1, 20_000, 16 << 20])
def test_every_sample_is_there_under_its_number(tmp_path: Path, kind: int, block_bytes: int) -> None:
    source = TarSource(fill(tmp_path, kind), block_bytes=block_bytes)
    assert len(source) == sum(source.blocks) == 56
    assert (len(source.blocks) == 3) == (block_bytes == 16 << 20)
    assert all(is_sample(source[n], n) for n in range(56))
    assert is_sample(source[-1], 55)
    assert [int(record["cls"]) for record in source.__getitems__([40, 2, 17])] == [40, 2, 17]
    with pytest.raises(IndexError, match="56 records"):
        source[56]


@pytest.mark.parametrize("compress", [gzip.compress, lambda data: zstandard.compress(data)])
def test_compressed_archives_are_a_block_each(folder: Path, compress: Any) -> None:
    for number, path in enumerate(sorted(folder.glob("*.tar"))):
        data = path.read_bytes()
        path.unlink()
        # In two members, as parallel programs write it.
        (folder / f"c-{number}.tar.gz").write_bytes(compress(data[:5000]) + compress(data[5000:]))
    source = TarSource(folder)
    assert source.blocks.tolist() == [17, 9, 30]
    assert all(is_sample(source[n], n) for n in range(56))


@pytest.mark.parametrize("how", [{}, {"num_workers": 2}, {"num_workers": 3, "workers": "threads"}])
def test_the_stream_is_the_same_whoever_works(folder: Path, how: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"batch_size": 10, "shuffle": ShuffleWindow(blocks=3), "seed": 3, "output": "numpy"}
    source = TarSource(folder, fields=["cls", "txt", "pair.npy"], block_bytes=20_000)
    assert len(source.blocks) > 6
    check_source(TarSource(folder, fields=["cls", "txt", "vec.npy"]), num_workers=0)
    with Pipeline(source=source, **usual) as expected, Pipeline(source=source, **usual, **how) as found:
        assert_same_stream(expected, found, epochs=2)
        labels = [n for batch in expected for n in batch["cls"].tolist()]
        assert sorted(labels) == list(range(56)) != labels
        check_resume(found, steps=3)


def test_in_order_blocks_come_one_after_the_other(folder: Path) -> None:
    with Pipeline(source=TarSource(folder, fields=["cls"]), batch_size=20, num_workers=1, output="numpy") as pipeline:
        assert [n for batch in pipeline for n in batch["cls"].tolist()] == list(range(56))
        assert next(iter(pipeline)).info["__key__"][:2] == ["deep/00000", "deep/00001"]


def test_fields_are_chosen_and_named(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)

    def image(kind: str) -> bytes:
        Image.fromarray(pixels).save(stream := io.BytesIO(), kind, lossless=True)
        return stream.getvalue()

    files = [("0.PNG", image("png")), ("0.cls", b"3"), ("1.seg.webp", image("webp")), ("1.cls", b"4"), ("2.cls", b"5")]
    write(tmp_path / "a.tar", files)
    source = TarSource(tmp_path, fields={"image": ("png", "seg.webp"), "label": ".cls"})
    for number in range(2):
        record = source[number]
        assert list(record) == ["__key__", "image", "label"]
        assert np.array_equal(record["image"], pixels)
        assert record["label"] == 3 + number
    with pytest.raises(RecordError, match=r"a\.tar, sample '2' at byte [\d,]+: expected .* png or seg.webp, found cls"):
        source[2]
    with Pipeline(source=source, batch_size=3, on_error="skip", num_workers=1, output="numpy") as pipeline:
        assert [batch["label"].tolist() for batch in pipeline] == [[3, 4]]
        assert [skip.record for skip in pipeline.skips] == [2]
    with pytest.raises(ValueError, match=r"no sample has field 'image' \(suffix jpg\); there are png, cls, seg\.webp"):
        TarSource(tmp_path, fields={"image": "jpg"})
    with pytest.raises(TypeError, match=r"one field is \['cls'\]"):
        TarSource(tmp_path, fields="cls")


def test_decoders_are_chosen_by_suffix(tmp_path: Path) -> None:
    np.savez(stream := io.BytesIO(), a=np.arange(3))
    write(tmp_path / "a.tar", [("0.npz", stream.getvalue()), ("0.cls", b"3"), ("0.id", b"12")])
    offset = 100
    source = TarSource(tmp_path, decode={"id": lambda data: np.int64(int(data) + offset), ".CLS": bytes})
    assert source[0]["npz"]["a"].tolist() == [0, 1, 2]
    assert (source[0]["id"], source[0]["cls"]) == (112, b"3")
    with Pipeline(source=source, batch_size=1, num_workers=1, output="numpy") as pipeline:
        assert [batch["id"].tolist() for batch in pipeline] == [[112]]
    assert TarSource(tmp_path, decode=False)[0] == {
        "__key__": "0",
        "npz": stream.getvalue(),
        "cls": b"3",
        "id": b"12",
    }
    with pytest.raises(TypeError, match=r"decode\['id'\] must be a function of bytes, got 'int'"):
        TarSource(tmp_path, decode={"id": "int"})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="decode must be a dict"):
        TarSource(tmp_path, decode=int)  # type: ignore[arg-type]


def test_what_does_not_decode_is_named_and_can_be_skipped(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", [("0.cls", b"0"), ("1.cls", b"one"), ("2.cls", b"2")])
    source = TarSource(tmp_path)
    with pytest.raises(RecordError, match=r"a\.tar, sample '1': its cls, 3 bytes at byte 1,536, does not .*ValueError"):
        source[1]
    with Pipeline(source=source, batch_size=3, on_error="skip", num_workers=2, output="numpy") as pipeline:
        assert [batch["cls"].tolist() for batch in pipeline] == [[0, 2]]
    write(tmp_path / "a.tar", [("0.jpg", b"no image")])
    with pytest.raises(RecordError, match=r"its jpg, 8 bytes at byte 512, does not decode: expected an image"):
        TarSource(tmp_path)[0]


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_folders_hidden_and_other_files(tmp_path: Path, kind: int) -> None:
    long = "a" * 90 + "/" + "ü" * 120
    with tarfile.open(tmp_path / "a.tar", "w", format=kind) as archive:
        for name in ("deep", "deep/er.d"):
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE
            archive.addfile(member)
        for name in ("README", "._0.cls", "deep/.hidden", f"{long}.cls", f"{long}.txt", "./0.a.cls", "1.x/2.cls"):
            member = tarfile.TarInfo(name)
            member.size = 1
            member.pax_headers = {"comment": "= what\nis said =", "mtime": "1.5"}
            archive.addfile(member, io.BytesIO(b"7"))
    source = TarSource(tmp_path)
    assert source.passed_over == 3
    assert [source[n]["__key__"] for n in range(len(source))] == [long, "./0", "1.x/2"]
    assert source[0] == {"__key__": long, "cls": 7, "txt": "7"}
    assert source[1] == {"__key__": "./0", "a.cls": 7}


def test_archives_in_one_file_are_read_one_behind_the_other(tmp_path: Path) -> None:
    one, other = (write(tmp_path / "part", files_of(first, 3)).read_bytes() for first in (0, 3))
    (tmp_path / "a.tar").write_bytes(one + other)
    source = TarSource(tmp_path)
    assert [int(source[n]["cls"]) for n in range(len(source))] == list(range(6))


def test_a_truncated_archive_is_named_with_member_and_offset(folder: Path) -> None:
    path = folder / "train-0.tar"
    whole = path.read_bytes()
    with tarfile.open(path) as archive:
        member = archive.getmember("deep/00005.txt")
    header, data = member.offset, member.offset_data
    for length, message in (
        (0, "found an empty file"),
        (header, "never closed"),
        (header + 100, f"in the middle of the header at byte {header:,}"),
        (data + 5, rf"member 'deep/00005\.txt', whose header is at byte {header:,}, ends at byte"),
        (data + 512, "never closed"),
    ):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=rf"train-0\.tar: .*{message}"):
            TarSource(folder)
    path.write_bytes(whole[:header] + b"\x01" + whole[header + 1 :])
    with pytest.raises(ValueError, match=rf"damaged: expected a member's header at byte {header:,}"):
        TarSource(folder)
    path.write_bytes(b"text" * 1000)
    with pytest.raises(ValueError, match="is no tar archive"):
        TarSource(folder)


def test_damage_to_a_compressed_archive_is_named(folder: Path) -> None:
    data = (folder / "train-3.tar").read_bytes()
    for compressed in (gzip.compress(data), zstandard.compress(data)):
        broken = bytearray(compressed)
        broken[len(broken) // 2 : len(broken) // 2 + 20] = b"\xff" * 20
        for content, message in ((compressed[:-40], "truncated: it ends at byte"), (broken, "damaged before byte")):
            (folder / "train-3.tar").write_bytes(content)
            with pytest.raises(OSError, match=rf"train-3\.tar: it is {message}"):
                TarSource(folder)


def test_samples_that_are_not_whole_are_refused_with_member_and_offset(tmp_path: Path) -> None:
    for names, message in (
        (["0.cls", "0.txt", "0.CLS"], r"member '0\.CLS', whose data begin at byte 2,560: .* two .* suffix 'cls'"),
        (["0.cls", "1.cls", "0.txt"], r"sample '0' is there twice, with data at byte 512 and again at byte 2,560"),
    ):
        write(tmp_path / "a.tar", [(name, b"1") for name in names])
        with pytest.raises(ValueError, match=rf"a\.tar: {message}"):
            TarSource(tmp_path)


@pytest.mark.parametrize(
    ("kind", "what"),
    [(tarfile.SYMTYPE, "symbolic link"), (tarfile.LNKTYPE, "hard link"), (tarfile.FIFOTYPE, "member of type b'6'")],
)
def test_what_is_no_regular_file_is_refused(tmp_path: Path, kind: bytes, what: str) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("0.cls"))
        member = tarfile.TarInfo("1.cls")
        member.type, member.linkname = kind, "0.cls"
        archive.addfile(member)
    with pytest.raises(ValueError, match=rf"a\.tar: member '1\.cls' at byte 512 is a {what}"):
        TarSource(tmp_path)


def test_a_large_size_in_binary_is_understood(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", [("0.bin", b"x" * 600)])
    raw = bytearray(path.read_bytes())
    raw[124:136] = b"\x80" + (600).to_bytes(11)
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[:512])
    path.write_bytes(raw)
    assert TarSource(tmp_path)[0]["bin"] == b"x" * 600


def test_an_archive_that_was_written_anew_is_noticed(folder: Path) -> None:
    source = TarSource(folder)
    write(folder / "train-0.tar", files_of(0, 3))
    with pytest.raises(OSError, match=r"train-0\.tar: expected the file of .* Make the source anew"):
        source[0]


def test_an_index_is_kept_and_used_while_the_archive_is_the_same(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datarax_mp.formats import tar

    kept = tmp_path_factory.mktemp("indexes") / "new"
    read: list[str] = []
    whole = tar.index_of

    def count(members: Any, path: str) -> Any:
        read.append(path)
        return whole(members, path)

    monkeypatch.setattr(tar, "index_of", count)
    for _ in range(2):
        source = TarSource(folder, index_folder=kept)
        assert all(is_sample(source[n], n) for n in range(56))
        assert len(read) == len(list(kept.iterdir())) == 4
    write(folder / "train-0.tar", files_of(0, 5))
    source = TarSource(folder, index_folder=kept)
    assert (len(source), len(read), len(list(kept.iterdir()))) == (44, 5, 4)


def test_a_worker_gets_names_and_numbers_and_no_data(folder: Path) -> None:
    source = TarSource(folder)
    before = len(pickle.dumps(source))
    assert is_sample(source[20], 20)
    assert len(pickle.dumps(source)) == before < 20_000
    assert is_sample(pickle.loads(pickle.dumps(source))[40], 40)


def test_threads_may_read_at_once(folder: Path) -> None:
    source, wrong = TarSource(folder, block_bytes=1), []

    def work() -> None:
        wrong.extend(n for n in range(56) if not is_sample(source[n], n))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_is_not_installed_is_named_by_its_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "train-3.tar").write_bytes(zstandard.compress(b"x"))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(ImportError, match=r"datarax-mp\[tar\]"):
        TarSource(folder)


def test_a_folder_without_archives_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"files that end in \.tar or \.tar\.gz or"):
        TarSource(tmp_path)
