"""Who makes batches is chosen in one place, and what is not chosen is not even imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from datarax_mp.crews.base import Abilities, Crew
from datarax_mp.crews.choose import choose, missing
from datarax_mp.crews.local import LocalEngine
from datarax_mp.order import Order, Sequential
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.sources.adapt import as_source

WATCH = """
import sys

def imported():
    only_for_workers = "datarax_mp.crews.processes", "datarax_mp.shipping"
    return [name for name in sys.modules if name.startswith(only_for_workers)]

"""


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(as_source([1, 2]), (), Order(Sequential(2), batch_size=2), x64=None)


def test_without_workers_nothing_is_imported_that_only_they_need(run_script: Callable[..., Any]) -> None:
    run_script(
        WATCH
        + "import datarax_mp\n"
        + "assert not imported()\n"
        + "from datarax_mp import MemorySource, Pipeline, scan\n"
        + "if __name__ == '__main__':\n"
        + "    with Pipeline(source=[1, 2, 3], batch_size=2, output='numpy') as pipeline:\n"
        + "        list(pipeline)\n"
        + "    assert scan(['a', 'four'], len).tolist() == [1, 4]\n"
        + "    assert not imported(), imported()\n"
    )


def test_processes_that_were_imported_late_end_after_the_iterators_that_use_them(
    run_script: Callable[..., Any],
) -> None:
    run_script(
        WATCH
        + "import datarax_mp.pipeline.iterator\n"
        + "assert not imported()\n"
        + "from datarax_mp import Pipeline\n"
        + "from datarax_mp.crews.processes.pool import Pool\n"
        + "close = Pool.close\n"
        + "def closes(pool):\n"
        + "    assert next(iterator, None) is None, 'it was to be closed first'\n"
        + "    close(pool)\n"
        + "Pool.close = closes\n"
        + "iterator = iter(Pipeline(source=list(range(99)), batch_size=2, num_workers=1, output='numpy'))\n"
        + "next(iterator)\n"
    )


def test_the_calling_process_works_where_there_are_no_workers(recipe: Recipe) -> None:
    engine = choose(recipe, workers="processes", num_workers=0, fewer=False, restart=True, timeout=None)
    assert isinstance(engine, LocalEngine)
    assert not engine.shared


def test_workers_need_memory_that_other_processes_can_map(recipe: Recipe) -> None:
    engine = choose(recipe, workers="processes", num_workers=2, fewer=False, restart=True, timeout=None)
    assert engine.shared
    engine.close()


def test_nothing_is_missing_for_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.fork")
    assert missing("processes", 0) == []
    assert missing("processes", 1) == ["os.fork"]


def test_a_crew_that_neither_grows_nor_times_out_says_so_when_it_is_asked_all_the_same() -> None:
    class Slow(Crew):
        abilities = Abilities(concurrent=True)

    Slow.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]
    crew = Slow()  # type: ignore[abstract]
    with pytest.raises(RuntimeError, match="grows=False"):
        crew.grow(2)
    with pytest.raises(RuntimeError, match="times_out=False"):
        crew.stuck(None, 1.0)
