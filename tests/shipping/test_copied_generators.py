"""A random generator inside of the source or a stage is copied into every worker, and the user is told."""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np
import pytest

from datarax_mp import MapBatch, Pipeline


class Holds:
    """A stage with a generator."""

    def __init__(self, generator: Any) -> None:
        self.parts = {"rng": generator}

    def __call__(self, record: Any) -> Any:
        return record


def run(*stages: Any, source: Any = (1, 2, 3), workers: int = 1) -> None:
    with Pipeline(source=source, batch_size=1, stages=stages, num_workers=workers, output="numpy") as pipeline:
        for _ in range(2):
            list(pipeline)


@pytest.mark.parametrize("kind", [np.random.default_rng, np.random.RandomState, random.Random, np.random.PCG64])
def test_a_generator_is_named_once_with_the_way_to_it(kind: Any) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(Holds(kind(0)))
    [warning] = [one for one in caught if issubclass(one.category, UserWarning)]  # other tests' leave some, too
    text = str(warning.message)
    assert r"stages[0] (MapElement(Holds)).fn.parts['rng']" in text
    assert "RandomMapElement" in text and "int(rng.integers(2**32))" in text


def test_torchs_generator_is_found() -> None:
    torch = pytest.importorskip("torch")
    with pytest.warns(UserWarning, match=r"parts\['rng'\] \(Generator\)"):
        run(Holds(torch.Generator()))


def test_one_in_a_closure_is_found() -> None:
    rng = np.random.default_rng(0)

    def batch(data: Any) -> Any:
        return data if rng.random() < 2 else None

    with pytest.warns(UserWarning, match=r"variable 'rng' \(Generator\)"):
        run(MapBatch(batch))


def test_a_source_is_looked_at() -> None:
    class Source(list):
        rng = None

    source = Source([1, 2])
    source.rng = np.random.default_rng(0)
    with pytest.warns(UserWarning, match=r"source \(Source\)\.rng \(Generator\)"):
        run(source=source)


def test_no_warning_without_workers_or_generators() -> None:
    run(Holds(np.random.default_rng(0)), workers=0)
    run(Holds(np.random), lambda record: {"x": np.random.rand()})
