"""What an IterableSource takes, and what iterators say of where they stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp import IterableSource, Pipeline
from datarax_mp.sources.cursors import Stream, loaded, not_plain, packed

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(plain)
def test_a_plain_state_travels_as_json_and_comes_back_as_it_is(state: Any) -> None:
    assert not_plain(state) is None
    assert isinstance(packed(state), str)
    assert loaded(packed(state)) == state


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ((1, 2), "state is a tuple"),
        ({"a": [0, {3: 4}]}, r"state['a'][1] has the key 3 of type int"),
        ({"x": float("nan")}, "state['x'] is nan"),
        (b"x", "state is a bytes"),
    ],
)
def test_any_other_state_travels_too_and_it_is_said_what_is_not_plain(state: Any, words: str) -> None:
    assert not_plain(state) == words
    assert isinstance(packed(state), bytes)
    assert repr(loaded(packed(state))) == repr(state)


def test_what_has_no_pair_of_methods_says_nothing() -> None:
    class Half:
        def __iter__(self) -> Iterator[int]:
            return iter(range(3))

        def get_state(self) -> int:
            return 1

    class Anything:
        def __iter__(self) -> Iterator[int]:
            return iter(range(3))

        def __getattr__(self, name: str) -> Any:
            return lambda *_: 1

    for made in (Half(), Anything(), [0, 1, 2], range(3)):
        stream = Stream.open(made, None)
        assert list(stream.iterator) == [0, 1, 2]
        assert stream.state() is None


@pytest.mark.parametrize("wrong", [iter([1]), [{"x": 1}], None, "text"])
def test_an_iterator_by_itself_is_refused_with_the_reason(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"takes a function \(lane, lanes\) -> iterator"):
        IterableSource(wrong)


def test_lanes_is_a_number_of_at_least_one() -> None:
    with pytest.raises(ValueError, match="lanes"):
        IterableSource(lambda lane, lanes: [], lanes=0)
    with pytest.raises(TypeError, match="lanes"):
        IterableSource(lambda lane, lanes: [], lanes="8")  # type: ignore[arg-type]
    assert IterableSource(lambda lane, lanes: []).lanes == 8


@pytest.mark.parametrize("workers", [0, 2])
def test_a_make_that_gives_nothing_to_iterate_or_raises_is_told_with_its_lane(workers: int) -> None:
    def fail(lane: int, lanes: int) -> Any:
        raise PermissionError("no entry")

    for make, kind, words in ((lambda lane, lanes: 3, TypeError, "not iterable"), (fail, PermissionError, "no entry")):
        more: dict[str, Any] = {"batch_size": 2, "num_workers": workers, "output": "numpy"}
        with Pipeline(source=IterableSource(make), **more) as pipeline, pytest.raises(kind, match=words):
            iter(pipeline)


def test_a_hugging_face_stream_goes_on_by_its_own_state() -> None:
    datasets = pytest.importorskip("datasets")
    stream = datasets.Dataset.from_dict({"n": list(range(30))}).to_iterable_dataset(num_shards=6)
    source = IterableSource(lambda lane, lanes: stream.shard(num_shards=lanes, index=lane), lanes=3)
    with Pipeline(source=source, batch_size=4, output="numpy") as pipeline:
        iterator = iter(pipeline)
        states, found = [iterator.get_state()], []
        for batch in iterator:
            found.append(batch["n"].tolist())
            states.append(iterator.get_state())
        lanes = [range(10 * lane, 10 * lane + 10) for lane in range(3)]
        assert found == [list(lane[at : at + 4]) for at in (0, 4, 8) for lane in lanes]
        assert states[1]["lanes"][0][4] is not None
        for step in (1, 4, 8):
            pipeline.set_state(states[step])
            assert [batch["n"].tolist() for batch in pipeline] == found[step:]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_hugging_face_stream_with_a_shuffle_buffer_is_told_once_what_it_loses(
    workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    datasets = pytest.importorskip("datasets")
    plain = datasets.Dataset.from_dict({"n": list(range(30))}).to_iterable_dataset(num_shards=6)

    def shuffled() -> Any:
        return plain.shuffle(seed=0, buffer_size=5)

    def mapped() -> Any:
        return shuffled().map(lambda record: record)

    def several() -> Any:
        return datasets.concatenate_datasets([shuffled(), plain])

    def part(stream: Callable[[], Any], lane: int, lanes: int) -> Any:
        return stream().shard(num_shards=lanes, index=lane)

    for stream, told in ((lambda: plain, 0), (shuffled, 1), (mapped, 1), (several, 1)):
        caplog.clear()
        source = IterableSource(partial(part, stream), lanes=2)
        with Pipeline(source=source, batch_size=4, num_workers=workers, output="numpy") as pipeline:
            assert list(pipeline)
        said = [record.getMessage() for record in caplog.records if "has a shuffle buffer" in record.getMessage()]
        assert len(said) == told
        assert all("ShuffleWindow(records=n)" in message for message in said)


def test_a_stream_from_a_stateful_iterator_of_grain_goes_on_by_its_state() -> None:
    grain = pytest.importorskip("grain")
    data = grain.MapDataset.range(20).map(lambda n: {"n": n})

    def make(lane: int, lanes: int) -> Any:
        return iter(data[lane::lanes].to_iter_dataset())

    with Pipeline(source=IterableSource(make, lanes=2), batch_size=3, output="numpy") as pipeline:
        iterator = iter(pipeline)
        found = [next(iterator)["n"].tolist() for _ in range(3)]
        state = iterator.get_state()
        assert state["lanes"][0][4] is not None
        rest = [batch["n"].tolist() for batch in iterator]
        assert found + rest == [list(range(lane, 20, 2))[at : at + 3] for at in (0, 3, 6, 9) for lane in (0, 1)]
        pipeline.set_state(state)
        assert [batch["n"].tolist() for batch in pipeline] == rest
