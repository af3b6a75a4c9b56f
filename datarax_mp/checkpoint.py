"""A pipeline's position in an Orbax checkpoint, next to the model (``pip install "datarax-mp[checkpoint]"``).

    manager.save(step, args=ocp.args.Composite(model=ocp.args.StandardSave(weights), data=PipelineSave(pipeline)))
    manager.restore(step, args=ocp.args.Composite(model=..., data=PipelineRestore(pipeline)))

The position is the one at the time of ``save``, also when Orbax writes in the background while the training goes on. It
is one small JSON file. With several JAX processes one of them writes it and all read it: their positions are alike.
Only where records come out of iterators each process has lanes of its own, and writes a file of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

try:
    import orbax.checkpoint as ocp
except ImportError as error:
    raise ImportError(
        'PipelineSave and PipelineRestore need Orbax: pip install "datarax-mp[checkpoint]"', name=error.name
    ) from error

if TYPE_CHECKING:
    from datarax_mp.pipeline import Pipeline
    from datarax_mp.pipeline.iterator import PipelineIterator

_FILE = "pipeline.json"
_OWN_FILE = "pipeline-{}-of-{}.json"  # of one process


class PipelineHandler(ocp.JsonCheckpointHandler):
    """Saves and restores positions; Orbax finds it by the arguments ``PipelineSave`` and ``PipelineRestore``.

    Args:
        options: of ``ocp.JsonCheckpointHandler``, which does the writing: ``multiprocessing_options``.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(_FILE, **options)

    async def async_save(self, directory: Any, item: Any = None, args: PipelineSave | None = None) -> Any:
        """Take the position now, and write it in the background."""
        item = item if args is None else args.item
        state = item.get_state()
        if "lanes" in state and jax.process_count() > 1:
            return await _own_handler(_own_file()).async_save(directory, args=ocp.args.JsonSave(state))
        return await super().async_save(directory, args=ocp.args.JsonSave(state))

    def restore(self, directory: Any, item: Any = None, args: PipelineRestore | None = None) -> Any:
        """Set the position.

        Returns:
            the pipeline or iterator whose position was set, or the state itself if there is none.

        Raises:
            FileNotFoundError: there is no position in the directory.
            ValueError: it belongs to another pipeline, or is of lanes that another number of processes had; the message
                names what differs.
        """
        args = PipelineRestore(item) if args is None else args
        try:
            state = self._state(directory)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"no position of a pipeline in {directory}: {_FILE} is missing; it is there after a save with "
                f"{Path(str(directory)).name}=PipelineSave(pipeline)"
            ) from error
        if args.item is None:
            return state
        args.item.set_state(state, elastic=args.elastic)
        return args.item

    def _state(self, directory: Any) -> Any:
        if (directory / _own_file()).exists():
            return _own_handler(_own_file()).restore(directory)
        others = [path.name for path in directory.glob(_OWN_FILE.format("*", "*"))]
        if not others:
            return super().restore(directory)
        raise ValueError(
            f"the positions in {directory} are of lanes that each process has of its own: expected {_own_file()} for "
            f"process {jax.process_index()} of {jax.process_count()}, found {', '.join(sorted(others))}. Restore with "
            "as many processes as there were at the save"
        )


def _own_file() -> str:
    return _OWN_FILE.format(jax.process_index(), jax.process_count())


def _own_handler(file: str) -> ocp.JsonCheckpointHandler:
    """What writes a file in every process, instead of in one for all."""
    everybody = ocp.options.MultiprocessingOptions(primary_host=None)
    return ocp.JsonCheckpointHandler(file, multiprocessing_options=everybody)


@ocp.args.register_with_handler(PipelineHandler, for_save=True)
@dataclass
class PipelineSave(ocp.args.CheckpointArgs):
    """What Orbax is to save: the position of a pipeline.

    Attributes:
        item: the pipeline, or an iterator of it.

    >>> import tempfile, numpy as np, orbax.checkpoint as ocp
    >>> from datarax_mp import Pipeline, PipelineRestore, PipelineSave
    >>> pipeline = Pipeline(source={"x": np.arange(6)}, batch_size=2)
    >>> folder = tempfile.TemporaryDirectory()
    >>> with folder, ocp.CheckpointManager(folder.name) as manager:
    ...     iterator = iter(pipeline)
    ...     first = next(iterator)
    ...     saved = manager.save(1, args=ocp.args.Composite(data=PipelineSave(pipeline)))
    ...     rest = [batch["x"].tolist() for batch in iterator]
    ...     manager.wait_until_finished()
    ...     restored = manager.restore(1, args=ocp.args.Composite(data=PipelineRestore(pipeline)))
    ...     [batch["x"].tolist() for batch in pipeline] == rest == [[2, 3], [4, 5]]
    True
    """

    item: Pipeline | PipelineIterator


@ocp.args.register_with_handler(PipelineHandler, for_restore=True)
@dataclass
class PipelineRestore(ocp.args.CheckpointArgs):
    """Where Orbax is to restore a position to; the example is at ``PipelineSave``.

    Attributes:
        item: a pipeline, whose next ``iter`` then goes on there, or an iterator, which goes on there itself. With None
            ``restore`` only gives the state, as it does for ``CheckpointManager.restore(step)`` without arguments.
        elastic: whether its batch size and number of hosts may differ, as in ``Pipeline.set_state``.
    """

    item: Pipeline | PipelineIterator | None = None
    elastic: bool = False
