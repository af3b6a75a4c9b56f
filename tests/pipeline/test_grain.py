"""Tools that were written for Grain's iterators, used on ours."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grain
import numpy as np
import orbax.checkpoint as ocp
import pytest
from grain.experimental import assert_equal_output_after_checkpoint

from datarax_mp import Pipeline, RandomMapElement


def noise(record: Any, rng: np.random.Generator) -> Any:
    return {**record, "noise": rng.random(np.shape(record["n"]))}


def make(workers: int = 0, **more: Any) -> Pipeline:
    more = {"stages": [RandomMapElement(noise)], "shuffle": True, **more}
    data = {"n": np.arange(21), "nan": np.full(21, np.nan, np.float32)}
    return Pipeline(source=data, batch_size=4, rngs=np.random.default_rng(0), num_workers=workers, **more)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("output", ["jax", "numpy"])
@pytest.mark.parametrize("more", [{}, {"pad_last": True}, {"drop_last": True}, {"enforce_batch": False}])
def test_grain_s_own_test_of_checkpointing_passes(workers: int, output: Any, more: Any) -> None:
    with make(workers, output=output, **more) as pipeline:
        assert_equal_output_after_checkpoint(pipeline)


def test_grain_s_own_test_of_checkpointing_notices_a_stream_that_differs() -> None:
    class Forgetful:
        """Forgets in which epoch a state was taken, so that the order differs."""

        def __init__(self) -> None:
            self.pipeline = make()

        def __iter__(self) -> Any:
            iterator = iter(self.pipeline)
            resume = iterator.set_state
            iterator.set_state = lambda state: resume({**state, "epoch": state["epoch"] + 1})  # type: ignore[method-assign]
            return iterator

    with pytest.raises(AssertionError):
        assert_equal_output_after_checkpoint(Forgetful())


@pytest.mark.parametrize("workers", [0, 2])
def test_grain_s_checkpoint_handler_saves_and_restores_a_position(tmp_path: Path, workers: int) -> None:
    with make(workers) as pipeline, ocp.CheckpointManager(tmp_path) as manager:
        iterator = iter(pipeline)
        assert isinstance(iterator, grain.DatasetIterator)
        next(iterator)
        manager.save(0, args=ocp.args.Composite(data=grain.checkpoint.CheckpointSave(iterator)))
        assert type(iterator.get_state()) is dict
        rest = list(iterator)
    with make(workers) as pipeline, ocp.CheckpointManager(tmp_path) as manager:
        iterator = iter(pipeline)
        restored = manager.restore(0, args=ocp.args.Composite(data=grain.checkpoint.CheckpointRestore(iterator)))
        assert restored["data"] is iterator
        assert list(iterator) == rest
    assert json.loads((tmp_path / "0" / "data" / "process_0-of-1.json").read_text())["step"] == 1


def test_to_start_prefetching_is_to_begin_to_work(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")

    def tell(record: Any) -> Any:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as teller:
            teller.sendto(str(int(record["n"])).encode(), path)
        return record

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        listener.settimeout(60)
        with make(1, stages=[tell], shuffle=False) as pipeline:
            iterator = iter(pipeline)  # reads record 0, to see what records look like
            iterator.set_state({**iterator.get_state(), "step": 2})
            iterator.start_prefetch()
            iterator.start_prefetch()
            while int(listener.recv(100)) != 11:  # the last of step 2
                pass
            assert next(iterator)["n"].tolist() == [8, 9, 10, 11]


def test_without_workers_the_first_batches_are_made_at_once_and_an_error_waits_for_its_turn() -> None:
    read: list[int] = []

    def note(record: Any) -> Any:
        read.append(int(record["n"]))
        if read[-1] == 5:
            raise KeyError("five")
        return record

    with make(0, stages=[note], shuffle=False) as pipeline:
        iterator = iter(pipeline)
        iterator.start_prefetch()
        assert read[-1] == 5
        assert next(iterator)["n"].tolist() == [0, 1, 2, 3]
        with pytest.raises(KeyError, match="five"):
            next(iterator)
        iterator.start_prefetch()  # it has ended, and nothing happens
        assert list(iterator) == []


def test_a_program_without_grain_does_not_import_it(run_script: Callable[..., Any]) -> None:
    run_script(
        "import sys\n"
        "from datarax_mp import Pipeline\n"
        "assert len(list(Pipeline(source=list(range(5)), batch_size=2))) == 3\n"
        "assert 'grain' not in sys.modules\n"
    )
