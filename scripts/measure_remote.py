"""Shards on a server far away: records/s and the time to the first batch, from a cold and a warm cache.

    python scripts/measure_remote.py
    python scripts/measure_remote.py --latency-ms 50 --workers 1 8 --rounds 3

A web server in a process of its own has the shards in memory and waits before each answer. In one run, in turn: ours
with some numbers of workers from an empty cache folder, and again from the full one (in the order of windows of blocks,
NumPy out); Hugging Face's streaming of the same URLs with its buffer shuffle, in this process and in a DataLoader's;
Mosaic's streaming and litdata, shuffled, in DataLoaders, of shards of their own formats with the same records, as large
as a Parquet file here (to their clients the server is S3); and fsspec with pyarrow, row group after row group, which is
the least that anybody does. Each of Mosaic and litdata has its own process for every run, and the time begins when it
has imported everything. Of those that are not installed it is said, and they are left out: ``pip install torch
mosaicml-streaming litdata``. Medians. "asked" is what the server was asked for, in bytes of the Parquet files; each
file is asked about, too. The first batch of a cold run includes what is read to know the files.

How to read it: with nothing but latency between, whoever asks for one thing at a time waits for each. Ours asks for the
columns of a row group together, in every worker, and for the next window of row groups while this one is used.

Figures: ``results/measure_remote-2026-11-27.txt``.
"""

from __future__ import annotations

import argparse
import io
import itertools
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from urllib.request import urlopen

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datarax_mp import ParquetSource, Pipeline, ShuffleWindow, Storage

BATCH = 256
SERVER = """
import re, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(sys.argv[1])
FILES = {f"/{path.relative_to(ROOT)}": path.read_bytes() for path in ROOT.rglob("*") if path.is_file()}
LATENCY = float(sys.argv[2])
asked, lock = 0, threading.Lock()

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_HEAD(self): self.answer(False)
    def do_GET(self): self.answer(True)
    def log_message(self, *_): pass
    def answer(self, body):
        global asked
        if self.path == "/asked":
            content, data, status = b"", str(asked).encode(), 200
            asked = 0
        else:
            time.sleep(LATENCY)
            content = data = FILES.get(self.path.partition("?")[0])
            if content is None:
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            wanted = re.fullmatch(r"bytes=(\\d+)-(\\d*)", self.headers.get("Range", ""))
            status = 206 if wanted else 200
            if wanted:
                data = content[int(wanted[1]) : int(wanted[2] or len(content) - 1) + 1]
            with lock:
                asked += len(data) if body else 0
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{len(content)}"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        if status == 206:
            begin = int(wanted[1])
            self.send_header("Content-Range", f"bytes {begin}-{begin + len(data) - 1}/{len(content)}")
        self.end_headers()
        try:
            self.wfile.write(data if body else b"")
        except OSError:  # whoever asked has left
            pass

class Server(ThreadingHTTPServer):
    def handle_error(self, *_): pass  # whoever asked has left

server = Server(("127.0.0.1", 0), Handler)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
print(f"port {server.server_port}", flush=True)
sys.stdin.read()
"""


class Took(NamedTuple):
    """One epoch."""

    first: float
    whole: float
    records: int


def features(file: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The records of a file: their numbers, and a vector of each."""
    return np.arange(file * rows, (file + 1) * rows), np.random.default_rng(file).random((rows, 64), np.float32)


def write(folder: Path, files: int, groups: int, rows: int) -> int:
    """Shards; their bytes."""
    size = 0
    for file in range(files):
        numbers, some = features(file, groups * rows)
        vectors = pa.FixedSizeListArray.from_arrays(some.ravel(), 64)
        sink = io.BytesIO()
        pq.write_table(pa.table({"n": numbers, "x": vectors}), sink, row_group_size=rows, compression="none")
        size += (folder / f"{file:03}.parquet").write_bytes(sink.getvalue())
    return size


def write_mosaic(folder: Path, files: int, rows: int) -> None:
    """The same records in Mosaic's format."""
    from streaming import MDSWriter

    columns = {"n": "int64", "x": "ndarray:float32:64"}
    with MDSWriter(out=str(folder), columns=columns, size_limit=rows * 280) as shards:
        for file in range(files):
            for number, vector in zip(*features(file, rows), strict=True):
                shards.write({"n": int(number), "x": vector})


def write_litdata(folder: Path, files: int, rows: int) -> None:
    """The same records in litdata's format."""
    from litdata.streaming.cache import Cache

    cache = Cache(str(folder), chunk_size=rows)
    for file in range(files):
        for number, vector in zip(*features(file, rows), strict=True):
            cache[int(number)] = {"n": int(number), "x": vector}
    cache.done()
    cache.merge()


def timed(make: Callable[[], Iterator[int]]) -> Took:
    """How long it takes to the first batch, and to the last; ``make`` yields how many records each has."""
    begin = time.perf_counter()
    batches = make()
    records = next(batches)
    first = time.perf_counter() - begin
    records += sum(batches)
    return Took(first, time.perf_counter() - begin, records)


def ours(urls: list[str], cache: str, workers: int) -> Iterator[int]:
    """This package."""
    source = ParquetSource(urls, storage=Storage(cache_folder=cache))
    order = ShuffleWindow(blocks=8)
    with Pipeline(source=source, batch_size=BATCH, shuffle=order, seed=0, num_workers=workers, output="numpy") as some:
        for batch in some:
            yield batch.batch_size


def hugging_face(urls: list[str]) -> Iterator[int]:
    """datasets, streaming."""
    import datasets

    datasets.disable_progress_bars()
    rows = datasets.load_dataset("parquet", data_files=urls, split="train", streaming=True).with_format("arrow")
    for batch in rows.shuffle(seed=0, buffer_size=4 * BATCH).iter(BATCH):
        yield batch.num_rows


def hugging_face_loader(urls: list[str], workers: int) -> Iterator[int]:
    """The same in the processes of torch's DataLoader, a batch at a time."""
    import datasets
    from torch.utils.data import DataLoader

    datasets.disable_progress_bars()
    rows = datasets.load_dataset("parquet", data_files=urls, split="train", streaming=True).with_format("arrow")
    batches = rows.shuffle(seed=0, buffer_size=4 * BATCH).with_format("numpy").batch(BATCH)
    for batch in DataLoader(batches, batch_size=None, num_workers=workers):
        yield len(batch["n"])


def mosaic(name: str, cache: str, workers: int) -> Iterator[int]:
    """mosaicml-streaming."""
    from streaming import StreamingDataset
    from torch.utils.data import DataLoader

    rows = StreamingDataset(remote=f"s3://shards/{name}", local=cache, shuffle=True, batch_size=BATCH)
    for batch in DataLoader(rows, batch_size=BATCH, num_workers=workers):
        yield len(batch["n"])


def litdata(name: str, cache: str, workers: int) -> Iterator[int]:
    """That of litdata."""
    from litdata import StreamingDataLoader, StreamingDataset
    from litdata.streaming import downloader

    downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = True  # noqa: SLF001 - there is no other way to say it
    options = {"endpoint_url": os.environ["S3_ENDPOINT_URL"]}
    rows = StreamingDataset(f"s3://shards/{name}", cache_dir=cache, shuffle=True, storage_options=options)
    for batch in StreamingDataLoader(rows, batch_size=BATCH, num_workers=workers):
        yield len(batch["n"])


def apart(way: Callable[[], Iterator[int]], imports: str) -> Took | None:
    """A measurement in a process of its own, which has imported what it needs; None where it has failed there."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_measured, args=(theirs, way, imports))
    process.start()
    theirs.close()
    try:
        return ours.recv()  # type: ignore[no-any-return]
    except EOFError:  # what went wrong stands on the screen
        return None
    finally:
        process.join()


def _measured(answer: Connection, way: Callable[[], Iterator[int]], imports: str) -> None:
    __import__(imports)
    multiprocessing.set_start_method("fork", force=True)  # not what this process was made by: clients cannot be pickled
    answer.send(timed(way))


def one_by_one(urls: list[str]) -> Iterator[int]:
    """By fsspec and pyarrow alone."""
    import fsspec

    system = fsspec.filesystem("http")
    for url in urls:
        with system.open(url) as file:
            shard = pq.ParquetFile(file)
            for group in range(shard.num_row_groups):
                for batch in shard.read_row_group(group).to_batches(BATCH):
                    yield batch.num_rows


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=16)
    parser.add_argument("--groups", type=int, default=8, help="row groups in a file")
    parser.add_argument("--rows", type=int, default=4000, help="rows in a row group")
    parser.add_argument("--latency-ms", type=float, default=50.0)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shards = Path(folder, "shards")
        shards.mkdir()
        size = write(shards, options.files, options.groups, options.rows)
        peers = installed() if options.peers else {}
        for name, peer in peers.items():
            peer.write(shards / name, options.files, options.groups * options.rows)
        command = [sys.executable, "-c", SERVER, folder, str(options.latency_ms / 1000)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdin is not None and server.stdout is not None
            found = re.match(r"port (\d+)", server.stdout.readline())
            assert found is not None
            try:
                measure(f"http://127.0.0.1:{found[1]}", shards, size, Path(folder, "cache"), peers, options)
            finally:
                server.stdin.close()


class Peer(NamedTuple):
    """Another package with a format and a cache of its own."""

    title: str
    imports: str
    write: Callable[[Path, int, int], None]
    read: Callable[[str, str, int], Iterator[int]]


PEERS = {
    "mds": Peer("Mosaic", "streaming", write_mosaic, mosaic),
    "lit": Peer("litdata", "litdata", write_litdata, litdata),
}


def installed() -> dict[str, Peer]:
    """Those of the others that are here."""
    for peer in PEERS.values():
        if find_spec(peer.imports) is None:
            print(f"{peer.title} is not installed, and left out")
    return {name: peer for name, peer in PEERS.items() if find_spec(peer.imports) is not None}


def measure(
    server: str, shards: Path, size: int, cache: Path, peers: dict[str, Peer], options: argparse.Namespace
) -> None:
    """All ways in turn."""
    urls = [f"{server}/shards/{path.name}" for path in sorted(shards.glob("*.parquet"))]
    os.environ.update(
        S3_ENDPOINT_URL=server,  # Mosaic's; litdata is told as it is made
        AWS_ACCESS_KEY_ID="a",
        AWS_SECRET_ACCESS_KEY="b",
        AWS_REGION="us-east-1",
    )
    ways: dict[str, Callable[[], Took | None]] = {}
    for workers, warmth in itertools.product(options.workers, ("cold", "warm")):
        ways[f"ours, {workers} workers, {warmth}"] = partial(timed, partial(ours, urls, str(cache), workers))
    for name, peer in peers.items():
        for workers, warmth in itertools.product(options.workers, ("cold", "warm")):
            way: Any = partial(peer.read, name, str(cache), workers)
            ways[f"{peer.title}, {workers} workers, {warmth}"] = partial(apart, way, peer.imports)
    if options.peers:
        ways["Hugging Face, streaming"] = partial(timed, partial(hugging_face, urls))
        for workers in options.workers if find_spec("torch") else ():
            ways[f"Hugging Face, {workers} workers"] = partial(timed, partial(hugging_face_loader, urls, workers))
        ways["fsspec and pyarrow"] = partial(timed, partial(one_by_one, urls))
    found: dict[str, list[tuple[Took, int]]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            if name.endswith("cold"):
                shutil.rmtree(cache, ignore_errors=True)
            asked(server)
            if (took := way()) is not None:
                found[name].append((took, asked(server)))
    records = options.files * options.groups * options.rows
    print(f"{len(urls)} files, {size / 1e6:.1f} MB, {records:,} records; {options.latency_ms:g} ms before each answer")
    print(f"{'':28} {'first batch':>12} {'records/s':>12} {'asked':>7}")
    for name, rounds in found.items():
        if len(rounds) < options.rounds:
            print(f"{name:28} {'failed in ' + str(options.rounds - len(rounds)):>12} of {options.rounds} rounds")
        if not rounds:
            continue
        assert all(took.records == records for took, _ in rounds), (name, [took.records for took, _ in rounds])
        first, whole = (median(getattr(took, part) for took, _ in rounds) for part in ("first", "whole"))
        share = median(bytes_asked for _, bytes_asked in rounds) / size
        print(f"{name:28} {first:10.2f} s {records / whole:12,.0f} {share:7.2f}")


def asked(server: str) -> int:
    """Bytes that the server was asked for since this was called last."""
    with urlopen(f"{server}/asked") as answer:
        return int(answer.read())


if __name__ == "__main__":
    main()
