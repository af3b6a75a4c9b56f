"""datarax_mp: a pipeline over the source, with the workload's stages as host stages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from _benchmark.sources import SEED, Columns
from _benchmark.workloads import MOST_TOKENS, Work


class Ours:
    """Columns as a MemorySource, everything else as it is. The work is not kept: columns go to shared memory."""

    def __init__(
        self,
        work: Work,
        workers: int,
        output: Literal["jax", "numpy"] = "jax",
        kind: Literal["processes", "threads"] = "processes",
    ) -> None:
        from datarax_mp import MemorySource, MemorySourceConfig, Pad

        source = work.source
        if isinstance(source, Columns):
            source = MemorySource(MemorySourceConfig(), source.columns)
        stages: list[Any] = list(work.load.stages)
        if work.load.pad is not None:
            stages.append(Pad(work.load.pad, MOST_TOKENS, to="longest"))
        self.pipeline = _pipeline(work, source, stages, workers, output, kind)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.pipeline)

    def close(self) -> None:
        """End the pipeline."""
        self.pipeline.close()


def _pipeline(
    work: Work,
    source: Any,
    stages: list[Any],
    workers: int,
    output: Literal["jax", "numpy"],
    kind: Literal["processes", "threads"],
) -> Any:
    from datarax_mp import Pipeline

    return Pipeline(
        source=source,
        batch_size=work.load.batch_size,
        stages=stages,
        shuffle=work.load.shuffle,
        rngs=np.random.default_rng(SEED),
        num_workers=workers,
        workers=kind,
        drop_last=True,
        output=output,
    )
