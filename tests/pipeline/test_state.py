from __future__ import annotations

import itertools
import json
import threading
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from datarax_mp import Filter, MapElement, MemorySource, MemorySourceConfig, Pipeline, ShardOptions


def make(workers: Any = 2, *, seed: int = 0, length: int = 50, batch_size: int = 8, **more: Any) -> Pipeline:
    config = MemorySourceConfig(shuffle=True, **more.pop("part", {}))
    source = MemorySource(config, {"n": np.arange(length)}, rngs=nnx.Rngs(seed), name=more.pop("name", None))
    return Pipeline(source=source, batch_size=batch_size, num_workers=workers, **more)


def numbers(batches: Any, *, masked: bool = False) -> list[list[int]]:
    """The records of each batch; ``masked`` leaves out the padding."""
    return [np.asarray(batch["n"])[np.asarray(batch.valid_mask) if masked else ...].tolist() for batch in batches]


def flat(batches: list[list[int]]) -> list[int]:
    return [n for batch in batches for n in batch]


def take(pipeline: Pipeline, steps: int, *, masked: bool = False) -> tuple[list[list[int]], dict[str, Any]]:
    """The next batches of a pipeline, and the state after them."""
    with pipeline:
        batches = numbers(itertools.islice(iter(pipeline), steps), masked=masked)
        return batches, pipeline.get_state()


def whole(epochs: int) -> list[list[int]]:
    with make(0) as pipeline:
        return [batch for _ in range(epochs) for batch in numbers(pipeline)]


@pytest.mark.parametrize(("before", "after"), [(2, 0), (0, 3), (2, 1)])
@pytest.mark.parametrize("taken", [0, 1, 3, 6, 7])
def test_a_run_goes_on_exactly_where_it_stopped(before: int, after: int, taken: int) -> None:
    with make(before) as pipeline:
        numbers(pipeline)
        iterator = iter(pipeline)
        received = [next(iterator) for _ in range(taken)]
        state = json.loads(json.dumps(pipeline.get_state()))
        assert state == iterator.get_state()
    assert state["step"] == len(received)
    assert len(json.dumps(state)) < 2000
    with make(after, prefetch_size=0, output="numpy") as pipeline:
        pipeline.set_state(state)
        assert pipeline.get_state() == state
        rest = numbers(pipeline) + numbers(pipeline)
    assert rest == whole(3)[7 + taken :]


def test_a_finished_epoch_is_the_start_of_the_next() -> None:
    with make() as pipeline:
        numbers(pipeline)
        state = pipeline.get_state()
        assert (state["epoch"], state["step"]) == (1, 0)
    with make() as pipeline:
        pipeline.set_state(state)
        assert numbers(pipeline) == whole(2)[7:]


def test_an_iterator_can_be_set_back() -> None:
    with make() as pipeline:
        iterator = iter(pipeline)
        next(iterator)
        state = iterator.get_state()
        rest = numbers(iterator)
        iterator.set_state(state)
        assert numbers(iterator) == rest == whole(1)[1:]


def test_single_elements_resume_too() -> None:
    with make(enforce_batch=False) as pipeline:
        iterator = iter(pipeline)
        for _ in range(13):
            next(iterator)
        state = pipeline.get_state()
    with make(0, enforce_batch=False) as pipeline:
        pipeline.set_state(state)
        assert [n for element in pipeline for n in [int(element["n"])]] == [n for b in whole(1) for n in b][13:]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"length": 51}, "length: the state has 50, this pipeline has 51"),
        ({"batch_size": 4}, "batch_size: the state has 8, this pipeline has 4.*elastic=True"),
        ({"seed": 1}, r"seed: the state has \d+, this pipeline has \d+.*elastic=True"),
        ({"drop_last": True}, "drop_last: the state has False, this pipeline has True"),
        ({"drop_last": True, "shard": ShardOptions(0, 2)}, "shards: the state has 1, this pipeline has 2"),
    ],
)
def test_a_state_of_another_pipeline_is_an_error_that_names_what_differs(other: Any, message: str) -> None:
    with make() as pipeline:
        state = pipeline.get_state()
    with make(**other) as pipeline:
        before = pipeline.get_state()
        with pytest.raises(ValueError, match=message):
            pipeline.set_state(state)
        assert pipeline.get_state() == before


@pytest.mark.parametrize(
    "change",
    [
        {"workers": "auto", "memory_budget": 10_000_000},
        {"prefetch_size": 5},
        {"output": "numpy"},
        {"device": jax.devices()[1]},
        {"sharding": NamedSharding(Mesh(np.array(jax.devices()), ("all",)), PartitionSpec())},
        {"pad_last": True},
        {"on_error": "skip"},
        {"timeout": 60, "restart_workers": False},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_does_not_say_which_records_come_may_change(change: Any) -> None:
    received, state = take(make(), 3)
    with make(**change) as pipeline:
        pipeline.set_state(state)
        assert received + numbers(pipeline, masked=True) == whole(1)


def test_single_elements_go_on_after_batches_elastically() -> None:
    received, state = take(make(), 3)
    with make(enforce_batch=False) as pipeline:
        with pytest.raises(ValueError, match="batch_size: the state has 8, this pipeline has 1"):
            pipeline.set_state(state)
        pipeline.set_state(state, elastic=True)
        assert flat(received) + [int(element["n"]) for element in pipeline] == flat(whole(1))


@pytest.mark.parametrize("elastic", [False, True])
@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"shuffle": False}, "shuffle: the state has True, this pipeline has False"),
        ({"stages": [MapElement(lambda record: record)]}, r"stages: the state has \[\], this pipeline has \['MapElem"),
        ({"stages": [Filter(lambda record: record["n"] > 3)]}, "length: the state has 50, this pipeline has 46"),
        ({"name": "another"}, "source: the state has 'memory', this pipeline has 'another'"),
        ({"part": {"shard_id": 1, "num_workers": 2}}, "source_shard: the state has"),
    ],
)
def test_what_says_which_records_there_are_and_what_becomes_of_them_may_not_change(
    elastic: bool, other: Any, message: str
) -> None:
    _, state = take(make(), 3)
    with make(**other) as pipeline, pytest.raises(ValueError, match=message):
        pipeline.set_state(state, elastic=elastic)


def test_what_is_no_state_is_an_error() -> None:
    with make() as pipeline:
        state = pipeline.get_state()
        for wrong in ({}, None, "state", {"fingerprint": 3}):
            with pytest.raises(TypeError, match="get_state"):
                pipeline.set_state(wrong)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="version 99"):
            pipeline.set_state({**state, "version": 99})
        with pytest.raises(ValueError, match="step 1000"):
            pipeline.set_state({**state, "step": 1000})
        with pytest.raises(ValueError, match="record 51 of epoch 0 does not exist"):
            pipeline.set_state({**state, "start": 51})
        for wrong in ("3", -1, None, True):
            with pytest.raises(ValueError, match="step must be an int"):
                pipeline.set_state({**state, "step": wrong})


_HOSTILE = [
    -1,
    -(1 << 70),
    1 << 64,
    10**5000,
    1.0,
    2.5,
    float("nan"),
    float("inf"),
    "3",
    "",
    None,
    True,
    np.bool_(True),
]
_HOSTILE += [np.float64(3), np.arange(2), [3], {}, 3 + 0j, b"3"]


@pytest.mark.parametrize("elastic", [False, True])
def test_a_number_from_elsewhere_is_right_or_an_error_that_names_it(elastic: bool) -> None:
    with make(0, batch_size=5) as pipeline:
        state = pipeline.get_state()
        for value in _HOSTILE:
            for name in ("seed", "epoch", "start", "step"):
                with pytest.raises(ValueError, match=f"a state's {name} must be an int of at least 0"):
                    pipeline.set_state({**state, name: value}, elastic=elastic)
            for name, least in {"length": 0, "batch_size": 1, "shards": 1}.items():
                with pytest.raises(ValueError, match=f"a state's {name} must be an int of at least {least}"):
                    pipeline.set_state({**state, "fingerprint": {**state["fingerprint"], name: value}}, elastic=elastic)
            with pytest.raises(ValueError, match="version"):
                pipeline.set_state({**state, "version": value}, elastic=elastic)
            assert pipeline.get_state() == state


@pytest.mark.parametrize("workers", [0, 2])
def test_an_iterator_that_is_given_a_wrong_state_goes_on_where_it_is(workers: int) -> None:
    with make(workers) as pipeline:
        iterator = iter(pipeline)
        received = numbers(itertools.islice(iterator, 2))
        for wrong in ({**pipeline.get_state(), "step": 1 << 63}, {**pipeline.get_state(), "epoch": 0.5}):
            with pytest.raises(ValueError, match="must be an int"):
                iterator.set_state(wrong, elastic=True)
        assert received + numbers(iterator) == whole(1)


@pytest.mark.parametrize("elastic", [False, True])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("drop_last", 1, "drop_last must be a bool, found 1 of type int"),
        ("drop_last", "no", "drop_last must be a bool"),
        ("shuffle", 1.0, "shuffle must be a bool"),
        ("batch_size", 0, "batch_size must be an int of at least 1"),
        ("shards", 0, "shards must be an int of at least 1"),
        ("source", 3, "source must be a string, found 3"),
        ("stages", "none", "stages must be a list"),
        ("stages", [3], r"stages\[0\] must be a string"),
        ("source_shard", [0, 1.0], r"source_shard\[1\] must be an int"),
        ("source_shard", [0], "source_shard: the state has"),
        ("more", None, "more: the state has None"),
    ],
)
def test_a_fingerprint_from_elsewhere_is_an_error_that_names_what_is_wrong(
    name: str, value: Any, message: str, elastic: bool
) -> None:
    with make(0) as pipeline, pytest.raises(ValueError, match=message):
        state = pipeline.get_state()
        pipeline.set_state({**state, "fingerprint": {**state["fingerprint"], name: value}}, elastic=elastic)


@pytest.mark.parametrize("name", ["length", "batch_size", "shards", "source_shard", "shuffle", "drop_last", "stages"])
def test_a_fingerprint_that_lacks_something_is_an_error(name: str) -> None:
    with make(0) as pipeline:
        state = pipeline.get_state()
        del state["fingerprint"][name]
        for elastic in (False, True):
            with pytest.raises(ValueError, match=f"{name}: the state has None"):
                pipeline.set_state(state, elastic=elastic)


def test_a_state_that_went_through_numpy_is_the_same_state() -> None:
    def through_numpy(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: through_numpy(item) for name, item in value.items()}
        if isinstance(value, list):
            return np.array(value) if value else ()
        if isinstance(value, bool):
            return np.bool_(value)
        return np.asarray(value, np.uint64 if value > 0 else np.int64) if isinstance(value, int) else value

    received, state = take(make(), 3)
    for elastic in (False, True):
        with make(batch_size=5 if elastic else 8) as pipeline:
            pipeline.set_state(through_numpy(state), elastic=elastic)
            assert flat(received) + flat(numbers(pipeline)) == flat(whole(1))
            json.dumps(pipeline.get_state())


@pytest.mark.parametrize("workers", [0, 2])
def test_the_last_epoch_that_can_be_counted_is_served(workers: int) -> None:
    with make(workers) as pipeline:
        pipeline.set_state({**pipeline.get_state(), "epoch": (1 << 62) - 1, "seed": (1 << 64) - 1}, elastic=True)
        assert sorted(flat(numbers(pipeline))) == list(range(50))
        with pytest.raises(ValueError, match="epoch must be an int"):
            pipeline.set_state({**pipeline.get_state(), "epoch": 1 << 62})


def test_an_elastic_resume_checks_a_position_by_the_batches_it_was_taken_in() -> None:
    with make(0) as pipeline:
        state = pipeline.get_state()
    with make(0, batch_size=5) as pipeline:
        with pytest.raises(ValueError, match="step 8 of epoch 0 does not exist: the epoch has 7 steps"):
            pipeline.set_state({**state, "step": 8}, elastic=True)
        with pytest.raises(ValueError, match="record 51 of epoch 0 does not exist.* 50 records"):
            pipeline.set_state({**state, "start": 51}, elastic=True)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("taken", [0, 1, 3, 6, 7])
def test_an_elastic_resume_goes_on_from_the_same_record(workers: int, taken: int) -> None:
    received, state = take(make(2), taken)
    with make(workers, batch_size=5, seed=99) as pipeline:
        pipeline.set_state(state, elastic=True)
        rest = numbers(pipeline)
        second = numbers(pipeline)
    assert flat(received) + flat(rest) == flat(whole(1))
    assert all(len(batch) == 5 for batch in rest[:-1])
    assert flat(second) == flat(whole(2))[50:]


def test_elastic_resumes_can_follow_one_another() -> None:
    received: list[int] = []
    state = None
    for batch_size, steps in ((8, 2), (5, 1), (3, 3), (8, 1), (7, 10)):
        with make(batch_size=batch_size) as pipeline:
            if state is not None:
                pipeline.set_state(json.loads(json.dumps(state)), elastic=True)
                assert pipeline.get_state()["epoch"] == 0
            batches, state = take(pipeline, steps)
            received += flat(batches)
    assert received == flat(whole(1))


def test_a_state_taken_after_an_elastic_resume_is_exact_for_the_new_batch_size() -> None:
    _, state = take(make(), 2)
    with make(batch_size=5) as pipeline:
        pipeline.set_state(state, elastic=True)
        iterator = iter(pipeline)
        first = next(iterator)
        state = iterator.get_state()
        assert (state["start"], state["step"]) == (16, 1)
        assert [item.batch_idx for item in first.metadata] == [0] * 5
        assert [item.index for item in first.metadata] == first["n"].tolist()
        rest = numbers(iterator)
    with make(0, batch_size=5) as pipeline:
        pipeline.set_state(state)
        assert numbers(pipeline) == rest


@pytest.mark.parametrize(("before", "after"), [(2, 3), (4, 1), (1, 2), (3, 2)])
def test_another_number_of_hosts_goes_on_exactly_where_the_run_stopped(before: int, after: int) -> None:
    def hosts(count: int) -> list[Pipeline]:
        return [make(0, batch_size=4, shard=ShardOptions(index, count), pad_last=True) for index in range(count)]

    seen: list[int] = []
    for host in hosts(before):
        batches, state = take(host, 2, masked=True)
        seen += flat(batches)
    for host in hosts(after):
        with host:
            host.set_state(state, elastic=True)  # the last host's: all of them are alike
            seen += flat(numbers(host, masked=True))
    assert sorted(seen) == list(range(50))


def test_an_elastic_resume_keeps_what_has_to_be_padded_padded() -> None:
    # 48 records are whole batches of 8, so nothing is padded; from record 8 on, whole batches of 16 are not.
    with make(length=48) as pipeline:
        _, state = take(pipeline, 1)
    with make(length=48, batch_size=16, pad_last=True) as pipeline:
        assert [batch.batch_size for batch in pipeline] == [16, 16, 16]
        pipeline.set_state(state, elastic=True)
        masks = [batch.valid_mask.tolist() for batch in pipeline]
    assert masks == [[True] * 16, [True] * 16, [True] * 8 + [False] * 8]


def test_an_iterator_resumes_elastically_too_and_others_stay_where_they_are() -> None:
    _, state = take(make(), 3)
    with make(batch_size=5) as pipeline:
        other = iter(pipeline)
        next(other)
        iterator = iter(pipeline)
        iterator.set_state(state, elastic=True)
        assert (other.get_state()["start"], other.get_state()["step"]) == (0, 1)
        assert flat(numbers(iterator)) == flat(whole(1))[24:]
        assert flat(numbers(other)) == flat(whole(1))[5:]


def told_truly(batches: Any) -> list[list[int]]:
    """The records of each batch, which are those that its metadata names."""
    found = []
    for batch in batches:
        found.append(np.asarray(batch["n"]).tolist())
        assert [one.index for one in batch.metadata] == found[-1]
    return found


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pipeline_goes_on_behind_its_newest_iterator_wherever_that_was_set_to(workers: int) -> None:
    with make() as pipeline:
        numbers(pipeline)
        received, state = take(pipeline, 3)
    with make(workers, batch_size=5) as pipeline:
        iterator = iter(pipeline)
        iterator.set_state(state, elastic=True)
        rest = flat(told_truly(iterator))
        assert flat(received) + rest == flat(whole(2)[7:])
        assert pipeline.epoch == 2
        assert flat(told_truly(pipeline)) == flat(whole(3)[14:])
        assert pipeline.get_state()["epoch"] == 3
    with make(workers) as pipeline:
        iterator = iter(pipeline)
        iterator.set_state(state)
        assert told_truly(iterator) == whole(2)[7 + 3 :]
        assert told_truly(pipeline) == whole(3)[14:]


def test_a_state_for_an_older_iterator_leaves_the_pipeline_where_it_is() -> None:
    with make(seed=1) as pipeline:
        _, state = take(pipeline, 2)
    with make(1) as other, make(1, batch_size=6) as pipeline:
        expected = [told_truly(other) for _ in range(2)]
        older, newest = iter(pipeline), iter(pipeline)
        older.set_state(state, elastic=True)
        with make(seed=1) as wanted:
            assert flat(told_truly(older)) == flat(told_truly(wanted))[16:]
        assert newest.get_state()["seed"] != state["seed"]
        assert flat(told_truly(newest)) == flat(expected[1])
        told_truly(pipeline)
        pipeline.set_state(newest.get_state())


def test_steps_that_a_state_leaves_out_are_left_out_by_the_iterator_that_it_is_set_for() -> None:
    with make() as pipeline:
        pipeline.skip(range(1, 4))
        state = pipeline.get_state()
        without = numbers(pipeline)
    with make() as pipeline:
        begun = pipeline.get_state()
        iterator = iter(pipeline)
        iterator.set_state(state)
        assert numbers(iterator) == without
        iterator = iter(pipeline)
        iterator.set_state(begun)
        assert numbers(iterator) == whole(1)


def test_steps_are_left_out_of_what_step_goes_on_with_and_of_a_whole_epoch() -> None:
    with make(0) as pipeline:
        received = [np.asarray(pipeline.step()["n"]).tolist()]
        pipeline.skip(range(2, 6), epoch=0)
        pipeline.skip(range(7), epoch=1)
        received += [np.asarray(pipeline.step()["n"]).tolist() for _ in range(3)]
    assert received == [whole(1)[0], whole(1)[1], whole(1)[6], whole(3)[14]]


def test_an_ordered_source_may_have_grown_and_a_shuffled_one_may_not() -> None:
    with make(shuffle=False) as pipeline:
        received, state = take(pipeline, 3)
    with make(shuffle=False, length=60) as pipeline:
        with pytest.raises(ValueError, match="length"):
            pipeline.set_state(state)
        pipeline.set_state(state, elastic=True)
        assert flat(received) + flat(numbers(pipeline)) == list(range(60))
    with make() as pipeline:
        _, state = take(pipeline, 3)
    with make(length=60) as pipeline, pytest.raises(ValueError, match="length: the state has 50"):
        pipeline.set_state(state, elastic=True)


@pytest.mark.parametrize("batch_size", [8, 5])
def test_what_a_source_has_grown_by_goes_on_where_a_short_last_batch_ended(batch_size: int) -> None:
    received, state = take(make(shuffle=False), 7)  # the seventh has two records, and the epoch has not been left yet
    with make(shuffle=False, length=60, batch_size=batch_size) as pipeline:
        pipeline.set_state(state, elastic=True)
        assert flat(received) + flat(numbers(pipeline)) == list(range(60))
    with (
        make(shuffle=False, length=49, batch_size=batch_size) as pipeline,
        pytest.raises(ValueError, match="record 50 of epoch 0 does not exist: an epoch has 49 records"),
    ):
        pipeline.set_state(state, elastic=True)


def test_a_state_asked_for_in_another_thread_is_always_a_whole_one() -> None:
    with make(output="numpy", batch_size=1) as pipeline:
        seen: list[tuple[int, int]] = []
        done = threading.Event()
        iterator = iter(pipeline)

        def watch() -> None:
            while not done.is_set():
                state = iterator.get_state()
                seen.append((state["epoch"], state["step"]))

        watcher = threading.Thread(target=watch)
        watcher.start()
        start = iterator.get_state()
        for _ in range(30):
            assert len(numbers(iterator)) == 50
            iterator.set_state(start)
        done.set()
        watcher.join()
    assert set(seen) <= {(0, step) for step in range(51)} | {(1, 0)}
    assert len(set(seen)) > 3


def test_pipelines_in_step_are_resumed_each_by_its_own_state() -> None:
    def pair() -> tuple[Pipeline, Pipeline]:
        return make(2), make(1, seed=5, length=90)

    train, extra = pair()
    with train, extra:
        together = zip(train, extra, strict=False)
        for _ in range(3):
            next(together)
        states = train.get_state(), extra.get_state()
        rest = [(numbers([a]), numbers([b])) for a, b in together]
    train, extra = pair()
    with train, extra:
        train.set_state(states[0])
        extra.set_state(states[1])
        assert [(numbers([a]), numbers([b])) for a, b in zip(train, extra, strict=False)] == rest


def test_an_evaluation_in_the_middle_of_an_epoch_changes_nothing() -> None:
    source = MemorySource(MemorySourceConfig(), {"n": np.arange(50)})
    with (
        Pipeline(source=source, batch_size=8, num_workers=2, shuffle=True, rngs=nnx.Rngs(0)) as train,
        Pipeline(source=source, batch_size=16, num_workers=2) as evaluation,
    ):
        alone = numbers(train)
        state = train.get_state()
        second = numbers(train)
        train.set_state({**state, "epoch": 0})
        mixed = []
        for step, batch in enumerate(train):
            mixed += numbers([batch])
            if step == 3:
                state = train.get_state()
                assert flat(numbers(evaluation)) == list(range(50))
                assert train.get_state() == state
        assert mixed == alone
        assert numbers(train) == second


def test_torch_names_say_the_same_on_a_pipeline_and_its_iterator() -> None:
    with Pipeline(source=np.arange(10), batch_size=2, output="numpy") as pipeline:
        iterator = iter(pipeline)
        for _ in range(2):
            next(iterator)
        state = pipeline.state_dict()
        assert state == iterator.state_dict() == pipeline.get_state()
        next(iterator)
        iterator.load_state_dict(state)
        assert next(iterator)["value"].tolist() == [4, 5]
        pipeline.load_state_dict(state)
        assert [batch["value"].tolist() for batch in pipeline] == [[4, 5], [6, 7], [8, 9]]
    with pytest.raises(TypeError, match="get_state"):
        pipeline.load_state_dict({})
