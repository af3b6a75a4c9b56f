"""Which workers ``num_workers="auto"`` chooses, and what both kinds do: and how they compare.

    python scripts/measure_choice.py
    python scripts/measure_choice.py --workers 8 --rounds 5 --seconds 4

*photos* decodes and resizes JPEGs with Pillow, which lets go of the interpreter lock; *python* is a loop in Python,
which does not; *rows* copies rows of 12 kB out of memory; *sleep* waits 2 ms for each record, as for a network.

How to read it: batches/s with so many threads and with so many processes, medians of rounds in which they take turns;
what was chosen, and in how many seconds; and how much of the quicker one's rate that has.

Figures: ``results/measure_choice-2026-11-27.txt``.
"""

from __future__ import annotations

import argparse
import functools
import io
import statistics
import time
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from datarax_mp import Pipeline

KINDS: tuple[Literal["threads", "processes"], ...] = ("threads", "processes")


class Photos:
    """JPEGs in memory, decoded anew each time."""

    def __init__(self) -> None:
        from PIL import Image

        random = np.random.default_rng(0)
        self.files = []
        for _ in range(16):
            file = io.BytesIO()
            Image.fromarray(random.integers(0, 255, (12, 16, 3), np.uint8)).resize((640, 480)).save(file, "JPEG")
            self.files.append(file.getvalue())

    def __len__(self) -> int:
        return 1600

    def __getitem__(self, number: int) -> dict[str, Any]:
        from PIL import Image

        return {"image": np.asarray(Image.open(io.BytesIO(self.files[number % 16])).resize((224, 224)))}


def loops(record: dict[str, Any]) -> dict[str, Any]:
    """Hold the interpreter lock for a millisecond or so."""
    total = 0
    for number in range(20_000):
        total += number * number
    return {"x": record["x"] + total % 7}


def sleeps(record: dict[str, Any]) -> dict[str, Any]:
    """Wait as for a network."""
    time.sleep(0.002)
    return record


CODE: dict[str, Callable[[], dict[str, Any]]] = {
    "photos": lambda: {"source": Photos()},
    "python": lambda: {"source": {"x": np.arange(3200)}, "stages": [loops]},
    "rows": lambda: {"source": {"x": np.zeros((20_000, 3000), np.float32)}},
    "sleep": lambda: {"source": {"x": np.arange(3200)}, "stages": [sleeps]},
}


def rate(pipeline: Pipeline[Any], seconds: float) -> float:
    """Batches a second, the first one of each epoch left out."""
    batches, spent = 0, 0.0
    while spent < seconds:
        iterator = iter(pipeline)
        next(iterator)
        began = time.perf_counter()
        for _ in iterator:
            batches += 1
            if spent + time.perf_counter() - began > seconds:
                break
        spent += time.perf_counter() - began
        iterator.close()
    return batches / spent


def main() -> None:
    """Measure each and print it."""
    parser = argparse.ArgumentParser(description="Threads or processes.")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each pipeline in a round")
    parser.add_argument("--code", nargs="*", choices=CODE, default=list(CODE))
    options = parser.parse_args()
    print(f"{options.workers} workers, {options.rounds} rounds")
    print(f"{'':8}{'threads':>10}{'processes':>11}  {'chosen':<10}{'s':>6}{'of best':>9}  because")
    for name in options.code:
        make = functools.partial(
            Pipeline, **CODE[name](), batch_size=16, shuffle=True, seed=0, output="numpy", num_workers=options.workers
        )
        with make(workers="auto") as pipeline:
            next(iter(pipeline))
            chosen = pipeline.stats()
        rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(options.rounds):
            for kind in KINDS:
                with make(workers=kind) as pipeline:
                    rates[kind].append(rate(pipeline, options.seconds))
        found = {kind: statistics.median(rates[kind]) for kind in KINDS}
        share = found[chosen.kind] / max(found.values())
        print(
            f"{name:8}{found['threads']:10.1f}{found['processes']:11.1f}  {chosen.kind:<10}"
            f"{chosen.start.get('choosing', 0.0):6.2f}{share:9.0%}  {chosen.why}"
        )


if __name__ == "__main__":
    main()
