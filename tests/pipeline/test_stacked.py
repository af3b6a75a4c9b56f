"""Several batches in one array."""

from __future__ import annotations

import itertools
import json
import mmap
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from datarax_mp import DeviceStage, Pad, Pipeline, RandomDeviceStage, RandomMapElement
from datarax_mp.ring.ring import Ring

LENGTH, ROWS = 61, 4  # fifteen whole batches, and one of a single record


def data() -> dict[str, Any]:
    return {"x": np.arange(LENGTH * 6, dtype=np.float32).reshape(LENGTH, 2, 3), "deep": {"n": np.arange(LENGTH)}}


def make(workers: int = 0, **options: Any) -> Pipeline[Any]:
    options = {"source": data(), "batch_size": ROWS, "shuffle": True, "seed": 0, **options}
    return Pipeline(num_workers=workers, **options)


def leaves(batch: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(batch.get_data())]


def single(pipeline: Pipeline[Any], steps: int | None = None) -> list[list[np.ndarray]]:
    """An epoch's batches, one by one."""
    groups = iter(pipeline) if steps is None else pipeline.stacked(steps)
    if steps is None:
        return [leaves(batch) for batch in groups]
    return [[array[step] for array in leaves(group)] for group in groups for step in range(group.batch_size)]


def same(one: list[list[np.ndarray]], other: list[list[np.ndarray]]) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(a, b) and a.dtype == b.dtype
        for left, right in zip(one, other, strict=True)
        for a, b in zip(left, right, strict=True)
    )


@pytest.mark.parametrize("output", ["jax", "numpy"])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_the_stream_is_that_of_single_batches(workers: int, output: Any) -> None:
    with make(0, output=output) as plain, make(workers, output=output) as pipeline:
        epochs = [single(plain) for _ in range(3)]
        for epoch, steps in zip(epochs, (1, 4, 7), strict=True):
            assert same(single(pipeline, steps), epoch)


def test_groups_have_as_many_steps_as_asked_for_and_end_before_a_shorter_batch() -> None:
    with make(2) as pipeline:
        shapes = [group["x"].shape[:2] for group in pipeline.stacked(7)]
        assert shapes == [(7, 4), (7, 4), (1, 4), (1, 1)]
    with make(2, drop_last=True) as whole:
        assert [group["x"].shape[:2] for group in whole.stacked(5)] == [(5, 4)] * 3
    with make(2, pad_last=True) as padded:
        groups = list(padded.stacked(8))
    assert [group["x"].shape[:2] for group in groups] == [(8, 4)] * 2
    assert groups[0].valid_mask.shape == (8, 4)
    assert int(groups[0].valid_mask.sum()) == 32
    assert groups[1].valid_mask.tolist() == [[True] * 4] * 7 + [[True, False, False, False]]


def test_a_group_says_of_each_step_what_a_batch_says() -> None:
    records = [{"x": np.float32(n), "text": {"of": str(n)}} for n in range(LENGTH)]
    with make(2, source=records) as plain, make(2, source=records) as pipeline:
        batches, groups = list(plain), list(pipeline.stacked(4))
    assert [step for group in groups for step in group.metadata] == [batch.metadata for batch in batches]
    assert [step for group in groups for step in group.info["text"]["of"]] == [
        batch.info["text"]["of"] for batch in batches
    ]
    assert groups[0].valid_mask.shape == (4, ROWS)


def test_every_group_has_a_mask_of_its_own() -> None:
    with make(output="numpy") as pipeline:
        first, second, *_ = pipeline.stacked(7)
    first.valid_mask[:] = False
    assert second.valid_mask.tolist() == [[True] * ROWS] * 7
    with make(pad_last=True) as padded:
        first, second = padded.stacked(8)
        assert int(second.valid_mask.sum()) == 29
        jax.jit(lambda mask: ~mask, donate_argnums=0)(first.valid_mask)
        assert int(next(padded.stacked(8)).valid_mask.sum()) == 32


def test_numpy_arrays_are_views_of_the_slot_in_every_whole_group(monkeypatch: pytest.MonkeyPatch) -> None:
    leased: list[Any] = []
    lease = Ring.lease

    def kept(self: Ring, slot: int) -> Any:
        leased.append(base := lease(self, slot))
        return base

    monkeypatch.setattr(Ring, "lease", kept)
    with make(2, output="numpy", drop_last=True, prefetch_size=0) as pipeline:
        for group in pipeline.stacked(5):
            assert any(group["x"].base is base for base in leased)


def test_a_group_that_does_not_fit_into_a_slot_is_whole_all_the_same() -> None:
    budget = 8 * mmap.PAGESIZE  # a slot is a page, eight of these batches
    with make(0) as plain, make(2, memory_budget=budget) as pipeline:
        assert same(single(pipeline, 15), single(plain))


def test_batches_that_lack_skipped_records_end_a_group() -> None:
    def fussy(record: dict[str, Any]) -> dict[str, Any]:
        if record["deep"]["n"] in (9, 40, 41, 42, 43):
            raise ValueError("no good")
        return record

    options: dict[str, Any] = {"stages": [fussy], "on_error": "skip", "shuffle": False}
    with make(0, **options) as plain, make(2, **options) as pipeline:
        assert same(single(pipeline, 6), single(plain))
        assert pipeline.skips == plain.skips
        sizes = [group["x"].shape[:2] for group in pipeline.stacked(6)]
        assert sizes == [(2, 4), (1, 3), (3, 4), (4, 4), (1, 4), (3, 4), (1, 1)]


def test_batches_of_another_length_end_a_group() -> None:
    texts = [{"tokens": np.arange(length)} for length in (1, 2, 3, 4, 9, 9, 9, 9, 9, 2)]
    options: dict[str, Any] = {
        "source": texts,
        "batch_size": 2,
        "shuffle": False,
        "stages": [Pad("tokens", 16, to=(4, 16))],
    }
    with make(0, **options) as plain, make(2, **options) as pipeline:
        groups = list(pipeline.stacked(4))
        assert [group["tokens"].shape for group in groups] == [(2, 2, 4), (2, 2, 16), (1, 2, 16)]
        assert same([[a[s] for a in leaves(g)] for g in groups for s in range(g.batch_size)], single(plain))


def test_what_is_raised_comes_behind_the_steps_before_it() -> None:
    def fussy(record: dict[str, Any]) -> dict[str, Any]:
        if record["deep"]["n"] == 26:
            raise ValueError("no good")
        return record

    for workers in (0, 2):
        with make(workers, stages=[fussy], shuffle=False) as pipeline:
            iterator = pipeline.stacked(4)
            assert [next(iterator)["x"].shape[0] for _ in range(2)] == [4, 2]
            with pytest.raises(ValueError, match="no good"):
                next(iterator)
            assert pipeline.get_state()["step"] == 6


class Shift(nnx.Module):
    """A module whose state moves on with every batch, and that draws."""

    def __init__(self) -> None:
        self.seen = nnx.Variable(jnp.zeros(()))
        self.rngs = nnx.Rngs(3)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        self.seen[...] += 1
        return {**batch, "x": batch["x"] + self.seen[...] + jax.random.uniform(self.rngs())}


def jitter(batch: dict[str, Any], key: Any) -> dict[str, Any]:
    return {**batch, "a": jax.random.normal(key, (3,))}


def jitter_rows(batch: dict[str, Any], keys: Any) -> dict[str, Any]:
    return {**batch, "b": jax.vmap(lambda key: jax.random.normal(key, (2,)))(keys)}


def test_device_stages_see_single_batches() -> None:
    def stages() -> list[Any]:
        return [
            RandomMapElement(lambda record, rng: {**record, "r": rng.random(dtype=np.float32)}),
            DeviceStage(lambda batch: {**batch, "x": batch["x"] * 3 - batch["x"].mean()}),
            RandomDeviceStage(jitter),
            Shift(),
            RandomDeviceStage(jitter_rows, per_record=True),
        ]

    with make(0, stages=stages()) as plain, make(2, stages=stages()) as pipeline:
        for _ in range(2):
            assert same(single(pipeline, 5), single(plain))
        assert float(pipeline.stages[3].seen[...]) == float(plain.stages[3].seen[...])


def test_a_state_counts_steps_and_fits_any_way_to_go_on() -> None:
    with make(0) as plain:
        whole = single(plain)
    for taken, steps in itertools.product((0, 1, 3, 4), (None, 3)):
        with make(2) as before, make(0) as after:
            iterator = before.stacked(5)
            got = sum(next(iterator)["x"].shape[0] for _ in range(taken))
            state = json.loads(json.dumps(iterator.get_state()))
            assert state == before.get_state()
            assert state["step"] == got
            after.set_state(state)
            assert same(single(after, steps), whole[got:])


def test_an_iterator_can_be_set_to_a_state() -> None:
    with make(1) as pipeline:
        iterator = pipeline.stacked(4)
        state = iterator.get_state()
        first = leaves(next(iterator))
        iterator.set_state(state)
        assert same([leaves(next(iterator))], [first])


def test_the_next_epoch_is_begun_as_a_loop_begins_it() -> None:
    with make(1) as pipeline, make(0) as plain:
        epochs = [single(plain) for _ in range(4)]
        assert same(single(pipeline), epochs[0])
        assert same(single(pipeline, 4), epochs[1])
        assert same(single(pipeline, 4), epochs[2])
        assert same(single(pipeline), epochs[3])


def test_rows_are_split_over_devices() -> None:
    devices = jax.devices()
    rows = NamedSharding(Mesh(np.array(devices), ("data",)), PartitionSpec("data"))
    with make(1, batch_size=2 * len(devices), drop_last=True, sharding=rows) as pipeline:
        group = next(pipeline.stacked(2))
        assert group["x"].sharding == NamedSharding(rows.mesh, PartitionSpec(None, "data"))
        assert {shard.data.shape for shard in group["x"].addressable_shards} == {(2, 2, 2, 3)}
    with make(0, sharding=jax.sharding.SingleDeviceSharding(devices[-1])) as alone:
        assert next(alone.stacked(2))["x"].devices() == {devices[-1]}


def test_what_cannot_be_stacked_is_refused() -> None:
    with make() as pipeline:
        for wrong, error in ((0, ValueError), (2.0, TypeError), (True, TypeError)):
            with pytest.raises(error, match="steps must be"):
                pipeline.stacked(wrong)  # type: ignore[arg-type]
        assert pipeline.get_state()["epoch"] == 0
    with make(enforce_batch=False) as elements, pytest.raises(ValueError, match="about batches"):
        elements.stacked(2)


def test_several_epochs_are_one_stream_whose_groups_end_with_each() -> None:
    with make(2, num_epochs=3) as pipeline, make(0, num_epochs=3) as plain:
        epochs = single(plain)
        assert same(single(pipeline, 6), epochs)
        assert len(epochs) == 3 * 16
    with make(2, num_epochs=2) as pipeline, make(0) as before:
        iterator = iter(before)
        for _ in range(3):
            next(iterator)
        pipeline.set_state(before.get_state())
        sizes = [group["x"].shape[:2] for group in pipeline.stacked(8)]
        assert sizes == [(8, 4), (4, 4), (1, 1), (8, 4), (7, 4), (1, 1)]
        pipeline.skip(range(2, 5))
        assert [group["x"].shape[0] for group in pipeline.stacked(8)] == [8, 4, 1, 8, 7, 1]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_for_any_sizes_the_stream_is_that_of_single_batches(data: st.DataObject) -> None:
    length, rows, steps = (data.draw(st.integers(1, most)) for most in (70, 9, 12))
    budget = data.draw(st.sampled_from([None, 12 * mmap.PAGESIZE, 1 << 20]))
    options: dict[str, Any] = {
        "source": {"n": np.arange(length), "x": np.arange(length * 3, dtype=np.float32).reshape(length, 3)},
        "batch_size": rows,
        "output": "numpy",
        "num_epochs": data.draw(st.integers(1, 3)),
        **data.draw(st.sampled_from([{}, {"drop_last": True}, {"pad_last": True}])),
    }
    with make(0, **options) as plain, make(0, memory_budget=budget, **options) as pipeline:
        known = len(plain) // options["num_epochs"]
        if left_out := data.draw(st.sets(st.integers(0, max(known - 1, 0)), max_size=3)) if known else set():
            for one in (plain, pipeline):
                one.skip(left_out)
        iterator = iter(plain)
        for _ in range(data.draw(st.integers(0, 5))):
            next(iterator, None)
        state = iterator.get_state()
        for one in (plain, pipeline):
            one.set_state(state)
        groups = list(pipeline.stacked(steps))
        rest = [leaves(batch) for batch in plain]
        assert same([[array[step] for array in leaves(g)] for g in groups for step in range(g.batch_size)], rest)
        assert all(group.batch_size <= steps for group in groups)
        assert pipeline.get_state() == plain.get_state()
