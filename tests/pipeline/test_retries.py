"""Reading that fails now and then, as network file systems do."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarax_mp import Pipeline


class Flaky:
    """Fails the first ``times`` times that record 3 is asked for, over all processes."""

    def __init__(self, folder: Path, times: int) -> None:
        self.folder, self.times = folder, times

    def __len__(self) -> int:
        return 6

    def __getitem__(self, number: int) -> Any:
        self.fail([number])
        return {"x": np.int32(number)}

    def fail(self, numbers: list[int]) -> None:
        failures = len(list(self.folder.iterdir()))
        if 3 in numbers and failures < self.times:
            (self.folder / str(failures)).touch()
            raise ConnectionError(f"attempt {failures}")


class FlakyTogether(Flaky):
    def __getitems__(self, numbers: list[int]) -> Any:
        self.fail(numbers)
        return {"x": np.array(numbers, np.int32)}


def values(source: Any, workers: int, **options: Any) -> list[int]:
    with Pipeline(source=source, batch_size=2, num_workers=workers, output="numpy", **options) as pipeline:
        return [value for batch in pipeline for value in batch["x"].tolist()]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", [Flaky, FlakyTogether])
def test_reading_is_tried_again_and_nothing_is_lost(
    kind: type[Flaky], workers: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "datarax_mp"):
        assert values(kind(tmp_path, 2), workers, retries=2) == list(range(6))
    assert len(list(tmp_path.iterdir())) == 2
    if not workers:
        assert "ConnectionError('attempt 0'); attempt 1 of 2 follows" in caplog.text


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", [Flaky, FlakyTogether])
def test_the_last_attempts_error_counts_and_says_how_often_it_was_tried(
    kind: type[Flaky], workers: int, tmp_path: Path
) -> None:
    with pytest.raises(ConnectionError, match="attempt 1") as caught:
        values(kind(tmp_path, 9), workers, retries=1)
    assert any(", 2 times" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", [Flaky, FlakyTogether])
def test_a_record_is_skipped_only_when_all_attempts_have_failed(
    kind: type[Flaky], workers: int, tmp_path: Path
) -> None:
    (tmp_path / "few").mkdir()
    (tmp_path / "many").mkdir()
    assert values(kind(tmp_path / "few", 2), workers, retries=2, on_error="skip") == list(range(6))
    assert values(kind(tmp_path / "many", 20), workers, retries=1, on_error="skip") == [0, 1, 2, 4, 5]


@pytest.mark.parametrize(("retries", "kind"), [(-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_retries_that_are_no_number_are_an_error(retries: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="retries must be"):
        Pipeline(source=[1], batch_size=1, retries=retries)
