"""Data sets of Hugging Face: what a record is does not depend on how it is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import datasets
import numpy as np
import pytest

from datarax_mp import Pad, Pipeline
from datarax_mp.testing import assert_same_stream

LENGTH = 40


def make(**formatted: Any) -> datasets.Dataset:
    features = datasets.Features(
        {
            "n": datasets.Value("int32"),
            "x": datasets.Value("float32"),
            "good": datasets.Value("bool"),
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["a", "b"]),
            "pair": datasets.List(datasets.Value("float32"), length=2),
            "tokens": datasets.List(datasets.Value("int16")),
        }
    )
    rows = range(LENGTH)
    return datasets.Dataset.from_dict(
        {
            "n": list(rows),
            "x": [n / 4 for n in rows],
            "good": [n % 3 == 0 for n in rows],
            "text": [f"row {n}" for n in rows],
            "label": [n % 2 for n in rows],
            "pair": [[n, n + 1] for n in rows],
            "tokens": [list(range(n % 5 + 1)) for n in rows],
        },
        features=features,
    )


class Singly:
    """The same, asked for one record after the other."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, number: int) -> Any:
        return self.dataset[number]


DATASETS: dict[str, Callable[[], datasets.Dataset]] = {
    "plain": make,
    "selected": lambda: make().select(range(39, 3, -3)),
    "shuffled": lambda: make().shuffle(seed=1),
    "some columns": lambda: make().with_format(None, columns=["n", "text", "tokens"]),
    "transformed": lambda: make().with_transform(
        lambda batch: {"n": [n + 1 for n in batch["n"]], "tokens": batch["tokens"]}
    ),
}


@pytest.mark.parametrize("kind", DATASETS)
@pytest.mark.parametrize("how", [{}, {"num_workers": 2}, {"num_workers": 2, "workers": "threads"}])
def test_records_are_what_the_data_set_gives_one_by_one(kind: str, how: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"batch_size": 7, "shuffle": True, "seed": 2, "output": "numpy"}
    usual["stages"] = [Pad("tokens", 5, to="longest")]
    dataset = DATASETS[kind]()
    with Pipeline(source=Singly(dataset), **usual) as expected, Pipeline(source=dataset, **usual, **how) as found:
        assert_same_stream(expected, found)


def test_arrow_tables_are_records_with_arrows_own_types() -> None:
    dataset = make().remove_columns("tokens").with_format("arrow")
    with Pipeline(source=dataset, batch_size=7, shuffle=True, seed=1, output="numpy", num_workers=1) as pipeline:
        batch = next(iter(pipeline))
    assert (batch["n"].dtype, batch["x"].dtype, batch["pair"].shape) == (np.int32, np.float32, (7, 2))
    assert batch.info["text"] == [f"row {n}" for n in batch["n"].tolist()]
    assert (batch["pair"][:, 0] == batch["n"]).all()
