"""Sources that give the records of a batch as columns: the same batches as from single records, whatever is in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from datarax_mp import Filter, MapBatch, Pad, Pipeline, RandomMapElement, RecordError
from datarax_mp.recipe.reading import Columns

LENGTH = 30


def column(name: str, numbers: list[int]) -> Any:
    rows = np.array(numbers)
    return {
        "label": rows.astype(np.int32),
        "image": rows[:, None, None] + np.zeros((2, 3), np.float32),
        "listed": [float(number) for number in numbers],
        "text": [f"record {number}" for number in numbers],
        "bytes": [b"x" * number for number in numbers],
        "wide": rows.astype(np.int64),
        "late": rows.astype(np.int32 if 20 not in numbers else np.int64),
        "ragged": [np.arange(number % 5) for number in numbers],
    }[name]


class Columnar:
    """Has the fields that it is told to have, one of them deeper."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, number: int) -> dict[str, Any]:
        return self._tree({name: column(name, [number])[0] for name in self.names})

    def __getitems__(self, numbers: list[int]) -> dict[str, Any]:
        return self._tree({name: column(name, numbers) for name in self.names})

    def _tree(self, values: dict[str, Any]) -> dict[str, Any]:
        return {**values, "deep": {"y": values["label"]}}


def contents(source: Any, workers: int, **options: Any) -> list[Any]:
    found = []
    with Pipeline(source=source, batch_size=4, num_workers=workers, **options) as pipeline:
        for batch in pipeline:
            arrays = {name: batch[name] for name in batch if name != "deep"} | {"y": batch["deep"]["y"]}
            info = [item.source_info for item in batch.metadata]
            found.append(({name: (str(a.dtype), a.tolist()) for name, a in arrays.items()}, info))
    return found


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("names", "options"),
    [
        (("label", "image"), {}),
        (("label", "image", "wide"), {"shuffle": True, "rngs": np.random.default_rng(1)}),
        (("label", "listed"), {"pad_last": True}),
        (("label", "text", "bytes"), {}),
        (("label", "ragged"), {"stages": [Pad("ragged", 5, to="longest")]}),
        (("label", "image"), {"stages": [RandomMapElement(lambda r, rng: {**r, "image": r["image"] + rng.random()})]}),
        (("label", "image"), {"stages": [MapBatch(lambda batch: {**batch, "sum": batch["image"].sum((1, 2))})]}),
        (("label", "image"), {"stages": [Filter(lambda record: record["label"] % 3 > 0)]}),
        (("label", "image"), {"enforce_batch": True, "output": "numpy"}),
    ],
    ids=["plain", "wide, shuffled", "listed", "text", "ragged", "stage", "batch stage", "filter", "numpy"],
)
def test_columns_give_the_batches_that_records_give(workers: int, names: tuple[str, ...], options: Any) -> None:
    def again() -> dict[str, Any]:
        return {**options, "rngs": np.random.default_rng(1)}

    source = Columnar(*names)
    records = [source[number] for number in range(LENGTH)]
    assert contents(source, workers, **again()) == contents(records, 0, **again())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_column_that_changes_its_dtype_is_the_error_that_a_record_would_be(workers: int) -> None:
    with pytest.raises(RecordError, match="record 20, field 'late': expected dtype int32"):
        contents(Columnar("label", "late"), workers)


def test_columns_are_written_at_once_where_they_are_what_the_layout_says(monkeypatch: pytest.MonkeyPatch) -> None:
    picked = []

    def pick(self: Columns, place: int, original: Any = Columns.__getitem__) -> Any:
        picked.append(place)
        return original(self, place)

    monkeypatch.setattr(Columns, "__getitem__", pick)
    contents(Columnar("label", "image"), 0)
    assert picked == [0]  # for the layout
    contents(Columnar("label", "text"), 0)
    assert picked == [0, 0]
    contents(Columnar("label", "listed"), 0)
    assert len(picked) == 1 + 1 + 1 + LENGTH
