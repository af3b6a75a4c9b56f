"""Whether ``Pipeline.report`` predicts well: what one worker's run says of two and four, and what these then do.

    python scripts/measure_prediction.py
    python scripts/measure_prediction.py --step-ms 10 --work-ms 8 --seconds 8 --kinds waiting computing

A step takes the host ``--step-ms`` (it sleeps). What a worker does for a batch: *waiting* sleeps for ``--work-ms``, as
for a disk or a network; *computing* holds a core for as long, in Python; *photographs* decodes JPEGs, and *tokens*
cuts 512 windows of a memory map (for these two a step takes half as long as one worker). From a run with one worker the
utilisation (the share of time in which the host does not wait) is predicted for each number of workers; then it is
measured.

How to read it: "off" is measured less predicted, in points. A run with one worker says how much of its time a worker
has a core, and how many cores the host uses, so that it is known, too, from how many workers on cores are what lacks.
Run it on a machine that does nothing else: what others take of the cores, nobody predicts.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from datarax_mp import Pipeline, WindowSource, decode_image
from datarax_mp.core.cores import usable_cores

KINDS = ("waiting", "computing", "photographs", "tokens")


def photograph() -> bytes:
    """A JPEG of 500 x 375, with as much in it as in a photograph."""
    from PIL import Image

    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 255, (94, 125, 3), np.uint8)).resize(
        (500, 375), Image.Resampling.BICUBIC
    )
    file = io.BytesIO()
    coarse.save(file, "JPEG", quality=90)
    return file.getvalue()


def work(kind: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """A source and stages of this kind."""
    seconds, records = options.work_ms / 1e3 / options.batch_size, 200 * options.batch_size

    def wait(record: Any) -> Any:
        time.sleep(seconds)
        return record

    def compute(record: Any) -> Any:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass
        return record

    if kind == "tokens":
        tokens = np.memmap(folder / "tokens", np.int32, "w+", shape=(20_000_000,))
        return {"source": WindowSource(tokens, 1025), "batch_size": 512, "shuffle": True, "seed": 0}
    if kind == "photographs":
        jpeg = photograph()
        source, stage = np.arange(records), lambda record: {"image": decode_image(jpeg)}
        return {"source": source, "batch_size": options.batch_size, "stages": [stage]}
    stage = wait if kind == "waiting" else compute
    return {"source": np.arange(records), "batch_size": options.batch_size, "stages": [stage]}


def run(workers: int, arguments: dict[str, Any], step: float, seconds: float) -> Any:
    """The statistics of a run that takes so many seconds."""
    with Pipeline(num_workers=workers, output="numpy", num_epochs=None, **arguments) as pipeline:
        end = time.perf_counter() + seconds
        for _ in pipeline:
            if step:
                time.sleep(step)
            if time.perf_counter() > end:
                break
        return pipeline.stats()


def main() -> None:
    """Predict, measure, print."""
    parser = argparse.ArgumentParser(description="Whether the report predicts well.")
    parser.add_argument("--step-ms", type=float, default=5)
    parser.add_argument("--work-ms", type=float, default=20)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4, help="that each run takes")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--kinds", choices=KINDS, nargs="+", default=KINDS)
    options = parser.parse_args()
    print(f"{usable_cores()} cores; a step {options.step_ms:g} ms, a batch {options.work_ms:g} ms of a worker")
    print(f"{'work':12}{'workers':>8}{'predicted':>11}{'measured':>10}{'off':>6}")
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.kinds:
            arguments, step = work(kind, options, Path(folder)), options.step_ms / 1e3
            if kind in ("photographs", "tokens"):
                step = run(1, arguments, 0.0, options.seconds).made.mean / 2
            from_one = run(1, arguments, step, options.seconds)
            for workers in options.workers:
                measured = run(workers, arguments, step, options.seconds).utilisation
                predicted = from_one.predicted(workers)
                print(f"{kind:12}{workers:8}{predicted:11.0%}{measured:10.0%}{100 * (measured - predicted):+6.0f}")


if __name__ == "__main__":
    main()
