"""Where a pipeline is, and how it gets there again."""

from __future__ import annotations

from typing import Any

from datarax_mp.pipeline.course import Course
from datarax_mp.pipeline.torch_names import TorchNames


class Position(TorchNames):
    """The part of a pipeline that says and takes states."""

    _course: Course

    @property
    def epoch(self) -> int:
        """The epoch of the newest iterator, from 0; once its loop has come to the end, the next one."""
        return self._course.cursor.at.epoch if self._course.known else 0

    def get_state(self) -> dict[str, Any]:
        """The position of the newest iterator as plain JSON values: the batches that the caller has received.

        A state is smaller than 2 kB; that of an ``IterableSource`` holds what the iterator of every lane says of where
        it stands, and is as large as that. It fits every pipeline over the same source with the same seed, batch size,
        shuffle, number of shards and stages, whatever its ``num_workers``, ``prefetch_size``, device or output, and
        whichever of the shards it is. Any thread may ask for it.

        Raises:
            TypeError: the state of an ``IterableSource``'s iterator has something else in it than plain JSON values.
        """
        self._course.prepare()
        return self._course.dump(self._course.cursor.at)

    def set_state(self, state: dict[str, Any], *, elastic: bool = False) -> None:
        """Make the next ``iter`` go on exactly where a state was taken. Iterators there are stay where they are.

        Args:
            state: what ``get_state`` gave.
            elastic: go on from the same record although ``batch_size``, the number of shards or ``drop_last`` differ,
                and take over the state's seed. The rest of the epoch then holds exactly the records that had not been
                received, in the same order; later epochs are whole. Without ``shuffle`` the source may have grown, too.

        Raises:
            TypeError: it is no state.
            ValueError: it belongs to another pipeline; the message names what differs, with both values. Also with
                ``elastic``, a ``TokenBudget`` and an ``IterableSource`` go on only with the batches they began with.

        >>> import numpy as np
        >>> from datarax_mp import Pipeline
        >>> data = {"x": np.arange(10)}
        >>> before = Pipeline(source=data, batch_size=3)
        >>> next(iter(before))["x"].tolist()
        [0, 1, 2]
        >>> after = Pipeline(source=data, batch_size=4)
        >>> after.set_state(before.get_state(), elastic=True)
        >>> [batch["x"].tolist() for batch in after]
        [[3, 4, 5, 6], [7, 8, 9]]
        """
        self._course.resume(state, elastic)
