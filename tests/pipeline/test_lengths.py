"""Sources that do not always say the same length."""

from __future__ import annotations

from typing import Any

import pytest

from datarax_mp import Pipeline


class Growing:
    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"n": number}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("length", [0, 19, 21, 1000])
def test_a_source_whose_length_changes_between_epochs_is_an_error_with_both_numbers(length: int, workers: int) -> None:
    source = Growing(20)
    with Pipeline(source=source, batch_size=4, num_workers=workers, output="numpy") as pipeline:
        assert [n for batch in pipeline for n in batch["n"].tolist()] == list(range(20))
        source.length = length
        with pytest.raises(ValueError, match=f"had 20 records when the pipeline was made, and has {length} now"):
            iter(pipeline)
        source.length = 20
        assert len(list(pipeline)) == 5
    source.length = 8
    with Pipeline(source=source, batch_size=4, num_workers=workers, output="numpy") as pipeline:
        assert len(list(pipeline)) == 2


def test_a_source_that_says_another_length_each_time_is_an_error() -> None:
    class Liar(Growing):
        def __len__(self) -> int:
            self.length += 1
            return self.length

    with (
        Pipeline(source=Liar(20), batch_size=4, output="numpy") as pipeline,
        pytest.raises(ValueError, match="Make a new pipeline"),
    ):
        iter(pipeline)
