"""Whether two streams are one, and whether a stream can be taken up anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import closing
from itertools import islice, zip_longest
from typing import Any

from datarax_mp.testing.contents import difference, digests, of_batch

_END = object()


def assert_same_stream(one: Iterable[Any], other: Iterable[Any], *, epochs: int = 1) -> None:
    """Make sure that two pipelines give the same batches in the same order.

    Compared are fields, dtypes, shapes and values (NaN is NaN), what is no array, record numbers and masks. Both are
    iterated side by side, so that nothing has to be kept.

    Args:
        one: a pipeline, or anything whose iteration gives batches or dicts of arrays.
        other: another one.
        epochs: how many times both are iterated.

    Raises:
        AssertionError: they differ; the message says in which epoch, step, field and row.

    >>> import numpy as np
    >>> from datarax_mp import Pipeline
    >>> pipelines = [Pipeline(source={"x": range(10)}, batch_size=4, shuffle=True, seed=1) for _ in range(2)]
    >>> assert_same_stream(*pipelines, epochs=2)
    >>> assert_same_stream([{"x": np.arange(2)}], [{"x": np.array([0, 7])}])
    Traceback (most recent call last):
    AssertionError: epoch 0, step 0: field 'x' differs in 1 of 2 rows, first in row 1: 1 in the first, 7 in the second
    """
    for epoch in range(epochs):
        for step, (mine, theirs) in enumerate(zip_longest(one, other, fillvalue=_END)):
            where = f"epoch {epoch}, step {step}"
            if mine is _END or theirs is _END:
                shorter = "first" if mine is _END else "second"
                raise AssertionError(f"{where}: the {shorter} stream has ended, and the other one goes on")
            told = difference(of_batch(mine), of_batch(theirs), "the first", "the second")
            if told is not None:
                raise AssertionError(f"{where}: {told}")


def check_resume(pipeline: Any, *, steps: int = 8) -> None:
    """Make sure that the rest of an epoch is the same wherever it is taken up.

    The pipeline's epoch, or its ``num_epochs``, is iterated from where it stands, and then again from several of its
    steps, each time from a state that has been JSON meanwhile. Of a stream without end (``num_epochs=None``) it is one
    epoch and the first batch of the next. Afterwards the pipeline stands where it stood.

    Args:
        pipeline: the pipeline.
        steps: how many places to take it up at, spread over the epoch, the first and the last step among them.

    Raises:
        AssertionError: what comes after a state differs; the message says where the state was and what is different.

    >>> from datarax_mp import Pipeline
    >>> check_resume(Pipeline(source={"x": range(10)}, batch_size=4, shuffle=True, seed=1))
    """
    begin = pipeline.get_state()
    pipeline.set_state(begin)  # or an epoch that was left in the middle would be left for the next one
    states, seen = [begin], []
    endless = pipeline._config.num_epochs is None
    try:
        with closing(iter(pipeline)) as iterator:
            for batch in iterator:
                seen.append(digests(of_batch(batch)))
                states.append(iterator.get_state())
                if endless and states[-1]["epoch"] > states[1]["epoch"]:
                    break
        for place in _spread(len(seen), steps):
            pipeline.set_state(json.loads(json.dumps(states[place])))
            with closing(iter(pipeline)) as iterator:
                _check_rest(islice(iterator, len(seen) - place) if endless else iterator, seen, place)
    finally:
        pipeline.set_state(begin)


def _check_rest(rest: Iterable[Any], seen: list[dict[str, str]], place: int) -> None:
    step = place - 1
    for step, batch in enumerate(rest, place):
        what = f"taken up after {place} batches, batch {step} of the epoch"
        if step >= len(seen):
            raise AssertionError(f"{what}: there were {len(seen)} batches when it was not interrupted")
        told = difference(seen[step], digests(of_batch(batch)), "one run", "the resumed one")
        if told is not None:
            name = told.split("'")[1] if told.startswith("field") else None
            raise AssertionError(f"{what}: " + (f"field '{name}' is another one" if name else told))
    if step + 1 < len(seen):
        raise AssertionError(f"taken up after {place} batches: {len(seen) - step - 1} batches are missing at the end")


def _spread(length: int, count: int) -> list[int]:
    if length <= count:
        return list(range(length))
    return sorted({round(place * (length - 1) / max(count - 1, 1)) for place in range(count)})
