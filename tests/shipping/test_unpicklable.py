"""What does not pickle is named with what holds it."""

from __future__ import annotations

import functools
import threading
from typing import Any

import pytest

from datarax_mp import MapElement
from datarax_mp.shipping.package import SerializedRecipe
from tests.recipes import recipe_of

LOCK = threading.Lock()
NESTED = {"a": [1, {"lock": LOCK}]}


class Source:
    """Holds whatever it is given."""

    def __init__(self, **values: Any) -> None:
        vars(self).update(values)

    def __len__(self) -> int:
        return 3

    def __getitem__(self, number: int) -> Any:
        return {"x": number}


class Slotted:
    __slots__ = ("handle",)

    def __init__(self, handle: Any) -> None:
        self.handle = handle


class WithClassAttribute(Source):
    shared = LOCK


class Rows(list):
    """A list of rows, some with more than rows should have."""


class Refuses:
    def __reduce__(self) -> Any:
        raise ValueError("I stay here")


def uses_global(record: Any) -> Any:
    return NESTED and record


def calls(record: Any) -> Any:
    return uses_global(record)


def has_default(record: Any, handle: Any = LOCK) -> Any:
    return record


def has_keyword(record: Any, *, handle: Any = LOCK) -> Any:
    return record


def closure() -> Any:
    handles = [1, LOCK]
    return lambda record: (handles, record)


def message(source: Any = None, *stages: Any) -> str:
    recipe = recipe_of(source or [1, 2], *stages)
    with pytest.raises(TypeError, match="cannot be sent to worker processes") as raised:
        SerializedRecipe(recipe, 1)
    return str(raised.value)


SOURCES = {
    r"source (Source).settings['a'][1] cannot": Source(settings={"a": [0, LOCK]}),
    r"source (Source).inner.inner.handle cannot": Source(inner=Source(inner=Slotted(LOCK))),
    r"source (WithClassAttribute).shared cannot": WithClassAttribute(),
    r"source (Rows)[1] cannot": Rows([1, LOCK]),
    r"source (Source).strange cannot be sent to worker processes: an object of type Refuses": Source(strange=Refuses()),
    r"source (Source).generator cannot": Source(generator=(n for n in range(3))),
}

STAGES = {
    r"in uses_global: global 'NESTED'['a'][1]['lock'] cannot": uses_global,
    r"in calls: global 'uses_global', in uses_global: global 'NESTED'['a'][1]['lock'] cannot": calls,
    r"in has_default: default of 'handle' cannot": has_default,
    r"in has_keyword: default of 'handle' cannot": has_keyword,
    r": variable 'handles'[1] cannot": closure(),
    r"(MapElement(partial)), in has_default: default of 'handle' cannot": functools.partial(has_default),
    r"stages[0] (MapElement(uses_global)), in uses_global": functools.cache(uses_global),
}


@pytest.mark.parametrize("expected", SOURCES)
def test_in_a_source(expected: str) -> None:
    assert expected in message(SOURCES[expected])


@pytest.mark.parametrize("expected", STAGES)
def test_in_a_stage(expected: str) -> None:
    assert expected in message(None, STAGES[expected])


def test_the_right_stage_is_named_and_what_to_do() -> None:
    said = message(None, MapElement(lambda record: record), MapElement(has_default))
    assert said.startswith("stages[1] (MapElement(has_default))")
    assert "type lock" in said and "num_workers=0" in said and "functools.cache" in said


def test_a_library_that_teaches_pickle_more_does_not_mislead() -> None:
    pytest.importorskip("dill")  # with it, Python's own pickler in Python pickles locks
    assert "source (Source).lock cannot" in message(Source(lock=LOCK))
