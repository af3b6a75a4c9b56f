"""What a cache saves: photographs that are decoded and resized, in the first epoch and in later ones.

    python scripts/measure_cache.py
    python scripts/measure_cache.py FOLDER --workers 2 --photos 2000 --rounds 5

In one run, in turn: no cache, memory, a folder, a folder with Zstandard (level 1). All images of a folder, or else
JPEGs of 500 x 375 that are made for the purpose; brought to 224 x 224 in the workers, cached, flipped at random. Each
round begins with an empty cache; medians. "processor" is this process's time for an image, where it does all itself (no
workers); "images/s" is by the clock. The last line is a new pipeline over the folder, as another run would find it.

How to read it: a later epoch costs what it takes to copy a record out of memory or out of the system's pages and to
compare its checksum, some 0.1 ms for 150 kB, whatever it took to compute. Where reading and stages cost less than that,
a cache saves nothing. The first epoch costs as much more as it takes to write the record once. Files that do not stay
in the system's pages are read from the disk again, which this does not measure.

Figures: ``results/measure_cache-2026-11-26.txt``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from datarax_mp import Cache, CenterCrop, ImageFolderSource, Pipeline, RandomFlip, Resize

BUDGET = 8 << 30


def photos(folder: Path, count: int) -> Path:
    """A folder with so many different JPEGs of 500 x 375 pixels."""
    from PIL import Image

    for number in range(count):
        coarse = np.random.default_rng(number).integers(0, 255, (40, 50, 3), np.uint8)
        image = Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC)
        image.save(folder / f"{number:05}.jpg", "JPEG", quality=90)
    return folder


def caches(folder: Path) -> Iterator[tuple[str, Cache | None]]:
    """The ways to be compared, by name; ``folder`` is empty."""
    yield "no cache", None
    yield "memory", Cache(budget=BUDGET)
    yield "folder", Cache(folder=folder / "plain", budget=BUDGET)
    yield "folder, zstd 1", Cache(folder=folder / "zstd", budget=BUDGET, compress=1)
    yield "folder, another pipeline", Cache(folder=folder / "plain", budget=BUDGET)


def epochs(source: Any, cache: Cache | None, workers: int) -> list[tuple[float, float]]:
    """Of the first epoch, and of two later ones: seconds of this process's processor time, and by the clock."""
    stages = [Resize(256), CenterCrop(224), *([] if cache is None else [cache]), RandomFlip()]
    took = []
    with Pipeline(
        source=source, batch_size=32, stages=stages, shuffle=True, seed=0, num_workers=workers, output="numpy"
    ) as pipeline:
        for _ in range(3):
            began, clock = time.process_time(), time.perf_counter()
            for _ in pipeline:
                pass
            took.append((time.process_time() - began, time.perf_counter() - clock))
    return took


def kept(folder: Path) -> int:
    """Bytes that a folder's files take."""
    return sum(os.stat(file).st_size for file in folder.rglob("*") if file.is_file())


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="What a cache of decoded photographs saves.")
    parser.add_argument("folder", nargs="?", type=Path, help="a folder of images; without it some are made")
    parser.add_argument("--photos", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        source = ImageFolderSource(arguments.folder or photos(Path(made), arguments.photos))
        found: dict[str, list[list[tuple[float, float]]]] = {}
        size: dict[str, int] = {}
        for _ in range(arguments.rounds):
            with tempfile.TemporaryDirectory() as folder:
                for name, cache in caches(Path(folder)):
                    found.setdefault(name, []).append(epochs(source, cache, arguments.workers))
                    if cache is not None and cache.path is not None:
                        size[name] = kept(Path(cache.path))
        records = len(source)
    print(f"{records} images, {arguments.workers} workers, {arguments.rounds} rounds; first epoch | later epochs")
    head = "" if arguments.workers else "ms of processor"
    print(f"{'':26} {head:>22} {'images/s':>20} {'kB kept an image':>18}")
    for name, rounds in found.items():
        first = [median(each[0][kind] for each in rounds) for kind in (0, 1)]
        later = [median(epoch[kind] for each in rounds for epoch in each[1:]) for kind in (0, 1)]
        shown = "" if arguments.workers else f"{1e3 * first[0] / records:9.3f} | {1e3 * later[0] / records:9.3f}"
        rates = f"{records / first[1]:8.0f} | {records / later[1]:8.0f}"
        print(f"{name:26} {shown:>22} {rates:>20} {size.get(name, 0) / records / 1e3:18.1f}", flush=True)


if __name__ == "__main__":
    main()
