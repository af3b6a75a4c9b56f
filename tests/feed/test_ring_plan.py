"""How much memory batches in flight take. The stream never depends on it."""

from __future__ import annotations

import logging
import mmap
import re
from typing import Any

import numpy as np
import pytest

from datarax_mp import Pipeline
from datarax_mp.core.spec import align
from datarax_mp.feed.ring_plan import plan_ring
from datarax_mp.ring import Ring


def test_a_plan_keeps_to_its_budget_and_shortens_runs_first() -> None:
    small: dict[str, Any] = {"block_bytes": 9216, "workers": 2, "prefetch_size": 2, "run_steps": None}
    usual = plan_ring(**small, budget=None, strict=False)
    assert (usual.slots, usual.steps, usual.lendable) == (9, 64, 5)
    least = 6 * align(9216, mmap.PAGESIZE)
    for budget in (least, 3 * least, 1_000_000, 10_000_000):
        plan = plan_ring(**small, budget=budget, strict=True)
        slot = align(plan.steps * 9216, mmap.PAGESIZE)
        assert plan.slots * slot <= budget
        assert plan.lendable < plan.slots
        assert plan.slots >= 6
    assert plan_ring(**small, budget=1_000_000, strict=True).steps == 12
    assert plan_ring(**small, budget=1 << 40, strict=True).slots == 21  # more would help nobody


@pytest.mark.parametrize(("block_bytes", "steps"), [(9216, 64), (270_000, 25), (790_528, 8), (9_633_792, 1)])
def test_a_run_is_as_long_with_many_workers_as_with_few(block_bytes: int, steps: int) -> None:
    for workers in (0, 1, 2, 4):
        plan = plan_ring(block_bytes, workers=workers, prefetch_size=2, run_steps=None, budget=None, strict=False)
        assert plan.steps == steps


@pytest.mark.parametrize(("workers", "steps"), [(8, 8), (16, 4), (64, 1)])
def test_runs_are_shorter_where_the_ring_would_be_large(workers: int, steps: int) -> None:
    rest: dict[str, Any] = {"workers": workers, "prefetch_size": 2, "run_steps": None, "budget": None, "strict": False}
    assert plan_ring(9216, **rest).steps == 64
    plan = plan_ring(790_528, **rest)
    assert plan.steps == steps
    assert plan.slots * steps * 790_528 <= 1 << 27


@pytest.mark.parametrize(
    ("block_bytes", "together", "budget", "steps"),
    [
        (9216, 3, None, 63),
        (9216, 100, None, 100),  # more than would be usual
        (4_000_000, 8, None, 8),
        (9216, 5, 1_000_000, 10),
        (4_000_000, 8, 40_000_000, 1),  # the budget goes before
    ],
)
def test_a_slot_has_room_for_the_steps_that_come_together(
    block_bytes: int, together: int, budget: int | None, steps: int
) -> None:
    rest: dict[str, Any] = {"workers": 2, "prefetch_size": 2, "run_steps": None, "strict": budget is not None}
    assert plan_ring(block_bytes, together=together, budget=budget, **rest).steps == steps


def test_a_budget_sizes_the_ring(caplog: pytest.LogCaptureFixture, rings: list[Ring]) -> None:
    caplog.set_level(logging.INFO, "datarax_mp")
    source = np.arange(64 * 1_000_000 // 8).reshape(64, -1)  # batches of 4 MB
    streams = []
    for budget, slots in ((None, 9), (26_000_000, 6), (80_000_000, 19)):
        with Pipeline(source=source, batch_size=4, num_workers=2, output="numpy", memory_budget=budget) as pipeline:
            kept = list(pipeline)
            ring = rings.pop()
            assert ring.slots == slots
            assert budget is None or ring.slots * ring.slot_bytes <= budget
            streams.append([batch["value"][:, 0].tolist() for batch in kept])
    assert streams[0] == streams[1] == streams[2] == [source[i : i + 4, 0].tolist() for i in range(0, 64, 4)]
    assert re.search(r"a ring of 19 slots of 4\.[01] MB", caplog.text)  # the latter where pages are large


@pytest.mark.parametrize("workers", [0, 2])
def test_a_budget_that_is_too_small_says_how_much_it_takes(workers: int) -> None:
    options: dict[str, Any] = {"batch_size": 2, "num_workers": workers, "output": "numpy", "memory_budget": 50_000_000}
    with (
        Pipeline(source=np.zeros((8, 1000, 1000)), **options) as pipeline,
        pytest.raises(ValueError, match=r"memory_budget=50000000 .* holds 3 batches of 16\.[01] MB.*6 are needed"),
    ):
        iter(pipeline)
