"""Files on a web server: the same records as on the disk, whatever the server does."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from datarax_mp import (
    ArrayRecordSource,
    ArrowSource,
    CsvSource,
    HDF5Source,
    JsonLinesSource,
    NpySource,
    ParquetSource,
    Pipeline,
    Storage,
    TarSource,
    TFRecordSource,
)
from datarax_mp.testing import kill_workers
from tests.formats.examples import write
from tests.storage.server import Files, Request, serving

ROWS = 300


@pytest.fixture
def files() -> Iterator[Files]:
    with serving() as found:
        yield found


@pytest.fixture
def storage(tmp_path: Path) -> Callable[..., Storage]:
    def make(**options: Any) -> Storage:
        return Storage(**{"cache_folder": tmp_path / "cache", "timeout": 20, **options})

    return make


def table(first: int = 0, rows: int = ROWS, width: int = 40) -> pa.Table:
    numbers = np.arange(first, first + rows)
    noise = np.random.default_rng(first).random((rows, width))
    return pa.table(
        {
            "n": numbers,
            "x": pa.FixedSizeListArray.from_arrays(noise.ravel(), width),
            "text": [f"row {n}" for n in numbers],
        }
    )


def parquet(first: int = 0, rows: int = ROWS, width: int = 40) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table(first, rows, width), sink, row_group_size=50, compression="none")
    return sink.getvalue()


def array_records(path: Path) -> None:
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), "group_size:1")
    for number in range(ROWS):
        writer.write(f"record {number}".encode())
    writer.close()


def tar(path: Path) -> None:
    import tarfile

    with tarfile.open(path, "w") as archive:
        for number in range(ROWS):
            member = tarfile.TarInfo(f"{number:04}.cls")
            member.size = len(data := str(number).encode())
            archive.addfile(member, io.BytesIO(data))


def hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["n"] = np.arange(ROWS)


FORMATS: dict[str, tuple[Callable[..., Any], Callable[[Path], Any]]] = {
    "a.parquet": (ParquetSource, lambda path: path.write_bytes(parquet())),
    "a.arrow": (ArrowSource, lambda path: pa.feather.write_feather(table(), str(path), chunksize=50)),
    "a.jsonl": (JsonLinesSource, lambda path: path.write_text("".join(f'{{"n": {n}}}\n' for n in range(ROWS)))),
    "a.csv": (CsvSource, lambda path: pa.csv.write_csv(table().select(["n", "text"]), str(path))),
    "a.tar": (TarSource, tar),
    "a.tfrecord": (TFRecordSource, lambda path: write(path, [f"{n}".encode() for n in range(ROWS)])),
    "a.array_record": (ArrayRecordSource, array_records),
    "a.h5": (HDF5Source, hdf5),
    "a.npz": (NpySource, lambda path: np.savez(path, n=np.arange(ROWS))),
}


def plain(record: Any) -> Any:
    if isinstance(record, dict):
        return {name: plain(value) for name, value in record.items()}
    return record.tolist() if isinstance(record, (np.ndarray, np.generic)) else record


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_the_same_records_from_a_server_as_from_the_disk(
    name: str, files: Files, storage: Callable[..., Storage], tmp_path: Path
) -> None:
    source, write = FORMATS[name]
    write(tmp_path / name)
    url = files.put(f"/{name}", (tmp_path / name).read_bytes())
    local, remote = source(tmp_path / name), source(url, storage=storage())
    assert len(remote) == len(local) == ROWS
    assert [plain(remote[n]) for n in range(ROWS)] == [plain(local[n]) for n in range(ROWS)]
    before = files.requests.copy()
    again = source(url, storage=storage())
    assert [plain(again[n]) for n in (0, ROWS - 1)] == [plain(local[n]) for n in (0, ROWS - 1)]
    assert files.requests - before == {"HEAD": 1}  # whether it is still the same file


def stream(source: Any, workers: int, **options: Any) -> list[Any]:
    with Pipeline(
        source=source, batch_size=32, shuffle=True, seed=1, num_workers=workers, output="numpy", **options
    ) as pipeline:
        return [(batch["n"].tolist(), batch["x"].tolist(), batch.info["text"]) for batch in pipeline]


def test_the_stream_is_the_same_for_any_number_of_workers_from_a_cold_and_a_warm_cache(
    files: Files, storage: Callable[..., Storage], tmp_path: Path
) -> None:
    urls = []
    for shard in range(3):
        (tmp_path / f"{shard}.parquet").write_bytes(content := parquet(shard * ROWS))
        urls.append(files.put(f"/{shard}.parquet", content))
    expected = stream(ParquetSource(tmp_path), 0)
    for workers in (0, 1, 3):
        kept = storage(cache_folder=tmp_path / f"cache {workers}")
        assert stream(ParquetSource(urls, storage=kept), workers) == expected
        asked = files.bytes_asked
        assert stream(ParquetSource(urls, storage=kept), workers) == expected
        assert files.bytes_asked == asked


def test_one_worker_asks_for_the_next_row_groups_while_it_waits_for_this_one(
    files: Files, storage: Callable[..., Storage], tmp_path: Path
) -> None:
    (tmp_path / "a.parquet").write_bytes(content := parquet(width=2000))
    url = files.put("/a.parquet", content)
    expected = stream(ParquetSource(tmp_path), 0)
    source = ParquetSource(url, storage=storage())
    together, lock, under_way, most = threading.Event(), threading.Lock(), list[range](), list[int]()
    first = list[range]()  # of the row group with the first record, which says what a batch is like and is read alone

    def held_up(request: Request) -> bool:
        if request.command == "GET" and request.asked is not None:
            with lock:
                if not first:
                    first.append(request.asked)
                    return False
                under_way.append(request.asked)
                most.append(len(under_way))
                if len(under_way) == 3:
                    together.set()
            assert together.wait(60)
            with lock:
                under_way.remove(request.asked)
        return False

    files.fault = held_up
    assert stream(source, 1) == expected
    assert 3 <= max(most) <= source.files[0].storage.requests


def test_a_row_group_that_cannot_be_had_ahead_is_an_error_when_it_is_needed(
    files: Files, storage: Callable[..., Storage]
) -> None:
    url = files.put("/a.parquet", parquet(width=2000))
    source = ParquetSource(url, storage=storage(retries=0))
    bad = len(files.content["/a.parquet"]) // 2
    files.fault = lambda request: request.asked is not None and bad in request.asked and (request.refuse(403) or True)
    with Pipeline(source=source, batch_size=50, num_workers=1, output="numpy") as pipeline:
        numbers = list[int]()
        with pytest.raises(OSError, match=r"row group \d: .* bytes .* does not allow it"):
            for batch in pipeline:
                numbers += batch["n"].tolist()
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= 50


def test_only_the_columns_and_row_groups_that_are_wanted_are_read(
    files: Files, storage: Callable[..., Storage]
) -> None:
    url = files.put("/a.parquet", content := parquet(rows=400, width=2000))
    assert len(content) > 6_000_000
    source = ParquetSource(url, columns=["n"], storage=storage())
    assert [source[n]["n"] for n in (0, 399)] == [0, 399]
    assert files.bytes_asked < 2_000_000


def times(left: list[int], answer: Callable[[Request], Any], method: str = "GET") -> Callable[[Request], bool]:
    """A fault that comes as often as is left, and then no more."""
    lock = threading.Lock()

    def fault(request: Request) -> bool:
        with lock:
            if request.command != method or not left[0]:
                return False
            left[0] -= 1
        answer(request)
        return True

    return fault


def torn(request: Request) -> None:
    request.give(request.server.files.content[request.path], cut=100)


def dropped(request: Request) -> None:
    request.close_connection = True
    request.connection.close()


FAULTS: dict[str, tuple[str, Callable[[Request], Any]]] = {
    "500": ("GET", lambda request: request.refuse(500)),
    "503": ("GET", lambda request: request.refuse(503)),
    "429": ("GET", lambda request: request.refuse(429)),
    "500 when asked about": ("HEAD", lambda request: request.refuse(500)),
    "a torn answer": ("GET", torn),
    "a connection that is dropped": ("GET", dropped),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("workers", [0, 2])
def test_what_passes_is_asked_for_again_and_nothing_is_lost_or_comes_twice(
    fault: str, workers: int, files: Files, storage: Callable[..., Storage]
) -> None:
    url = files.put("/a.parquet", parquet(width=2000))
    method, answer = FAULTS[fault]
    left = [3 if method == "GET" else 1]  # about a file fsspec asks in another way at once
    files.fault = times(left, answer, method)
    source = ParquetSource(url, storage=storage())
    numbers = [n for batch in stream(source, workers) for n in batch[0]]
    assert sorted(numbers) == list(range(ROWS))
    assert left == [0]


def test_what_does_not_pass_is_an_error_that_names_file_bytes_and_attempts(
    files: Files, storage: Callable[..., Storage]
) -> None:
    url = files.put("/a.parquet", parquet(width=2000))
    source = ParquetSource(url, storage=storage(retries=2))
    files.fault = lambda request: request.refuse(500) or True
    with pytest.raises(
        OSError, match=r"a.parquet, row group 0: .*a.parquet, bytes [\d,]+ to [\d,]+.* asked for 3 times"
    ):
        source[0]


def test_a_part_that_cannot_be_had_costs_its_records_where_that_is_asked_for_and_they_are_counted(
    files: Files, storage: Callable[..., Storage]
) -> None:
    urls = [files.put(f"/{shard}.parquet", parquet(shard * ROWS, width=800)) for shard in range(2)]
    source = ParquetSource(urls, storage=storage(retries=0))
    files.fault = lambda request: request.path == "/1.parquet" and (request.refuse(403) or True)
    with Pipeline(source=source, batch_size=50, num_workers=1, output="numpy", on_error="skip") as pipeline:
        numbers = [n for batch in pipeline for n in batch["n"].tolist()]
        assert numbers[:ROWS] == list(range(ROWS))
        assert len(numbers) + pipeline.skipped == 2 * ROWS


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (lambda request: request.refuse(404), FileNotFoundError, r"a.parquet: expected a file, found nothing there"),
        (lambda request: request.refuse(403), PermissionError, r"a.parquet: the server does not allow it.*credentials"),
        (lambda request: request.refuse(401), PermissionError, r"a.parquet: the server does not allow it"),
        (lambda request: request.refuse(503), OSError, r"a.parquet: it was asked for 2 times, and could not be had"),
    ],
)
def test_a_file_that_cannot_be_had_is_an_error_when_the_source_is_made(
    fault: Any, error: type[Exception], message: str, files: Files, storage: Callable[..., Storage]
) -> None:
    url = files.put("/a.parquet", parquet())
    files.fault = lambda request: fault(request) or True
    with pytest.raises(error, match=message):
        ParquetSource(url, storage=storage(retries=1))


def test_a_server_that_does_not_answer_is_an_error_within_the_time_limit(
    files: Files, storage: Callable[..., Storage]
) -> None:
    url = files.put("/a.parquet", parquet())
    waiting = threading.Event()
    files.fault = lambda request: waiting.wait(60)
    try:
        with pytest.raises(OSError, match="no answer within the time limit"):
            ParquetSource(url, storage=storage(retries=1, timeout=0.2))
    finally:
        waiting.set()


def test_a_file_that_is_written_while_it_is_read_is_an_error_that_says_what_was_expected(
    files: Files, storage: Callable[..., Storage]
) -> None:
    url = files.put("/a.parquet", parquet(width=2000))
    source = ParquetSource(url, storage=storage())
    files.put("/a.parquet", parquet(1, width=2000))
    with pytest.raises(OSError, match=r"a.parquet: it was written while .*expected .* bytes with ETag.* found"):
        source[0]
    anew = ParquetSource(url, storage=storage())
    assert anew[0]["n"] == 1


def test_redirects_are_followed_and_servers_without_ranges_are_understood(
    files: Files, storage: Callable[..., Storage]
) -> None:
    files.put("/a.parquet", content := parquet(width=2000))

    def elsewhere(request: Request) -> bool:
        if request.path == "/old.parquet":
            request.refuse(302, Location="/a.parquet")
            return True
        return False

    files.fault = elsewhere
    assert ParquetSource(f"{files.url}/old.parquet", storage=storage())[7]["n"] == 7

    def whole(request: Request) -> bool:
        request.asked = None
        request.give(content, body=request.command == "GET")
        return True

    files.put("/b.parquet", content)
    files.fault = whole
    assert ParquetSource(f"{files.url}/b.parquet", storage=storage())[7]["n"] == 7


@pytest.mark.parametrize("compressed", ['W/"{hash}"', '"{hash}-gzip"'])
def test_a_server_that_compresses_for_whoever_lets_it_is_asked_not_to(
    compressed: str, files: Files, storage: Callable[..., Storage]
) -> None:
    accepted = list[str]()

    def tagged(request: Request) -> bool:
        accepted.append(how := request.headers.get("Accept-Encoding", ""))
        body = request.command == "GET"
        request.give(content, body=body, tag=compressed if "gzip" in how else '"{hash}"')
        return True

    url = files.put("/a.parquet", content := parquet(width=2000))
    files.fault = tagged
    assert ParquetSource(url, storage=storage())[7]["n"] == 7
    assert set(accepted) == {"identity"}


def test_a_weak_etag_is_that_of_the_same_file(files: Files, storage: Callable[..., Storage]) -> None:
    url = files.put("/a.parquet", content := parquet(width=2000))

    def weak(request: Request) -> bool:
        whole = request.command == "HEAD"
        request.give(content, body=not whole, tag='"{hash}"' if whole else 'W/"{hash}"')
        return True

    files.fault = weak
    assert ParquetSource(url, storage=storage())[7]["n"] == 7


@pytest.mark.parametrize("kept", [True, False])
def test_a_worker_that_is_killed_while_it_reads_changes_nothing(
    kept: bool, files: Files, storage: Callable[..., Storage], tmp_path: Path
) -> None:
    (tmp_path / "a.parquet").write_bytes(content := parquet(width=2000))
    url = files.put("/a.parquet", content)
    expected = stream(ParquetSource(tmp_path), 0)
    source = ParquetSource(url, storage=storage())

    def deadly(request: Request) -> None:
        if kept:
            request.give(content)  # all but the answer's end is there
        kill_workers(1)
        request.close_connection = True

    files.fault = times([2], deadly)
    assert stream(source, 2) == expected


def test_a_full_disk_costs_the_cache_and_not_the_records(
    files: Files, storage: Callable[..., Storage], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from datarax_mp.storage.entry import Entry

    url = files.put("/a.parquet", parquet(width=2000))

    def full(entry: Entry, begin: int, data: bytes) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Entry, "write", full)
    with caplog.at_level(logging.WARNING, "datarax_mp"):
        source = ParquetSource(url, storage=storage())
        assert [source[n]["n"] for n in range(ROWS)] == list(range(ROWS))
    assert "there is no room in the cache folder" in caplog.text
    jsonl = files.put("/a.jsonl", b'{"n": 1}\n')
    with pytest.raises(OSError, match=r"a.jsonl, bytes 0 to 9: it cannot be kept in the cache folder .*cache_bytes="):
        JsonLinesSource(jsonl, storage=storage())


def test_a_folder_that_cannot_be_used_is_an_error_that_says_what_to_do(
    files: Files, storage: Callable[..., Storage], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    url = files.put("/a.parquet", parquet())
    with pytest.raises(OSError, match=r"the cache folder .*file cannot be used: .*Storage\(cache_folder=\.\.\.\)"):
        ParquetSource(url, storage=storage(cache_folder=tmp_path / "file"))


def test_two_urls_that_are_written_alike_and_two_versions_are_told_apart(
    files: Files, storage: Callable[..., Storage]
) -> None:
    first = NpySource(files.put("/a.npy", saved(np.arange(3))), storage=storage())
    second = NpySource(files.put("/a.npy", saved(np.arange(3) + 10)), storage=storage())
    assert [first[n]["value"] for n in range(3)] == [0, 1, 2]
    assert [second[n]["value"] for n in range(3)] == [10, 11, 12]


def saved(array: np.ndarray) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array)
    return sink.getvalue()


def test_a_url_without_fsspec_is_an_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ImportError, match=r"datarax-mp\[remote\]"):
        ParquetSource("http://127.0.0.1:1/a.parquet", storage=Storage(options={"block_size": 1}, cache_folder=tmp_path))


def test_a_protocol_that_nobody_speaks_is_an_error() -> None:
    with pytest.raises(ValueError, match="nonsense://a.parquet: fsspec cannot reach it"):
        ParquetSource("nonsense://a.parquet")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.parquet", "https://nowhere.invalid/a.parquet"])
def test_a_server_that_is_not_there_is_an_error_that_says_so(
    url: str, storage: Callable[..., Storage], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = socket.getaddrinfo

    def unknown(host: Any, *args: Any, **more: Any) -> Any:  # at once, whatever name servers this machine has
        if host in ("nowhere.invalid", b"nowhere.invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return ask(host, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(OSError, match="asked for 2 times, and could not be had: ClientConnector"):
        ParquetSource(url, storage=storage(retries=1))


def test_files_of_several_protocols_are_one_source(
    files: Files, storage: Callable[..., Storage], tmp_path: Path
) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/one.parquet", parquet(300))
    (tmp_path / "a.parquet").write_bytes(parquet(600))
    urls = [files.put("/a.parquet", parquet()), "memory://one.parquet", str(tmp_path / "a.parquet")]
    source = ParquetSource(urls, storage=storage())
    assert [source[n]["n"] for n in (0, 299, 300, 899)] == [0, 299, 300, 899]
    memory.rm("/one.parquet")


def test_what_is_no_storage_and_a_url_as_a_path_are_errors_that_say_so(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="storage must be a Storage.*found dict"):
        ParquetSource(tmp_path, storage={"anon": True})  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match="Give a URL as a str"):
        ParquetSource(Path("s3://bucket/a.parquet"))


def test_a_file_url_is_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet())
    assert ParquetSource(f"file://{tmp_path}/*.parquet")[3]["n"] == 3


def test_folders_and_patterns_are_listed_in_the_order_of_names(storage: Callable[..., Storage]) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    with contextlib.ExitStack() as undo:
        for name, first in (("b/2.parquet", 20), ("b/1.parquet", 10), ("b/deep/3.parquet", 30), ("b/4.txt", 40)):
            memory.pipe(f"/bucket/{name}", parquet(first, 10))
            undo.callback(memory.rm, f"/bucket/{name}")

        def firsts(paths: Any) -> list[int]:
            source = ParquetSource(paths, storage=storage())
            return [int(source[n]["n"]) for n in range(0, len(source), 10)]

        assert firsts("memory://bucket/b") == [10, 20, 30]
        assert firsts("memory://bucket/b/*.parquet") == [10, 20]
        assert firsts(["memory://bucket/b/2.parquet", "memory://bucket/b/1.parquet"]) == [20, 10]
        for wrong, message in (
            ("memory://bucket/b/*.x", "expected files that match this pattern, found none"),
            ("memory://bucket/none.parquet", "expected a file, found nothing there"),
        ):
            with pytest.raises(FileNotFoundError, match=message):
                ParquetSource(wrong, storage=storage())


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"cache_bytes": -1}, ValueError, "cache_bytes must be at least 0"),
        ({"requests": 0}, ValueError, "requests must be at least 1"),
        ({"retries": 1.5}, TypeError, "retries must be an int"),
        ({"timeout": 0}, ValueError, "timeout must be above 0"),
        ({"timeout": "1"}, TypeError, "timeout must be a number of seconds"),
        ({"options": "anon"}, TypeError, "options must be a dict"),
    ],
)
def test_what_storage_cannot_be_is_an_error(wrong: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Storage(**wrong)
