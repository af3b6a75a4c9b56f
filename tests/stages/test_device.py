"""Device stages: what is donated, and how often they are traced."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from datarax_mp import DeviceStage, Pipeline
from datarax_mp.stages.device import compile_stages


def test_an_array_is_donated_where_one_like_it_comes_out_and_only_there() -> None:
    stage = DeviceStage(lambda batch: {"image": batch["image"] * 2, "mean": batch["label"].mean()})
    apply = compile_stages([stage])
    data = {"image": jax.numpy.ones((4, 5)), "label": jax.numpy.arange(4.0), "more": jax.numpy.ones((4, 5))}
    result = apply(data)
    assert data["image"].is_deleted()
    assert not data["label"].is_deleted()
    assert not data["more"].is_deleted()
    assert result["image"].tolist() == np.full((4, 5), 2).tolist()
    assert result["mean"] == 1.5


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("pad_last", "traces"), [(False, 2), (True, 1)])
def test_a_stage_is_traced_once_and_once_more_for_a_smaller_last_batch(
    workers: int, pad_last: bool, traces: int
) -> None:
    traced: list[Any] = []

    def stage(batch: dict[str, Any]) -> dict[str, Any]:
        traced.append(batch["x"].shape)
        return {"x": batch["x"] + 1, "n": batch["n"]}

    stages = [DeviceStage(stage)]
    data = {"x": np.ones((50, 300, 300), np.float32), "n": np.arange(50)}
    kept = []
    for _ in range(2):  # a new pipeline compiles nothing again
        with Pipeline(source=data, batch_size=8, num_workers=workers, stages=stages, pad_last=pad_last) as pipeline:
            for _ in range(2):
                kept += list(pipeline)
    assert len(traced) == len(set(traced)) == traces
    for batch in kept:
        valid = np.asarray(batch.valid_mask)
        assert (np.asarray(batch["x"])[valid] == 2).all()
