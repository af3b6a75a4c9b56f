from __future__ import annotations

import dataclasses
import threading
from typing import Any

from datarax_mp.shipping.digest import digest


@dataclasses.dataclass
class Record:
    value: Any = 1
    values: list[Any] = dataclasses.field(default_factory=list)


def test_it_is_the_same_for_the_same_value_of_a_class_that_is_not_found_by_its_name() -> None:
    Record.__module__ = "__main__"
    record = Record()
    assert len({digest(record) for _ in range(10)}) == 1
    before = digest(record)
    record.values.append(1)
    assert digest(record) != before


def test_what_does_not_pickle_counts_by_its_identity() -> None:
    lock = threading.Lock()
    assert digest([lock]) == digest([lock]) != digest([threading.Lock()])
