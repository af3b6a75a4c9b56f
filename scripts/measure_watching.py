"""What it costs to know where the time goes: the same epochs with and without it, in turns, by this process's CPU time.

    python scripts/measure_watching.py
    python scripts/measure_watching.py --rounds 30 --seconds 0.5

*rows*: 128 records of 16 float32 and a label, out of columns; *records*: the same one by one, through a stage;
*images*: 16 of 224 x 224 x 3, out of one array, *photos*: the same through two stages. Everything is done in this
process (``num_workers=0``), so that what a worker pays and what main pays are added up.

Without it nothing is looked at closely, no batch is timed, and no figures are kept of earlier moments; what is left is
what there always was, the clock for each run.

How to read it: microseconds of CPU for a batch, the median of all rounds; "cost" is the median of the rounds' ratios.
Where the quartiles of these are some percent apart, less than one is not seen.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from typing import Any

import numpy as np

from datarax_mp import MemorySource, MemorySourceConfig, Pipeline
from datarax_mp.pipeline import clocked
from datarax_mp.recipe.watch import watch

_NEVER = float("inf")
_MOST = clocked.MOST


def same(record: Any) -> Any:
    """A stage that does nothing."""
    return record


def halved(record: Any) -> Any:
    """A stage that does something."""
    return {**record, "image": record["image"] >> 1}


def cases() -> dict[str, dict[str, Any]]:
    """Arguments of pipelines."""
    table = {"x": np.zeros((128 * 400, 16), np.float32), "y": np.zeros(128 * 400, np.int64)}
    images = {"image": np.zeros((640, 224, 224, 3), np.uint8)}
    config = MemorySourceConfig()
    return {
        "rows": {"source": MemorySource(config, table), "batch_size": 128},
        "records": {"source": MemorySource(config, table), "batch_size": 128, "stages": [same]},
        "images": {"source": MemorySource(config, images), "batch_size": 16},
        "photos": {"source": MemorySource(config, images), "batch_size": 16, "stages": [halved, same]},
    }


def cost(pipeline: Any, seconds: float, *, looking: bool) -> float:
    """Seconds of CPU for a batch."""
    # These two are no part of any interface: this is the only place that has to do without what they do.
    watch._due = 0.0 if looking else _NEVER  # noqa: SLF001
    pipeline._blueprint.timings._due = 0.0 if looking else _NEVER  # noqa: SLF001
    clocked.MOST = _MOST if looking else 1 << 60
    stop, batches, began = time.perf_counter() + seconds, 0, time.process_time()
    for _ in itertools.chain.from_iterable(itertools.repeat(pipeline)):
        batches += 1
        if batches % 16 == 0 and time.perf_counter() > stop:
            break
    return (time.process_time() - began) / batches


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description="What it costs to know where the time goes.")
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    print(f"{'batch':10}{'without':>12}{'with':>12}{'cost':>9}   ratios: quartiles")
    for name, arguments in cases().items():
        with Pipeline(output="numpy", **arguments) as pipeline:
            cost(pipeline, options.seconds, looking=True)
            found: dict[bool, list[float]] = {False: [], True: []}
            for place in range(options.rounds):
                for looking in (False, True) if place % 2 else (True, False):
                    found[looking].append(cost(pipeline, options.seconds, looking=looking))
        ratios = [on / off - 1 for off, on in zip(found[False], found[True], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        off, on = (f"{1e6 * statistics.median(found[looking]):9.1f} us" for looking in (False, True))
        print(f"{name:10}{off:>12}{on:>12}{middle:9.2%}   {low:.2%} to {high:.2%}")


if __name__ == "__main__":
    main()
