"""Host batches become Batches: no workers, no feed, every host batch made by hand."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from datarax_mp import Batch, DeviceStage, RandomDeviceStage
from datarax_mp.core.strays import claimed
from datarax_mp.delivery.transfer import COPIED_BYTES
from datarax_mp.recipe.work import Skip
from tests.host_batches import HandMade, delivery, opened
from tests.processes import comes_true

COLUMNS = {"x": np.arange(10, dtype=np.float32), "deep": {"y": np.arange(20, dtype=np.int32).reshape(10, 2)}}


@pytest.mark.parametrize("output", ["jax", "numpy"])
def test_a_batch_has_the_arrays_under_their_names(output: str) -> None:
    made = HandMade(COLUMNS, 4)
    bound = opened(delivery(output=output), made)
    batches = [bound.take(batch) for batch in made]
    kind = jax.Array if output == "jax" else np.ndarray
    assert all(isinstance(batch, Batch) and isinstance(batch["deep"]["y"], kind) for batch in batches)
    assert [batch["x"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert batches[2]["deep"]["y"].tolist() == [[16, 17], [18, 19]]
    assert [batch.batch_size for batch in batches] == [4, 4, 2]


def test_nothing_is_left_to_do_at_the_hand_over_of_arrays_of_one_process() -> None:
    made = HandMade(COLUMNS, 4)
    rows = NamedSharding(Mesh(np.array(jax.devices()[:2]), ("rows",)), PartitionSpec("rows"))
    stage = DeviceStage(lambda batch: batch)
    for way in (delivery(), delivery(output="numpy"), delivery(stage), delivery(stage, sharding=rows)):
        assert opened(way, made).hand_over is None


@pytest.mark.parametrize("output", ["jax", "numpy"])
def test_padding_is_masked_and_has_neither_record_nor_info(output: str) -> None:
    made = HandMade(COLUMNS, 4, padded=True, number=3, info={"text": list("abcdefghij")})
    bound = opened(delivery(output=output, padded=True), made)
    whole, _, short = (bound.take(batch) for batch in made)
    assert np.asarray(whole.valid_mask).tolist() == [True] * 4
    assert np.asarray(short.valid_mask).tolist() == [True, True, False, False]
    assert short.info == {"text": ["i", "j", None, None]}
    assert [(item.index, item.epoch, item.global_step) for item in short.metadata] == [
        *((8, 3, 11), (9, 3, 11)),
        *((None, 3, 11), (None, 3, 11)),
    ]


@pytest.mark.parametrize("output", ["numpy", "torch"])
def test_whoever_writes_into_a_mask_changes_that_of_no_other_batch(output: str) -> None:
    if output == "torch":
        pytest.importorskip("torch")
    made = HandMade(COLUMNS, 4, padded=True)
    bound = opened(delivery(output=output, padded=True), made)
    first, second = bound.take(made.batch(0)), bound.take(made.batch(1))
    first.valid_mask[:] = False
    assert second.valid_mask.tolist() == bound.take(made.batch(1)).valid_mask.tolist() == [True] * 4


def test_a_mask_that_is_donated_is_that_of_no_other_batch() -> None:
    made = HandMade(COLUMNS, 4, padded=True)
    bound = opened(delivery(padded=True), made)
    first, second = bound.take(made.batch(0)), bound.take(made.batch(1))
    turned = jax.jit(lambda mask: ~mask, donate_argnums=0)(first.valid_mask)
    assert turned.tolist() == [False] * 4
    assert first.valid_mask.is_deleted()
    assert second.valid_mask.tolist() == bound.take(made.batch(1)).valid_mask.tolist() == [True] * 4


def test_a_record_that_was_skipped_is_not_among_the_metadata() -> None:
    made = HandMade(COLUMNS, 4)
    batch = opened(delivery(track_name="mine"), made).take(made.batch(1, skips=(Skip(5, 1, "no good"),)))
    assert batch.batch_size == 3
    assert [item.record_key for item in batch.metadata] == ["mine:4", "mine:6", "mine:7"]


def test_large_arrays_hold_the_slot_until_they_die_and_small_ones_do_not() -> None:
    large = np.zeros((4, COPIED_BYTES), np.uint8)
    for columns, output, held in (
        (COLUMNS, "jax", False),
        ({"image": large}, "jax", True),
        (COLUMNS, "numpy", True),
        ({"image": large}, "numpy", True),
    ):
        made = HandMade(columns, 2)
        bound = opened(delivery(output=output), made)
        memory = weakref.ref(made.memory)
        batch = bound.take(made.batch(0))
        jax.block_until_ready(batch.get_data())
        del made
        assert (memory() is not None) == held
        del batch
        assert comes_true(lambda memory=memory: gc.collect() >= 0 and memory() is None)  # JAX lets go a little late


def test_what_a_device_stage_raises_is_the_user_s() -> None:
    def fails(batch: dict[str, Any]) -> dict[str, Any]:
        raise KeyError("no such field")

    made = HandMade(COLUMNS, 4)
    with pytest.raises(KeyError, match="no such field") as caught:
        opened(delivery(DeviceStage(fails)), made).take(made.batch(0))
    assert claimed(caught.value)


def test_a_random_stage_draws_by_epoch_and_step_in_whatever_order_batches_are_taken() -> None:
    def noise(batch: dict[str, Any], key: jax.Array) -> dict[str, Any]:
        return {"noise": jax.random.normal(key, batch["x"].shape)}

    way = delivery(RandomDeviceStage(noise))

    def draws(steps: list[int], epoch: int) -> dict[int, list[float]]:
        made = HandMade({"x": np.zeros(12, np.float32)}, 4, number=epoch)
        bound = opened(way, made)
        return {step: bound.take(made.batch(step))["noise"].tolist() for step in steps}

    first = draws([0, 1, 2], 0)
    assert draws([2, 0, 1], 0) == first
    found = [*first.values(), *draws([0, 1, 2], 1).values()]
    assert len({tuple(each) for each in found}) == 6
