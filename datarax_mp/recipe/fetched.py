"""Columns that a source gave for the records of one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from datarax_mp.core.record import Arrays, Infos, nest
from datarax_mp.core.spec import Layout
from datarax_mp.core.strays import claim
from datarax_mp.core.values import as_info
from datarax_mp.sources.answers import plain_columns


class Columns:
    """Records of which a source gave all values of a field together.

    Args:
        tree: a column for each field, nested as the records are: an array ``(records, ...)`` or another sequence.
        numbers: the records' numbers.
        source: the source's name, for messages.

    Raises:
        RecordError: a column has more or fewer values than there are records, or masked values or nulls.
    """

    def __init__(self, tree: Mapping[str, Any], numbers: Sequence[int], source: str) -> None:
        self._columns = plain_columns(tree, numbers, source)

    def __getitem__(self, place: int) -> dict[str, Any]:
        try:
            return nest({path: column[place] for path, column in self._columns.items()})
        except BaseException as error:
            claim(error)
            raise

    def write(self, layout: Layout, targets: Arrays) -> Infos | None:
        """Copy the columns into a batch, if they are just what the layout says.

        Returns:
            The fields that are no arrays; None if nothing is copied, because record by record may help.
        """
        if len(self._columns) != len(layout.fields) + len(layout.info):
            return None
        for spec in layout.fields:
            column = self._columns.get(spec.path)
            if not isinstance(column, np.ndarray):
                return None
            if column.dtype != spec.source_dtype or column.shape[1:] != spec.shape:
                return None
        if not all(isinstance(self._columns.get(path), list) for path in layout.info):
            return None
        for spec in layout.fields:
            targets[spec.path][...] = self._columns[spec.path]
        return {path: list(map(as_info, self._columns[path])) for path in layout.info}
