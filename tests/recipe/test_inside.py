"""What is found inside of sources and stages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from datarax_mp import Pipeline
from datarax_mp.recipe.inside import find


class Shard:
    """A part of a data set that has to be told the epoch."""

    def __init__(self, number: int) -> None:
        self.number, self.epoch = number, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


class Sharded:
    """As torch's ConcatDataset has its parts in a list."""

    def __init__(self, parts: Any) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, number: int) -> dict[str, int]:
        part = self.parts[number]
        return {"n": part.number, "epoch": part.epoch}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", [list, tuple, lambda parts: dict(enumerate(parts))])
def test_all_parts_are_told_the_epoch_however_many_there_are(workers: int, kind: Any) -> None:
    source = Sharded(kind([Shard(number) for number in range(150)]))
    with Pipeline(source=source, batch_size=50, num_workers=workers, output="numpy") as pipeline:
        for epoch in range(3):
            assert all((batch["epoch"] == epoch).all() for batch in pipeline)


def test_large_containers_of_records_are_not_walked_through() -> None:
    asked = []

    def wanted(value: Any) -> bool:
        asked.append(value)
        return False

    class Record:
        pass

    records = [Record() for _ in range(100_000)]
    assert find({"source": Sharded(records), "numbers": list(range(1000)), "empty": []}, wanted) == []
    assert len(asked) < 10


def test_the_way_to_what_is_found_is_named() -> None:
    found = find({"source": Sharded({f"part {n}": np.random.default_rng(n) for n in range(70)})}, is_generator)
    assert [part.name for part in found][:2] == ["source.parts['part 0']", "source.parts['part 1']"]
    assert len(found) == 70


def is_generator(value: Any) -> bool:
    return isinstance(value, np.random.Generator)
