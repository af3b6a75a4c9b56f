"""What type checkers make of a user's script."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from datarax_mp import Pipeline
from datarax_mp.pipeline.yields import Arguments

ROOT = Path(__file__).parents[1]

SCRIPT = """
from typing import Any, assert_type

import jax
import numpy as np
from flax import nnx

from datarax_mp import Batch, DeviceStage, Filter, Metadata, MixUp, Pipeline, RandomMapBatch, RandomMapElement
from datarax_mp import chain, one_of, sometimes
from datarax_mp.core.element_batch import BatchOps, Element
from datarax_mp.sources import BatchedSource, MemorySource, MemorySourceConfig, Source
from datarax_mp.stages import EpochAware, Pad, RandomRecordMap, RecordMap
from datarax_mp.testing import assert_same_stream, check_source


class Mine:
    def __len__(self) -> int:
        return 10

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"x": np.zeros(3), "text": {"ids": number}}

    def __getitems__(self, numbers: list[int]) -> list[dict[str, Any]]:
        return [self[number] for number in numbers]

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


class Both:
    def map(self, record: dict[str, Any]) -> dict[str, Any]:
        return record

    def random_map(self, record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        return {**record, "noise": rng.random()}


source: Source = Mine()
batched: BatchedSource = Mine()
aware: EpochAware = Mine()
mapped: RecordMap = Both()
random: RandomRecordMap = Both()


def kept(record: dict[str, Any]) -> bool:
    return bool(record["x"].any())


def scaled(batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return {**batch, "x": batch["x"] * 2}


def step(batch: Batch) -> jax.Array:
    return batch["x"].sum() + batch["text"]["ids"].sum()


model = nnx.Linear(3, 3, rngs=nnx.Rngs(0))
stages = [Filter(kept), RandomMapElement(Both().random_map), mapped, Pad("x", 4), DeviceStage(scaled), model]
with Pipeline(source=source, batch_size=2, stages=stages, rngs=nnx.Rngs(0), num_workers="auto") as pipeline:
    for batch in pipeline:
        assert_type(batch["x"], jax.Array)
        assert_type(batch.get("x"), jax.Array | None)
        assert_type(batch.get_data(), dict[str, jax.Array])
        assert_type(batch.slice(0, 1)["x"], jax.Array)
        assert_type(batch.metadata, list[Metadata])
        assert_type(batch.batch_size, int)
        jax.jit(step)(batch)


def trained(model: nnx.Linear, batch: Batch) -> jax.Array:
    return model(batch["x"]).sum()


losses = pipeline.scan(trained, length=2, modules=(model,))
for group in pipeline.stacked(2):
    assert_type(group["x"], jax.Array)
assert_type(pipeline.step(), dict[str, Any])
assert_type(pipeline.stages, list[Any])
mix = sometimes(RandomMapBatch(MixUp(0.2, classes=3)), p=0.5)


def placed(sharding: jax.sharding.Sharding) -> Pipeline:
    stages = [one_of(chain(mapped), mapped), mix]
    return Pipeline(source=source, batch_size=2, stages=stages, sharding={"x": sharding, "text": None})


graph = Pipeline.from_dag(source=source, nodes={"a": scaled}, edges={"a": []}, sink="a", batch_size=2)


def annotated(pipeline: Pipeline) -> jax.Array:
    return next(iter(pipeline))["x"]


annotated(pipeline)

arrays = Pipeline(source={"x": np.arange(4)}, batch_size=2, output="numpy")
assert_type(arrays, Pipeline[Batch[np.ndarray]])
for of_arrays in arrays:
    assert_type(of_arrays["x"], np.ndarray)

tensors = Pipeline(source={"x": np.arange(4)}, batch_size=2, output="torch")
for of_tensors in tensors:
    shape = of_tensors["x"].shape

for element in Pipeline(source=[{"x": 1}], batch_size=2, enforce_batch=False):
    assert_type(element, dict[str, Any])


def either(batches: bool) -> None:
    for whatever in Pipeline(source=[{"x": 1}], batch_size=2, enforce_batch=batches):
        assert_type(whatever, Any)


memory = MemorySource(MemorySourceConfig(shuffle=True), {"x": np.arange(4)}, rngs=nnx.Rngs(0))
made = BatchOps.concatenate_batch_sequence([Batch([Element({"x": np.float32(1)})])])
check_source(memory)
assert_same_stream(arrays, arrays)
"""

WRONG = """
from datarax_mp import Nothing, Pipeline
from datarax_mp.stages import Nix

Pipeline(source=[1], batch_size="2")
Pipeline(source=[1], batch_size=2, batchsize=3)
Pipeline(source=[1])
"""


def check(command: list[str], folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(script)
    environment = {**os.environ, "MYPYPATH": str(ROOT), "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    return subprocess.run(
        [sys.executable, "-m", *command, "script.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_mypy_finds_a_users_script_clean_and_what_is_wrong_in_another(tmp_path: Path) -> None:
    mypy = ["mypy", "--strict", "--follow-imports=silent", "--cache-dir", str(tmp_path / "cache")]
    done = check(mypy, tmp_path, SCRIPT)
    assert done.returncode == 0, done.stdout + done.stderr
    found = check(mypy, tmp_path, WRONG).stdout
    assert [line for line in (2, 3, 5, 6, 7) if f"script.py:{line}: error" not in found] == [], found


def test_pyright_finds_it_clean_too(tmp_path: Path) -> None:
    pytest.importorskip("pyright")  # in no extra: it fetches a package of npm's at its first use
    settings = '{"extraPaths": ["%s"], "typeCheckingMode": "strict", "reportUnknownMemberType": false}'
    (tmp_path / "pyrightconfig.json").write_text(settings % ROOT)
    pyright = ["pyright", "--pythonpath", sys.executable]
    if check(["pyright", "--version"], tmp_path, "").returncode != 0:
        pytest.skip("pyright cannot fetch what it runs on")
    done = check(pyright, tmp_path, SCRIPT)
    assert done.returncode == 0, done.stdout + done.stderr
    found = check(pyright, tmp_path, WRONG).stdout
    assert [line for line in (2, 3, 5, 6, 7) if f"script.py:{line}:" not in found] == [], found


def test_type_checkers_are_told_the_arguments_that_there_are() -> None:
    parameters = dict(inspect.signature(Pipeline.__init__).parameters)
    for name in ("self", "output", "enforce_batch"):
        del parameters[name]
    there = {
        name: f"Required[{one.annotation}]" if one.default is one.empty else one.annotation
        for name, one in parameters.items()
    }
    assert {name: told.__forward_arg__ for name, told in Arguments.__annotations__.items()} == there
