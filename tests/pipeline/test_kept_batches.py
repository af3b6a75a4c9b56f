"""Batches the user keeps never change, and never block the pipeline."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from datarax_mp import Pipeline
from datarax_mp.core.spec import Layout

BATCHES, ROWS = 500, 4
LARGE, SMALL = (160, 160), (3,)  # 400 kB a batch, which JAX aliases, and 48 bytes, which is copied


class Numbered:
    """Record n is full of n: any mix-up shows."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def __len__(self) -> int:
        return BATCHES * ROWS

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"image": np.full(self.shape, number, np.float32), "label": number}


def pipeline(workers: int, output: Any, shape: tuple[int, ...]) -> Pipeline:
    return Pipeline(source=Numbered(shape), batch_size=ROWS, num_workers=workers, output=output)


every = pytest.mark.parametrize(
    ("workers", "output", "shape"),
    [(0, "jax", LARGE), (2, "jax", LARGE), (2, "jax", SMALL), (0, "numpy", SMALL), (2, "numpy", LARGE)],
)


def is_batch(image: Any, step: int) -> bool:
    expected = np.arange(step * ROWS, (step + 1) * ROWS).reshape(ROWS, *[1] * (np.ndim(image) - 1))
    return bool((np.asarray(image) == expected).all())


@every
def test_a_list_of_a_whole_epoch_holds_every_value(workers: int, output: Any, shape: tuple[int, ...]) -> None:
    with pipeline(workers, output, shape) as batches:
        kept = list(batches)
    assert len(kept) == BATCHES
    for step, batch in enumerate(kept):
        assert is_batch(batch["image"], step)
        assert batch["label"].tolist() == list(range(step * ROWS, (step + 1) * ROWS))


@pytest.mark.parametrize(
    "keep",
    [
        lambda batch: batch,
        lambda batch: batch["image"],
        lambda batch: batch["image"][0],
        lambda batch: np.asarray(batch["image"]),
        lambda batch: np.asarray(batch["image"])[0],
    ],
    ids=["batch", "array", "slice", "numpy", "numpy slice"],
)
@pytest.mark.parametrize(("workers", "output"), [(0, "jax"), (2, "jax"), (2, "numpy")])
def test_every_third_batch_kept_for_ever_never_changes(keep: Callable[[Any], Any], workers: int, output: Any) -> None:
    kept = {}
    with pipeline(workers, output, LARGE) as batches:
        for step, batch in enumerate(itertools.islice(batches, 150)):
            assert is_batch(batch["image"], step)
            if step % 3 == 0:
                kept[step] = keep(batch)
        for step, batch in enumerate(batches):  # another epoch over the same memory
            assert is_batch(batch["image"], step)
            if step == 60:
                break
    assert len(kept) == 50
    for step, value in kept.items():
        value = np.asarray(value["image"] if hasattr(value, "keys") else value)
        assert (value == step * ROWS).all() if value.ndim == 2 else is_batch(value, step)


def test_what_is_written_to_a_kept_numpy_batch_reaches_nobody_else() -> None:
    with pipeline(2, "numpy", LARGE) as batches:
        for step, batch in enumerate(batches):
            assert is_batch(batch["image"], step)
            batch["image"][:] = -1
            if step == 100:
                break


def test_a_batch_outlives_its_pipeline() -> None:
    batches = pipeline(2, "jax", LARGE)
    iterator = iter(batches)
    first, second = next(iterator), next(iterator)
    batches.close()
    del batches, iterator
    assert is_batch(first["image"], 0)
    assert is_batch(second["image"], 1)


@pytest.mark.parametrize("workers", [0, 2])
def test_slots_that_jax_holds_for_queued_computations_do_not_block(
    workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy CPU backend the copy of a small array is queued behind the training steps, and so are its slot's
    # references. Here they never come to an end.
    held = []

    def make_transfer(layout: Layout, **_: Any) -> Any:
        def transfer(arrays: list[np.ndarray]) -> dict[str, Any]:
            held.append(arrays)
            return layout.tree_maker()([array.copy() for array in arrays])

        return transfer

    monkeypatch.setattr("datarax_mp.delivery.place.make_transfer", make_transfer)
    with pipeline(workers, "jax", SMALL) as batches:
        assert sum(batch.batch_size for batch in batches) == BATCHES * ROWS
        assert sum(batch.batch_size for batch in batches) == BATCHES * ROWS
    assert all(is_batch(image, step % BATCHES) for step, (image, _) in enumerate(held))


@pytest.mark.parametrize("workers", [0, 1])
def test_kept_exceptions_do_not_use_the_slots_up(workers: int) -> None:
    def fails(record: dict[str, Any]) -> dict[str, Any]:
        if record["label"] == 9:
            raise ValueError("no good")
        return record

    kept: list[Any] = []
    with Pipeline(
        source=Numbered(SMALL), batch_size=ROWS, num_workers=workers, stages=[fails], output="numpy"
    ) as batches:
        for _ in range(12):  # more often than there are slots
            received = []
            with pytest.raises(ValueError, match="no good") as caught:
                for batch in batches:
                    received.append(batch["label"].tolist())
            assert received == [[0, 1, 2, 3], [4, 5, 6, 7]]
            kept.append(caught.value)


@pytest.mark.parametrize("shape", [LARGE, SMALL])
def test_arrays_that_a_step_takes_over_by_donation_are_its_own(shape: tuple[int, ...]) -> None:
    step = jax.jit(lambda image, label: (image + 1, label + 1), donate_argnums=(0, 1))
    with pipeline(2, "jax", shape) as batches:
        for _ in range(2):
            kept = [step(batch["image"], batch["label"]) for batch in itertools.islice(batches, 100)]
            for number, (image, label) in enumerate(kept):
                assert is_batch(image - 1, number)
                assert label.tolist() == list(range(number * ROWS + 1, (number + 1) * ROWS + 1))
