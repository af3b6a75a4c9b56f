"""What a trial goes by: who is at work, and what the code keeps."""

from __future__ import annotations

import functools
import logging
import os
import threading
from typing import Any

import numpy as np
import pytest

from datarax_mp.crews.auto.kept import Kept
from datarax_mp.crews.auto.look import at_work
from datarax_mp.crews.auto.sampler import Sampler
from datarax_mp.crews.auto.verdict import judge
from tests.recipes import recipe_of


@pytest.mark.parametrize(
    ("alone", "together", "threads", "kind", "why"),
    [
        ([1] * 50, [2] * 50, 2, "threads", "waited 0 % of its time for the others"),
        ([1] * 50, [1] * 50, 2, "processes", "waited 50 % of its time for the others"),
        ([1] * 50, [8] * 47 + [4] * 3, 8, "threads", "each of 8 at once waited 3 %"),
        ([1] * 50, [1] * 50, 8, "processes", "waited 88 %"),
        ([0] * 49 + [1], [0] * 48 + [2] * 2, 2, "threads", "one waited 98 % of its time for something else"),
        ([0, 1] * 25, [0, 1, 1, 2] * 20, 2, "threads", "waited 0 %"),
        ([0, 1] * 25, [0, 1] * 25, 2, "processes", "waited 50 %"),
        ([1] * 50, [3] * 50, 2, "threads", "waited 0 %"),
        ([], [2] * 50, 2, "processes", "only 0 and 50 looks"),
    ],
)
def test_threads_are_chosen_where_they_hardly_wait_for_each_other(
    alone: list[int], together: list[int], threads: int, kind: str, why: str
) -> None:
    found = judge(alone, together, threads)
    assert found.kind == kind
    assert why in found.why


@pytest.mark.parametrize(
    ("stat", "working"),
    [(b"17 (python) R 1 17", True), (b"17 (a) S (b) R 1", True), (b"17 (R) R) S 1 17", False), (b"9 (x) D 1", False)],
)
def test_a_thread_is_at_work_by_its_state_whatever_it_is_called(stat: bytes, working: bool) -> None:
    assert at_work(stat) is working


@pytest.mark.needs("proc")
def test_a_thread_that_sleeps_is_not_seen_at_work_and_the_sampler_ends_with_its_block() -> None:
    go_on = threading.Event()
    sleeper = threading.Thread(target=go_on.wait, daemon=True)
    sleeper.start()
    assert sleeper.native_id is not None
    with Sampler() as sampler:
        sampler.add(sleeper.native_id)
        while not sampler.looking():
            assert not sampler.lost()
        seen = sampler.seen()
    go_on.set()
    sleeper.join()
    assert seen
    assert not sum(look.working for look in seen)


def test_a_sampler_that_cannot_look_has_seen_nothing() -> None:
    with Sampler() as sampler:
        sampler.add(-1)
        assert sampler.seen() == []
    with Sampler() as sampler:
        sampler.add(os.getpid())


class Source:
    """A user's, with all that may change in one."""

    limit = 5

    def __init__(self) -> None:
        self.count, self.cache, self.nested, self.array = 1000, {"a": 1}, [[1]], np.zeros(3)
        self.big = list(range(1000))

    def __len__(self) -> int:
        return self.limit

    def __getitem__(self, number: int) -> Any:
        return {"x": number, "y": _of_the_module}


_of_the_module: Any = None


@functools.cache
def remembered(number: int) -> int:
    return number


def with_cache(record: Any) -> Any:
    return remembered(record["x"])


def change_global(source: Source) -> None:
    global _of_the_module
    _of_the_module = object()


CHANGES: dict[str, Any] = {
    "Source.count": lambda source: setattr(source, "count", source.count + 1),
    "Source.handle": lambda source: setattr(source, "handle", 1),
    "dict": lambda source: source.cache.__setitem__("b", 2),
    "list[0]": lambda source: source.nested.__setitem__(0, 7),
    "list": lambda source: source.big.append(1),
    "Source.big": lambda source: source.big.append(1),
    "_lru_cache_wrapper": lambda source: remembered(len(source)),
    "Source.__getitem__, global '_of_the_module'": change_global,
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_the_code_keeps_is_seen_to_change(name: str) -> None:
    source = Source()
    kept = Kept(recipe_of(source, with_cache))
    assert kept.changed() is None
    CHANGES[name](source)
    changed = kept.changed()
    assert changed is not None
    assert name.split(".")[0].split("[")[0] in changed or "Source" in changed or "with_cache" in changed
    remembered.cache_clear()


def test_reading_changes_nothing() -> None:
    source = Source()
    kept = Kept(recipe_of(source, with_cache))
    assert source[3] == {"x": 3, "y": _of_the_module}
    assert kept.changed() is None
    assert kept.shared() is None


def test_a_variable_of_a_closure_is_seen_to_change() -> None:
    count = 1000

    def counts(record: Any) -> Any:
        nonlocal count
        count += 1
        return record

    kept = Kept(recipe_of([1, 2], counts))
    counts(1)
    assert kept.changed() == "counts, variable 'count'"


def test_open_files_and_generators_are_for_one_at_a_time_and_loggers_are_not() -> None:
    class Holds(Source):
        def __init__(self, value: Any) -> None:
            super().__init__()
            self.value = value

    with open(__file__) as file:
        assert Kept(recipe_of(Holds(file))).shared() == "an object of type TextIOWrapper"
    assert Kept(recipe_of(Holds(file))).shared() is None  # it is closed
    assert Kept(recipe_of(Holds(np.random.default_rng(0)))).shared() == "an object of type Generator"
    assert Kept(recipe_of(Holds(logging.getLogger()))).shared() is None


def test_a_sampler_that_has_ended_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sampler() as sampler:
        assert not sampler.lost()
        sampler.add(-1)  # there is no such thread
        while not sampler.lost():
            pass
        assert not sampler.looking()
