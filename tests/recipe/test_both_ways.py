"""The quick way to write records and the thorough one give the same batches, or the same errors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from datarax_mp import Pad, Pipeline
from datarax_mp.recipe.rows import ALL_WRITTEN, RowWriter


class Pair(NamedTuple):
    """Has fields, as a record has."""

    left: Any
    right: Any


KINDS: dict[str, Callable[[np.random.Generator], Any]] = {
    "int": lambda rng: int(rng.integers(-(1 << 62), 1 << 62)),
    "float": lambda rng: float(rng.random()),
    "bool": lambda rng: bool(rng.random() < 0.5),
    "scalar": lambda rng: np.int16(rng.integers(-9, 9)),
    "array": lambda rng: rng.random((2, 3), np.float32),
    "strided": lambda rng: rng.integers(0, 9, (3, 4))[:, ::2],
    "swapped": lambda rng: rng.integers(0, 9, 2).astype(">i4"),
    "text": lambda rng: rng.choice(["a", "of words", ""]).item(),
    "bytes": lambda rng: rng.bytes(3),
    "none": lambda rng: None,
    "object": lambda rng: {1, 2},
    "tokens": lambda rng: rng.integers(0, 99, rng.integers(0, 7), np.int32),
    "points": lambda rng: rng.random((rng.integers(0, 5), 2)),
    "pair": lambda rng: Pair(rng.random(), int(rng.integers(9))),
}
# What a record may have instead, now and then: some of it fits, and some is an error.
OTHERS: list[Callable[[Any], Any]] = [
    lambda value: np.asarray(value),
    lambda value: value.tolist() if hasattr(value, "tolist") else value,
    lambda value: None,
    lambda value: "text",
    lambda value: np.asarray(value)[..., None] if not isinstance(value, (str, bytes, set, dict)) else value,
    lambda value: float("nan"),
    lambda value: np.float64(0.5),
    lambda value: {},
    lambda value: Pair(value, 1.0),
    lambda value: {"within": value},
]


def schema(rng: np.random.Generator) -> dict[str, Any]:
    """Names of kinds, some of them within dicts."""
    names = rng.choice(sorted(KINDS), rng.integers(2, 6), replace=False).tolist()
    found: dict[str, Any] = {"int": "int"}
    for name in names:
        if rng.random() < 0.2:
            found.setdefault("deep", {})[name] = name
        else:
            found[name] = name
    return found


def filled(kinds: dict[str, Any], rng: np.random.Generator, rare: float) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for name, kind in kinds.items():
        if isinstance(kind, dict):
            record[name] = filled(kind, rng, rare)
        elif rng.random() >= rare / 8:
            value = KINDS[kind](rng)
            record[name] = OTHERS[rng.integers(len(OTHERS))](value) if rng.random() < rare else value
    if rng.random() < rare / 8:
        record["more"] = 1
    return record


def pads(kinds: dict[str, Any], rng: np.random.Generator) -> list[Pad]:
    """Each field of unequal length is padded, some with what is added, or cut."""
    paths = {kind: name for name, kind in kinds.items() if isinstance(kind, str)}
    paths |= {kind: f"deep/{kind}" for kind in kinds.get("deep", {})}
    to = ["fixed", "longest", (2, 4)][rng.integers(3)]
    made: list[Pad] = []
    if {"tokens", "points"} <= paths.keys() and rng.random() < 0.7:  # equally long in few records, on the way to errors
        return [Pad((paths["tokens"], paths["points"]), 5, to=to, truncate=bool(rng.random() < 0.7), mask="mask")]
    for kind in ("tokens", "points"):
        if kind in paths:
            added = {"mask": f"{kind}_mask", "lengths": f"{kind}_length"} if rng.random() < 0.5 else {}
            made.append(Pad(paths[kind], 5, to=to, truncate=bool(rng.random() < 0.5), value=-1, **added))
    return made


def outcome(records: list[Any], stages: list[Pad], skip: bool, pad_last: bool) -> list[Any]:
    """What a pipeline gives, as plain values; an error as its text."""
    found: list[Any] = []
    options: dict[str, Any] = {"on_error": "skip"} if skip else {}
    try:
        with Pipeline(
            source=records, batch_size=4, stages=stages, output="numpy", pad_last=pad_last, **options
        ) as pipeline:
            for batch in pipeline:
                arrays = {
                    name: (value.dtype.str, value.shape, value.tobytes()) for name, value in leaves(batch.get_data())
                }
                found.append((arrays, repr(batch.info), batch.valid_mask.tolist(), repr(batch.metadata)))
            found.append(pipeline.skipped)
    except Exception as error:
        found.append((type(error).__name__, str(error), getattr(error, "__notes__", None)))
    return found


def leaves(data: dict[str, Any], within: str = "") -> Iterator[tuple[str, np.ndarray]]:
    for name, value in data.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{within}{name}/")
        else:
            yield within + name, value


def nothing_is_plain(writer: RowWriter, make: Callable[[int], Any], numbers: Iterator[int], lengths: Any) -> Any:
    for number in numbers:
        return make(number)
    return ALL_WRITTEN


@pytest.mark.parametrize("rare", [0.0, 0.03, 0.3])
def test_both_ways_give_the_same(rare: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("datarax_mp"), "disabled", True)  # of every record that is skipped
    for seed in range(120):
        rng = np.random.default_rng((seed, int(100 * rare)))
        kinds = schema(rng)
        records = [filled(kinds, rng, rare if number else 0.0) for number in range(11)]
        stages, skip, pad_last = pads(kinds, rng), bool(rng.random() < 0.5), bool(rng.random() < 0.5)
        quick = outcome(records, stages, skip, pad_last)
        with monkeypatch.context() as slowly:
            slowly.setattr(RowWriter, "put_plain", nothing_is_plain)
            thorough = outcome(records, stages, skip, pad_last)
        assert quick == thorough, (seed, kinds, stages)
