"""Shards read whole epochs long: tar archives, TFRecord and ArrayRecord files, beside their libraries and their peers.

    tar            photographs (JPEG) and labels, decoded      tarfile alone         webdataset
    tfrecord       Examples: bytes, a label, 16 floats         a loop over the file  Grain's TFRecordIterDataset
    array_record   the same Examples, shuffled                 array_record alone    Grain's ArrayRecordDataSource

    python scripts/measure_shards.py
    python scripts/measure_shards.py --formats tar --workers 0 2 --megabytes 500

Each way runs in a process of its own, the ways in turn, round by round: an epoch to begin with, then the epoch that is
measured. All of them decode JPEGs by ``decode_image`` and parse Examples by the same functions of this package, so that
what differs is how records come and go. The libraries alone make no batches and do not shuffle; TFRecord files are read
in order by Grain, which has no other way.

How to read it: "CPU us" is the time that all processes of a way take for a record; on a machine that has other things
to do, it says more than records/s. "read" is how many bytes they read from files, over the bytes that there are
(1.00 is once; what is mapped does not count). "PSS" is the most that all processes together have in memory.

It needs ``pip install "datarax-mp[bench,tar,tfrecord,array-record]" webdataset``; what is not installed is left out.

Figures: ``results/measure_shards-2026-11-26.txt``.
"""

from __future__ import annotations

import argparse
import io
import struct
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from _benchmark import epochs

FEATURES: dict[str, Any] = {"image": bytes, "label": np.int64, "vec": (np.float32, (16,))}
SHARDS = 8
BATCH = 64
PEERS = {"tar": "webdataset", "tfrecord": "grain", "array_record": "grain"}


# What there is to read.


def write_tar(folder: Path, megabytes: float) -> int:
    """Archives of photographs and labels; returns how many there are."""
    from PIL import Image

    rng = np.random.default_rng(0)
    small = [Image.fromarray(rng.integers(0, 255, (28, 28, 3), np.uint8)) for _ in range(16)]
    photos = []
    for image in small:
        image.resize((224, 224)).save(stream := io.BytesIO(), "jpeg", quality=90)
        photos.append(stream.getvalue())
    count = _shares(megabytes, len(photos[0]))
    for shard in range(SHARDS):
        with tarfile.open(folder / f"{shard}.tar", "w") as archive:
            for number in range(shard * count, shard * count + count):
                for suffix, data in (("jpg", photos[number % 16]), ("cls", b"%d" % (number % 10))):
                    member = tarfile.TarInfo(f"{number:07}.{suffix}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
    return count * SHARDS


def _message(field: int, data: bytes) -> bytes:
    size, length = len(data), bytearray()
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([field << 3 | 2, *length, size]) + data


def _example(number: int) -> bytes:
    lists = {
        "image": (1, _message(1, np.random.default_rng(number).bytes(1000))),
        "label": (3, _message(1, bytes([number % 100]))),
        "vec": (2, _message(1, np.full(16, number, "<f4").tobytes())),
    }
    features = [_message(1, name.encode()) + _message(2, _message(*values)) for name, values in lists.items()]
    return _message(1, b"".join(_message(1, feature) for feature in features))


def write_tfrecord(folder: Path, megabytes: float) -> int:
    """TFRecord files of Examples; returns how many there are."""
    from datarax_mp.formats.tfrecord_index import checksum

    count = _shares(megabytes, len(_example(0)))
    for shard in range(SHARDS):
        with open(folder / f"{shard}.tfrecord", "wb") as file:
            for number in range(shard * count, shard * count + count):
                for part in (struct.pack("<Q", len(data := _example(number))), data):
                    file.write(part + struct.pack("<I", checksum()(part)))
    return count * SHARDS


def write_array_record(folder: Path, megabytes: float) -> int:
    """ArrayRecord files of Examples; returns how many there are."""
    from array_record.python.array_record_module import ArrayRecordWriter

    count = _shares(megabytes, len(_example(0)))
    for shard in range(SHARDS):
        writer = ArrayRecordWriter(str(folder / f"{shard}.array_record"), "group_size:1")
        for number in range(shard * count, shard * count + count):
            writer.write(_example(number))
        writer.close()
    return count * SHARDS


def _shares(megabytes: float, size: int) -> int:
    return max(1, round(megabytes * 1e6 / size / SHARDS))


# Ways to read it: each gives batches, or records.


def ours(kind: str, files: list[str], workers: int) -> epochs.Epoch:
    """This package's way."""
    from datarax_mp import ArrayRecordSource, Pipeline, TarSource, TFRecordSource

    source: Any = (
        TarSource(files)
        if kind == "tar"
        else (TFRecordSource if kind == "tfrecord" else ArrayRecordSource)(files, FEATURES)
    )
    pipeline = Pipeline(source=source, batch_size=BATCH, shuffle=True, seed=0, num_workers=workers, output="numpy")
    return lambda: iter(pipeline)


def alone(kind: str, files: list[str], workers: int) -> epochs.Epoch:
    """Reading the files by a library alone, record by record."""
    return {"tar": _tarfile, "tfrecord": _by_hand, "array_record": _array_record}[kind](files)


def _tarfile(files: list[str]) -> epochs.Epoch:
    from datarax_mp import decode_image

    def epoch() -> Iterator[Any]:
        for path in files:
            with tarfile.open(path) as archive:
                for image, label in _pairs(archive):
                    photo, number = archive.extractfile(image), archive.extractfile(label)
                    assert photo is not None and number is not None
                    yield decode_image(photo.read()), int(number.read())

    return epoch


def _pairs(members: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    either = iter(members)
    return zip(either, either, strict=True)


def _by_hand(files: list[str]) -> epochs.Epoch:
    parse = _parser()

    def epoch() -> Iterator[Any]:
        for path in files:
            with open(path, "rb") as file:
                while header := file.read(12):
                    yield parse(file.read(struct.unpack("<QI", header)[0] + 4)[:-4])

    return epoch


def _array_record(files: list[str]) -> epochs.Epoch:
    from array_record.python.array_record_module import ArrayRecordReader

    parse = _parser()

    def epoch() -> Iterator[Any]:
        for path in files:
            reader = ArrayRecordReader(path)
            yield from map(parse, reader.read_all())

    return epoch


def peer(kind: str, files: list[str], workers: int) -> epochs.Epoch:
    """The way of the loader that people read such files with."""
    return _webdataset(files, workers) if kind == "tar" else _grain(kind, files, workers)


def _webdataset(files: list[str], workers: int) -> epochs.Epoch:
    import webdataset

    from datarax_mp import decode_image

    def decode(sample: dict[str, Any]) -> tuple[np.ndarray, int]:
        return decode_image(sample["jpg"]), int(sample["cls"])

    data = webdataset.WebDataset(files, shardshuffle=SHARDS, seed=0).shuffle(1000).map(decode).batched(BATCH)
    if not workers:
        return lambda: iter(data)
    from torch.utils.data import DataLoader

    loader = DataLoader(data, batch_size=None, num_workers=workers, persistent_workers=True)
    return lambda: iter(loader)


def _grain(kind: str, files: list[str], workers: int) -> epochs.Epoch:
    import grain
    from absl import flags

    flags.FLAGS.mark_as_parsed()  # which Grain's processes ask about
    parse = _parser()
    if kind == "tfrecord":
        each = [grain.experimental.TFRecordIterDataset(path).map(parse) for path in files]
        data = grain.experimental.InterleaveIterDataset(each, cycle_length=1).batch(BATCH)
    else:
        source: Any = grain.sources.ArrayRecordDataSource(files)
        data = grain.MapDataset.source(source).shuffle(seed=0).map(parse).batch(BATCH).to_iter_dataset()
    if workers:
        data = data.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    return lambda: iter(data)


def _parser() -> Callable[[bytes], Any]:
    from datarax_mp.formats.features import Features

    features = Features.asked(FEATURES)
    assert features is not None
    return features.of


WAYS: dict[str, Callable[[str, list[str], int], epochs.Epoch]] = {"alone": alone, "peer": peer, "datarax_mp": ours}


# Measuring one.


def measure(kind: str, way: str, workers: int, folder: str, records: int) -> epochs.Figures:
    """Run a way in this process, and say what the second epoch took."""
    files = sorted(str(path) for path in Path(folder).iterdir())
    return epochs.measure(WAYS[way](kind, files, workers), files, records)


def rows_of(kind: str, options: argparse.Namespace) -> Iterator[list[str]]:
    """The table's rows of one format."""
    write = {"tar": write_tar, "tfrecord": write_tfrecord, "array_record": write_array_record}[kind]
    ways = [("alone", 0), *((way, workers) for way in ("peer", "datarax_mp") for workers in options.workers)]
    if find_spec(PEERS[kind]) is None:
        print(f"{PEERS[kind]} is not installed, and left out")
        ways = [row for row in ways if row[0] != "peer"]
    with tempfile.TemporaryDirectory() as folder:
        records = write(Path(folder), options.megabytes)
        found = epochs.rounds(__file__, kind, ways, folder, records, options.rounds)
    for (way, workers), figures in found.items():
        yield epochs.row(kind, PEERS[kind] if way == "peer" else way, workers, figures)


if __name__ == "__main__":
    packages = ("datarax_mp", "grain", "webdataset", "torch", "array_record", "numpy")
    epochs.main(__doc__, PEERS, 200, measure, rows_of, packages)
