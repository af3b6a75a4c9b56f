"""What every stage must keep, whatever it does: one test for all of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from datarax_mp import (
    CenterCrop,
    ColorJitter,
    DeviceStage,
    Filter,
    MapBatch,
    MapElement,
    Normalize,
    Pad,
    Pipeline,
    RandomCrop,
    RandomDeviceStage,
    RandomFlip,
    RandomMapBatch,
    RandomMapElement,
    RandomResizedCrop,
    Resize,
    chain,
    one_of,
    sometimes,
)
from datarax_mp.testing import assert_same_stream, check_resume

LENGTH, BATCH, BAD = 36, 4, 22


class Photos:
    """Small images, tokens of unequal length; one record is damaged if asked for."""

    def __init__(self, *, damaged: bool = False) -> None:
        self.damaged = damaged

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, number: int) -> dict[str, Any]:
        rng = np.random.default_rng(number)
        bad = self.damaged and number == BAD
        image = rng.integers(0, 255, (14, 18, 3), np.uint8)
        return {
            "n": number,
            "image": image[:, :, 0] if bad else image,
            "tokens": np.arange(99 if bad else number % 7 + 1),
        }


def brighter(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "image": record["image"].reshape(14, 18, 3) // 2}


def noisy(record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {**record, "noise": rng.random(3), "image": record["image"].reshape(14, 18, 3)}


def doubled(batch: dict[str, Any]) -> dict[str, Any]:
    return {**batch, "image": batch["image"].reshape(-1, 14, 18, 3) * 2}


def shaken(batch: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {**batch, "noise": rng.random((len(batch["n"]), 2))}


def kept(record: dict[str, Any]) -> bool:
    return bool(record["image"].reshape(14, 18, 3)[0, 0, 0] % 4)


class GrainMap:
    def map(self, record: dict[str, Any]) -> dict[str, Any]:
        return brighter(record)


class GrainRandomMap:
    def random_map(self, record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        return noisy(record, rng)


class Scale(nnx.Module):
    def __init__(self) -> None:
        self.factor = nnx.Param(jax.numpy.float32(3))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {**batch, "image": batch["image"] * self.factor[...]}


PAD = Pad("tokens", 8, to="longest", mask="mask")
HOST: dict[str, Any] = {
    "callable": brighter,
    "MapElement": MapElement(brighter),
    "RandomMapElement": RandomMapElement(noisy),
    "MapBatch": MapBatch(doubled),
    "RandomMapBatch": RandomMapBatch(shaken),
    "chain": chain(brighter, RandomMapElement(noisy)),
    "one_of": one_of(brighter, MapElement(lambda record: {**brighter(record), "n": -record["n"]})),
    "sometimes": sometimes(RandomFlip(1.0), p=0.5),
    "Filter": Filter(kept),
    "Grain's map": GrainMap(),
    "Grain's random_map": GrainRandomMap(),
    "RandomResizedCrop": RandomResizedCrop(8),
    "RandomCrop": RandomCrop(9, padding=1),
    "RandomFlip": RandomFlip(),
    "ColorJitter": ColorJitter(0.3, 0.3, 0.3, 0.1),
    "CenterCrop": CenterCrop(6),
    "Resize": Resize((5, 7)),
    "Pad": PAD,
}
DEVICE: dict[str, Any] = {
    "DeviceStage": DeviceStage(lambda batch: {**batch, "image": batch["image"] / 255}),
    "RandomDeviceStage": RandomDeviceStage(
        lambda batch, key: {**batch, "image": batch["image"] + jax.random.uniform(key, batch["image"].shape)}
    ),
    "RandomDeviceStage, per record": RandomDeviceStage(
        lambda batch, keys: {**batch, "noise": jax.vmap(jax.random.normal)(keys)}, per_record=True
    ),
    "nnx.Module": Scale(),
    "one_of, on the device": one_of(
        DeviceStage(lambda batch: {**batch, "n": -batch["n"]}), RandomDeviceStage(lambda batch, _: batch)
    ),
    "Normalize": Normalize((0.5,) * 3, (0.2,) * 3),
}
STAGES = HOST | DEVICE


def stages_with(name: str) -> list[Any]:
    """The stage, with what makes its records batchable."""
    without_tokens = MapElement(lambda record: {k: v for k, v in record.items() if k != "tokens"})
    stage = STAGES[name]
    if name == "Pad":
        return [stage]
    return [without_tokens, stage]


def make(name: str, workers: int, *, damaged: bool = False) -> Pipeline:
    return Pipeline(
        source=Photos(damaged=damaged),
        batch_size=BATCH,
        num_workers=workers,
        stages=stages_with(name),
        rngs=np.random.default_rng(8),
        shuffle=True,
        output="jax" if name in DEVICE else "numpy",
    )


def contents(batches: Any) -> list[dict[str, Any]]:
    return [{key: np.asarray(value).tolist() for key, value in batch.items()} for batch in batches]


@pytest.mark.parametrize("name", STAGES)
def test_the_stream_is_the_same_for_0_1_and_3_workers(name: str) -> None:
    for workers in (1, 3):
        with make(name, 0) as one, make(name, workers) as other:
            assert_same_stream(one, other, epochs=2)
    with make(name, 0) as pipeline:
        epochs = [contents(pipeline), contents(pipeline)]
    assert epochs[0] != epochs[1]
    expected = 9 if name != "Filter" else -(-sum(kept(Photos()[n]) for n in range(LENGTH)) // BATCH)
    assert len(epochs[0]) == expected


@pytest.mark.parametrize("name", STAGES)
def test_a_run_can_be_resumed_at_every_step(name: str) -> None:
    with make(name, 2) as pipeline:
        check_resume(pipeline, steps=LENGTH)


# How messages call the stage that the damaged record breaks in.
CALLED = {
    "callable": "MapElement(brighter)",
    "MapElement": "MapElement(brighter)",
    "RandomMapElement": "RandomMapElement(noisy)",
    "Filter": "Filter(kept)",
    "Grain's map": "MapElement(GrainMap)",
    "Grain's random_map": "RandomMapElement(GrainRandomMap)",
    "RandomResizedCrop": "RandomMapElement(RandomResizedCrop)",
    "RandomCrop": "RandomMapElement(RandomCrop)",
    "RandomFlip": "RandomMapElement(RandomFlip)",
    "ColorJitter": "RandomMapElement(ColorJitter)",
    "CenterCrop": "MapElement(CenterCrop)",
    "Resize": "MapElement(Resize)",
    "Pad": "Pad",
}


@pytest.mark.parametrize("name", CALLED)
def test_an_exception_names_record_stage_and_worker(name: str) -> None:
    with make(name, 2, damaged=True) as pipeline, pytest.raises(ValueError, match="record 22|reshape") as caught:
        list(pipeline)
    told = str(caught.value) + "\n".join(getattr(caught.value, "__notes__", ()))
    assert f"record {BAD}" in told
    assert CALLED[name] in told
    assert "in worker process" in told


def test_an_exception_in_a_stage_for_batches_names_all_its_records() -> None:
    def breaks(batch: dict[str, Any]) -> dict[str, Any]:
        if BAD in batch["n"]:
            raise ValueError("no good")
        return batch

    with (
        Pipeline(source=[{"n": n} for n in range(LENGTH)], batch_size=4, num_workers=2, stages=[MapBatch(breaks)]) as p,
        pytest.raises(ValueError, match="no good") as caught,
    ):
        list(p)
    told = "\n".join(caught.value.__notes__)
    assert "MapBatch(breaks) worked on the batch of records [20, 21, 22, 23]" in told
    assert "in worker process" in told


class WithState:
    """A stage with something costly of its own, made when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokenizer: Callable[[int], int] | None = None

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        if self.tokenizer is None:
            (self.folder / f"made {os.getpid()} {len(list(self.folder.iterdir()))}").touch()
            self.tokenizer = lambda number: number + 1
        return {"n": record["n"], "token": self.tokenizer(record["n"]), "pid": os.getpid()}


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_stages_own_state_is_made_once_in_every_worker(workers: int, tmp_path: Path) -> None:
    with Pipeline(
        source=Photos(), batch_size=2, num_workers=workers, stages=[WithState(tmp_path)], output="numpy"
    ) as pipeline:
        pids = {int(pid) for _ in range(4) for batch in pipeline for pid in batch["pid"]}
    made = [path.name.split()[1] for path in tmp_path.iterdir()]
    assert len(made) == len(set(made)) <= max(workers, 1)  # at most once in a process
    assert set(map(int, made)) >= pids
