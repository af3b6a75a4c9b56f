"""``show``: one batch of a pipeline, at a state or at a step, as text or as a sheet of its images."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

from datarax_mp.commands.described import Shown, described
from datarax_mp.commands.table import Refused
from datarax_mp.commands.target import HELP, pipeline_at

if TYPE_CHECKING:
    from datarax_mp.pipeline import Pipeline


def arguments(parser: argparse.ArgumentParser) -> None:
    """See ``Command``."""
    parser.add_argument("state", nargs="?", help="file with a state as JSON: the batch that comes next there")
    parser.add_argument("pipeline", help=HELP)
    parser.add_argument("--epoch", type=int, help="instead of a state: the epoch, from 0")
    parser.add_argument("--step", type=int, help="instead of a state: the step in it, from 0")
    parser.add_argument("--rows", type=int, default=4, help="rows of which values are printed (%(default)s)")
    parser.add_argument("--images", metavar="FILE", help="draw the images instead, to a file (PNG, JPEG, ...)")
    parser.add_argument("--field", help="the field whose images are drawn; needed where there are several")


def run(options: argparse.Namespace) -> int:
    """See ``Command``."""
    steps = (options.epoch, options.step)
    if (options.state is None) == (steps == (None, None)):
        raise Refused("say where: a file with a state, or --epoch and --step")
    with closing(pipeline_at(options.pipeline)) as pipeline:
        if options.state is not None:
            steps = _next_step(pipeline, _read(options.state))
        shown = _shown(pipeline, steps[0] or 0, steps[1] or 0)
        if options.images is None:
            print("\n".join(described(shown, options.rows)))
        else:
            from datarax_mp.commands.sheet import draw

            draw(shown, options.field, options.images)
    return 0


def _read(path: str) -> Any:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        raise Refused(f"{path} cannot be read as the JSON of a state: {error}") from None


def _next_step(pipeline: Pipeline[Any], state: Any) -> tuple[int, int]:
    """The first step that had not been received when a state was taken."""
    try:
        pipeline.set_state(state)
    except (TypeError, ValueError) as error:
        raise Refused(str(error)) from None
    now = pipeline.get_state()
    epoch, step, left_out = now["epoch"], now["step"], now.get("left_out", [])
    while True:
        step = next((stop for number, first, stop in left_out if number == epoch and first <= step < stop), step)
        try:
            pipeline.records(epoch, step)
        except IndexError:  # the epoch ends here
            epoch, step = epoch + 1, 0
        except ValueError as error:  # nobody knows the records of a step that come out of iterators
            raise Refused(str(error)) from None
        else:
            return epoch, step


def _shown(pipeline: Pipeline[Any], epoch: int, step: int) -> Shown:
    import numpy as np

    from datarax_mp.core.record import field_name, flatten

    try:
        records: list[int | None] = pipeline.records(epoch, step).tolist()
    except (IndexError, ValueError) as error:
        raise Refused(str(error)) from None
    batch = pipeline.at(epoch, step)
    if isinstance(batch, Mapping):  # a single element
        leaves = flatten(batch)
        arrays = {path: np.asarray(value)[None] for path, value in leaves.items() if hasattr(value, "dtype")}
        info = {path: [value] for path, value in leaves.items() if path not in arrays}
    else:
        arrays = {path: np.array(value) for path, value in flatten(batch.get_data()).items()}
        info = flatten(batch.info)
        records = [metadata.index for metadata in batch.metadata]
    named = {field_name(path): value for path, value in arrays.items()}
    return Shown(epoch, step, named, {field_name(path): values for path, values in info.items()}, records)
