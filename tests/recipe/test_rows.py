from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from datarax_mp.core.record import RecordError, split_record
from datarax_mp.core.spec import Layout
from datarax_mp.recipe.padding import Padding
from datarax_mp.recipe.rows import ALL_WRITTEN, Rows, RowWriter
from datarax_mp.stages.pad import Pad

FIRST = {"x": np.zeros((2, 3), np.float32), "n": 1, "f": 0.5, "b": True, "s": np.int32(4)}


def rows_of(first: dict[str, Any]) -> tuple[RowWriter, dict[Any, np.ndarray]]:
    layout = Layout.of(first, number=0, batch_size=2, x64=None)
    targets = {spec.path: np.zeros((2, *spec.shape), spec.dtype) for spec in layout.fields}
    return Rows(layout).into(targets, {path: [] for path in layout.info}), targets


def put_plain(rows: RowWriter, *records: Any, row: int = 0) -> tuple[Any, list[tuple[int, ...]]]:
    """Write records from a row on; the record that is left to the thorough way, and the lengths of rows."""
    lengths: list[tuple[int, ...]] = [()] * row
    return rows.put_plain(records.__getitem__, iter(range(len(records))), lengths), lengths[row:]


def is_left(rows: RowWriter, record: Any) -> bool:
    left, lengths = put_plain(rows, record)
    return left is record and not lengths


def test_a_record_like_the_first_is_written_the_quick_way() -> None:
    rows, targets = rows_of(FIRST)
    record = {"s": np.int32(-7), "x": np.full((2, 3), 9, np.float32), "n": -(1 << 63), "f": 1.5, "b": False}
    assert put_plain(rows, record, row=1) == (ALL_WRITTEN, [()])
    assert {path[0]: target[1].tolist() for path, target in targets.items()} == {
        "x": [[9.0] * 3] * 2,
        "n": -(1 << 63),
        "f": 1.5,
        "b": False,
        "s": -7,
    }
    assert all(not target[0].any() for target in targets.values())


@pytest.mark.parametrize(
    "changed",
    [
        {"x": np.zeros((2, 3), np.float64)},
        {"x": np.zeros((3, 2), np.float32)},
        {"x": [[0.0] * 3] * 2},
        {"n": 1.0},
        {"n": True},
        {"n": 1 << 63},
        {"f": 1},
        {"s": 4},
        {"s": np.int64(4)},
        {"new": 1},
        {"x": "text"},
        {"x": None},
    ],
)
def test_any_other_is_left_to_the_thorough_way(changed: dict[str, Any]) -> None:
    rows, _ = rows_of(FIRST)
    assert is_left(rows, {**FIRST, **changed})


def test_a_record_that_lacks_a_field_or_is_no_dict_is_left_to_it_too() -> None:
    rows, _ = rows_of(FIRST)
    assert is_left(rows, {name: value for name, value in FIRST.items() if name != "b"})
    assert is_left(rows, FIRST["x"])


def test_dicts_within_dicts_go_the_quick_way() -> None:
    rows, targets = rows_of({"deep": {"x": 1, "deeper": {"y": 0.5}}, "z": True})
    assert put_plain(rows, {"z": False, "deep": {"deeper": {"y": 1.5}, "x": 2}}) == (ALL_WRITTEN, [()])
    assert [target[0].item() for target in targets.values()] == [2, 1.5, False]
    for other in (
        {},
        {"deep": {"x": 1, "y": 0.5}, "z": True},
        {"deep": {"x": 1, "deeper": {2: 0.5}}, "z": True},
        {"deep": {"x": 1, "deeper": {"y": 0.5, "new": 1}}, "z": True},
        {"deep": {"x": 1, "deeper": MappingProxyType({"y": 0.5})}, "z": True},
    ):
        assert is_left(rows, other)


@pytest.mark.parametrize("changed", [{"n": 2}, {"s": np.int16(3)}, {"f": np.float32(0.25)}, {"x": [[1.0] * 3] * 2}])
def test_both_ways_write_the_same_where_values_convert_safely(changed: dict[str, Any]) -> None:
    first = {**FIRST, "x": np.zeros((2, 3))}
    rows, targets = rows_of(first)
    record = {**first, **changed}
    rows.put(0, *split_record(record, 1), 1)
    [name] = changed
    assert np.array_equal(targets[(name,)][0], changed[name])


def test_the_thorough_way_says_what_is_wrong() -> None:
    rows, _ = rows_of(FIRST)
    with pytest.raises(RecordError, match="record 5, field 'x': .*found \\(3, 2\\)"):
        rows.put(0, *split_record({**FIRST, "x": np.zeros((3, 2), np.float32)}, 5), 5)


def padded_rows(*pads: Pad, rows: int = 2) -> tuple[RowWriter, dict[Any, np.ndarray]]:
    """Of records of "tokens" and "n"; padding writes to the arrays that are returned."""
    first = {"tokens": np.zeros(3, np.int32), "weights": np.zeros(3, np.float32), "n": np.int32(1)}
    arrays, info = split_record(first, 0)
    padding = Padding(pads, list(arrays))
    layout = padding.first(arrays, info, 0, batch_size=rows, x64=None)
    targets = {spec.path: np.full((rows, *spec.shape), -1).astype(spec.dtype) for spec in layout.fields}
    return Rows(layout, padding).into(targets, {}), targets


def ragged(tokens: Any, weights: Any) -> dict[str, Any]:
    tokens = np.arange(tokens, dtype=np.int32) if isinstance(tokens, int) else tokens
    return {"tokens": tokens, "weights": np.ones(weights, np.float32), "n": np.int32(7)}


def test_fields_of_unequal_length_go_the_quick_way() -> None:
    rows, targets = padded_rows(Pad("tokens", 4, mask="there", lengths="count"), Pad("weights", 3, truncate=True))
    assert put_plain(rows, ragged(4, 1), ragged(2, 5)) == (ALL_WRITTEN, [(4, 1), (2, 3)])
    assert targets["tokens",].tolist() == [[0, 1, 2, 3], [0, 1, -1, -1]]
    assert targets["weights",].tolist() == [[1, -1, -1], [1, 1, 1]]
    for tokens in (5, np.arange(2), np.zeros((2, 2), np.int32), np.int32(1), [1, 2]):
        assert is_left(rows, ragged(tokens, 1))


@pytest.mark.parametrize("truncate", [False, True])
def test_fields_that_are_padded_together_go_the_quick_way_where_they_are_equally_long(truncate: bool) -> None:
    rows, _ = padded_rows(Pad(("tokens", "weights"), 3, truncate=truncate))
    assert put_plain(rows, ragged(2, 2), ragged(0, 0)) == (ALL_WRITTEN, [(2,), (0,)])
    assert put_plain(rows, ragged(1, 1), ragged(3, 2))[1] == [(1,)]
    assert is_left(rows, ragged(4, 5))
    assert is_left(rows, ragged(4, 4)) is not truncate


@pytest.mark.parametrize("text", ["hello", b"hello", None])
def test_text_goes_the_quick_way(text: Any) -> None:
    first = {"n": 1, "text": "first"}
    layout = Layout.of(first, number=0, batch_size=2, x64=None)
    targets, texts = {spec.path: np.zeros(2, spec.dtype) for spec in layout.fields}, list[Any]()
    rows = Rows(layout).into(targets, {("text",): texts})
    assert put_plain(rows, first, {"n": 2, "text": text}) == (ALL_WRITTEN, [(), ()])
    assert texts == ["first", text]
    for other in (memoryview(b"hello"), 5, {"deep": "text"}, ["hello"]):
        assert is_left(rows, {"n": 1, "text": other})
    assert is_left(rows, {"n": 1.5, "text": "not told"})
    assert texts == ["first", text]


def test_the_quick_way_stops_at_a_record_of_another_kind_and_goes_on_behind_it() -> None:
    layout = Layout.of({"n": 1}, number=0, batch_size=4, x64=None)
    targets = {spec.path: np.zeros((4, *spec.shape), spec.dtype) for spec in layout.fields}
    rows, records = Rows(layout).into(targets, {}), [{"n": 1}, {"n": 2}, {"n": np.int16(3)}, {"n": 4}]
    lengths: list[tuple[int, ...]] = []
    left = iter(range(4))
    assert rows.put_plain(records.__getitem__, left, lengths) is records[2]
    assert len(lengths) == 2
    rows.put(2, *split_record(records[2], 2), 2)
    lengths.append(())
    assert rows.put_plain(records.__getitem__, left, lengths) is ALL_WRITTEN
    assert targets["n",].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("raised", [ValueError, StopIteration, KeyError])
def test_what_a_record_raises_comes_through_and_the_next_one_follows_in_its_row(raised: type[Exception]) -> None:
    def make(number: int) -> dict[str, int]:
        if number == 1:
            raise raised("one")
        return {"n": number}

    rows, targets = rows_of({"n": 1})
    lengths: list[tuple[int, ...]] = []
    numbers = iter(range(3))
    with pytest.raises(raised, match="one"):
        rows.put_plain(make, numbers, lengths)
    assert lengths == [()]
    assert rows.put_plain(make, numbers, lengths) is ALL_WRITTEN
    assert targets["n",].tolist() == [0, 2]


def test_a_key_error_of_a_signal_handler_is_no_missing_field(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, _ = rows_of({"n": 1})
    assert is_left(rows, {"other": 1})
    monkeypatch.setattr("datarax_mp.recipe.rows.is_from_handler", lambda: True)
    with pytest.raises(KeyError, match="n"):
        put_plain(rows, {"other": 1})
