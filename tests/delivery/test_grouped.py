"""Small batches that go to the device several at a time: nobody can tell, but for the time it takes."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import jax
import numpy as np
import pytest

from datarax_mp import DeviceStage, Pad, Pipeline
from datarax_mp.delivery import grouped, transfer
from tests.host_batches import HandMade, delivery, opened
from tests.processes import comes_true

ROWS = 4
DATA = {"x": np.arange(1000 * 3, dtype=np.float32).reshape(1000, 3), "y": np.arange(1000), "deep": {"z": np.ones(1000)}}
COLUMNS = {name: np.arange(40, dtype=np.int32) + 100 * place for place, name in enumerate("abcd")}  # two in a call


@pytest.fixture(autouse=True)
def moved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often batches were moved together; that is done from the first batch on."""
    calls: list[int] = []
    move = grouped.Grouping.move

    def counted(self: grouped.Grouping, stacked: list[np.ndarray]) -> Any:
        calls.append(len(stacked[0]))
        return move(self, stacked)

    monkeypatch.setattr(grouped, "PATIENCE", 0)
    monkeypatch.setattr(grouped.Grouping, "move", counted)
    return calls


def make(workers: int = 2, **options: Any) -> Pipeline:
    return Pipeline(source=options.pop("source", DATA), batch_size=ROWS, num_workers=workers, **options)


def contents(batches: Any) -> list[Any]:
    return [
        (np.asarray(b["x"]).tolist(), np.asarray(b["y"]).tolist(), np.asarray(b["deep"]["z"]).tolist()) for b in batches
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_stream_is_the_same(workers: int, moved: list[int]) -> None:
    with make(0, output="numpy") as pipeline:
        plain = contents(pipeline)
    with make(workers) as pipeline:
        batches = list(pipeline)
        assert contents(batches) == plain
        assert [item.index for batch in batches for item in batch.metadata] == list(range(1000))
        assert all(type(batch["x"]) is type(jax.numpy.ones(1)) and batch.batch_size == ROWS for batch in batches)
    assert len(moved) > 10
    assert set(moved) == {3}  # nine copies, for more of which XLA would wake its threads


def test_an_epoch_that_ends_short_is_whole(moved: list[int]) -> None:
    source = {"x": np.arange(203)}
    for options in ({}, {"pad_last": True}, {"drop_last": True}):
        with make(source=source, **options) as pipeline:
            for _ in range(3):
                batches = list(pipeline)
                rows = [n for b in batches for n in np.asarray(b["x"])[np.asarray(b.valid_mask)].tolist()]
                assert rows == list(range(200 if "drop_last" in options else 203))
    assert moved


def test_skipped_records_keep_a_run_s_batches_apart() -> None:
    def fails(record: dict[str, Any]) -> dict[str, Any]:
        if record["x"] % 50 == 7:
            raise ValueError("no")
        return record

    with make(source={"x": np.arange(1000)}, stages=[fails], on_error="skip") as pipeline:
        rows = [n for batch in pipeline for n in batch["x"].tolist()]
        assert rows == [n for n in range(1000) if n % 50 != 7]
        assert pipeline.skipped == 20


def test_an_error_comes_after_the_batches_before_it() -> None:
    def fails(record: dict[str, Any]) -> dict[str, Any]:
        if record["x"] == 803:
            raise ValueError("no")
        return record

    received = []
    with make(source={"x": np.arange(1000)}, stages=[fails]) as pipeline, pytest.raises(ValueError, match="no"):
        for batch in pipeline:
            received += batch["x"].tolist()
    assert received == list(range(800))


def test_device_stages_states_and_kept_batches_are_as_ever(moved: list[int]) -> None:
    with make(stages=[DeviceStage(lambda batch: {**batch, "x": batch["x"] + 1})]) as pipeline:
        iterator = iter(pipeline)
        first = [next(iterator) for _ in range(101)]
        state = iterator.get_state()
        assert state["step"] == 101
        rest = list(iterator)
        pipeline.set_state(state)
        assert contents(pipeline) == contents(rest)
        got = np.concatenate([np.asarray(batch["x"]) for batch in first + rest])
    assert np.array_equal(got, DATA["x"] + 1)
    assert moved


def test_a_device_is_kept_to(moved: list[int]) -> None:
    device = jax.devices()[1]
    with make(device=device) as pipeline:
        assert all(batch["x"].devices() == {device} for batch in pipeline)
    assert moved


@pytest.mark.parametrize(
    "options",
    [
        {"output": "numpy"},
        {"enforce_batch": False},
        {"source": {"x": np.zeros((64, transfer.COPIED_BYTES // ROWS + 1), np.uint8)}},
        # One function would have to be compiled for every length.
        {"source": [{"x": np.ones(n % 5)} for n in range(64)], "stages": [Pad("x", 4, to="longest")]},
    ],
)
def test_other_batches_go_their_own_way(options: dict[str, Any], moved: list[int]) -> None:
    with make(**options) as pipeline:
        for _ in pipeline:
            pass
    assert moved == []


@pytest.mark.parametrize(("fields", "size"), [(1, 8), (2, 4), (4, 2), (5, 8)])
def test_a_call_has_as_many_batches_as_xla_copies_without_its_threads(fields: int, size: int, moved: list[int]) -> None:
    with make(source={f"x{number}": np.arange(1000) for number in range(fields)}) as pipeline:
        for _ in pipeline:
            pass
    assert set(moved) == {size}


def test_nothing_is_compiled_for_the_first_batches(monkeypatch: pytest.MonkeyPatch, moved: list[int]) -> None:
    monkeypatch.setattr(grouped, "PATIENCE", 600)
    with make() as pipeline:
        list(pipeline)
        list(pipeline)
        assert moved == []
        list(pipeline)
    assert moved


def test_batches_behind_each_other_are_moved_at_once_as_far_as_there_are_whole_groups(moved: list[int]) -> None:
    made = HandMade(COLUMNS, 5)
    bound = opened(delivery(), made)
    found = [bound.take(batch)["c"].tolist() for batch in made]
    assert found == np.arange(200, 240).reshape(8, 5).tolist()
    assert moved == [2, 2, 2]  # seven are alike; the last one is known to be whole only when it comes


def test_a_batch_that_is_alone_goes_alone(moved: list[int]) -> None:
    made = HandMade(COLUMNS, 5)
    bound = opened(delivery(), made)
    assert [int(bound.take(made.batch(step, alone=True))["a"][0]) for step in range(3)] == [0, 5, 10]
    assert moved == []


def test_two_epochs_at_once_do_not_get_each_other_s_batches(moved: list[int]) -> None:
    one, other = HandMade(COLUMNS, 5), HandMade({name: -column for name, column in COLUMNS.items()}, 5, number=1)
    way = delivery()
    bounds = opened(way, one), way.open(one.layout, other.epoch, other.epoch.steps)  # a pipeline has one layout
    for step in range(8):
        first, second = bounds[0].take(one.batch(step)), bounds[1].take(other.batch(step))
        assert first["b"].tolist() == (-second["b"]).tolist() == list(range(100 + 5 * step, 105 + 5 * step))
    assert len(moved) == 6


def test_what_was_moved_ahead_for_an_epoch_that_is_left_is_forgotten(moved: list[int]) -> None:
    made, way = HandMade(COLUMNS, 5), delivery()
    opened(way, made).take(made.batch(0))
    assert opened(way, made).take(made.batch(4))["a"].tolist() == [20, 21, 22, 23, 24]
    assert moved == [2, 2]


def test_what_was_moved_ahead_holds_no_slot() -> None:
    made = HandMade(COLUMNS, 5)
    bound = opened(delivery(), made)
    jax.block_until_ready(bound.take(made.batch(0)).get_data())
    memory, second = weakref.ref(made.memory), made.batch(1)
    del made
    assert memory() is not None
    del second
    assert comes_true(lambda: gc.collect() >= 0 and memory() is None)  # JAX lets go a little late


def test_batches_are_counted_over_epochs(monkeypatch: pytest.MonkeyPatch, moved: list[int]) -> None:
    monkeypatch.setattr(grouped, "PATIENCE", 12)
    made, way = HandMade(COLUMNS, 5), delivery()
    for _ in range(2):
        bound = opened(way, made)
        for batch in made:
            bound.take(batch)
    assert moved == [2]  # the thirteenth and the fourteenth
