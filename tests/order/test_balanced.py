from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp.order import ClassBalancedSampler

labels = st.lists(st.integers(0, 6), min_size=1, max_size=60)


@given(labels, st.integers(0, 2**64 - 1), st.integers(0, 99))
def test_no_class_is_ever_more_than_one_record_ahead(given_: list[int], seed: int, epoch: int) -> None:
    choice = ClassBalancedSampler(given_).over(len(given_))
    classes = np.array(given_)[choice.at(seed, epoch, np.arange(choice.length))]
    for end in range(1, len(classes) + 1):
        counts = [int((classes[:end] == label).sum()) for label in set(given_)]
        assert max(counts) - min(counts) <= 1


@given(labels, st.integers(0, 2**64 - 1))
def test_a_class_is_read_through_before_any_of_its_records_comes_again(given_: list[int], seed: int) -> None:
    classes = len(set(given_))
    choice = ClassBalancedSampler(given_, num_samples=3 * classes).over(len(given_))
    records = np.concatenate([choice.at(seed, epoch, np.arange(choice.length)) for epoch in range(12)])
    for label in set(given_):
        own = [record for record in records.tolist() if given_[record] == label]
        members = [record for record, of in enumerate(given_) if of == label]
        rounds = [own[n : n + len(members)] for n in range(0, len(own) - len(members) + 1, len(members))]
        assert all(sorted(round_) == members for round_ in rounds)


def test_classes_are_in_another_order_in_every_turn_and_shuffled_each_by_itself() -> None:
    given_ = np.arange(400) // 100
    records = ClassBalancedSampler(given_, num_samples=1600).over(400).at(0, 0, np.arange(1600)).reshape(400, 4)
    assert len({tuple(given_[turn].tolist()) for turn in records}) == 24
    own = [(records[given_[records] == label] % 100)[:100] for label in range(4)]
    assert len({tuple(order.tolist()) for order in own}) == 4


def test_many_classes_are_balanced_too() -> None:
    given_ = np.arange(6000) % 2000
    records = ClassBalancedSampler(given_).over(6000).at(0, 0, np.arange(6000)).reshape(3, 2000)
    assert sorted(records.ravel().tolist()) == list(range(6000))
    assert all(sorted(given_[turn].tolist()) == list(range(2000)) for turn in records)


@pytest.mark.parametrize(
    "labels", [[-5, 300, -5, 0], [True, False, True, True], [1 << 40, 0, 0], ["b", "a", "b"], [0.5, 0]]
)
def test_labels_are_anything_that_can_be_compared(labels: list[object]) -> None:
    choice = ClassBalancedSampler(labels, num_samples=60).over(len(labels))
    drawn = [labels[record] for record in choice.at(0, 0, np.arange(60)).tolist()]
    assert {drawn.count(label) for label in set(labels)} == {60 // len(set(labels))}


def test_filters_leave_out_classes_of_which_nothing_is_left() -> None:
    given_ = np.array([0, 0, 1, 2, 2, 2])
    choice = ClassBalancedSampler(given_, num_samples=10).over(6).narrowed(np.array([1, 3, 5]))
    places = choice.at(0, 0, np.arange(10))
    assert (places == 0).sum() == 5
    assert set(places.tolist()) == {0, 1, 2}


def test_labels_of_another_source_and_no_labels_are_errors() -> None:
    with pytest.raises(ValueError, match="labels must be as many as the source has records, 3; found 1"):
        ClassBalancedSampler(["one"]).over(3)
    for wrong in ([], [[1]]):
        with pytest.raises(ValueError, match="labels must have one axis"):
            ClassBalancedSampler(wrong)
