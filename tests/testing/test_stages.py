from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from datarax_mp import (
    DeviceStage,
    Filter,
    FlatMap,
    MapBatch,
    MapElement,
    Pad,
    RandomDeviceStage,
    RandomFlip,
    RandomMapElement,
)
from datarax_mp.testing import check_stage

RECORD = {"x": np.arange(3.0), "image": np.arange(12, dtype=np.uint8).reshape(2, 2, 3), "text": "a"}


def noisy(record: Any, rng: np.random.Generator) -> Any:
    return {**record, "noise": rng.random()}


@pytest.mark.parametrize(
    "stage",
    [
        lambda record: {"x": record["x"] * 2},
        RandomMapElement(noisy),
        Filter(lambda record: record["x"].sum() > 0),
        FlatMap(lambda record: [record, record], most=2),
        Pad("x", 8),
        MapBatch(lambda batch: {"x": batch["x"].sum(1)}),
        DeviceStage(lambda batch: {"x": batch["x"] * 2}),
        RandomDeviceStage(lambda batch, key: {"x": batch["x"] + jax.random.normal(key, batch["x"].shape)}),
        RandomFlip(),
    ],
    ids=["function", "random", "filter", "flat map", "pad", "batch", "device", "random device", "flip"],
)
def test_stages_that_keep_their_promises_pass(stage: Any) -> None:
    check_stage(stage, RECORD)


class Counts:
    seen = 0

    def __call__(self, record: Any) -> Any:
        self.seen += 1
        return {"n": self.seen}


def changes_an_array(record: Any) -> Any:
    record["x"] += 0.0
    record["x"][0] = 9
    return dict(record)


def changes_the_dict(record: Any) -> Any:
    record["y"] = 1
    return record


def changes_a_dict_within(record: Any) -> Any:
    record["deep"]["y"] = 1
    return record


class KnowsItsProcess:
    def __init__(self) -> None:
        self.home = os.getpid()

    def __call__(self, record: Any) -> Any:
        return {"here": self.home == os.getpid()}


def unseeded(record: Any) -> Any:
    return {"noise": np.random.default_rng().random()}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Counts, r"MapElement\(Counts\) gives something else when it runs again.*field 'n'"),
        (lambda: unseeded, r"MapElement\(unseeded\) gives something else when it runs again.*field 'noise'"),
        (lambda: MapElement(changes_an_array), r"changes the record that it is given \(field 'x'\)"),
        (lambda: changes_a_dict_within, r"changes the record that it is given \(the fields\)"),
        (KnowsItsProcess, "gives something else in worker processes: epoch 0, step 0: field 'here'"),
    ],
)
def test_what_a_stage_does_not_keep_is_named(make: Callable[[], Any], message: str) -> None:
    record = {"x": np.arange(3.0), "text": "a", "deep": {"z": 1}}
    with pytest.raises(AssertionError, match=message):
        check_stage(make(), record)


def test_a_stage_may_put_into_the_dict_that_it_is_given() -> None:
    check_stage(changes_the_dict, {"x": np.arange(3.0)})


def test_what_a_stage_raises_comes_out() -> None:
    with pytest.raises(KeyError, match="y"):
        check_stage(lambda record: record["y"], RECORD)
    with pytest.raises(TypeError, match="is no stage"):
        check_stage(3, RECORD)
