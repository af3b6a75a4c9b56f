"""Files in a bucket of a real object server."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr

from datarax_mp import JsonLinesSource, ParquetSource, Pipeline, Storage, ZarrSource

KEYS = {"key": "someone", "secret": "something"}
SERVER = """
import logging, sys, threading
from werkzeug.serving import make_server
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
print(f"port {server.server_port}", flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What reaches the server; it has a bucket with two files."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None and server.stdout is not None
        found = re.match(r"port (\d+)", server.stdout.readline())
        assert found is not None
        options = {**KEYS, "endpoint_url": f"http://127.0.0.1:{found[1]}"}
        bucket = fsspec.filesystem("s3", **options)
        bucket.mkdir("bucket")
        folder = tmp_path_factory.mktemp("local")
        for shard in range(2):
            numbers = np.arange(200) + 200 * shard
            table = pa.table({"n": numbers, "x": np.sqrt(numbers)})
            pq.write_table(table, folder / f"{shard}.parquet", row_group_size=50)
            bucket.put_file(str(folder / f"{shard}.parquet"), f"bucket/train/{shard}.parquet")
        yield options
        server.stdin.close()


def stream(source: Any, workers: int) -> list[Any]:
    with Pipeline(source=source, batch_size=16, shuffle=True, seed=2, num_workers=workers, output="numpy") as pipeline:
        return [(batch["n"].tolist(), batch["x"].tolist()) for batch in pipeline]


@pytest.mark.parametrize("url", ["s3://bucket/train", "s3://bucket/train/*.parquet"])
def test_the_stream_of_a_bucket_is_that_of_the_disk(url: str, options: dict[str, Any], tmp_path: Path) -> None:
    source = ParquetSource(url, storage=Storage(options=options, cache_folder=tmp_path))
    assert [file.rpartition("/")[2] for file in source.files] == ["0.parquet", "1.parquet"]
    assert [source[n]["n"] for n in (0, 199, 200, 399)] == [0, 199, 200, 399]
    alone = stream(source, 0)
    assert sorted(n for numbers, _ in alone for n in numbers) == list(range(400))
    cold = Storage(options=options, cache_folder=tmp_path / "cold")
    assert stream(ParquetSource(url, storage=cold), 2) == alone


def test_a_zarr_store_in_a_bucket_is_read_in_workers(options: dict[str, Any]) -> None:
    group = zarr.open_group("s3://bucket/train.zarr", mode="w", storage_options=options)
    for name, array in (("n", np.arange(100)), ("x", np.sqrt(np.arange(100)))):
        group.create_array(name, data=array, chunks=(10,))
    source = ZarrSource("s3://bucket/train.zarr", storage_options=options, block_bytes=200)
    assert len(source.blocks) > 3
    alone = stream(source, 0)
    assert sorted(n for numbers, _ in alone for n in numbers) == list(range(100))
    assert stream(source, 2) == alone


def test_what_is_not_there_and_who_may_not_are_told(options: dict[str, Any], tmp_path: Path) -> None:
    storage = Storage(options=options, cache_folder=tmp_path, retries=0)
    with pytest.raises(FileNotFoundError, match=r"s3://bucket/train/9.parquet: expected a file, found nothing there"):
        ParquetSource("s3://bucket/train/9.parquet", storage=storage)
    with pytest.raises(FileNotFoundError, match="s3://nowhere/train"):
        ParquetSource("s3://nowhere/train/*.parquet", storage=storage)


def test_an_object_that_is_put_anew_is_another_one(options: dict[str, Any], tmp_path: Path) -> None:
    bucket = fsspec.filesystem("s3", **options)
    bucket.pipe_file("bucket/other.jsonl", b'{"n": 1}\n')
    storage = Storage(options=options, cache_folder=tmp_path)
    first = JsonLinesSource("s3://bucket/other.jsonl", storage=storage)
    bucket.pipe_file("bucket/other.jsonl", b'{"n": 2}\n')
    assert JsonLinesSource("s3://bucket/other.jsonl", storage=storage)[0] == {"n": 2}
    assert first[0] == {"n": 1}  # what it was when that was made, out of the cache
