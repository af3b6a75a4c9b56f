"""What each worker has to copy, and is large, is named in the log."""

from __future__ import annotations

import logging
import re
from typing import Any

import numpy as np
import pytest

from datarax_mp.shipping import heavy
from datarax_mp.stages.kinds import as_stage

WORDS = [f"word number {n}" for n in range(100_000)]


class Source:
    """Holds whatever it is given."""

    def __init__(self, **values: Any) -> None:
        vars(self).update(values)


class Program:
    def __init__(self, source: Any, *stages: Any) -> None:
        self.source, self.stages = source, [as_stage(stage, 0) for stage in stages]


def uses_global(record: Any) -> Any:
    return WORDS, record


def closure() -> Any:
    table = {word: [1, 2.0] for word in WORDS}
    return lambda record: table[record]


PROGRAMS = {
    r"source \(Source\)\.index\['words'\], a list of 100000 items of some [12]\.\d MB": lambda: Program(
        Source(array=np.zeros(10**7), index={"a": "text", "words": WORDS})
    ),
    r"source \(Source\)\.inner\.rows, a list of 100000 items of some [34]\.\d MB": lambda: Program(
        Source(inner=Source(rows=[{"text": word, "number": 3} for word in WORDS]))
    ),
    r"stages\[1\] \(MapElement\(uses_global\)\)\.fn, global 'WORDS', a list": lambda: Program(
        Source(), lambda record: record, uses_global
    ),
    r"stages\[0\] \(MapElement\(<lambda>\)\)\.fn, variable 'table', a dict of 100000 items of some [34]\.": lambda: (
        Program(Source(), closure())
    ),
    r"source \(Source\)\.text, a str of some 1\.7 MB": lambda: Program(Source(text="".join(WORDS))),
}


@pytest.mark.parametrize("expected", PROGRAMS)
def test_the_largest_part_is_named_with_its_size(expected: str, caplog: pytest.LogCaptureFixture) -> None:
    program = PROGRAMS[expected]()
    heavy.tell(program, heavy.LARGE)
    [record] = caplog.records
    assert re.search(expected, record.getMessage())
    assert "every worker process comes to have a copy of 50.0 MB" in record.getMessage()
    heavy.tell(program, heavy.LARGE)  # a pipeline that is made anew every epoch does not say it every epoch
    assert len(caplog.records) == 1
    assert record.levelno == logging.WARNING


def test_a_program_of_ordinary_size_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    heavy.tell(Program(Source(words=WORDS)), heavy.LARGE - 1)
    assert not caplog.records
