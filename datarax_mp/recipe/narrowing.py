"""Values that the 32-bit types of JAX cannot hold."""

from __future__ import annotations

from itertools import compress

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.errors import one_line
from datarax_mp.core.record import Arrays, Infos
from datarax_mp.core.spec import Layout
from datarax_mp.recipe.work import Skip


def drop_misfits(
    layout: Layout,
    fits: NDArray[np.bool_],
    numbers: NDArray[np.int64],
    targets: Arrays,
    out: list[np.ndarray],
    infos: Infos | None,
    skips: dict[int, Skip],
    *,
    skip: bool,
) -> Infos | None:
    """Skip the records whose values do not fit their narrower dtype, or raise for the first of them.

    Args:
        layout: what the batch holds.
        fits: which of the rows that are there fit.
        numbers: the records' numbers, those that have been skipped among them.
        targets: the rows in the records' own dtypes.
        out: the rows in the dtypes that are delivered; closed up.
        infos: what is no array, or None.
        skips: taken up here, by place in ``numbers``.
        skip: whether a record may be skipped.

    Returns:
        What is left of ``infos``.

    Raises:
        RecordError: a value does not fit, and its record may not be skipped.
    """
    places = np.delete(np.arange(len(numbers)), list(skips))  # of each row that is there
    for row in np.flatnonzero(~fits).tolist():
        place, number = int(places[row]), int(numbers[places[row]])
        for spec, rows_out in zip(layout.fields, out, strict=True):
            value = targets[spec.path][row : row + 1]
            if value.dtype != rows_out.dtype and not spec.convert(value, np.empty_like(rows_out[:1])).all():
                error = spec.misfit(value[0], number)
                if not skip:
                    raise error
                skips[place] = Skip(number, place, one_line(error))
                break
    for rows_out in out:
        rows_out[: fits.sum()] = rows_out[: len(fits)][fits]
    if infos is None:
        return None
    return {path: list(compress(values, fits.tolist())) for path, values in infos.items()}
