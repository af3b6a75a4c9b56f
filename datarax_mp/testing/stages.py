"""Whether a stage keeps what a pipeline relies on."""

from __future__ import annotations

from typing import Any

from datarax_mp.stages.base import Rank
from datarax_mp.stages.kinds import as_stage
from datarax_mp.testing.contents import difference, digests, of_record
from datarax_mp.testing.streams import assert_same_stream

_RECORDS, _BATCH, _EPOCHS = 8, 4, 2


def check_stage(stage: Any, record: Any, *, num_workers: int = 1) -> None:
    """Make sure that a stage gives the same for the same record whoever runs it, however often.

    * what lies in the record that it is given stays as it was; the dict itself is its own
    * two runs with one seed are the same, so it remembers nothing and draws only from the generator it gets
    * worker processes, which get a copy of the stage, make the same of it

    Args:
        stage: what ``Pipeline(stages=[...])`` takes: a function of a record, ``MapElement``, ``RandomMapElement``,
            ``Filter``, ``FlatMap``, ``Pad``, ``MapBatch``, ``DeviceStage``, an ``nnx.Module``, a transform of Grain's.
        record: a record that it can work on and, if it is a ``Filter`` or ``FlatMap``, that it leaves something of.
        num_workers: how many worker processes run it; 0 leaves that check out.

    Raises:
        AssertionError: it does not keep one of these.
        TypeError: it is no stage. And whatever it raises itself.

    >>> def doubled(record):
    ...     return {**record, "x": record["x"] * 2}
    >>> check_stage(doubled, {"x": 1.5})
    """
    found = as_stage(stage, 0)
    before = digests(of_record(record))
    with _pipeline(stage, found.rank, record, 0) as one, _pipeline(stage, found.rank, record, 0) as other:
        try:
            assert_same_stream(one, other, epochs=_EPOCHS)
        except AssertionError as error:
            raise AssertionError(
                f"{found.name} gives something else when it runs again, with the same records and the same seed: "
                f"{error}. Let it remember nothing, and draw from the generator of a RandomMapElement"
            ) from None
    told = difference(before, digests(of_record(record)), "the record before", "the record after")
    if told is not None:
        name = f"field '{told.split(chr(39))[1]}'" if told.startswith("field") else "the fields"
        raise AssertionError(
            f"{found.name} changes the record that it is given ({name}), and with that the source's data: return "
            "{**record, ...} with new arrays instead"
        )
    if num_workers:
        _check_in_workers(stage, found, record, num_workers)


def _check_in_workers(stage: Any, found: Any, record: Any, num_workers: int) -> None:
    with _pipeline(stage, found.rank, record, 0) as one, _pipeline(stage, found.rank, record, num_workers) as other:
        try:
            assert_same_stream(one, other, epochs=_EPOCHS)
        except AssertionError as error:
            raise AssertionError(
                f"{found.name} gives something else in worker processes: {error}. A worker has a copy of the stage, of "
                "its own: what it depends on must be in the stage, not in this process's modules or handles"
            ) from None


def _pipeline(stage: Any, rank: Rank, record: Any, num_workers: int) -> Any:
    from datarax_mp.pipeline import Pipeline  # delayed: workers import this folder, and have no pipelines

    output: Any = "jax" if rank is Rank.DEVICE else "numpy"
    stages, source = [stage], _Same(record)
    return Pipeline(
        source=source, batch_size=_BATCH, stages=stages, num_workers=num_workers, seed=0, shuffle=True, output=output
    )


class _Same:
    """A source of one record, which it gives away itself."""

    def __init__(self, record: Any) -> None:
        self._record = record

    def __len__(self) -> int:
        return _RECORDS

    def __getitem__(self, number: int) -> Any:
        return self._record
