"""The name of a file that lies elsewhere, with what is known of the file."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Any

from datarax_mp.storage.options import Storage

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
_LOCAL = ("file://", "local://")

_MADE_UP = "made up: "


def is_url(path: str) -> bool:
    """Whether a path is a URL of what lies elsewhere.

    >>> is_url("s3://bucket/train.parquet"), is_url("/data/train.parquet"), is_url("file:///data/train.parquet")
    (True, False, False)
    """
    return _SCHEME.match(path) is not None and not path.startswith(_LOCAL)


def without_file_scheme(path: str) -> str:
    """A path that may be written as a URL of a file of this system.

    >>> without_file_scheme("file:///data/train.parquet")
    '/data/train.parquet'
    """
    for scheme in _LOCAL:
        if path.startswith(scheme):
            return path[len(scheme) :]
    return path


def made_up() -> str:
    """A tag that no other file has had: whatever was kept of one is not taken for this one's."""
    return _MADE_UP + secrets.token_hex(16)


class Remote(str):
    """The URL of a file that lies elsewhere: a path, wherever one is only told, with what has to be known to read it.

    Attributes:
        size: in bytes.
        tag: its ETag, another hash, or when it was written; where the server tells none of them, one that is made up.
        storage: how it is reached.
    """

    size: int
    tag: str
    storage: Storage

    def __new__(cls, url: str, size: int, tag: str, storage: Storage) -> Remote:
        """See the class."""
        made = super().__new__(cls, url)
        made.size, made.tag, made.storage = size, tag, storage
        return made

    def __getnewargs__(self) -> tuple[Any, ...]:
        return str(self), self.size, self.tag, self.storage

    @property
    def told(self) -> bool:
        """Whether the server has told the tag, so that a change is noticed."""
        return not self.tag.startswith(_MADE_UP)

    @property
    def key(self) -> str:
        """What it is found by in a cache folder."""
        about = f"{self}\n{self.size}\n{self.tag}"
        return hashlib.blake2b(about.encode(errors="surrogateescape"), digest_size=16).hexdigest()

    @property
    def mark(self) -> int:
        """A number that stands for its tag, in 63 bits."""
        return int.from_bytes(hashlib.blake2b(self.tag.encode(), digest_size=8).digest()) >> 1
