"""What the user's code is told before it runs, and what of the user's changes reaches it."""

from __future__ import annotations

import functools
import threading
from typing import Any

import numpy as np
import pytest

from datarax_mp import (
    ConcatSource,
    MapBatch,
    MapElement,
    MixSource,
    PackedSource,
    Pipeline,
    RandomMapElement,
    SubsetSource,
    WindowSource,
)

WORKERS = [0, 1, 3]


class Told:
    """A source and a stage that say which epoch they were told of last."""

    def __init__(self, length: int = 24) -> None:
        self.length = length
        self.epoch = -1
        self.factor = 1

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"number": number * self.factor, "told": self.epoch}

    def map(self, record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "stage": self.epoch}

    __call__ = map


def column(batches: Any, name: str = "told") -> list[int]:
    return [value for batch in batches for value in np.asarray(batch[name]).tolist()]


def pipeline(workers: int, source: Any, *stages: Any, **options: Any) -> Pipeline:
    options = {"batch_size": 4, "output": "numpy", "rngs": np.random.default_rng(0)} | options
    return Pipeline(source=source, stages=stages, num_workers=workers, **options)


@pytest.mark.parametrize("workers", WORKERS)
def test_a_source_is_told_the_epoch_before_its_first_record(workers: int) -> None:
    with pipeline(workers, Told()) as made:
        assert [column(made) for _ in range(3)] == [[epoch] * 24 for epoch in range(3)]


class Draws(Told):
    """A source that draws from a global generator, too."""

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {**super().__getitem__(number), "drawn": np.random.random()}


MADE_OF = {
    "ConcatSource": lambda: ConcatSource([Draws(8), Draws()]),
    "SubsetSource": lambda: SubsetSource(Draws(), range(4, 20)),
    "MixSource": lambda: MixSource([Draws(8), Draws()], [1, 2]),
    "WindowSource": lambda: WindowSource(Draws(), 2),
    "one of another": lambda: SubsetSource(ConcatSource([Draws(8), Draws()]), range(3, 30)),
}


@pytest.mark.parametrize("kind", MADE_OF)
def test_a_source_inside_of_one_of_ours_is_told_the_epoch_and_draws_the_same_numbers(kind: str) -> None:
    streams = []
    for workers in WORKERS:
        with pipeline(workers, MADE_OF[kind]()) as made:
            streams.append([[(batch["told"].tolist(), batch["drawn"].tolist()) for batch in made] for _ in range(2)])
    assert streams[0] == streams[1] == streams[2]
    for epoch, batches in enumerate(streams[0]):
        assert all(np.all(np.array(told) == epoch) for told, _ in batches)


@pytest.mark.parametrize("workers", WORKERS)
def test_runs_of_an_earlier_epoch_do_not_see_a_later_one(workers: int) -> None:
    with pipeline(workers, Told(), Told()) as made:
        first, second = iter(made), iter(made)
        for _ in range(6):
            assert column([next(first)], "stage") == [0] * 4
            assert column([next(second)]) == [1] * 4


@pytest.mark.parametrize("workers", WORKERS)
def test_two_pipelines_over_one_source_tell_it_each_its_own_epoch(workers: int) -> None:
    source = Told()
    with pipeline(workers, source) as one, pipeline(workers, source) as other:
        column(one)
        a, b = iter(one), iter(other)
        for _ in range(6):
            assert column([next(a)]) == [1] * 4
            assert column([next(b)]) == [0] * 4


@pytest.mark.parametrize("workers", WORKERS)
def test_a_resumed_pipeline_tells_the_epoch_it_goes_on_in(workers: int) -> None:
    with pipeline(2, Told()) as made:
        column(made)
        iterator = iter(made)
        next(iterator)
        state = iterator.get_state()
    with pipeline(workers, Told()) as resumed:
        resumed.set_state(state)
        assert column(resumed) == [1] * 20
        assert column(resumed) == [2] * 24
        resumed.set_state(state)
        assert column(resumed) == [1] * 20


def wrapped(kind: str, told: Told) -> Any:
    keywords: Any = {"of": told}

    def by_default(record: Any, told: Told = told) -> Any:
        return told(record)

    def by_keyword(record: Any, *, of: Told) -> Any:
        return of(record)

    class Holder:
        def __init__(self) -> None:
            self.parts = {"list": [told]}

        def __call__(self, record: Any) -> Any:
            return self.parts["list"][0](record)

    class Slotted:
        __slots__ = ("inner",)

        def __init__(self) -> None:
            self.inner = told

        def __call__(self, record: Any) -> Any:
            return self.inner(record)

    return {
        "itself": lambda: told,
        "element": lambda: MapElement(told),
        "random": lambda: RandomMapElement(lambda record, rng: told(record)),
        "method": lambda: told.map,
        "closure": lambda: lambda record: told(record),
        "default": lambda: by_default,
        "partial": lambda: functools.partial(by_keyword, **keywords),
        "attribute": Holder,
        "slot": Slotted,
        "batch": lambda: MapBatch(lambda batch: {**batch, "stage": np.full(len(batch["number"]), told.epoch)}),
    }[kind]()


KINDS = ["itself", "element", "random", "method", "closure", "default", "partial", "attribute", "slot", "batch"]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stage_is_told_however_it_is_wrapped(kind: str, workers: int) -> None:
    with pipeline(workers, Told(), wrapped(kind, Told())) as made:
        assert [column(made, "stage") for _ in range(2)] == [[0] * 24, [1] * 24]


GLOBAL = Told()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stage_that_is_a_global_of_the_script_is_told(workers: int) -> None:
    with pipeline(workers, Told(), lambda record: GLOBAL(record)) as made:
        assert [column(made, "stage") for _ in range(2)] == [[0] * 24, [1] * 24]


class Documents(Told):
    def __getitem__(self, number: int) -> Any:
        return np.full(3, self.epoch)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_source_inside_a_source_is_told(workers: int) -> None:
    packed = PackedSource(Documents(), 6, lengths=[3] * 24)
    with pipeline(workers, packed) as made:
        assert [np.unique([batch["tokens"] for batch in made]).tolist() for _ in range(2)] == [[0], [1]]


class Outer(Told):
    """Tells what is inside itself, in its own way."""

    def __init__(self, inner: Told) -> None:
        super().__init__(len(inner))
        self.inner = inner

    def set_epoch(self, epoch: int) -> None:
        self.inner.set_epoch(100 + epoch)

    def __getitem__(self, number: int) -> Any:
        return self.inner[number]


@pytest.mark.parametrize("workers", [0, 2])
def test_who_is_told_tells_those_inside_itself(workers: int) -> None:
    with pipeline(workers, Outer(Told())) as made:
        assert [column(made) for _ in range(2)] == [[100] * 24, [101] * 24]


@pytest.mark.parametrize("workers", [0, 2])
def test_what_set_epoch_raises_reaches_the_caller_and_names_who_raised_it(workers: int) -> None:
    class Fails(Told):
        def set_epoch(self, epoch: int) -> None:
            if epoch == 1:
                raise LookupError("no such epoch")

    with pipeline(workers, Fails(), on_error="skip") as made:
        assert column(made) == [-1] * 24
        with pytest.raises(LookupError, match="no such epoch") as caught:
            column(made)
        assert any("source (Fails).set_epoch(1)" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("workers", WORKERS)
def test_what_is_changed_between_epochs_reaches_the_next(workers: int) -> None:
    source, stage, offsets = Told(), Told(), np.zeros(24, np.int64)

    def change(record: Any) -> Any:
        return {**record, "stage": stage.factor, "offset": offsets[3]}

    with pipeline(workers, source, change) as made:
        for factor in (1, 1, 2, 5):
            source.factor = stage.factor = offsets[3] = factor
            batches = [{name: value.copy() for name, value in batch.items()} for batch in made]
            assert column(batches, "number") == [number * factor for number in range(24)]
            assert column(batches, "stage") == column(batches, "offset") == [factor] * 24


@pytest.mark.parametrize("workers", [1, 3])
def test_an_epoch_that_has_begun_stays_as_it_was(workers: int) -> None:
    source = Told()
    with pipeline(workers, source) as made:
        first = iter(made)
        next(first)
        source.factor = 2
        assert column(made, "number") == list(range(0, 48, 2))
        assert column(first, "number") == list(range(4, 24))


def test_workers_keep_what_has_not_changed() -> None:
    class Counts(Told):
        def __getitem__(self, number: int) -> Any:
            self.factor += 1
            return {"number": self.factor}

    with pipeline(1, Counts()) as made:
        assert [max(column(made, "number")) for _ in range(2)] == [26, 50]  # one to learn the layout


def test_a_source_that_can_no_longer_be_serialised_is_an_error_that_names_the_attribute() -> None:
    source: Any = Told()
    with pipeline(2, source) as made:
        column(made)
        source.handle = threading.Lock()
        with pytest.raises(TypeError, match=r"source \(Told\)\.handle cannot be sent"):
            iter(made)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_source_that_has_become_longer_or_shorter_is_refused(workers: int) -> None:
    source = Told()
    with pipeline(workers, source) as made:
        column(made)
        for length in (25, 23):
            source.length = length
            with pytest.raises(ValueError, match=rf"source of type Told had 24 records .* and has {length} now"):
                iter(made)
        source.length = 24
        assert column(made) == [1] * 24


@pytest.mark.parametrize("workers", [0, 2])
def test_what_becomes_of_a_list_does_not_matter_once_it_is_a_source(workers: int) -> None:
    records = [{"number": number} for number in range(6)]
    texts = ["a", "b", "c", "d", "e", "f"]
    with pipeline(workers, records) as one, pipeline(workers, {"number": np.arange(6), "text": texts}) as other:
        records.clear()
        texts[:] = []
        for _ in range(2):
            assert column(one, "number") == list(range(6))
            assert [text for batch in other for text in batch.info["text"]] == list("abcdef")
