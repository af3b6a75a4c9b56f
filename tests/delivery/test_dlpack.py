"""What is handed out goes to other libraries by DLPack, without a copy, and with the slot's lease."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import jax
import numpy as np
import pytest

from datarax_mp import Pipeline
from datarax_mp.delivery.transfer import COPIED_BYTES
from tests.host_batches import HandMade, delivery, opened
from tests.processes import comes_true

LARGE = np.arange(2 * COPIED_BYTES, dtype=np.float32).reshape(4, -1)  # which JAX aliases


def by_numpy(array: Any) -> Any:
    return np.from_dlpack(array)


def by_jax(array: Any) -> Any:
    return jax.dlpack.from_dlpack(array)


def by_torch(array: Any) -> Any:
    return pytest.importorskip("torch").from_dlpack(array)


def address(taken: Any) -> int:
    if hasattr(taken, "data_ptr"):
        return taken.data_ptr()
    return taken.unsafe_buffer_pointer() if isinstance(taken, jax.Array) else taken.__array_interface__["data"][0]


every = pytest.mark.parametrize("take", [by_numpy, by_jax, by_torch])


@every
@pytest.mark.parametrize("output", ["jax", "numpy", "torch"])
def test_what_was_taken_looks_into_the_slot_and_holds_it(take: Any, output: str) -> None:
    if output == "torch":
        pytest.importorskip("torch")
    made = HandMade({"x": LARGE}, 2)
    slot = made.batch(1).arrays()[0].__array_interface__["data"][0]
    memory = weakref.ref(made.memory)
    batch = opened(delivery(output=output), made).take(made.batch(1))
    jax.block_until_ready(batch["x"])
    taken = take(batch["x"])
    del made, batch
    gc.collect()
    assert address(taken) == slot
    assert memory() is not None
    assert np.array_equal(np.asarray(taken), LARGE[2:])
    view = taken[1]
    del taken
    gc.collect()
    # A row of a jax.Array is an array of its own; NumPy's and torch's are views.
    assert isinstance(view, jax.Array) or memory() is not None
    assert np.array_equal(np.asarray(view), LARGE[3])
    del view
    jax.block_until_ready(jax.numpy.zeros(1))
    assert comes_true(lambda: gc.collect() >= 0 and memory() is None)  # JAX lets go a little late


@every
@pytest.mark.parametrize("output", ["jax", "numpy"])
def test_what_was_taken_out_of_batches_never_changes(take: Any, output: Any) -> None:
    images = np.arange(120 * 4096, dtype=np.float32).reshape(120, -1)
    with Pipeline(source={"x": images}, batch_size=4, num_workers=2, output=output) as pipeline:
        kept = [take(batch["x"]) for batch in pipeline][::3]
        for _ in range(2):  # over the same memory
            for _ in pipeline:
                pass
    for step, taken in enumerate(kept):
        assert np.array_equal(np.asarray(taken), images[12 * step : 12 * step + 4])
