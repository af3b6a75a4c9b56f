"""Epochs of which nothing is left: nobody waits for a next batch that never comes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from datarax_mp import IterableSource, Pipeline
from datarax_mp.pipeline.barren import Barren
from datarax_mp.pipeline.state import Position
from tests.ways import WAYS, ways

LENGTH, BATCH = 8, 4


class FailsIn:
    """A stage that fails over every record of some epochs."""

    def __init__(self, *epochs: int) -> None:
        self.epochs, self.epoch = epochs, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        if self.epoch in self.epochs:
            raise OSError("the disk is gone")
        return {**record, "epoch": np.int32(self.epoch)}


def make(*epochs: int, **options: Any) -> Pipeline:
    source = [{"x": np.int32(n)} for n in range(LENGTH)]
    return Pipeline(source=source, batch_size=BATCH, stages=[FailsIn(*epochs)], on_error="skip", **options)


is_said = pytest.raises(ValueError, match="epoch 1 has no batch, so there is no next one: all .* the disk is gone")


@pytest.mark.parametrize("num_epochs", [1, None])
@ways
def test_a_step_where_all_records_are_skipped_is_an_error(way: str, num_epochs: int | None) -> None:
    with make(1, 2, 3, num_epochs=num_epochs, output="numpy", **WAYS[way]) as pipeline:
        assert [pipeline.step()["x"].tolist() for _ in range(2)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
        before = pipeline.get_state()
        for _ in range(2):
            with is_said:
                pipeline.step()
            assert pipeline.get_state() == before
        assert sum(skip.epoch == 1 for skip in pipeline.skips) >= LENGTH


def test_a_scan_where_all_records_are_skipped_is_an_error() -> None:
    with make(1, 2, 3) as pipeline, is_said:
        pipeline.scan(lambda batch: batch["x"].sum(), length=3)


@ways
def test_a_stream_without_end_ends_where_all_records_are_skipped(way: str) -> None:
    with make(1, 2, 3, num_epochs=None, output="numpy", **WAYS[way]) as pipeline:
        iterator = iter(pipeline)
        assert [next(iterator)["epoch"].tolist() for _ in range(2)] == [[0] * BATCH] * 2
        with is_said:
            next(iterator)
        assert next(iterator, None) is None
        assert pipeline.skipped >= LENGTH


@pytest.mark.parametrize("num_epochs", [1, None])
def test_a_stretch_that_is_no_whole_epoch_is_passed_over(num_epochs: int | None) -> None:
    with make(1, num_epochs=num_epochs) as pipeline:
        pipeline.step()
        state = {**pipeline.get_state(), "epoch": 1, "step": 1}
        pipeline.set_state(state)
        assert pipeline.step()["epoch"].tolist() == [2] * BATCH


@pytest.mark.parametrize("num_epochs", [1, None])
def test_an_epoch_that_is_left_out_is_passed_over(num_epochs: int | None) -> None:
    with make(num_epochs=num_epochs) as pipeline:
        pipeline.skip(range(2), epoch=0)
        pipeline.skip(range(2), epoch=1)
        assert pipeline.step()["epoch"].tolist() == [2] * BATCH


def test_lanes_that_give_nothing_any_more_are_an_error_of_step() -> None:
    class Ebbs:
        epoch = 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

        def __call__(self, lane: int, lanes: int) -> Any:
            return iter([] if 0 < self.epoch < 4 else [{"x": 1}])

    with Pipeline(source=IterableSource(Ebbs(), lanes=2), batch_size=1) as pipeline:
        assert [pipeline.step()["x"].tolist() for _ in range(2)] == [[1], [1]]
        with pytest.raises(ValueError, match="epoch 1 has no batch, so there is no next one"):
            pipeline.step()


def test_an_epoch_is_whole_from_its_first_step_on() -> None:
    def seen(start: tuple[int, int], *after: tuple[int, int]) -> list[bool]:
        order: Any = None
        barren = Barren(Position(order, *start))
        return [barren.over(Position(order, *one)) for one in after]

    assert seen((0, 0), (0, 1), (0, 2), (1, 1)) == [False, False, True]
    assert seen((0, 1), (0, 2), (1, 1), (1, 2), (2, 1)) == [False, False, False, True]
    assert seen((0, 2), (3, 1), (3, 2), (4, 1)) == [False, False, True]
