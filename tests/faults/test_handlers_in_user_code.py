"""A signal handler that raises while the user's code runs in this process: nobody takes it for that code's own."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from datarax_mp import DeviceStage, Filter, MapBatch, Pipeline, RandomMapElement


class Stop(Exception):
    """What a handler raises that is told to end."""


class Once:
    """The user's code, which is interrupted the first time that it comes to record 13."""

    def __init__(self, kind: str) -> None:
        self.kind, self.done = kind, False

    def __len__(self) -> int:
        return 20

    def reach(self, kind: str, records: Any = 13) -> None:
        if kind == self.kind and not self.done and 13 in np.atleast_1d(np.asarray(records)):
            self.done = True
            signal.raise_signal(signal.SIGUSR1)

    def __getitem__(self, number: int) -> dict[str, Any]:
        self.reach("record", number)
        return {"n": np.int32(number)}

    def set_epoch(self, epoch: int) -> None:
        self.reach("set_epoch")

    def prepare(self) -> None:
        self.reach("worker_init")

    def stage(self, record: dict[str, Any]) -> dict[str, Any]:
        self.reach("stage", record["n"])
        return record

    def random(self, record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        self.reach("random stage", record["n"])
        return record

    def keep(self, record: dict[str, Any]) -> bool:
        self.reach("filter", record["n"])
        return True

    def batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        self.reach("batch stage", batch["n"])
        return batch

    def device(self, data: dict[str, Any]) -> dict[str, Any]:
        self.reach("device stage")  # when it is traced
        return data


class OnceTogether(Once):
    """The same, read a batch at a time."""

    def __getitems__(self, numbers: list[int]) -> list[Any]:
        self.reach("records", numbers)
        return [self[number] for number in numbers]


KINDS = (
    *("record", "set_epoch", "worker_init", "stage", "random stage", "filter", "batch stage", "device stage"),
    "records",
)


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise Stop("told to end")

    before = signal.signal(signal.SIGUSR1, stop)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_caller_gets_it_at_once_and_unchanged_and_no_record_is_lost(
    kind: str, on_error: Any, caplog: pytest.LogCaptureFixture
) -> None:
    code = (OnceTogether if kind == "records" else Once)(kind)
    filters: list[Any] = [Filter(code.keep)] if kind == "filter" else []
    stages = [code.stage, *filters, RandomMapElement(code.random), MapBatch(code.batch)]
    if kind == "device stage":
        stages.append(DeviceStage(code.device))
    received: list[int] = []
    with (
        caplog.at_level(logging.WARNING, "datarax_mp"),
        Pipeline(
            source=code, batch_size=4, seed=0, stages=stages, on_error=on_error, retries=3, worker_init=code.prepare
        ) as pipeline,
    ):
        with pytest.raises(Stop) as caught:
            for batch in pipeline:
                received += batch["n"].tolist()
        assert code.done
        assert caught.value.args == ("told to end",)
        assert not [note for note in getattr(caught.value, "__notes__", ()) if "JAX" not in note]
        assert received == list(range(len(received)))
        pipeline.set_state(pipeline.get_state())
        for batch in pipeline:
            received += batch["n"].tolist()
        assert received == list(range(20))
        assert pipeline.skipped == 0
    assert caplog.messages == []  # no attempt follows


@pytest.mark.parametrize("workers", [0, 1])
def test_a_time_limit_that_a_stage_keeps_for_itself_is_that_stages_error(workers: int) -> None:
    def limited(record: dict[str, Any]) -> dict[str, Any]:
        def over(*_: Any) -> None:
            raise TimeoutError("too slow")

        before = signal.signal(signal.SIGUSR2, over)
        try:
            if record["n"] == 13:
                signal.raise_signal(signal.SIGUSR2)
        finally:
            signal.signal(signal.SIGUSR2, before)
        return record

    with Pipeline(
        source={"n": np.arange(20)}, batch_size=4, stages=[limited], on_error="skip", num_workers=workers
    ) as pipeline:
        assert [n for batch in pipeline for n in batch["n"].tolist()] == [n for n in range(20) if n != 13]
        assert [skip.record for skip in pipeline.skips] == [13]
