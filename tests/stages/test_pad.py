"""Records of unequal length: what Pad makes of them."""

from __future__ import annotations

import json
import time
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
from flax import nnx

from datarax_mp import (
    DeviceStage,
    Filter,
    IterableSource,
    MapBatch,
    MemorySource,
    MemorySourceConfig,
    Pad,
    Pipeline,
    RandomMapElement,
    RecordError,
)
from datarax_mp.core.errors import RemoteError, WorkerTimeoutError
from datarax_mp.order import Order, Sequential
from datarax_mp.recipe.executor import Executor
from datarax_mp.recipe.padding import close_up
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.recipe.work import Done, Run

LENGTHS = np.random.default_rng(0).integers(0, 13, 41).tolist()
BUCKETS = (4, 8, 12)
both = pytest.mark.parametrize("workers", [0, 2])


def tokens(number: int) -> np.ndarray:
    return 100 * number + np.arange(LENGTHS[number], dtype=np.int32) + 1


class Ragged:
    """Record n has LENGTHS[n] tokens; they are read into one buffer, which the next record reuses."""

    def __init__(self) -> None:
        self.buffer = np.zeros(16, np.int32)

    def __len__(self) -> int:
        return len(LENGTHS)

    def __getitem__(self, number: int) -> dict[str, Any]:
        found = self.buffer[: LENGTHS[number]]
        found[:] = tokens(number)
        return {"n": number, "text": {"tokens": found, "name": f"record {number}"}}


def width(to: Any, longest: int) -> int:
    if to == "fixed":
        return 12
    return longest if to == "longest" else next(bucket for bucket in to if bucket >= longest)


def expected(numbers: list[int], to: Any, value: int = 0, rows: int | None = None) -> dict[str, Any]:
    found = [tokens(number) for number in numbers]
    length = width(to, max(map(len, found)))
    padded = np.full((len(numbers), length), value, np.int32)
    for row, one in zip(padded, found, strict=True):
        row[: len(one)] = one
    counts = np.array([len(one) for one in found], np.int32)
    there = {"tokens": padded, "mask": np.arange(length) < counts[:, None], "count": counts}
    if rows is None:
        return there
    return {
        name: np.pad(array, [(0, rows - len(array))] + [(0, 0)] * (array.ndim - 1)) for name, array in there.items()
    }


def check(batch: Any, wanted: dict[str, Any]) -> None:
    for name, array in wanted.items():
        found = np.asarray(batch["text"][name])
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array, strict=True)


def pad(to: Any, **more: Any) -> Pad:
    return Pad("text/tokens", 12, to=to, **{"mask": "text/mask", "lengths": "text/count", "value": -1, **more})


@pytest.mark.parametrize("output", ["jax", "numpy"])
@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("to", ["fixed", "longest", BUCKETS])
def test_each_batch_is_padded_as_its_longest_record_asks(to: Any, workers: int, output: Any) -> None:
    options: dict[str, Any] = {"batch_size": 4, "num_workers": workers, "output": output}
    with Pipeline(
        source=Ragged(), stages=[pad(to)], shuffle=True, rngs=np.random.default_rng(3), **options
    ) as pipeline:
        epochs = [list(pipeline), list(pipeline)]
    for batches in epochs:  # all are kept till here, and none has changed
        numbers = [batch["n"].tolist() for batch in batches]
        assert sorted(number for there in numbers for number in there) == list(range(len(LENGTHS)))
        assert len(batches[-1]["n"]) == 1
        for batch, there in zip(batches, numbers, strict=True):
            check(batch, expected(there, to, -1))
            assert [item.source_info["text"]["name"] for item in batch.metadata] == [f"record {n}" for n in there]
            assert isinstance(batch["text"]["tokens"], np.ndarray if output == "numpy" else jax.Array)
    assert epochs[0][0]["n"].tolist() != epochs[1][0]["n"].tolist()


def test_the_stream_is_the_same_for_every_worker_count() -> None:
    def stream(workers: int) -> list[list[Any]]:
        with Pipeline(
            source=Ragged(),
            batch_size=4,
            num_workers=workers,
            output="numpy",
            shuffle=True,
            rngs=np.random.default_rng(3),
            stages=[pad("longest")],
        ) as pipeline:
            return [[batch["n"].tolist(), batch["text"]["tokens"].tolist()] for batch in pipeline]

    assert stream(0) == stream(1) == stream(3)


@both
def test_rows_that_pad_last_adds_are_zeros_without_data(workers: int) -> None:
    with Pipeline(source=Ragged(), batch_size=6, num_workers=workers, pad_last=True, stages=[pad(BUCKETS)]) as pipeline:
        batches = list(pipeline)
    for step, batch in enumerate(batches):
        check(batch, expected(list(range(6 * step, min(6 * step + 6, 41))), BUCKETS, -1, rows=6))
    assert batches[-1].valid_mask.tolist() == [True] * 5 + [False]


@both
def test_drop_last_leaves_out_the_short_batch(workers: int) -> None:
    with Pipeline(
        source=Ragged(), batch_size=6, num_workers=workers, drop_last=True, stages=[pad("longest")], output="numpy"
    ) as pipeline:
        batches = list(pipeline)
    assert len(batches) == 6
    for step, batch in enumerate(batches):
        check(batch, expected(list(range(6 * step, 6 * step + 6)), "longest", -1))


@pytest.mark.parametrize("output", ["jax", "numpy"])
@both
def test_a_single_element_is_as_long_as_it_is_or_as_its_bucket(workers: int, output: Any) -> None:
    for to in ("longest", BUCKETS, "fixed"):
        with Pipeline(
            source=Ragged(),
            batch_size=5,
            num_workers=workers,
            enforce_batch=False,
            stages=[pad(to)],
            output=output,
        ) as pipeline:
            elements = list(pipeline)
        assert len(elements) == len(LENGTHS)
        for number, element in enumerate(elements):
            check(element, {name: array[0] for name, array in expected([number], to, -1).items()})


@both
def test_stages_for_batches_see_the_padded_arrays_and_may_return_what_depends_on_their_length(workers: int) -> None:
    def pairs(batch: dict[str, Any]) -> dict[str, Any]:
        mask = batch["text"]["mask"]
        assert batch["text"]["tokens"].shape == mask.shape == (len(batch["n"]), width(BUCKETS, int(mask.sum(1).max())))
        return {**batch, "pairs": mask[:, :, None] & mask[:, None, :], "sum": batch["text"]["tokens"].sum(1)}

    with Pipeline(
        source=Ragged(),
        batch_size=4,
        num_workers=workers,
        pad_last=True,
        stages=[pad(BUCKETS, value=0), MapBatch(pairs)],
    ) as pipeline:
        batches = list(pipeline)
    for step, batch in enumerate(batches):
        wanted = expected(list(range(4 * step, min(4 * step + 4, 41))), BUCKETS, 0, rows=4)
        check(batch, wanted)
        np.testing.assert_array_equal(batch["pairs"], wanted["mask"][:, :, None] & wanted["mask"][:, None, :])
        np.testing.assert_array_equal(batch["sum"], wanted["tokens"].sum(1))
    assert len({batch["pairs"].shape for batch in batches}) > 1


@both
def test_a_stage_for_batches_that_makes_more_of_less_is_an_error(workers: int) -> None:
    grow = MapBatch(lambda batch: {"x": np.zeros((len(batch["n"]), 16 - batch["text"]["tokens"].shape[1]))})
    with (
        Pipeline(source=Ragged(), batch_size=4, num_workers=workers, stages=[pad(BUCKETS), grow]) as pipeline,
        pytest.raises(RecordError, match=r"field 'x': expected at most shape \(4,\).*found \(12,\)"),
    ):
        list(pipeline)


@both
def test_what_is_too_long_is_an_error_that_names_everything(workers: int) -> None:
    number = next(number for number, length in enumerate(LENGTHS) if length > 7)
    with (
        Pipeline(source=Ragged(), batch_size=4, num_workers=workers, stages=[Pad("text/tokens", 7)]) as pipeline,
        pytest.raises(
            RecordError,
            match=rf"record {number}, field 'text/tokens': expected a length of at most 7, as Pad\('text/tokens'\) "
            rf"says, found {LENGTHS[number]}\. Set truncate=True to cut it, or a larger length",
        ),
    ):
        list(pipeline)


@both
def test_what_is_too_long_is_cut_if_allowed(workers: int) -> None:
    with Pipeline(
        source=Ragged(),
        batch_size=4,
        num_workers=workers,
        stages=[Pad("text/tokens", 7, to="longest", mask="mask", lengths="count", truncate=True)],
        output="numpy",
    ) as pipeline:
        for step, batch in enumerate(pipeline):
            numbers = range(4 * step, min(4 * step + 4, 41))
            assert batch["count"].tolist() == [min(7, LENGTHS[number]) for number in numbers]
            assert batch["mask"].sum(1).tolist() == batch["count"].tolist()
            assert batch["text"]["tokens"].shape[1] == max(batch["count"])
            for row, number in zip(batch["text"]["tokens"], numbers, strict=True):
                assert row[row > 0].tolist() == tokens(number)[:7].tolist()


@pytest.mark.parametrize("pad_last", [True, False])
@both
def test_a_record_that_is_too_long_can_be_skipped(workers: int, pad_last: bool) -> None:
    left = [number for number in range(41) if LENGTHS[number] <= 8]
    with Pipeline(
        source=Ragged(),
        batch_size=6,
        num_workers=workers,
        on_error="skip",
        pad_last=pad_last,
        stages=[Pad("text/tokens", 8, to="longest", value=-1)],
    ) as pipeline:
        batches = list(pipeline)
        assert pipeline.skipped == 41 - len(left)
    assert [item.index for batch in batches for item in batch.metadata if item.index is not None] == left
    for batch in batches:
        numbers = [item.index for item in batch.metadata if item.index is not None]
        check(batch, {"tokens": expected(numbers, "longest", -1, rows=6 if pad_last else None)["tokens"]})


@both
def test_a_batch_of_empty_records_has_no_length(workers: int) -> None:
    source = [{"x": np.ones(0, np.int32), "n": n} for n in range(3)]
    stages = [Pad("x", 5, to="longest", mask="mask", lengths="length")]
    with Pipeline(source=source, batch_size=2, num_workers=workers, stages=stages) as pipeline:
        assert [batch["x"].shape for batch in pipeline] == [(2, 0), (1, 0)]


def test_a_batch_that_has_lost_all_records_has_the_full_length() -> None:
    source = [{"x": np.ones(20 if 2 <= number < 4 else 1, np.int32)} for number in range(6)]
    with Pipeline(
        source=source,
        batch_size=2,
        num_workers=1,
        on_error="skip",
        pad_last=True,
        stages=[Pad("x", 5, to="longest")],
    ) as pipeline:
        batches = list(pipeline)
    assert [batch["x"].tolist() for batch in batches] == [[[1], [1]], [[0] * 5] * 2, [[1], [1]]]


@both
def test_a_skipped_record_does_not_lengthen_its_batch(workers: int) -> None:
    source = [{"x": np.full(n, n), "y": "odd" if n in (3, 5) else 1} for n in (1, 3, 2, 5)]
    stages = [Pad("x", 6, to="longest", lengths="n")]
    with Pipeline(source=source, batch_size=4, num_workers=workers, on_error="skip", stages=stages) as pipeline:
        [batch] = list(pipeline)
    assert batch["x"].tolist() == [[1, 0], [2, 2]]
    assert batch["n"].tolist() == [1, 2]


@both
def test_a_value_that_does_not_fit_is_skipped_and_the_others_are_padded(workers: int) -> None:
    source = [{"x": np.full(number % 4, 2**40 if number == 3 else number), "y": number} for number in range(8)]
    with Pipeline(
        source=source,
        batch_size=4,
        num_workers=workers,
        on_error="skip",
        stages=[Pad("x", 6, to="longest", value=-1, lengths="n")],
    ) as pipeline:
        first, second = list(pipeline)
        assert pipeline.skipped == 1
    assert first["y"].tolist() == [0, 1, 2]
    assert first["x"].tolist() == [[-1, -1, -1], [1, -1, -1], [2, 2, -1]]
    assert first["n"].tolist() == [0, 1, 2]
    assert second["x"].tolist() == [[-1, -1, -1], [5, -1, -1], [6, 6, -1], [7, 7, 7]]


@both
@pytest.mark.parametrize("bound", [8, 100_000])
def test_what_a_skipped_record_has_left_in_its_row_is_not_seen(workers: int, bound: int) -> None:
    """Field "a" is written before "z" turns out not to fit; the next record is shorter, and so is the next batch."""
    lengths = (2, 7, 1, 3, 5, 2)
    source = [{"a": np.full(n, n), "z": np.ones(2 if n == 7 else 1)} for n in lengths]
    stages = [Pad("a", bound, to="longest", value=-1, mask="there")]
    with Pipeline(source=source, batch_size=4, num_workers=workers, on_error="skip", stages=stages) as pipeline:
        first, second = list(pipeline)
    assert first["a"].tolist() == [[2, 2, -1], [1, -1, -1], [3, 3, 3]]
    assert first["there"].sum(1).tolist() == [2, 1, 3]
    assert second["a"].tolist() == [[5] * 5, [2, 2, -1, -1, -1]]
    assert second["there"].sum(1).tolist() == [5, 2]


def test_several_fields_are_padded_together_or_each_on_its_own() -> None:
    source = [
        {"a": np.arange(n), "b": np.ones((n, 2), np.float32), "c": np.full(2 * n, True), "d": n} for n in (1, 3, 2)
    ]
    stages = [
        Pad(("a", "b"), 8, to="longest", mask="ab", lengths="n"),
        Pad("c", 8, to=(6,), value=True, mask="mask"),
    ]
    for workers in (0, 1):
        with Pipeline(source=source, batch_size=3, num_workers=workers, stages=stages) as pipeline:
            [batch] = list(pipeline)
        shapes = {name: array.shape for name, array in batch.items()}
        assert shapes == {
            "a": (3, 3),
            "b": (3, 3, 2),
            "c": (3, 6),
            "d": (3,),
            "ab": (3, 3),
            "n": (3,),
            "mask": (3, 6),
        }
        assert batch["b"].sum((1, 2)).tolist() == [2, 6, 4]
        assert batch["c"].all()
        assert batch["mask"].sum(1).tolist() == [2, 6, 4]
        assert batch["n"].tolist() == batch["d"].tolist() == batch["ab"].sum(1).tolist()


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint64", "float16", "float64", "complex64", ml_dtypes.bfloat16, "datetime64[s]"]
)
def test_any_dtype_can_be_padded(dtype: Any) -> None:
    source = [{"x": np.ones((n, 2), dtype)} for n in (2, 0, 3)]
    with Pipeline(
        source=source, batch_size=3, num_workers=1, output="numpy", stages=[Pad("x", 4, to="longest", value=0)]
    ) as pipeline:
        [batch] = list(pipeline)
    assert batch["x"].dtype == np.dtype(dtype)
    assert (batch["x"] == np.ones((), dtype)).sum((1, 2)).tolist() == [4, 0, 6]
    assert (batch["x"] == np.zeros((), dtype)).sum((1, 2)).tolist() == [2, 6, 0]


def test_lists_and_bare_arrays_are_padded_and_an_empty_list_fits_any_dtype() -> None:
    source = [{"x": [1, 2]}, {"x": []}, {"x": [3, 4, 5]}]
    [batch] = list(Pipeline(source=source, batch_size=3, stages=[Pad("x", 4, to="longest")]))
    assert batch["x"].tolist() == [[1, 2, 0], [0, 0, 0], [3, 4, 5]]
    columns = {"x": [[1, 2], [], [3, 4, 5]], "y": np.arange(3)}
    [batch] = list(Pipeline(source=columns, batch_size=3, stages=[Pad("x", 4)]))
    assert batch["x"].tolist() == [[1, 2, 0, 0], [0, 0, 0, 0], [3, 4, 5, 0]]
    bare = [np.arange(2.0), np.arange(1.0)]
    [batch] = list(Pipeline(source=bare, batch_size=2, stages=[Pad("value", 4, to="longest", value=np.inf)]))
    assert batch["value"].tolist() == [[0, 1], [0, np.inf]]


def test_a_list_that_is_empty_in_the_first_record_takes_the_dtype_of_later_ones() -> None:
    large = 2**24 + 1  # no float32

    def batches(source: Any, **more: Any) -> list[Any]:
        with Pipeline(source=source, batch_size=3, stages=[Pad("x", 2, mask="mask")], **more) as pipeline:
            return list(pipeline)

    for workers in (0, 1):
        [batch] = batches([{"x": []}, {"x": ()}, {"x": [large]}], num_workers=workers)
        assert batch["x"].dtype == np.int32
        assert batch["x"].tolist() == [[0, 0], [0, 0], [large, 0]]
        assert batch["mask"].sum(1).tolist() == [0, 0, 1]
    [batch] = batches({"x": [[], [large], []]})
    assert batch["x"].tolist() == [[0, 0], [large, 0], [0, 0]]
    [batch] = batches([{"x": []}, {"x": np.empty(0, np.int8)}, {"x": np.ones(2, np.int8)}], output="numpy")
    assert batch["x"].dtype == np.int8
    [batch] = batches([{"x": []}, {"x": []}])
    assert batch["x"].tolist() == [[0, 0], [0, 0]]
    [batch] = batches([{"x": []}, {"x": [1, 2, 3]}, {"x": [large]}], on_error="skip")
    assert batch["x"].tolist() == [[0, 0], [large, 0]]
    [batch] = batches(IterableSource(lambda lane, lanes: [{"x": []}, {"x": [large]}], lanes=1))
    assert batch["x"].tolist() == [[0, 0], [large, 0]]
    [batch] = batches(IterableSource(lambda lane, lanes: [{"x": []}], lanes=1))
    assert batch["x"].tolist() == [[0, 0]]


def test_a_list_that_is_empty_in_all_of_many_first_records_is_an_error_that_asks_for_an_array() -> None:
    pipeline = Pipeline(source=[{"x": []}] * 100 + [{"x": [1]}], batch_size=4, stages=[Pad("x", 2)])
    with pipeline, pytest.raises(RecordError, match=r"record 0, field 'x': .* first 64 records.*np.empty\(0, np.int32"):
        next(iter(pipeline))
    typed = [{"x": np.empty(0, np.int32)}] * 100 + [{"x": [1]}]
    pipeline = Pipeline(source=typed, batch_size=101, stages=[Pad("x", 2)], output="numpy")
    with pipeline, pytest.raises(RecordError, match="expected dtype int32"):
        list(pipeline)


def test_columns_of_one_array_are_padded_too() -> None:
    source = MemorySource(MemorySourceConfig(), {"x": np.arange(6).reshape(3, 2)})
    [batch] = list(Pipeline(source=source, batch_size=3, stages=[Pad("x", 3, value=9)]))
    assert batch["x"].tolist() == [[0, 1, 9], [2, 3, 9], [4, 5, 9]]


@both
def test_stages_for_records_see_them_unpadded(workers: int) -> None:
    def repeat(record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        return {"x": np.repeat(record["n"], rng.integers(1, 9)), "rank": record["text"]["tokens"].ndim}

    with Pipeline(
        source=Ragged(),
        batch_size=8,
        num_workers=workers,
        rngs=np.random.default_rng(0),
        stages=[RandomMapElement(repeat), Pad("x", 8, to="longest", value=-1, lengths="n")],
    ) as pipeline:
        batches = list(pipeline)
    assert all((batch["x"] >= 0).sum(1).tolist() == batch["n"].tolist() for batch in batches)
    assert len({batch["x"].shape for batch in batches}) > 1


@both
def test_a_filter_before_pad_leaves_full_batches(workers: int) -> None:
    left = [number for number, length in enumerate(LENGTHS) if length > 4]
    stages = [Filter(lambda record: len(record["text"]["tokens"]) > 4), pad("longest")]
    with Pipeline(source=Ragged(), batch_size=4, num_workers=workers, stages=stages) as pipeline:
        for step, batch in enumerate(pipeline):
            check(batch, expected(left[4 * step : 4 * step + 4], "longest", -1))


@both
def test_a_resumed_run_goes_on_with_the_same_lengths(workers: int) -> None:
    def make(workers: int) -> Pipeline:
        return Pipeline(
            source=Ragged(),
            batch_size=4,
            num_workers=workers,
            shuffle=True,
            rngs=np.random.default_rng(1),
            stages=[pad("longest")],
        )

    with make(workers) as pipeline:
        iterator = iter(pipeline)
        for _ in range(3):
            next(iterator)
        state = json.dumps(pipeline.get_state())
        rest = [batch["text"]["tokens"].tolist() for batch in iterator]
    with make(1) as resumed:
        resumed.set_state(json.loads(state))
        assert [batch["text"]["tokens"].tolist() for batch in resumed] == rest


def test_a_jitted_step_compiles_once_for_each_bucket() -> None:
    traced: list[tuple[int, ...]] = []

    @jax.jit
    def step(batch: Any) -> jax.Array:
        traced.append(batch["text"]["tokens"].shape)
        return (batch["text"]["tokens"] * batch["text"]["mask"]).sum()

    with Pipeline(
        source=Ragged(),
        batch_size=2,
        num_workers=2,
        pad_last=True,
        shuffle=True,
        rngs=nnx.Rngs(0),
        stages=[pad(BUCKETS)],
    ) as pipeline:
        sums = [sum(int(step(batch)) for batch in pipeline) for _ in range(3)]
    assert set(sums) == {sum(int(tokens(number).sum()) for number in range(41))}
    assert sorted(traced) == [(2, 4), (2, 8), (2, 12)]


def test_lengths_that_vary_compile_nothing_on_the_way_to_the_device(caplog: pytest.LogCaptureFixture) -> None:
    with Pipeline(source=Ragged(), batch_size=2, stages=[pad("longest")]) as pipeline:
        iterator = iter(pipeline)
        shapes = {next(iterator)["text"]["tokens"].shape}
        with jax.log_compiles():
            shapes |= {next(iterator)["text"]["tokens"].shape for _ in range(10)}
            assert len(shapes) > 4
            assert not caplog.messages
            jax.jit(lambda x: x + 1)(np.ones(7))
            assert caplog.messages  # it would have been seen


@pytest.mark.parametrize(("to", "told"), [("fixed", {}), ("longest", {0: ((), (2, 3)), 2: ((), (1, 3))})])
def test_an_answer_tells_shapes_only_where_they_differ_from_the_layout(to: Any, told: Any) -> None:
    source = [{"n": number, "x": np.ones((length, 3))} for number, length in enumerate((1, 2, 3, 4, 1, 0))]
    executor = Executor(Recipe(source, (Pad("x", 4, to=to),), Order(Sequential(6), batch_size=2), x64=None))
    layouts = executor.probe(epoch=0)
    executor.settle(layouts)
    memory = bytearray(3 * layouts.delivered.block_bytes)
    answer = executor.perform(Run(0, 0, 3, 0), memory, len(memory), RemoteError.of)
    assert isinstance(answer, Done)
    assert answer.written.shapes == told


def test_a_stage_for_batches_that_is_stuck_after_pad_is_named() -> None:
    def stuck(batch: dict[str, Any]) -> dict[str, Any]:
        if 4 in batch["n"]:
            time.sleep(1000)
        return batch

    stages = [lambda record: record, pad("longest"), MapBatch(stuck)]
    with (
        Pipeline(source=Ragged(), batch_size=4, num_workers=1, timeout=3, stages=stages) as pipeline,
        pytest.raises(WorkerTimeoutError, match=r"while stage MapBatch\(stuck\) worked on records 4, 5, 6, 7"),
    ):
        list(pipeline)


def test_device_stages_and_sharding_take_padded_batches() -> None:
    sharding = jax.sharding.NamedSharding(
        jax.sharding.Mesh(np.array(jax.devices()[:4]), ("data",)), jax.sharding.PartitionSpec("data")
    )
    double = DeviceStage(lambda batch: {"x": batch["text"]["tokens"] * 2})
    with Pipeline(
        source=Ragged(),
        batch_size=8,
        num_workers=2,
        sharding=sharding,
        pad_last=True,
        stages=[pad("longest", value=0), double],
    ) as pipeline:
        for step, batch in enumerate(pipeline):
            numbers = list(range(8 * step, min(8 * step + 8, 41)))
            np.testing.assert_array_equal(batch["x"], 2 * expected(numbers, "longest", rows=8)["tokens"])
            assert len(batch["x"].sharding.device_set) == 4


def test_rows_are_closed_up_in_place_whatever_their_lengths() -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):
        bound = int(rng.integers(1, 9))
        lengths = rng.integers(0, bound + 1, rng.integers(1, 9)).tolist()
        long = int(rng.integers(max(lengths), bound + 1))
        rows = rng.integers(0, 99, (len(lengths) + 2, bound, 2))
        wanted = [rows[row, :length].tolist() + [[-1, -1]] * (long - length) for row, length in enumerate(lengths)]
        closed = close_up(rows, lengths, long, -1)
        assert closed.tolist() == wanted
        assert closed.flags.c_contiguous
        assert closed.size == 0 or np.shares_memory(closed, rows)


@both
@pytest.mark.parametrize("nested", [False, True])
def test_fields_that_are_padded_together_and_differ_are_named_however_deep_they_lie(workers: int, nested: bool) -> None:
    """The quick way finds it, after records that it has written."""
    found = [{"a": np.ones(n), "b": np.ones(min(n, 2))} for n in (1, 2, 3)]
    source: list[Any] = [{"t": record} for record in found] if nested else found
    at = "t/" if nested else ""
    with (
        Pipeline(source=source, batch_size=3, num_workers=workers, stages=[Pad((f"{at}a", f"{at}b"), 4)]) as pipeline,
        pytest.raises(RecordError, match=f"record 2, field '{at}b': expected length 3 like field '{at}a'"),
    ):
        list(pipeline)
