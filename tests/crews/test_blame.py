"""What the death of a worker is put down to."""

from __future__ import annotations

import pytest

from datarax_mp.crews.base import Assignment, Shelving
from datarax_mp.crews.blame import culprit
from datarax_mp.recipe.recorder import WHOLE_BATCH, Phase, Sighting
from datarax_mp.recipe.work import ReadBlock, Run
from datarax_mp.ring import Ring


def seen(phase: Phase, record: int = WHOLE_BATCH) -> Sighting:
    """Somebody at step 3 of epoch 1."""
    return Sighting(phase, epoch=1, step=3, record=record, stage=0)


def run(step: int, *, epoch: int = 1, steps: int = 1) -> Assignment:
    return Assignment(Run(epoch, step, steps, slot=0), Ring(1, 4096, shared=False))


@pytest.mark.parametrize("lost", [[], [run(4)], [run(3, epoch=0)], [run(1, steps=2)], [Shelving(ReadBlock(1, 3))]])
def test_an_answer_that_has_arrived_killed_nobody(lost: list[Assignment]) -> None:
    assert culprit(seen(Phase.ANSWERING), lost) is None


@pytest.mark.parametrize("lost", [[run(3)], [run(1, steps=3)], [run(4), run(3)]])
def test_an_answer_that_has_not_arrived_may_have(lost: list[Assignment]) -> None:
    assert culprit(seen(Phase.ANSWERING), lost) == (1, 3, WHOLE_BATCH)


def test_a_record_a_block_and_the_loading_are_told_apart_and_idleness_is_nobodys_fault() -> None:
    assert culprit(seen(Phase.READING, 17), [run(3)]) == culprit(seen(Phase.STAGE, 17), [run(3)]) == (1, 3, 17)
    assert culprit(seen(Phase.LOADING), []) == Phase.LOADING
    assert culprit(seen(Phase.BLOCK, 5), [Shelving(ReadBlock(1, 5))]) == (Phase.BLOCK, 1, 5)
    assert culprit(seen(Phase.IDLE), [run(3)]) is None
