"""A pipeline with workers, for two seconds, beside the same one without."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from datarax_mp.commands.checks.finding import Finding

SECONDS = 2.0
_WORKERS = 2
_TIMEOUT = 30.0  # seconds for a batch that takes a millisecond


class Numbers:
    """A source whose record n is made of n."""

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, number: int) -> dict[str, Any]:
        import numpy as np

        return {"n": number, "x": np.full(1000, number, np.float32)}


def drawn(record: dict[str, Any], rng: Any) -> dict[str, Any]:
    """A stage at random."""
    return {**record, "draw": rng.random()}


def self_test(seconds: float = SECONDS) -> Iterator[Finding]:
    """Start workers, and compare each batch with what no worker has touched.

    Args:
        seconds: how long epochs are begun.
    """
    from datarax_mp import Pipeline, RandomMapElement
    from datarax_mp.testing import assert_same_stream

    def pipeline(num_workers: int) -> Pipeline[Any]:
        return Pipeline(
            source=Numbers(),
            batch_size=32,
            stages=[RandomMapElement(drawn)],
            shuffle=True,
            seed=0,
            output="numpy",
            num_workers=num_workers,
            timeout=_TIMEOUT if num_workers else None,
        )

    began, epochs = time.monotonic(), 0
    try:
        with pipeline(0) as alone, pipeline(_WORKERS) as with_workers:
            while not epochs or time.monotonic() < began + seconds:
                assert_same_stream(alone, with_workers)
                epochs += 1
            batches = epochs * len(alone)
    except AssertionError as error:
        remedy = "the stream must not depend on workers: please report this"
        yield Finding("self-test", f"{_WORKERS} workers give something else than none: {error}", remedy, works=False)
    except Exception as error:
        remedy = 'workers cannot be used as things are; num_workers=0 and workers="threads" may do'
        yield Finding("self-test", f"{type(error).__name__}: {error}", remedy, works=False)
    else:
        found = f"{_WORKERS} workers, {batches} batches, the same as without"
        yield Finding("self-test", found)
