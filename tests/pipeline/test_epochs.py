"""Several epochs as one stream, and steps that are left out of it."""

from __future__ import annotations

import itertools
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarax_mp import Filter, Pipeline, RandomMapElement, ShardOptions, TokenBudget, WeightedSampler
from datarax_mp.testing import kill_workers

LENGTH, BATCH, STEPS = 22, 4, 6


class Told:
    """Records say in which epoch they were read, as far as the source was told."""

    epoch = -1

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"n": np.int32(number), "epoch": np.int32(self.epoch), "draw": np.random.random(), "text": f"{number}"}


def noisy(record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {**record, "noise": rng.random()}


def make(workers: int = 0, **options: Any) -> Pipeline:
    usual: dict[str, Any] = {
        "source": Told(),
        "batch_size": BATCH,
        "stages": [RandomMapElement(noisy)],
        "shuffle": True,
        "seed": 3,
        "output": "numpy",
    }
    return Pipeline(num_workers=workers, **{**usual, **options})


def content(batch: Any) -> Any:
    about = [(item.index, item.epoch, item.batch_idx, item.global_step) for item in batch.metadata]
    return {name: array.tolist() for name, array in batch.items()}, about, batch.info["text"]


def epochs(count: int, **options: Any) -> list[Any]:
    """What single epochs have, one after the other."""
    with make(**options) as pipeline:
        return [content(batch) for _ in range(count) for batch in pipeline]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_stream_of_epochs_is_what_single_epochs_are_one_behind_the_other(workers: int) -> None:
    expected = epochs(6)
    with make(workers, num_epochs=3) as pipeline:
        assert len(pipeline) == 3 * STEPS
        for group in range(2):
            found = []
            for batch in pipeline:
                found.append(content(batch))
                at = 3 * group + (len(found) - 1) // STEPS
                assert pipeline.epoch == at
                assert (batch["epoch"] == at).all()
            assert found == expected[group * 3 * STEPS :][: 3 * STEPS]
            assert pipeline.epoch == 3 * (group + 1)
    with make(workers, num_epochs=None) as pipeline:
        assert [content(batch) for batch in itertools.islice(pipeline, 6 * STEPS)] == expected
        with pytest.raises(TypeError, match="without end"):
            len(pipeline)


@pytest.mark.parametrize("num_epochs", [2, None])
def test_it_resumes_at_every_step_into_any_number_of_epochs(num_epochs: int | None) -> None:
    expected = epochs(4)
    with make(1, num_epochs=num_epochs) as pipeline:
        iterator = iter(pipeline)
        states = [pipeline.get_state()]
        for _ in range(2 * STEPS):
            next(iterator)
            states.append(json.loads(json.dumps(pipeline.get_state())))
    for step, state in enumerate(states):
        with make(2, num_epochs=2) as resumed:
            resumed.set_state(state)
            found = [content(batch) for batch in resumed]
            found += [content(batch) for batch in resumed] if len(found) < len(expected) - step else []
            assert found == expected[step:][: len(found)] and len(found) >= 2 * STEPS - step
        with make(0) as single:
            single.set_state(state)
            assert [content(batch) for batch in single] == expected[step : STEPS * (1 + state["epoch"])]


def test_a_second_stream_without_end_begins_behind_the_epoch_where_the_first_one_is() -> None:
    with make(1, num_epochs=None) as pipeline:
        first = list(itertools.islice(pipeline, STEPS + 2))
        assert first[-1].metadata[0].epoch == 1
        second = iter(pipeline)
        assert next(second).metadata[0].epoch == 2
        pipeline.set_state({**pipeline.get_state(), "epoch": 7, "step": 3})
        assert [content(next(iter(pipeline)))[1][0][1:3]] == [(7, 3)]


def test_workers_are_at_the_next_epoch_before_the_last_batch_of_this_one_is_received() -> None:
    with make(2, num_epochs=2, prefetch_size=8) as pipeline:
        iterator = iter(pipeline)
        for step in range(STEPS):
            batch = next(iterator)
            if step == STEPS - 1:
                assert (batch["epoch"] == 0).all()
                ahead = next(iterator)
                assert (ahead["epoch"] == 1).all()


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_that_die_at_the_border_change_nothing(workers: int) -> None:
    expected = epochs(3)
    with make(workers, num_epochs=3) as pipeline:
        found = []
        for batch in pipeline:
            found.append(content(batch))
            if len(found) in (STEPS - 1, 2 * STEPS):  # so far apart that they do not hit one that does the same again
                kill_workers(1)
        assert found == expected


def test_a_record_that_kills_its_worker_in_two_epochs_at_once_is_done_again(tmp_path: Path) -> None:
    def deadly(record: dict[str, Any]) -> dict[str, Any]:
        mark = tmp_path / str(int(record["epoch"]))
        if record["n"] == 5 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return record

    stages = [deadly, RandomMapElement(noisy)]
    with make(0, stages=[lambda record: record, RandomMapElement(noisy)]) as pipeline:
        expected = [batch["n"].tolist() for _ in range(2) for batch in pipeline]
    with make(2, num_epochs=2, stages=stages) as pipeline:
        assert [batch["n"].tolist() for batch in pipeline] == expected
    assert len(list(tmp_path.iterdir())) == 2


KINDS: dict[str, dict[str, Any]] = {
    "filter": {"stages": [Filter(lambda record: record["n"] % 3 != 0), RandomMapElement(noisy)]},
    "drop last": {"drop_last": True},
    "pad last": {"pad_last": True},
    "second of two hosts": {"shard": ShardOptions(1, 2), "pad_last": True},
    "weighted": {"shuffle": None, "sampler": WeightedSampler(np.arange(LENGTH) + 1.0, num_samples=30)},
    "token budget": {"batch_by": TokenBudget(60, np.arange(LENGTH) % 17 + 1)},
    "in order": {"shuffle": False},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_order_goes_over_the_border(kind: str) -> None:
    def numbers(batches: Any) -> list[Any]:
        return [(batch["n"].tolist(), batch["epoch"].tolist(), batch.valid_mask.tolist()) for batch in batches]

    with make(1, **KINDS[kind]) as pipeline:
        lengths = [0]
        expected = []
        for _ in range(3):
            expected += numbers(pipeline)
            lengths.append(len(expected))
    with make(2, num_epochs=3, **KINDS[kind]) as pipeline:
        assert numbers(pipeline) == expected
        assert len(pipeline) == len(expected)


def test_skipped_records_are_told_with_their_epoch() -> None:
    def fails(record: dict[str, Any]) -> dict[str, Any]:
        if record["n"] == 5:
            raise ValueError("no")
        return record

    with make(2, num_epochs=3, stages=[fails], on_error="skip") as pipeline:
        assert sum(batch.batch_size for batch in pipeline) == 3 * (LENGTH - 1)
        assert [skip.epoch for skip in pipeline.skips] == [0, 1, 2]


def test_an_error_in_a_later_epoch_comes_behind_the_batches_before_it() -> None:
    def fails(record: dict[str, Any]) -> dict[str, Any]:
        if record["epoch"] == 1 and record["n"] == 5:
            raise ValueError("no")
        return record

    with make(2, num_epochs=3, stages=[fails]) as pipeline:
        found = []
        with pytest.raises(ValueError, match="no"):
            for batch in pipeline:
                found.append(batch.metadata[0].epoch)
        state = pipeline.get_state()
        assert STEPS * state["epoch"] + state["step"] == len(found) >= STEPS


def test_an_epoch_without_a_batch_ends_a_stream_without_end() -> None:
    with Pipeline(source=[1, 2], batch_size=3, drop_last=True, num_epochs=None) as pipeline:
        assert list(pipeline) == []


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "2"])
def test_what_is_no_number_of_epochs_is_refused(wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="num_epochs"):
        make(num_epochs=wrong)


# --- steps that are left out


@pytest.mark.parametrize("workers", [0, 2])
def test_steps_that_are_left_out_do_not_come_and_the_others_stay_as_they_are(workers: int) -> None:
    expected = epochs(3)
    with make(workers, num_epochs=3) as pipeline:
        pipeline.skip(range(1, 3))
        pipeline.skip([0, 5], epoch=1)
        pipeline.skip(range(STEPS), epoch=2)
        gone = {1, 2, STEPS, STEPS + 5, *range(2 * STEPS, 3 * STEPS)}
        assert [content(batch) for batch in pipeline] == [e for step, e in enumerate(expected) if step not in gone]
        assert len(pipeline) == 3 * STEPS
        assert content(pipeline.at(0, 1)) == expected[1]
        assert pipeline.find(int(pipeline.records(0, 1)[0]), 0) == [1]


def test_they_are_part_of_a_state_until_their_epoch_is_over() -> None:
    expected = epochs(2)
    with make(1, num_epochs=2) as pipeline:
        pipeline.skip(range(2, 4))
        pipeline.skip([1], epoch=1)
        iterator = iter(pipeline)
        next(iterator)
        state = json.loads(json.dumps(pipeline.get_state()))
        assert state["left_out"] == [[0, 2, 4], [1, 1, 2]]
        for _ in range(4):
            next(iterator)
        assert pipeline.get_state()["left_out"] == [[1, 1, 2]]
    with make(2, num_epochs=2) as resumed:
        resumed.set_state(state)
        kept = [step for step in range(1, 2 * STEPS) if step not in (2, 3, STEPS + 1)]
        assert [content(batch) for batch in resumed] == [expected[step] for step in kept]
        resumed.set_state({name: value for name, value in state.items() if name != "left_out"})
        assert [content(batch) for batch in resumed] == expected[1:]


def test_a_state_with_many_ranges_stays_small() -> None:
    with Pipeline(source=range(10**12), batch_size=1, output="numpy") as pipeline:
        for place in range(40):
            start = 10**11 + place * 10**9
            pipeline.skip(range(start, start + 5), epoch=10**6)
        assert len(json.dumps(pipeline.get_state())) < 2500


def test_another_batch_size_has_other_steps_so_none_are_left_out_by_number() -> None:
    with make() as pipeline:
        pipeline.skip([3])
        state = pipeline.get_state()
    with make(batch_size=3) as other, pytest.raises(ValueError, match=r"leaves out steps \[\[0, 3, 4\]\]"):
        other.set_state(state, elastic=True)


def test_what_is_no_step_is_refused() -> None:
    with make() as pipeline:
        with pytest.raises(IndexError, match="epoch 0 has 6 steps"):
            pipeline.skip([2, 6])
        with pytest.raises(TypeError, match=r"range\(3\) perhaps"):
            pipeline.skip(3)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="a step"):
            pipeline.skip(["a"])  # type: ignore[list-item]
        pipeline.skip([])
        assert len(list(pipeline)) == STEPS
