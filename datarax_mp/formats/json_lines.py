"""Records out of files of JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from datarax_mp.core.record import RecordError
from datarax_mp.formats.compressed import is_compressed
from datarax_mp.formats.files import AnyPath, find_files
from datarax_mp.formats.line_index import line_number, lines_of
from datarax_mp.formats.record_files import BLOCK_BYTES, Raw, RecordFiles
from datarax_mp.sources.blocks import CACHE_BYTES
from datarax_mp.storage.options import Storage

_ENDINGS = tuple(f"{ending}{packed}" for ending in (".jsonl", ".ndjson") for packed in ("", ".gz", ".zst"))
_INDEX = "json lines 1"  # the version of what is kept
_EXTRA = "jsonl"


class JsonLinesSource(RecordFiles):
    r"""The lines of JSON files, one file behind the other; blank ones are none.

    A record is what ``json.loads`` makes of a line, most often a dict: numbers and lists of numbers become arrays,
    text and whatever else are in ``batch.info``.

    Where lines begin is found out once, and kept in a small file. They are read in blocks of many, once an epoch, by
    one worker; all workers parse, each the lines of its own batches. A file compressed by gzip or zstd is one block,
    decompressed as a whole by one worker, once to see what is in it, and once an epoch.

    Args:
        paths: files, patterns such as ``train-*.jsonl``, folders (then what ends in .jsonl or .ndjson, and with .gz or
            .zst behind it), or several of these.
        index_folder: where indexes are kept. None is the user's cache folder, for files of 16 MB and more.
        block_bytes: about how many bytes of a file are a block.
        cache_bytes: see ``BlockSource``.
        storage: how URLs are reached, and what of them is kept; see ``Storage``.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: a file is of zstd, and zstandard is not installed: ``pip install "datarax-mp[jsonl]"``.
        OSError: a compressed file is damaged or truncated.

    >>> import tempfile
    >>> from pathlib import Path
    >>> folder = tempfile.TemporaryDirectory()
    >>> written = Path(folder.name, "train.jsonl").write_text('{"n": 1, "text": "one"}\n\n{"n": 2, "text": "two"}\n')
    >>> source = JsonLinesSource(folder.name)
    >>> len(source), source[1]
    (2, {'n': 2, 'text': 'two'})
    >>> folder.cleanup()
    """

    def __init__(
        self,
        paths: AnyPath | Iterable[AnyPath],
        *,
        index_folder: AnyPath | None = None,
        block_bytes: int = BLOCK_BYTES,
        cache_bytes: int = CACHE_BYTES,
        storage: Storage | None = None,
    ) -> None:
        super().__init__(
            find_files(paths, _ENDINGS, storage),
            _INDEX,
            _EXTRA,
            index=lambda path: lines_of(path, _EXTRA),
            is_compressed=is_compressed,
            index_folder=index_folder,
            block_bytes=block_bytes,
            cache_bytes=cache_bytes,
        )

    def decode(self, record: Raw) -> Any:
        """What a line holds.

        Raises:
            RecordError: it is no JSON; file, line and offset are named.
        """
        try:
            return json.loads(record.data.tobytes())
        except ValueError as error:  # no JSON, or no text in UTF-8
            line = line_number(record.path, record.at, _EXTRA)
            raise RecordError(
                f"{record.path}, line {line:,} (byte {record.at:,}): expected a value of JSON, found something else: "
                f"{error}"
            ) from error

    def __repr__(self) -> str:
        return f"JsonLinesSource({len(self.files)} files, {len(self)} lines)"
