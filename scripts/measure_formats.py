"""Tables read whole epochs long: Parquet, Arrow, JSON lines and CSV, beside their libraries and Hugging Face's.

    parquet       pyarrow, row group by row group      datasets.load_dataset("parquet")
    arrow         pyarrow, batch by batch, mapped      datasets.Dataset.from_file, put together
    json_lines    json.loads, line by line
    csv           pyarrow.csv, file by file

    python scripts/measure_formats.py
    python scripts/measure_formats.py --formats arrow parquet --workers 0 2 --megabytes 500

Every file holds the same table: a number, a label, 16 floats (in CSV 16 columns) and a text. A format is one ``Format``
below: what writes a file of it, what reads one by a library alone, the source, and maybe what Hugging Face reads.

Each way runs in a process of its own, the ways in turn, round by round: an epoch to begin with, then the epoch that is
measured. Libraries alone read in order and make no batches; the others shuffle, and make batches of 256 of NumPy
arrays. Hugging Face's way is ``with_format("numpy")``, shuffled, and ``iter(batch_size=256)``; it is in one process.
The shuffles differ: Hugging Face's is of all records, and looks for each of them, ours of 16 blocks at a time.

How to read it: "CPU us" is the time that all processes of a way take for a record; on a machine that has other things
to do, it says more than records/s. "read" is how many bytes they read from files, over the bytes that there are
(1.00 is once; what is mapped does not count, and of Parquet Hugging Face reads what it has converted before). "PSS" is
the most that all processes together have in memory. CPU time comes in steps of 10 ms, which show where little is read.

Figures: ``results/measure_formats-2026-11-26.txt``.

It needs ``pip install "datarax-mp[monitoring,parquet,arrow,csv]" datasets``; without datasets its rows are left out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _benchmark import epochs

FILES, BATCH, FLOATS, ROWS = 4, 256, 16, 4096
BYTES_A_RECORD = 110  # about, in Arrow


class Format(NamedTuple):
    """A format.

    Attributes:
        write: writes a table to a file.
        alone: reads a file by a library alone, in pieces.
        source: what this package calls its source.
        peer: the files as a data set of Hugging Face, told a folder for its own; None where there is none.
    """

    write: Callable[[Any, Path], None]
    alone: Callable[[str], Iterator[Any]]
    source: str
    peer: Callable[[list[str], str], Any] | None = None


# Parquet


def write_parquet(table: Any, path: Path) -> None:
    """Row groups as training data has them, compressed as pyarrow does by itself."""
    import pyarrow.parquet as pq

    pq.write_table(table, path, row_group_size=ROWS)


def parquet_alone(path: str) -> Iterator[Any]:
    """Row groups, by one thread."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    for group in range(file.num_row_groups):
        yield file.read_row_group(group, use_threads=False)


def parquet_peer(files: list[str], folder: str) -> Any:
    """Converted to Arrow in the folder, which is not measured, and mapped."""
    import datasets

    return datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=folder)


# Arrow


def write_arrow(table: Any, path: Path) -> None:
    """A stream, which is what Hugging Face's files are."""
    import pyarrow as pa

    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=ROWS)


def arrow_alone(path: str) -> Iterator[Any]:
    """Record batches of the mapped file, each column copied once, since mapping alone reads nothing."""
    import pyarrow as pa

    with pa.memory_map(path) as mapped:
        for batch in pa.ipc.open_stream(mapped):
            yield [column.take(pa.array(np.arange(len(column)))) for column in batch.columns]


def arrow_peer(files: list[str], folder: str) -> Any:
    """The files as they are, mapped."""
    import datasets

    return datasets.concatenate_datasets([datasets.Dataset.from_file(path) for path in files])


# Lines of text


def write_json_lines(table: Any, path: Path) -> None:
    """One object a line."""
    path.write_text("".join(f"{json.dumps(row)}\n" for row in table.to_pylist()))


def json_lines_alone(path: str) -> Iterator[Any]:
    """Lines, one after the other."""
    with open(path, "rb") as file:
        yield from map(json.loads, file)


def write_csv(table: Any, path: Path) -> None:
    """A column for each of the floats."""
    from pyarrow import csv

    floats = np.stack(table["x"].to_numpy())
    flat = table.drop_columns(["x"])
    for place in range(FLOATS):
        flat = flat.append_column(f"x{place}", [floats[:, place]])
    csv.write_csv(flat, path)


def csv_alone(path: str) -> Iterator[Any]:
    """The whole file, by one thread."""
    from pyarrow import csv

    yield csv.read_csv(path, read_options=csv.ReadOptions(use_threads=False))


FORMATS = {
    "parquet": Format(write_parquet, parquet_alone, "ParquetSource", parquet_peer),
    "arrow": Format(write_arrow, arrow_alone, "ArrowSource", arrow_peer),
    "json_lines": Format(write_json_lines, json_lines_alone, "JsonLinesSource"),
    "csv": Format(write_csv, csv_alone, "CsvSource"),
}


def write(kind: str, folder: Path, megabytes: float) -> int:
    """The files of a format; returns how many records there are."""
    import pyarrow as pa

    rng, count = np.random.default_rng(0), max(1, round(megabytes * 1e6 / BYTES_A_RECORD / FILES))
    for file in range(FILES):
        numbers = np.arange(file * count, (file + 1) * count)
        floats = pa.array(rng.normal(size=count * FLOATS).astype(np.float32))
        columns = {
            "n": numbers,
            "label": rng.integers(0, 10, count),
            "x": pa.FixedSizeListArray.from_arrays(floats, FLOATS),
            "text": [f"this is what record {number} says" for number in numbers.tolist()],
        }
        FORMATS[kind].write(pa.table(columns), folder / f"{file}.data")
    return count * FILES


# Ways to read them: each gives pieces, batches or records.


def alone(kind: str, files: list[str], workers: int, folder: str) -> epochs.Epoch:
    """By a library alone."""
    return lambda: (piece for path in files for piece in FORMATS[kind].alone(path))


def peer(kind: str, files: list[str], workers: int, folder: str) -> epochs.Epoch:
    """By Hugging Face's."""
    import datasets

    datasets.disable_progress_bars()
    make = FORMATS[kind].peer
    assert make is not None
    data = make(files, folder).with_format("numpy")
    return lambda: data.shuffle(seed=0, keep_in_memory=True).iter(batch_size=BATCH)


def ours(kind: str, files: list[str], workers: int, folder: str) -> epochs.Epoch:
    """By this package."""
    import datarax_mp

    source = getattr(datarax_mp, FORMATS[kind].source)(files)
    pipeline = datarax_mp.Pipeline(
        source=source, batch_size=BATCH, shuffle=True, seed=0, num_workers=workers, output="numpy"
    )
    return lambda: iter(pipeline)


WAYS: dict[str, Callable[[str, list[str], int, str], epochs.Epoch]] = {
    "alone": alone,
    "datasets": peer,
    "datarax_mp": ours,
}


def measure(kind: str, way: str, workers: int, folder: str, records: int) -> epochs.Figures:
    """Run a way in this process, and say what the second epoch took."""
    files = sorted(str(path) for path in Path(folder).glob("*.data"))
    with tempfile.TemporaryDirectory() as own:
        return epochs.measure(WAYS[way](kind, files, workers, own), files, records)


def rows_of(kind: str, options: argparse.Namespace) -> Iterator[list[str]]:
    """The table's rows of one format."""
    ways = [("alone", 0), *(("datarax_mp", workers) for workers in options.workers)]
    if FORMATS[kind].peer is not None:
        if find_spec("datasets") is None:
            print("datasets is not installed, and left out")
        else:
            ways.insert(1, ("datasets", 0))
    with tempfile.TemporaryDirectory() as folder:
        records = write(kind, Path(folder), options.megabytes)
        found = epochs.rounds(__file__, kind, ways, folder, records, options.rounds)
    for (way, workers), figures in found.items():
        yield epochs.row(kind, way, workers, figures)


if __name__ == "__main__":
    epochs.main(__doc__, FORMATS, 50, measure, rows_of, ("datarax_mp", "pyarrow", "datasets", "numpy"))
