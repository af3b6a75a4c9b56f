"""tf.train.Example, against Google's protobuf."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp.formats.example import spans_of, values_of
from tests.formats.examples import example

numbers = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(width=32, allow_nan=False)
features = st.dictionaries(
    st.text(max_size=8),
    st.one_of(
        st.none(),
        *(st.lists(kind, min_size=1, max_size=30) for kind in (numbers, floats, st.binary(max_size=200))),
    ),
    max_size=5,
)


@given(features, st.booleans())
def test_features_are_what_protobuf_wrote(wanted: dict[str, Any], packed: bool) -> None:
    data = example(wanted, packed=packed)
    spans = spans_of(data)
    assert spans.keys() == wanted.keys()
    for name, values in wanted.items():
        found = values_of(data, spans[name])
        if values is None:
            assert (found.kind, len(found.values)) == ("", 0)
        elif isinstance(values[0], bytes):
            assert found == ("bytes", values)
        else:
            dtype = np.float32 if isinstance(values[0], float) else np.int64
            assert (found.kind, found.values.dtype) == (dtype.__name__, dtype)
            assert np.array_equal(found.values, np.array(values, dtype))


def test_parts_of_a_message_are_put_together_as_protobuf_says() -> None:
    one, other = example({"a": [1, 2], "b": [1.0]}), example({"a": [3], "c": [b"x"]})
    spans = spans_of(one + other)
    assert {name: list(values_of(one + other, parts).values) for name, parts in spans.items()} == {
        "a": [3],  # of a map's entries the last one holds
        "b": [1.0],
        "c": [b"x"],
    }
    ints, more, floats = bytes([26, 3, 10, 1, 7]), bytes([26, 3, 10, 1, 8]), bytes([18, 0])
    assert values_of(ints + more, [(0, 10)]).values.tolist() == [7, 8]
    assert values_of(ints + more, [(0, 5), (5, 10)]).values.tolist() == [7, 8]
    assert values_of(ints + floats, [(0, 7)]).kind == "float32"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"text, and no message", "expected"),
        (b"\x12\x00", "SequenceExample"),
        (b"\x1a\x00", "found a message with field 3"),
        (b"\x0a\x02\x12\x00", "found field 2 of Features"),
        (example({"a": [1]})[:-1], "expected a field of"),
    ],
)
def test_what_is_no_example_is_an_error(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spans_of(data)


@given(st.binary(max_size=60))
def test_any_bytes_are_an_example_or_a_value_error(data: bytes) -> None:
    try:
        for parts in spans_of(data).values():
            values_of(data, parts)
    except ValueError:
        pass


@pytest.mark.parametrize("data", [b"\x12\x05\x0a\x03abc", b"\x1a\x02\x10\x01", b"\x22\x00", b"\x0a\x02\x08\x01"])
def test_what_is_no_feature_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="expected"):
        values_of(data, [(0, len(data))])
