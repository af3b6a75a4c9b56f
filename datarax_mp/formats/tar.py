"""Samples out of tar archives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.integers import integer
from datarax_mp.formats.by_suffix import Decoder
from datarax_mp.formats.compressed import decompressed, is_compressed
from datarax_mp.formats.files import AnyPath, find_files
from datarax_mp.formats.indexes import Arrays, indexed
from datarax_mp.formats.pieces import Stamp, even_runs, read_at, read_piece
from datarax_mp.formats.tar_fields import TarFields, Wanted
from datarax_mp.formats.tar_index import Samples, index_of, joined
from datarax_mp.formats.tar_members import members
from datarax_mp.formats.tar_records import Sample, TarRecords
from datarax_mp.sources.blocks import CACHE_BYTES, BlockSource
from datarax_mp.sources.facts import SourceFacts
from datarax_mp.storage.options import Storage
from datarax_mp.storage.reading import here

BLOCK_BYTES = 16 << 20

_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst")
_INDEX = "tar 1"  # the version of what is kept


class TarSource(BlockSource):
    """The samples of tar archives by the names of WebDataset, one archive behind the other.

    Members whose paths are the same up to the first dot of their names are one sample, and follow one another; what
    follows the dot, in lower case, is the field. ``photos/1.jpg`` and ``photos/1.cls`` are the record
    ``{"__key__": "photos/1", "jpg": ..., "cls": ...}``. Members without a suffix, and hidden ones, are passed over.

    Fields are decoded by what their suffix ends in: ``jpg``, ``jpeg``, ``png`` and ``webp`` become uint8 arrays (see
    ``decode_image``; ``pip install "datarax-mp[images]"``), ``cls`` an int64, ``npy`` an array, ``npz`` a dict of
    arrays, ``json`` what it says, ``txt`` a text. All others are bytes. Texts and bytes are in ``batch.info``.

    A plain archive is read by offset, in blocks of many samples; where they lie is found out once, from the headers
    alone, and kept in a small file. Bytes are read once an epoch, by one worker, and decoded by all workers, one record
    at a time.

    An archive compressed by gzip or zstd has no way in: it is one block, decompressed as a whole by one worker, once to
    see what is in it (kept likewise), and once an epoch. It lies in memory decompressed, and so do two windows of 16
    such blocks where records are shuffled; so compress archives of some 10 MB, or large ones not at all: photographs do
    not get smaller.

    Args:
        paths: files, patterns such as ``train-*.tar``, folders, or several of these.
        fields: the fields that are wanted, as suffixes (``["jpg", "cls"]``); or as names with suffixes, of which a
            sample has one: ``{"image": ("jpg", "png"), "label": "cls"}``. A sample that lacks one is an error. None is
            all fields that a sample has.
        decode: other functions of bytes by suffix, such as ``{"jpg": bytes, "id": int}``; or False, and all fields are
            bytes.
        index_folder: where indexes are kept. None is the user's cache folder, for archives of 16 MB and more.
        block_bytes: about how many bytes of an archive are a block.
        cache_bytes: see ``BlockSource``.
        storage: how URLs are reached, and what of them is kept; see ``Storage``.

    Attributes:
        files: the archives.
        passed_over: how many members are no part of a sample.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: the decoders of images, or zstandard (``pip install "datarax-mp[tar]"``), are not installed.
        ValueError: a file is no tar archive or is truncated, has links, a sample's members do not lie together or have
            one suffix twice (file, member and offset are named); no sample has a field that is wanted.
        TypeError: ``fields`` is a single name, or a decoder is no function.

    >>> import io, tarfile, tempfile
    >>> from datarax_mp import Pipeline
    >>> folder = tempfile.TemporaryDirectory()
    >>> with tarfile.open(f"{folder.name}/train-0.tar", "w") as archive:
    ...     for number in range(5):
    ...         for suffix, data in (("txt", f"sample {number}"), ("cls", f"{number % 2}")):
    ...             member = tarfile.TarInfo(f"{number:04}.{suffix}")
    ...             member.size = len(data)
    ...             archive.addfile(member, io.BytesIO(data.encode()))
    >>> source = TarSource(f"{folder.name}/train-*.tar")
    >>> source[4]
    {'__key__': '0004', 'txt': 'sample 4', 'cls': np.int64(0)}
    >>> [batch["cls"].tolist() for batch in Pipeline(source=source, batch_size=3)]
    [[0, 1, 0], [1, 0]]
    >>> folder.cleanup()
    """

    def __init__(
        self,
        paths: AnyPath | Iterable[AnyPath],
        *,
        fields: Wanted | None = None,
        decode: bool | Mapping[str, Decoder] = True,
        index_folder: AnyPath | None = None,
        block_bytes: int = BLOCK_BYTES,
        cache_bytes: int = CACHE_BYTES,
        storage: Storage | None = None,
    ) -> None:
        self.files = find_files(paths, _ENDINGS, storage)
        self.cache_bytes = integer("cache_bytes", cache_bytes, least=0)
        block_bytes = integer("block_bytes", block_bytes, least=1)
        self._fields = TarFields.asked(fields, decode)
        found = [indexed(path, _INDEX, index_folder, _index) for path in self.files]
        self._stamps = [stamp for stamp, _ in found]
        each = [Samples(**arrays) for _, arrays in found]
        self._compressed = [is_compressed(path) for path in self.files]
        self._samples = joined(each)
        runs = [
            np.unique([0, len(one)]) if whole else even_runs(*one.spans, block_bytes)
            for one, whole in zip(each, self._compressed, strict=True)
        ]
        # Of each block its archive and its first sample; and behind all of them the end.
        before = np.cumsum([0, *map(len, each)])
        self._file = np.repeat(np.arange(len(runs)), [len(run) - 1 for run in runs])
        self._ends = np.concatenate([[0], *(run[1:] + start for run, start in zip(runs, before, strict=False))])
        self.passed_over = int(self._samples.passed_over[0])
        self._fields.check(self._samples.suffixes.tolist())

    @property
    def blocks(self) -> NDArray[np.int64]:
        """How many samples each block has."""
        return np.diff(self._ends)

    def block_name(self, number: int) -> str:
        """See ``BlockSource``."""
        begin, end = self._span(number)
        return f"{self.files[self._file[number]]}, bytes {begin:,} to {end:,}"

    def facts(self) -> SourceFacts:
        """See ``BlockSource``."""
        return replace(super().facts(), user_code=self._fields.user_code)

    def read_block(self, number: int) -> TarRecords:
        """A piece of an archive, as it lies there.

        Raises:
            OSError: it cannot be read, is damaged, or was changed since. The file is named.
        """
        file = int(self._file[number])
        path, stamp = self.files[file], self._stamps[file]
        begin, end = self._span(number)
        samples = self._samples.part(*self._ends[number : number + 2].tolist())
        if not self._compressed[file]:
            return TarRecords(path, begin, read_piece(path, stamp, begin, end), samples)
        stamp.check(path)
        return TarRecords(path, begin, np.frombuffer(decompressed(path, "tar"), np.uint8)[begin:end], samples)

    def decode(self, record: Sample) -> dict[str, Any]:
        """A sample's fields, decoded.

        Raises:
            RecordError: one is not there, or does not decode; archive, sample, field and offset are named.
        """
        return self._fields.of(record)

    def _span(self, block: int) -> tuple[int, int]:
        """Where the data of a block begin and end in its archive."""
        samples = self._samples
        first, end = samples.firsts[self._ends[block : block + 2]].tolist()
        return int(samples.begins[first]), int(samples.begins[end - 1] + samples.sizes[end - 1])


def _index(path: str) -> Arrays:
    """Find out where an archive's samples lie."""
    if not (length := Stamp.of(path).size):
        raise ValueError(f"{path}: expected a tar archive, found an empty file")
    if is_compressed(path):
        content = memoryview(decompressed(path, "tar"))
        return index_of(members(lambda at, size: bytes(content[at : at + size]), len(content), path), path).arrays
    with here(path) as name, open(name, "rb", buffering=0) as file:
        return index_of(members(read_at(file), length, path), path).arrays
