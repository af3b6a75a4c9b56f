"""What is in force of a ledger, whatever was begun, taken back and torn."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp.core.spec import Layout
from datarax_mp.ledger.entries import Begin, Entry, Place
from datarax_mp.ledger.reading import Batches
from datarax_mp.order import Order, Sequential

LAYOUT = Layout((), (), 4, 64)
BEGIN = Begin.of(Order(Sequential(100), batch_size=4), 0, 0, LAYOUT, 100)


def begin(epoch: int, step: int) -> bytes:
    return dataclasses.replace(BEGIN, epoch=epoch, place=4 * step).line()


def entry(epoch: int, step: int, digest: int) -> Entry:
    return Entry(epoch, step, 4 * step, 4, digest.to_bytes(2, "little"))


def digests(lines: list[bytes]) -> dict[Place, int]:
    return {at: int.from_bytes(given.entry.digest, "little") for at, given in Batches.of(lines).given.items()}


EPOCH, STEP = st.integers(0, 2), st.integers(0, 5)
EVENTS = st.one_of(
    st.tuples(st.sampled_from(["begin", "receive", "take back"]), EPOCH, STEP),
    st.tuples(st.just("torn"), st.integers(1, 11), STEP),
)


@given(st.lists(EVENTS, max_size=40))
def test_it_is_what_a_plain_list_of_received_batches_would_hold(events: list[Any]) -> None:
    lines, expected = [begin(0, 0)], dict[Place, int]()
    for number, (what, epoch, step) in enumerate(events):
        if what == "torn":
            lines.append(entry(0, step, number).line()[:epoch] + b"~\n")
            continue
        one = entry(epoch, step, number)
        if what == "begin":
            lines.append(begin(epoch, step))
            expected = {at: digest for at, digest in expected.items() if at < one.at}
        elif what == "receive":
            lines.append(one.line())
            expected[one.at] = number
        else:
            lines.append(one.taken_back())
            expected.pop(one.at, None)
    assert digests(lines) == expected
    assert digests([*lines, entry(2, 5, 999).line()[:-1]]) == expected  # it has no end yet


def test_how_the_iterator_began_is_known_of_each_batch() -> None:
    other = dataclasses.replace(BEGIN, place=8, batch_size=2)
    found = Batches.of([BEGIN.line(), entry(0, 0, 1).line(), other.line(), entry(0, 2, 2).line()])
    assert [given.begin for given in found.given.values()] == [BEGIN, other]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"0 1\n", "line 2: expected a line of a ledger, found b'0 1"),
        (b"0 1 4 4 xy\n", "line 2: expected a line of a ledger"),
        (b"\n", "line 2: expected a line of a ledger"),
        (b"- 3\n", "line 2: expected a line of a ledger"),
        (b"@ [1]\n", "line 2: expected the begin of an iterator"),
        (b"@ {\n", "line 2: "),
        (
            dataclasses.replace(BEGIN, version=7).line(),
            "line 2: the ledger is of version 7; this release reads version 1",
        ),
    ],
)
def test_a_line_that_is_none_is_named(line: bytes, told: str) -> None:
    with pytest.raises(ValueError, match="line 2") as caught:
        Batches.of([BEGIN.line(), line])
    assert told in str(caught.value)


def test_a_batch_before_any_begin_is_an_error() -> None:
    with pytest.raises(ValueError, match="line 1: expected the begin of an iterator before the first batch"):
        Batches.of([entry(0, 0, 1).line()])
