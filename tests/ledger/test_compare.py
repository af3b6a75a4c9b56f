"""Two ledgers compared: the first step, record and field that differ are named."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp import (
    Filter,
    FlatMap,
    LengthGroups,
    MapElement,
    MixSource,
    Pad,
    Pipeline,
    RandomMapElement,
    WeightedSampler,
)
from datarax_mp.commands import main
from datarax_mp.core.spec import Layout
from datarax_mp.ledger.compare import compare
from datarax_mp.ledger.digests import Digester
from datarax_mp.ledger.entries import Begin, Entry
from datarax_mp.ledger.reading import Batches
from datarax_mp.order import Order, Sequential

LENGTH = 50


def columns() -> dict[str, Any]:
    images = np.random.default_rng(0).integers(0, 255, (LENGTH, 5, 7), dtype=np.uint8)
    return {"image": images, "label": np.arange(LENGTH), "text": [f"text {number}" for number in range(LENGTH)]}


Diff = Callable[[Any, Any], tuple[int, str]]


@pytest.fixture
def diff(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Diff:
    """Iterate two pipelines, each given as its arguments, and compare what their ledgers say."""

    def compared(one: dict[str, Any], other: dict[str, Any]) -> tuple[int, str]:
        for name, options in (("a", one), ("b", other)):
            settings = {"source": columns(), "batch_size": 8, "shuffle": True, "seed": 3, "output": "numpy", **options}
            epochs = settings.pop("epochs", 2)
            with Pipeline(**settings, ledger=tmp_path / name) as pipeline:
                for _ in range(epochs):
                    for _ in pipeline:
                        pass
        code = main(["diff", str(tmp_path / "a"), str(tmp_path / "b")])
        return code, capsys.readouterr().out.strip()

    return compared


def first_step(record: int) -> int:
    return Pipeline(source=columns(), batch_size=8, shuffle=True, seed=3).find(record, 0)[0]


def noise(record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {**record, "noise": rng.random(3)}


def halves(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"half": record["image"][rows], "label": record["label"]} for rows in (slice(2), slice(2, 4))]


RAGGED = [{"x": np.arange(1 + number % 5)} for number in range(LENGTH)]


def never_seven(record: dict[str, Any]) -> dict[str, Any]:
    if record["label"] == 7:
        raise ValueError("seven")
    return record


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"output": "jax", "source": {"x": np.arange(LENGTH, dtype=np.int32)}},
        {"output": "jax"},
        {"enforce_batch": False},
        {"stages": [RandomMapElement(noise)]},
        {"source": RAGGED, "stages": [Pad("x", length=5, to="longest")]},
        {"stages": [MapElement(never_seven)], "on_error": "skip"},
        {"stages": [MapElement(never_seven)], "on_error": "skip", "pad_last": True},
        {"stages": [Filter(lambda record: record["label"] % 3 > 0)]},
        {"shuffle": None, "sampler": WeightedSampler(np.arange(1, LENGTH + 1))},
        {"batch_by": LengthGroups(np.arange(LENGTH) % 7)},
        {"stages": [FlatMap(halves, most=2), RandomMapElement(noise)]},
        {"source": MixSource({"a": columns(), "b": columns()}, {"a": 2, "b": 1})},
    ],
)
def test_runs_with_any_number_of_workers_are_alike(diff: Diff, options: dict[str, Any]) -> None:
    for workers in (1, 3):
        code, told = diff(options, {**options, "num_workers": workers, "prefetch_size": 1})
        assert code == 0, told
        assert " steps are alike, from epoch 0, step 0 to epoch 1, step " in told


@pytest.mark.parametrize("place", [0, 13, 34])
@pytest.mark.parametrize("number", [0, 7, 49])
def test_one_flipped_byte_is_found_and_its_record_and_field_are_named(diff: Diff, number: int, place: int) -> None:
    changed = columns()
    changed["image"][number].reshape(-1)[place] ^= 1
    told = f"epoch 0, step {first_step(number)}, record {number}: field 'image'"
    assert diff({}, {"source": changed, "num_workers": 2}) == (1, told)


def test_of_several_items_of_a_record_the_one_that_differs_is_named(diff: Diff) -> None:
    changed = columns()
    changed["image"][7, 3, 0] ^= 1  # in its second half
    flat = {"stages": [FlatMap(halves, most=2)], "shuffle": False}
    assert diff(flat, {**flat, "source": changed}) == (1, "epoch 0, step 1, item 15: field 'half'")


def test_another_text_and_another_number_are_found_each_in_its_field(diff: Diff) -> None:
    changed = columns()
    changed["text"][12] = "Text 12"
    changed["label"][12] += 1 << 40
    told = "\n".join(f"epoch 0, step {first_step(12)}, record 12: field '{name}'" for name in ("label", "text"))
    assert diff({}, {"source": changed}) == (1, told)


def test_of_several_records_the_first_of_the_step_is_named_or_it_is_said_that_it_is_not_among_them(diff: Diff) -> None:
    records = Pipeline(source=columns(), batch_size=8, shuffle=True, seed=3).records(0, 0)
    for rows, told in (
        (slice(None), f"record {records[0]}, the first of several among 8"),
        (slice(3, 6), "several records among 8, but not the first"),
    ):
        changed = columns()
        changed["image"][records[rows]] += 1
        assert diff({}, {"source": changed}) == (1, f"epoch 0, step 0, {told}: field 'image'")


def test_another_order_is_told_as_such(diff: Diff) -> None:
    code, told = diff({}, {"seed": 4})
    assert code == 1 and told.startswith("epoch 0, step 0: other records; the first is record ")
    assert told.endswith("(seeds 3 and 4)")
    whole = {"batch_size": LENGTH}
    assert "the same records, in another order" in diff(whole, {**whole, "seed": 4})[1]


def test_a_record_that_one_run_has_skipped_is_named(diff: Diff) -> None:
    skipping = {"stages": [MapElement(never_seven)], "on_error": "skip"}
    told = f"epoch 0, step {first_step(7)}: 8 rows in A, 7 in B; record 7 is only in A"
    assert diff({"stages": [MapElement(dict)]}, skipping) == (1, told)


def test_other_fields_are_told(diff: Diff) -> None:
    def single(record: dict[str, Any]) -> dict[str, Any]:
        return {"image": record["image"], "label": np.float32(record["label"]), "more": np.zeros(2)}

    lines = diff({}, {"stages": [single]})[1].splitlines()
    assert [line.partition(": ")[2] for line in lines] == [
        "field 'label' is int64 () in A, float32 () in B",
        "field 'text' is no array in A, missing in B",
        "field 'more' is missing in A, float64 (2,) in B",
    ]


def test_another_batch_size_is_a_difference_of_rows(diff: Diff) -> None:
    assert diff({}, {"batch_size": 10}) == (1, "epoch 0, step 0: 8 rows in A, 10 in B")


def test_a_run_that_ended_earlier_is_alike_as_far_as_it_reaches(diff: Diff) -> None:
    assert diff({}, {"epochs": 1}) == (0, "7 steps are alike, from epoch 0, step 0 to epoch 0, step 6; A has 7 more")


def test_what_is_no_ledger_or_holds_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty, other = tmp_path / "empty", tmp_path / "other"
    empty.write_bytes(b"")
    other.write_bytes(b"some text\n")
    assert main(["diff", str(empty), str(empty)]) == 2
    assert "there is no batch in A and B" in capsys.readouterr().out
    for wrong in (other, tmp_path / "missing", tmp_path):
        assert main(["diff", str(wrong), str(empty)]) == 2
        assert f"{wrong} cannot be read as a ledger" in capsys.readouterr().err
    other.write_bytes(b'@ {"epoch": 0}\n')
    assert main(["diff", str(other), str(empty)]) == 2
    assert "line 1: expected the begin of an iterator" in capsys.readouterr().err


LAYOUT = Layout.of({"x": np.int64(0), "y": np.int64(0)}, number=0, batch_size=8, x64=None)
BEGIN = Begin.of(Order(Sequential(10**6), batch_size=8), 0, 0, LAYOUT, 10**6)


def batches(steps: Iterable[tuple[list[int], list[int]]]) -> Batches:
    """A ledger of some steps, each given as its records and the values of x; y is 0."""
    lines, place = [BEGIN.line()], 0
    for step, (numbers, values) in enumerate(steps):
        digest = Digester(LAYOUT)([np.array(values), np.zeros(len(values), int)], None, np.array(numbers))
        lines.append(Entry(0, step, place, len(numbers), digest).line())
        place += len(numbers)
    return Batches.of(lines)


@given(st.data())
def test_the_first_record_that_differs_is_named(data: Any) -> None:
    number = st.integers(0, 10**6 - 1)
    steps = data.draw(
        st.lists(st.lists(st.tuples(number, number), min_size=1, max_size=6, unique_by=lambda row: row[0]), min_size=1)
    )
    one = [([number for number, _ in rows], [value for _, value in rows]) for rows in steps]
    step = data.draw(st.integers(0, len(one) - 1))
    row = data.draw(st.integers(0, len(one[step][0]) - 1))
    other = [(numbers, list(values)) for numbers, values in one]
    other[step][1][row] += data.draw(st.integers(1, 2**62))
    if step + 1 < len(one):
        other[-1][1][0] -= 1
    told = compare(batches(one), batches(other))
    assert (told.verdict, told.text) == ("different", f"epoch 0, step {step}, record {one[step][0][row]}: field 'x'")
    assert compare(batches(one), batches(one)).verdict == "alike"
