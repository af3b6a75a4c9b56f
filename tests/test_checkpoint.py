"""Positions in Orbax checkpoints; tests/delivery/test_global_arrays.py has those that several JAX processes share."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from datarax_mp import IterableSource, Pipeline, PipelineRestore, PipelineSave
from datarax_mp.checkpoint import PipelineHandler


def make(workers: int = 0, *, batch_size: int = 4, **more: Any) -> Pipeline:
    return Pipeline(
        source={"n": np.arange(50)},
        batch_size=batch_size,
        shuffle=True,
        rngs=np.random.default_rng(0),
        num_workers=workers,
        **more,
    )


def numbers(batches: Any) -> list[list[int]]:
    return [batch["n"].tolist() for batch in batches]


def both(pipeline: Any, model: Any) -> Any:
    return ocp.args.Composite(model=ocp.args.StandardSave(model), data=PipelineSave(pipeline))


@pytest.mark.parametrize("of", ["pipeline", "iterator"])
@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_position_is_saved_and_restored_next_to_a_model(tmp_path: Path, of: str, asynchronous: bool) -> None:
    options = ocp.CheckpointManagerOptions(enable_async_checkpointing=asynchronous)
    with make(2) as pipeline, ocp.CheckpointManager(tmp_path, options=options) as manager:
        iterator = iter(pipeline)
        for step in range(5):
            next(iterator)
            manager.save(step, args=both({"pipeline": pipeline, "iterator": iterator}[of], {"step": jnp.int32(step)}))
        rest = numbers(iterator)
    with make(1) as pipeline, ocp.CheckpointManager(tmp_path) as manager:
        restored = {"pipeline": pipeline, "iterator": iter(pipeline)}[of]
        args = ocp.args.Composite(model=ocp.args.StandardRestore(), data=PipelineRestore(restored))
        found = manager.restore(manager.latest_step(), args=args)
        assert found["model"]["step"] == 4
        assert found["data"] is restored
        assert numbers(restored) == rest


def test_the_position_is_the_one_at_the_time_of_save_however_late_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_on = threading.Event()
    dumps = json.dumps

    def dump_late(value: Any, *args: Any, **options: Any) -> str:
        if isinstance(value, dict) and "fingerprint" in value:  # a position, that Orbax is about to write
            assert trained_on.wait(60)
        return dumps(value, *args, **options)

    monkeypatch.setattr(json, "dumps", dump_late)
    with make() as pipeline, ocp.CheckpointManager(tmp_path) as manager:
        iterator = iter(pipeline)
        next(iterator)
        manager.save(0, args=both(pipeline, {"x": jnp.zeros(3)}))
        assert not [*tmp_path.rglob("pipeline.json")]  # nothing can be written yet
        rest = numbers(iterator)
        trained_on.set()
        manager.wait_until_finished()
        manager.restore(0, args=ocp.args.Composite(data=PipelineRestore(pipeline)))
        assert numbers(pipeline) == rest


def test_a_checkpointer_without_a_manager_will_do(tmp_path: Path) -> None:
    with make() as pipeline, ocp.Checkpointer(PipelineHandler()) as checkpointer:
        next(iter(pipeline))
        state = pipeline.get_state()
        checkpointer.save(tmp_path / "data", args=PipelineSave(pipeline))
        assert json.loads((tmp_path / "data" / "pipeline.json").read_text()) == state
    with make() as pipeline, ocp.Checkpointer(PipelineHandler()) as checkpointer:
        checkpointer.restore(tmp_path / "data", args=PipelineRestore(pipeline))
        assert pipeline.get_state() == state


def test_an_elastic_restore_takes_another_batch_size_and_any_other_says_what_differs(tmp_path: Path) -> None:
    with make() as pipeline, ocp.CheckpointManager(tmp_path) as manager:
        iterator = iter(pipeline)
        next(iterator)
        manager.save(0, args=both(iterator, {"x": jnp.zeros(3)}))
        rest = numbers(iterator)
    with make(batch_size=6) as pipeline, ocp.CheckpointManager(tmp_path) as manager:
        with pytest.raises(ValueError, match="batch_size: the state has 4, this pipeline has 6"):
            manager.restore(0, args=ocp.args.Composite(data=PipelineRestore(pipeline)))
        manager.restore(0, args=ocp.args.Composite(data=PipelineRestore(pipeline, elastic=True)))
        assert list(chain(*numbers(pipeline))) == list(chain(*rest))


def test_a_checkpoint_without_a_position_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with make() as pipeline, ocp.CheckpointManager(tmp_path) as manager:
        manager.save(0, args=ocp.args.Composite(data=ocp.args.StandardSave({"x": jnp.zeros(3)})))
        manager.wait_until_finished()
    with (
        make() as pipeline,
        ocp.Checkpointer(PipelineHandler()) as checkpointer,
        pytest.raises(FileNotFoundError, match=r"pipeline\.json is missing.*data=PipelineSave"),
    ):
        checkpointer.restore(tmp_path / "0" / "data", args=PipelineRestore(pipeline))


def test_a_restore_that_names_no_pipeline_gives_the_state(tmp_path: Path) -> None:
    with make() as pipeline, ocp.CheckpointManager(tmp_path) as manager:
        manager.save(0, args=both(pipeline, {"x": jnp.zeros(3)}))
    with ocp.CheckpointManager(tmp_path) as manager:
        assert manager.restore(0)["data"] == pipeline.get_state()


def test_without_orbax_the_error_names_the_extra(run_script: Callable[..., Any]) -> None:
    run_script(
        "import sys\n"
        "sys.modules['orbax'] = sys.modules['orbax.checkpoint'] = None\n"
        "import datarax_mp\n"
        "from datarax_mp import Pipeline\n"
        "try:\n"
        "    datarax_mp.PipelineSave\n"
        "except ImportError as error:\n"
        "    assert 'datarax-mp[checkpoint]' in str(error), error\n"
        "else:\n"
        "    raise AssertionError\n"
    )


def lanes(host: int) -> Pipeline:
    """Of two hosts, each with a lane of its own, and one longer than the other."""

    def make(lane: int, lanes: int) -> Any:
        return iter({"n": 100 * host + number} for number in range(8 + host))

    return Pipeline(source=IterableSource(make, lanes=1), batch_size=2)


def at_host(monkeypatch: pytest.MonkeyPatch, host: int, hosts: int = 2) -> None:
    monkeypatch.setattr("jax.process_index", lambda: host)
    monkeypatch.setattr("jax.process_count", lambda: hosts)


def test_each_process_has_a_position_of_its_own_where_it_has_lanes_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = []
    for host in (0, 1):
        with lanes(host) as pipeline:
            iterator = iter(pipeline)
            for _ in range(host + 1):
                next(iterator)
            with monkeypatch.context() as here:
                at_host(here, host)
                state = asyncio.run(PipelineHandler().async_save(tmp_path, args=PipelineSave(pipeline)))
            for future in state:
                future.result()
            rest.append(numbers(iterator))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipeline-0-of-2.json", "pipeline-1-of-2.json"]
    for host in (1, 0):
        with lanes(host) as pipeline, monkeypatch.context() as here:
            at_host(here, host)
            PipelineHandler().restore(tmp_path, args=PipelineRestore(pipeline))
            assert numbers(pipeline) == rest[host]
    for host, hosts in ((0, 1), (2, 3)):
        with (
            lanes(host) as pipeline,
            monkeypatch.context() as here,
            pytest.raises(ValueError, match=f"of {hosts}, found"),
        ):
            at_host(here, host, hosts)
            PipelineHandler().restore(tmp_path, args=PipelineRestore(pipeline))
