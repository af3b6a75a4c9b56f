"""By what a file system tells whether a file is the one that it was, and what is done where it tells nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.spec import AbstractFileSystem

from datarax_mp import Storage
from datarax_mp.storage.listing import find_remote
from datarax_mp.storage.reading import read_remote
from datarax_mp.storage.remote import Remote

_names = itertools.count()


class Told(AbstractFileSystem):  # type: ignore[misc]
    """A file system with files in memory, that tells of each its size and whatever else is in ``about``."""

    cachable = False
    at: str
    content: dict[str, bytes]
    about: dict[str, Any]
    reads: int

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.rpartition("://")[2]

    def unstrip_protocol(self, name: str) -> str:
        return f"{self.at}://{name}"

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        return {"name": path, "size": len(self.content[path]), "type": "file", **self.about}

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        return [self.info(name) if detail else name for name in self.content if name.startswith(path)]

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        type(self).reads += 1
        return self.content[path][start:end]


class Listing(Told):
    """One that goes on telling what it has told, unless it is to look anew, as Hugging Face's does."""

    protocol = "hf"
    _kept: dict[str, Any]

    def info(self, path: str, refresh: bool = False, expand_info: bool = False, **kwargs: Any) -> dict[str, Any]:
        kept = self.__dict__.setdefault("_kept", {})
        if path not in kept or refresh:
            found = super().info(path)
            kept[path] = found if expand_info or not refresh else {name: found[name] for name in ("name", "size")}
        return dict(kept[path])

    def invalidate_cache(self, path: str | None = None) -> None:
        self.__dict__.pop("_kept", None)


@pytest.fixture
def make() -> Callable[..., Any]:
    """Makes a file system's class, and a protocol that it is reached by."""

    def made(about: dict[str, Any], kind: type[Told] = Told) -> Any:
        at = f"told{next(_names)}"
        found = type("Made", (kind,), {"content": {"a.bin": b"one"}, "about": about, "reads": 0, "at": at})
        fsspec.register_implementation(at, found)
        return found

    return made


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(cache_folder=tmp_path, retries=0)


def found(system: Any, storage: Storage) -> Remote:
    [[file]] = find_remote([f"{system.at}://a.bin"], ".bin", storage)
    return file


def whole(file: Remote) -> bytes:
    return read_remote(file, 0, file.size).tobytes()


NAMES = ("blob_id", "xet_hash", "sha", "hex", "md5", "checksum", "modified", "modify", "last_write_time", "uploaded_at")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_was_written_anew_is_read_anew_and_one_that_was_not_is_kept(
    name: str, make: Callable[..., Any], storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    system = make({name: "before"})
    assert [whole(found(system, storage)) for _ in range(2)] == [b"one", b"one"]
    assert system.reads == 1
    system.content, system.about = {"a.bin": b"two"}, {name: "after"}
    assert whole(found(system, storage)) == b"two"
    assert not caplog.records


@pytest.mark.parametrize("kind", [Told, Listing])
def test_a_file_that_is_written_while_it_is_read_is_noticed_by_any_such_name(
    kind: type[Told], make: Callable[..., Any], storage: Storage
) -> None:
    system = make({"blob_id": "before"}, kind)
    file = found(system, storage)
    system.content, system.about = {"a.bin": b"two"}, {"blob_id": "after"}
    with pytest.raises(OSError, match=r"a.bin: it was written while .* 'before', found 3 with 'after'"):
        whole(file)
    assert whole(found(system, storage)) == b"two"


def test_where_nothing_is_told_what_was_read_is_kept_for_the_source_alone_and_that_is_said_once(
    make: Callable[..., Any], storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    system = make({"mode": 7})
    file = found(system, storage)
    assert [whole(file) for _ in range(2)] == [b"one", b"one"]
    assert system.reads == 1
    system.content = {"a.bin": b"two"}
    assert whole(found(system, storage)) == b"two"
    [said] = [record.getMessage() for record in caplog.records]
    assert "expected an ETag, another hash or a time of this file, found mode, name, size, type." in said
    third = found(system, storage)
    system.content = {"a.bin": b"more"}
    with pytest.raises(OSError, match="it was written while .* found 4 with ''"):  # its size, at least, is told
        whole(third)
