"""Host batches of one record become single elements, dicts without a batch axis."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from datarax_mp import DeviceStage, RandomDeviceStage
from tests.host_batches import HandMade, delivery, opened

COLUMNS = {"x": np.arange(3, dtype=np.float32), "deep": {"y": np.arange(6, dtype=np.int32).reshape(3, 2)}}


@pytest.mark.parametrize(("output", "kind"), [("jax", jax.Array), ("numpy", np.ndarray)])
def test_an_element_is_a_record_s_arrays_and_beside_them_what_is_none(output: str, kind: type) -> None:
    made = HandMade(COLUMNS, 1, info={"text": ["one", "two", "three"]})
    bound = opened(delivery(single=True, output=output), made)
    elements = [bound.take(batch) for batch in made]
    assert bound.hand_over is None
    assert [element["text"] for element in elements] == ["one", "two", "three"]
    assert [float(element["x"]) for element in elements] == [0, 1, 2]
    assert elements[2]["deep"]["y"].tolist() == [4, 5]
    assert all(isinstance(element["x"], kind) and element["x"].shape == () for element in elements)


def test_device_stages_see_a_batch_of_one() -> None:
    shapes = []

    def double(batch: dict[str, Any]) -> dict[str, Any]:
        shapes.append(batch["deep"]["y"].shape)
        return {"y": batch["deep"]["y"] * 2}

    made = HandMade(COLUMNS, 1)
    assert opened(delivery(DeviceStage(double), single=True), made).take(made.batch(1))["y"].tolist() == [4, 6]
    assert set(shapes) == {(1, 2)}


def test_random_device_stages_draw_for_each_record() -> None:
    def noise(batch: dict[str, Any], keys: jax.Array) -> dict[str, Any]:
        return {"noise": jax.vmap(jax.random.normal)(keys)}

    made = HandMade(COLUMNS, 1)
    stage = RandomDeviceStage(noise, per_record=True)
    found = [float(opened(delivery(stage, single=True), made).take(batch)["noise"]) for batch in [*made, *made]]
    assert found[:3] == found[3:]
    assert len(set(found)) == 3
