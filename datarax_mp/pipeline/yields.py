"""What a pipeline yields, told to type checkers: by ``output`` and ``enforce_batch``.

    output="jax"             Pipeline[Batch[jax.Array]], which plain ``Pipeline`` is, too
    output="numpy"           Pipeline[Batch[np.ndarray]]
    output="torch"           Pipeline[Batch[torch.Tensor]]
    enforce_batch=False      Pipeline[dict[str, Any]]

``Arguments`` are all others, once; a test compares them with those of ``Pipeline.__init__``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Required, TypedDict

from datarax_mp.crews.choose import Workers
from datarax_mp.order import BatchBy, Sampler, ShardOptions, ShuffleWindow
from datarax_mp.pipeline.skips import SkippedRecord

if TYPE_CHECKING:
    from jax import Array
    from typing_extensions import TypeVar  # which type checkers bring with them; Python's own has defaults from 3.13 on

    from datarax_mp.core.batch.batch import Batch

    Yielded = TypeVar("Yielded", default=Batch[Array], covariant=True)
else:
    from typing import TypeVar

    Yielded = TypeVar("Yielded", covariant=True)


class Arguments(TypedDict, total=False):
    """What a ``Pipeline`` is given beside what decides the type of its batches."""

    source: Required[Any]
    batch_size: Required[int]
    stages: Iterable[Any]
    fields: Sequence[str] | None
    rngs: Any
    seed: int | None
    num_workers: int | Literal["auto"]
    workers: Workers | None
    prefetch_size: int
    drop_last: bool
    pad_last: bool
    shuffle: bool | ShuffleWindow | None
    sampler: Sampler | None
    batch_by: BatchBy | None
    shard: ShardOptions | Literal["jax"] | None
    device: Any
    sharding: Any
    on_error: Literal["raise", "skip"]
    on_skip: Callable[[SkippedRecord], Any] | None
    retries: int
    timeout: float | None
    restart_workers: bool
    worker_init: Callable[[], Any] | None
    memory_budget: int | None
    num_epochs: int | None
    ledger: str | os.PathLike[str] | None
