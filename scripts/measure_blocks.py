"""Shuffling files that are read in blocks: how often each is read, how fast, in how much memory, and how well it mixes.

    python scripts/measure_blocks.py
    python scripts/measure_blocks.py --files 16 --groups 16 --rows 4096 --workers 2 --rounds 3

Parquet files are made: ``--files`` times ``--groups`` row groups of ``--rows`` rows, each a number and 64 floats. Every
system reads an epoch of them in batches of 256 as NumPy arrays, in a process of its own, taking turns:

* pyarrow alone, one row group after the other, in the files' order: what decoding takes
* ours in order; by ``ShuffleWindow(blocks=16)``; and drawn record by record over a cache, as sources without a shelf do
* Grain: ``ParquetIterDataset``, four files at a time, with a shuffled window of as many rows as 16 row groups have,
  in one process
* Hugging Face: ``IterableDataset`` over the files with a shuffle buffer of as many rows, in one process

How to read it: *read* is bytes of row groups that were decoded over bytes stored (ours alone says so), *blocks* the
distinct row groups among the records of a batch (256 drawn at random have nearly as many as there are), *neighbours*
the share of records that follow one of their own row group, *corr* the correlation of record numbers that follow one
another; both are 0 for a full shuffle. *MB* is the tree's memory (PSS) at its peak, with the interpreter's own.

Figures: ``results/measure_blocks-2026-11-26.txt``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

BATCH, FLOATS, WINDOW = 256, 64, 16


def make_files(folder: str, options: argparse.Namespace) -> None:
    """Write the files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, rows = np.random.default_rng(0), options.groups * options.rows
    for file in range(options.files):
        x = pa.FixedSizeListArray.from_arrays(pa.array(rng.normal(size=rows * FLOATS).astype(np.float32)), FLOATS)
        table = pa.table({"n": np.arange(file * rows, (file + 1) * rows), "x": x})
        pq.write_table(table, f"{folder}/part-{file:04}.parquet", row_group_size=options.rows, compression="zstd")


def alone(folder: str, options: argparse.Namespace) -> Iterator[np.ndarray]:
    """Decoding, and nothing else."""
    import pyarrow.parquet as pq

    for path in sorted(Path(folder).glob("*.parquet")):
        file = pq.ParquetFile(path, memory_map=True)
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, use_threads=False)["n"].to_numpy()


def ours(folder: str, options: argparse.Namespace, shuffle: Any, **more: Any) -> Iterator[np.ndarray]:
    """One epoch of a pipeline; the source writes down what it reads."""
    from datarax_mp import ParquetSource, Pipeline

    class Counted(ParquetSource):
        def read_block(self, number: int) -> Any:
            log = os.open(f"{folder}/read", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(log, b".")
            os.close(log)
            return super().read_block(number)

    source = Counted(f"{folder}/*.parquet", **more)
    with Pipeline(
        source=source, batch_size=BATCH, shuffle=shuffle, seed=1, num_workers=options.workers, output="numpy"
    ) as pipeline:
        for batch in pipeline:
            yield batch["n"].copy()


def windows(folder: str, options: argparse.Namespace) -> Iterator[np.ndarray]:
    """Blocks shuffled, and records within windows of them."""
    from datarax_mp import ShuffleWindow

    return ours(folder, options, ShuffleWindow(blocks=WINDOW))


def drawn(folder: str, options: argparse.Namespace) -> Iterator[np.ndarray]:
    """Record by record over the whole source, for some batches."""
    from datarax_mp import ShuffleWindow

    stream = ours(folder, options, ShuffleWindow(records=1 << 40), cache_bytes=WINDOW * options.rows * 8 * (1 + FLOATS))
    for _, batch in zip(range(options.drawn), stream, strict=False):
        yield batch


def grain(folder: str, options: argparse.Namespace) -> Iterator[np.ndarray]:
    """Grain's Parquet reader, and its shuffling within windows."""
    from grain.experimental import InterleaveIterDataset, ParquetIterDataset, WindowShuffleIterDataset
    from grain.python import MapDataset

    paths = [str(path) for path in sorted(Path(folder).glob("*.parquet"))]
    files = MapDataset.source(paths).shuffle(seed=1).map(ParquetIterDataset)
    read = InterleaveIterDataset(files, cycle_length=4)
    for batch in WindowShuffleIterDataset(read, window_size=WINDOW * options.rows, seed=1).batch(BATCH):
        yield np.asarray(batch["n"])


def hugging_face(folder: str, options: argparse.Namespace) -> Iterator[np.ndarray]:
    """Hugging Face's streaming over the files, with a buffer of records."""
    import datasets

    datasets.disable_progress_bars()
    files = [str(path) for path in sorted(Path(folder).glob("*.parquet"))]
    stream = datasets.load_dataset("parquet", data_files=files, streaming=True, split="train", cache_dir=folder)
    mixed = stream.shuffle(seed=1, buffer_size=WINDOW * options.rows).with_format("numpy").batch(BATCH)
    for batch in mixed:
        yield np.asarray(batch["n"])


SYSTEMS: dict[str, Callable[[str, argparse.Namespace], Iterator[np.ndarray]]] = {
    "pyarrow, in order": alone,
    "ours, in order": lambda folder, options: ours(folder, options, False),
    "ours, windows of blocks": windows,
    "ours, drawn singly": drawn,
    "Grain": grain,
    "Hugging Face": hugging_face,
}


def measure(name: str, folder: str, options: argparse.Namespace) -> dict[str, float]:
    """An epoch in this process: speed, and how well it mixes."""
    batches, began, first = [], 0.0, 0
    for batch in SYSTEMS[name](folder, options):
        if not batches:
            began, first = time.perf_counter(), len(batch)  # what it takes to start is another question
        batches.append(batch)
    seconds = time.perf_counter() - began
    numbers = np.concatenate(batches)
    groups = numbers // options.rows
    return {
        "records/s": (len(numbers) - first) / seconds,
        "blocks": statistics.median(len(np.unique(batch // options.rows)) for batch in batches),
        "neighbours": float(np.mean(groups[1:] == groups[:-1])),
        "corr": float(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]),
        "records": len(np.unique(numbers)),
    }


def in_a_process(name: str, folder: str, arguments: list[str]) -> dict[str, float]:
    """The same in a process that is watched."""
    Path(folder, "read").unlink(missing_ok=True)
    command = [sys.executable, __file__, *arguments, "--one", name, "--folder", folder]
    process, peak = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True), 0
    while process.poll() is None:
        peak = max(peak, tree_bytes(process.pid))
        time.sleep(0.1)
    printed, errors = process.communicate()
    if process.returncode:
        return {"failed": 1, "why": errors.strip().splitlines()[-1] if errors.strip() else "?"}  # type: ignore[dict-item]
    read = Path(folder, "read")
    return {
        **json.loads(printed.splitlines()[-1]),
        "MB": peak / 1e6,
        "reads": read.stat().st_size if read.exists() else 0,
    }


def tree_bytes(pid: int) -> int:
    """Bytes of a process and its children."""
    total = 0
    try:
        for process in [(main := psutil.Process(pid)), *main.children(recursive=True)]:
            try:
                total += process.memory_full_info().pss
            except psutil.Error:
                continue
    except psutil.Error:
        return 0
    return total


def main() -> None:
    """Measure all systems in turn and print them."""
    parser = argparse.ArgumentParser(description="Shuffling files that are read in blocks.")
    parser.add_argument("--files", type=int, default=16)
    parser.add_argument("--groups", type=int, default=8, help="row groups of a file")
    parser.add_argument("--rows", type=int, default=4096, help="rows of a row group")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--drawn", type=int, default=20, help="batches that are drawn record by record")
    parser.add_argument("--systems", nargs="*", default=list(SYSTEMS))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.folder, options)))
        return
    blocks = options.files * options.groups
    with tempfile.TemporaryDirectory() as folder:
        make_files(folder, options)
        stored = sum(path.stat().st_size for path in Path(folder).glob("*.parquet"))
        print(f"{blocks} row groups of {options.rows} rows, {stored / 1e6:.0f} MB stored; {options.workers} workers")
        print(f"{'':26}  records/s   read  blocks  neighbours    corr     MB   records")
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in options.systems}
        for _ in range(options.rounds):
            for name in options.systems:
                rounds[name].append(in_a_process(name, folder, sys.argv[1:]))
    for name, found in rounds.items():
        if any("failed" in one for one in found):
            print(f"{name:26} failed: {found[0].get('why')}")
            continue
        one = {key: statistics.median(round_[key] for round_ in found) for key in found[0]}
        # Every batch that is drawn singly is an epoch's share of records.
        read = one["reads"] * options.rows / one["records"] if one["reads"] else float("nan")
        print(
            f"{name:26} {one['records/s']:10,.0f} {read:6.2f} {one['blocks']:7.0f} {one['neighbours']:11.3f} "
            f"{one['corr']:7.3f} {one['MB']:6.0f} {one['records']:9,.0f}"
        )


if __name__ == "__main__":
    main()
