"""Records out of TFRecord files."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from datarax_mp.formats.compressed import decompressed, is_compressed
from datarax_mp.formats.features import Features, Wish, about
from datarax_mp.formats.files import AnyPath, find_files
from datarax_mp.formats.indexes import Arrays
from datarax_mp.formats.pieces import Stamp, read_at
from datarax_mp.formats.record_files import BLOCK_BYTES, Raw, RecordFiles
from datarax_mp.formats.tfrecord_index import FOOTER, HEADER, begins_of, checksum, is_header
from datarax_mp.sources.blocks import CACHE_BYTES
from datarax_mp.sources.facts import SourceFacts
from datarax_mp.storage.options import Storage
from datarax_mp.storage.reading import here, opened

_ENDINGS = (".tfrecord", ".tfrecords", ".tfrecord.gz", ".tfrecords.gz")
_INDEX = "tfrecord 1"  # the version of what is kept
_CHECKSUM = "<I"


class TFRecordSource(RecordFiles):
    """The records of TFRecord files, one file behind the other, without TensorFlow.

    A record is bytes, or, if ``features`` says of what, a ``tf.train.Example`` as a dict of its features.

    Where records lie is found out once, by their lengths, and kept in a small file. They are read in blocks of many,
    once an epoch, by one worker; all workers parse, each the records of its own batches. A file compressed by gzip is
    one block, decompressed as a whole by one worker, once to see what is in it, and once an epoch.

    Args:
        paths: files, patterns such as ``train.tfrecord-*``, folders (then what ends in .tfrecord or .tfrecords, and
            with .gz behind it), or several of these.
        features: for each feature that is wanted, what it is: ``bytes`` (in ``batch.info``), ``str`` or a dtype for a
            single value; one of these with a shape for several, ``(np.float32, (16,))``, whose first length may be
            None for any number; or a function of a single value's bytes, such as ``decode_image``. An Example that has
            a feature otherwise, or lacks it, is an error that says what is there. None leaves records as bytes.
        verify: whether a record's checksum is checked when it is read. That of its length is always checked.
        index_folder: where indexes are kept. None is the user's cache folder, for files of 16 MB and more.
        block_bytes: about how many bytes of a file are a block.
        cache_bytes: see ``BlockSource``.
        storage: how URLs are reached, and what of them is kept; see ``Storage``.

    Attributes:
        files: the files.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: google-crc32c is not installed: ``pip install "datarax-mp[tfrecord]"``.
        ValueError: a file is no TFRecord file, is truncated, or a length's checksum is wrong (file, record and offset
            are named); a shape can't be.
        TypeError: ``features`` says something else.

    >>> import struct, tempfile
    >>> import numpy as np
    >>> from datarax_mp import Pipeline
    >>> from datarax_mp.formats.tfrecord_index import checksum
    >>> def write(file, data):
    ...     for part in (struct.pack("<Q", len(data)), data):
    ...         file.write(part + struct.pack("<I", checksum()(part)))
    >>> def message(field, data):  # of Protocol Buffers
    ...     return bytes([field << 3 | 2, len(data)]) + data
    >>> folder = tempfile.TemporaryDirectory()
    >>> with open(f"{folder.name}/train.tfrecord", "wb") as file:
    ...     for number in range(5):
    ...         label = message(1, message(1, b"label") + message(2, message(3, message(1, bytes([number])))))
    ...         write(file, message(1, label))
    >>> len(TFRecordSource(folder.name)[4])
    18
    >>> source = TFRecordSource(folder.name, features={"label": np.int64})
    >>> source[4]
    {'label': np.int64(4)}
    >>> [batch["label"].tolist() for batch in Pipeline(source=source, batch_size=3)]
    [[0, 1, 2], [3, 4]]
    >>> folder.cleanup()
    """

    def __init__(
        self,
        paths: AnyPath | Iterable[AnyPath],
        features: Mapping[str, Wish] | None = None,
        verify: bool = True,
        *,
        index_folder: AnyPath | None = None,
        block_bytes: int = BLOCK_BYTES,
        cache_bytes: int = CACHE_BYTES,
        storage: Storage | None = None,
    ) -> None:
        self._features, self._verify = Features.asked(features), verify
        checksum()  # missing here, and not in a worker
        super().__init__(
            find_files(paths, _ENDINGS, storage),
            _INDEX,
            "tfrecord",
            index=_index,
            is_compressed=_is_compressed,
            index_folder=index_folder,
            block_bytes=block_bytes,
            cache_bytes=cache_bytes,
        )

    def facts(self) -> SourceFacts:
        """See ``BlockSource``."""
        return replace(super().facts(), user_code=self._features is not None and self._features.user_code)

    def decode(self, record: Raw) -> Any:
        """A record's bytes, or its features.

        Raises:
            RecordError: its checksum is wrong, or it is no Example with these features; file, record and offset are
                named.
        """
        data = record.data[HEADER:-FOOTER].tobytes()
        try:
            if self._verify and checksum()(data) != struct.unpack(_CHECKSUM, record.data[-FOOTER:].tobytes())[0]:
                raise ValueError(f"its {len(data):,} bytes have another checksum than they had: they are damaged")
            return data if self._features is None else self._features.of(data)
        except Exception as error:
            raise about(error, f"{record.path}, record {record.number:,} at byte {record.at:,}") from error


def _index(path: str) -> Arrays:
    """Find out where a file's records lie."""
    if _is_compressed(path):
        content = memoryview(decompressed(path, "tfrecord"))
        return {"begins": begins_of(lambda at, size: bytes(content[at : at + size]), len(content), path)}
    with here(path) as name, open(name, "rb", buffering=0) as file:
        return {"begins": begins_of(read_at(file), Stamp.of(file.fileno()).size, path)}


def _is_compressed(path: str) -> bool:
    """Whether a file is compressed: a length may begin as gzip does, and is then followed by its own checksum."""
    with opened(path) as file:
        return is_compressed(path) and not is_header(file.read(HEADER))
