"""Pipelines for Keras on its JAX backend (``pip install "datarax-mp[keras]"``).

    model.fit(PipelineDataset(train, "image", "label"), validation_data=PipelineDataset(check, "image", "label"))

Keras asks a ``PyDataset`` for batch number n, mixes these numbers if it is to shuffle, and looks at a batch before it
trains, to build the model; that, and on accelerators and in releases before 3.15 all else, it does one or two batches
ahead. A pipeline has an order of its own, and its workers are ahead in it, so the number does not matter: what comes
next is given. What matters is whether Keras goes on or begins anew, which it does whenever it has asked how many
batches there are:

    Keras                                       here
    ----------------------------------------    ------------------------------------------------
    num_batches, [n]                            the pipeline's next epoch begins
    [m], [l], ...                               the next batches of it
    num_batches, [n] before the epoch is over   back to where the epoch began, and the same again
    num_batches, [n] in a stream without end    on; back if there were no more than it looks ahead

Whoever imports this before Keras, and says nothing about Keras's backend in ``KERAS_BACKEND``, gets JAX's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

os.environ.setdefault("KERAS_BACKEND", "jax")  # Keras asks once, when it is imported
try:
    import keras
except ModuleNotFoundError as error:
    if error.name != "keras":  # it is there, and lacks its backend
        raise
    raise ImportError('PipelineDataset needs Keras: pip install "datarax-mp[keras]"', name=error.name) from error

if TYPE_CHECKING:
    from datarax_mp.core.batch.batch import Batch
    from datarax_mp.pipeline import Pipeline

__all__ = ["PipelineDataset"]

_AHEAD = 2  # batches that Keras asks for at most before it uses one

Names: TypeAlias = str | Sequence[str] | Mapping[str, str]


class PipelineDataset(keras.utils.PyDataset):
    """A pipeline as what ``fit``, ``evaluate`` and ``predict`` of a ``keras.Model`` take.

    The order is the pipeline's (``shuffle=True`` there, whatever ``fit`` is told), and an epoch of Keras is an epoch of
    it; one that is left before its end is begun again. Between two epochs the pipeline's state says where to go on.
    With ``num_epochs=None`` it is a stream without end, in whose state Keras may be a batch or two ahead: ``fit`` then
    needs ``steps_per_epoch=`` and ``shuffle=False``, which Keras would otherwise warn about. Where ``pad_last`` pads,
    padding weighs nothing; Keras's mean of losses divides by all rows all the same, its weighted metrics do not.

    Args:
        pipeline: gives the batches.
        inputs: the field that the model is given; a list of them for several inputs, or a dict of fields by the
            names of inputs.
        targets: the same for what it is to say; None for ``predict``, or where the model computes its own loss.
        weights: the field with a number for each row, ``(batch_size,)``, which says how much the row counts.

    Raises:
        ValueError: Keras runs on another backend than JAX, there is no epoch to go through, or weights have no targets.
        TypeError: names are of another kind, or the pipeline yields single elements.

    >>> import numpy as np
    >>> from datarax_mp import Pipeline
    >>> data = {"x": np.ones((8, 3), np.float32), "y": np.zeros(8, np.float32)}
    >>> model = keras.Sequential([keras.layers.Dense(1)])
    >>> model.compile(loss="mse")
    >>> history = model.fit(PipelineDataset(Pipeline(source=data, batch_size=4), "x", "y"), epochs=2, verbose=0)
    >>> len(history.history["loss"])
    2
    """

    def __init__(
        self, pipeline: Pipeline[Batch[Any]], inputs: Names, targets: Names | None = None, weights: str | None = None
    ) -> None:
        super().__init__()  # one worker of Keras, which is the caller: the pipeline has its own
        if keras.backend.backend() != "jax":
            raise ValueError(
                f"PipelineDataset works with Keras on JAX, and Keras runs on {keras.backend.backend()!r}: set "
                "KERAS_BACKEND=jax in the environment before keras is imported"
            )
        if weights is not None and targets is None:
            raise ValueError(f"weights={weights!r} says how much targets count, and there are no targets")
        config = pipeline._config  # how batches are made is nobody's business but a consumer's as close as this
        if config.single:
            raise TypeError("Keras takes batches, and a pipeline with enforce_batch=False makes none")
        self.pipeline = pipeline
        self._inputs = _checked("inputs", inputs)
        self._targets = None if targets is None else _checked("targets", targets)
        self._weights, self._padded = weights, config.pad_last
        self._endless = config.num_epochs is None
        self._iterator: Iterator[Batch[Any]] | None = None
        self._begin: dict[str, Any] | None = None  # the pipeline's state when Keras last began anew
        self._given = 0  # batches since then
        self._expected = _AHEAD + 1  # that make it whole
        self._anew = True

    @property
    def num_batches(self) -> int | None:
        """Batches in an epoch; None for a stream without end.

        Raises:
            TypeError: how many there are is not known; ``num_epochs=None`` and ``steps_per_epoch`` go without.
            ValueError: there are none.
        """
        self._anew = True
        if self._endless:
            return None
        if (batches := len(self.pipeline)) == 0:
            raise ValueError(
                "the pipeline has no batch in an epoch: it has fewer records than batch_size, and drops them"
            )
        self._expected = batches
        return batches

    def __getitem__(self, index: int) -> Any:
        """The next batch, whichever is asked for: ``(inputs,)``, ``(inputs, targets)`` or with weights behind them."""
        if self._anew:
            if self._begin is not None and self._given < self._expected:
                self.pipeline.set_state(self._begin)
                self._iterator = None
            self._begin, self._given, self._anew = self.pipeline.get_state(), 0, False
        batch = None if self._iterator is None else next(self._iterator, None)
        self._given += 1
        return self._parts(self._first() if batch is None else batch)

    def _first(self) -> Batch[Any]:
        """The first batch of an epoch."""
        for _ in range(2):  # a state from an epoch's end goes on with what is left of it, and that is nothing
            self._iterator = iter(self.pipeline)
            if (batch := next(self._iterator, None)) is not None:
                return batch
        raise ValueError("the pipeline has no batch in an epoch: its stages leave out every record")

    def _parts(self, batch: Batch[Any]) -> tuple[Any, ...]:
        inputs = _chosen(batch, self._inputs)
        if self._targets is None:
            return (inputs,)
        targets = _chosen(batch, self._targets)
        if self._weights is None:
            return (inputs, targets, batch.valid_mask) if self._padded else (inputs, targets)
        weights = batch[self._weights]
        return inputs, targets, weights * batch.valid_mask if self._padded else weights


def _checked(argument: str, names: Any) -> Names:
    found = list(names.values()) if isinstance(names, Mapping) else [names] if isinstance(names, str) else names
    if not isinstance(found, Sequence) or not found or not all(isinstance(name, str) for name in found):
        raise TypeError(f"{argument} must be a field's name, a list of names or a dict of them, got {names!r}")
    return names


def _chosen(batch: Batch[Any], names: Names) -> Any:
    if isinstance(names, str):
        return batch[names]
    if isinstance(names, Mapping):
        return {given: batch[name] for given, name in names.items()}
    return tuple(batch[name] for name in names)
