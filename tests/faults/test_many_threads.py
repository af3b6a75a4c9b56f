"""Threads that make batches, take them, look and close, all at once: nothing is lost, changed or left.

With an interpreter that has no global lock (``python3.13t``) they truly run at once; with one that has it, they take
turns a hundred times as often as usual.
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from datarax_mp import Pad, Pipeline, RandomMapElement

THREADS, ROUNDS = 4, 12


@pytest.fixture(autouse=True)
def quick_turns() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(before)


def noisy(record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {"n": record["n"], "noise": rng.random(3), "tokens": np.arange(record["n"] % 7 + 1)}


STAGES = [RandomMapElement(noisy), Pad("tokens", 8, to="longest", lengths="length")]


def make(workers: int, **options: Any) -> Pipeline[Any]:
    how: dict[str, Any] = {"workers": "threads", "num_workers": workers} if workers else {}
    source = {"n": np.arange(101)}
    return Pipeline(source=source, batch_size=3, stages=STAGES, shuffle=True, seed=9, output="numpy", **how, **options)


def content(batch: Any) -> list[Any]:
    return [batch[name].tolist() for name in ("n", "noise", "tokens", "length")]


def together(work: Callable[[int], None], count: int = THREADS) -> None:
    """Have so many threads do it at once, and raise what they raised."""
    raised, begin = list[BaseException](), threading.Barrier(count)

    def run(number: int) -> None:
        try:
            begin.wait()
            work(number)
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in raised:
        raise error


def test_pipelines_in_many_threads_give_each_its_own_stream_while_others_look() -> None:
    with make(0, num_epochs=2) as alone:
        expected = [content(batch) for batch in alone]
    alive, over = dict[int, Pipeline[Any]](), threading.Event()

    def look() -> None:
        while not over.is_set():
            for pipeline in list(alive.values()):
                assert pipeline.stats().batches >= 0
                pipeline.get_state()

    def use(number: int) -> None:
        choice = random.Random(number)
        for _ in range(ROUNDS):
            with make(choice.randint(1, 4), num_epochs=2) as pipeline:
                alive[number] = pipeline
                steps = choice.choice([0, 1, 5, len(expected)])
                kept = []
                for batch in pipeline:
                    kept.append((batch, content(batch)))
                    if len(kept) >= steps:
                        break
                assert [found for _, found in kept] == expected[: len(kept)]
                assert [content(batch) for batch, _ in kept] == expected[: len(kept)]  # none has changed since

    looker = threading.Thread(target=look)
    looker.start()
    try:
        together(use)
    finally:
        over.set()
        looker.join()


def test_threads_that_share_one_iterator_have_every_batch_once() -> None:
    with make(0) as alone:
        expected = sorted(batch["n"].tolist() for batch in alone)
    for _ in range(ROUNDS):
        with make(3) as pipeline:
            iterator, found = iter(pipeline), list[Any]()
            together(lambda _, iterator=iterator, found=found: found.extend(b["n"].tolist() for b in iterator))  # type: ignore[misc]
            assert sorted(found) == expected


def test_a_pipeline_that_one_of_many_threads_closes_ends_for_all() -> None:
    with make(0, num_epochs=2) as alone:
        expected = [tuple(batch["n"].tolist()) for batch in alone]
    for _ in range(ROUNDS):
        pipeline = make(3, num_epochs=2)
        iterator, found = iter(pipeline), list[Any]()

        def use(thread: int, pipeline: Any = pipeline, iterator: Any = iterator, found: Any = found) -> None:
            for batch in iterator:
                found.append(tuple(batch["n"].tolist()))
                if thread == 0 or len(found) > 20:
                    pipeline.close()

        together(use)
        assert found and len(set(found)) == len(found)
        assert set(found) <= set(expected)
