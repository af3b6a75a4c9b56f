"""What a ledger costs: processor time of a batch without and with one, by what is in it.

    python scripts/measure_ledger.py
    python scripts/measure_ledger.py --rounds 15 --steps 50

Both are measured in turn, in the calling process (``num_workers=0``, NumPy out), so that reading, hashing and the line
in the file are all counted; medians. "photographs" are JPEGs that are decoded, cropped and resized; everything else
lies in memory, and making a batch is copying its rows.

How to read it: hashing reads every byte once more, which is little beside any work on a record, and a part of what
copying it costs where that is all there is to do. Rows of more than 8 bytes cost 0.1 us each besides, for each field.

Figures: ``results/measure_ledger-2026-11-26.txt``.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from datarax_mp import Pipeline, RandomResizedCrop, decode_image

PHOTOS = 256


class Photos:
    """One photograph, decoded again for every record."""

    def __init__(self, jpeg: bytes) -> None:
        self.jpeg = jpeg

    def __len__(self) -> int:
        return PHOTOS

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"image": decode_image(self.jpeg), "label": number}


def photo() -> bytes:
    """A JPEG of 500 x 375 pixels."""
    from PIL import Image

    coarse = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def workloads(megabytes: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """What batches are made of: the arguments of a pipeline, over data of about so many megabytes."""
    rng, size = np.random.default_rng(0), megabytes * 1_000_000
    crops = {"source": Photos(photo()), "batch_size": 64, "stages": [RandomResizedCrop(224)]}
    yield "64 photographs, cropped to 224 x 224", crops
    for name, rows, shape, dtype in (
        ("64 images of 224 x 224", 64, (224, 224, 3), "uint8"),
        ("256 images of 32 x 32", 256, (32, 32, 3), "uint8"),
        ("64 windows of 1,024 tokens", 64, (1024,), "int32"),
        ("256 rows of 8 numbers", 256, (8,), "float32"),
    ):
        records = max(2 * rows, size // (int(np.prod(shape)) * np.dtype(dtype).itemsize))
        x = rng.integers(0, 255, (records, *shape), np.uint8).astype(dtype)
        yield name, {"source": {"x": x, "label": np.arange(records)}, "batch_size": rows}


def seconds(options: dict[str, Any], ledger: Path | None, steps: int) -> float:
    """Processor time of a batch, the first one left out."""
    with Pipeline(
        **options, shuffle=True, seed=0, output="numpy", prefetch_size=0, drop_last=True, num_epochs=None, ledger=ledger
    ) as pipeline:
        batches = iter(pipeline)
        next(batches)
        began = time.process_time()
        for _ in range(steps):
            next(batches)
        return (time.process_time() - began) / steps


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="What hashing every batch for a ledger costs.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--megabytes", type=int, default=200)
    arguments = parser.parse_args()
    print(f"{'us of processor time for a batch':40} {'without':>9} {'with':>9} {'more':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for name, options in workloads(arguments.megabytes):
            took: dict[Path | None, list[float]] = {None: [], Path(folder) / "a": []}
            for _ in range(arguments.rounds):
                for ledger, found in took.items():
                    found.append(seconds(options, ledger, arguments.steps))
            without, with_ = (1e6 * median(found) for found in took.values())
            more = with_ - without
            print(f"{name:40} {without:9.0f} {with_:9.0f} {more:9.0f}  {100 * more / without:5.1f} %", flush=True)


if __name__ == "__main__":
    main()
