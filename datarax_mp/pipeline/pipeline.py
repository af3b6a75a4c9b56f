"""Pipeline: the one class that a training script needs."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, Unpack, overload

from datarax_mp.crews.choose import Workers, prepare
from datarax_mp.delivery.transfer import Output
from datarax_mp.ledger.book import Ledger
from datarax_mp.order import BatchBy, Sampler, ShardOptions, ShuffleWindow
from datarax_mp.pipeline.blueprint import Blueprint
from datarax_mp.pipeline.config import Config
from datarax_mp.pipeline.course import Course
from datarax_mp.pipeline.here_alone import HereAlone
from datarax_mp.pipeline.iterator import CLOSE_SECONDS, PipelineIterator
from datarax_mp.pipeline.keywords import ours_by_name
from datarax_mp.pipeline.lookup import Lookup
from datarax_mp.pipeline.onward import Onward
from datarax_mp.pipeline.overview import let_look
from datarax_mp.pipeline.position import Position
from datarax_mp.pipeline.skips import SkippedRecord, Skips
from datarax_mp.pipeline.watched import Watched
from datarax_mp.pipeline.yields import Arguments, Yielded
from datarax_mp.sources.adapt import as_source
from datarax_mp.sources.facts import SourceFacts

if TYPE_CHECKING:
    import jax
    import numpy as np
    import torch

    from datarax_mp.core.batch.batch import Batch


class Pipeline(HereAlone, Lookup, Watched, Position, Onward[Yielded], Generic[Yielded]):
    """Batches of a source, made by worker processes and moved to the device ahead of the training step.

    Every ``iter(pipeline)``, so every ``for`` loop, is the next epoch: each record once. The stream is bit-identical
    for every ``num_workers`` and ``prefetch_size``. A batch that is kept never changes.

    Args:
        source: a ``MemorySource``; a list of records, a dict of columns or an array; or anything with ``__len__`` and
            ``__getitem__(int)``, such as a ``torch.utils.data.Dataset`` or a Hugging Face dataset; or an
            ``IterableSource`` of iterators, which have neither. What is changed in it, or in a host stage,
            between two epochs holds from the next epoch on. If it, a stage or anything in them has a method
            ``set_epoch(epoch)``, that is called where records are read, before the first one of an epoch.
        batch_size: records in a batch. A source with fewer records gives one short batch.
        stages: first host stages, which run in the workers: callables, ``MapElement``, ``RandomMapElement``,
            ``Filter``, ``FlatMap`` and Grain transforms, then ``Pad``, then ``MapBatch`` and ``RandomMapBatch``; then
            device stages (``DeviceStage``, ``RandomDeviceStage``, ``nnx.Module``), which run on the device.
        fields: names for the items of records that are tuples or lists, ``("image", "label")``; stages get dicts then.
        rngs: an ``nnx.Rngs`` with a ``shuffle`` or a default stream, or an ``np.random.Generator``. One seed is drawn
            from it, unless the source has an ``rngs`` of its own, when the order or a stage is random. An int, or a
            ``jax.random.key``, gives every pipeline the same one.
        seed: the seed itself, an int of at most 64 bits. It also seeds the global generators (``np.random``,
            ``random``, torch's, OpenCV's) for the user's code, anew for every step, and is 0 for that if neither is
            given. The calling process's own generators are left as they are; but where code that draws runs in it
            (``num_workers=0``), another thread must not draw from them while a batch is made.
        num_workers: how many workers; 0 works in the calling thread. ``"auto"`` begins with one and adds more for as
            long as the caller waits for batches and more of them help, up to the cores that the process may use
            (affinity and control groups count); unless ``workers`` says of which kind they are, it chooses that, too.
            What it finds is logged (INFO).
        workers: ``"processes"``, which is what None is with a number; or ``"threads"`` of this process, for sources and
            stages that let go of the interpreter lock (decoders, NumPy): nothing is started, pickled or held twice.
            Threads share the source and the stages, the objects that were given: whether that may be is theirs to know;
            a ``set_epoch`` is called when no thread is at another epoch. The stream is the same, unless code draws from
            global random generators: that is refused if it does so for the first record, and otherwise goes unnoticed
            (OpenCV's always). What ``timeout`` finds stuck is left to itself. Or ``"ray"``, or a ``RayWorkers``, for
            actors on the nodes of a Ray cluster, and processes of this machine beside them if it says so; they have the
            environment that Ray gives them, see ``RayWorkers``, and no ``Cache``. ``"auto"``, which None is with
            ``num_workers="auto"``, chooses by a trial of half a second when the first epoch begins: threads make its
            first batches, of a copy of source and stages. Threads it is if they hardly wait for each other and the code
            keeps nothing that changes while records are read (a file that it opens, a counter, a cache), draws from no
            global generator and has no ``worker_init``; or if it does not pickle. Otherwise it is processes, as it is
            without a trial for an ``IterableSource`` and where there may be one worker alone. The log and ``report()``
            say why. Code whose threads share what cannot be seen (the state of a C library) is better told
            ``"processes"``.
        prefetch_size: batches that stand ready on the device ahead of the caller; 0 is off.
        enforce_batch: False yields single elements instead, as dicts of arrays without a batch axis, in the same order;
            ``batch_size`` is then only the number of records that a worker reads at a time.
        drop_last: leave out a last batch that is not full.
        pad_last: fill it up with zeros instead, and mark them in ``batch.valid_mask``, so that all batches have one
            shape. The same is done with a batch that lacks skipped records.
        shuffle: a new permutation every epoch; None means as the source's config says. ``ShuffleWindow(records=n)``
            moves records less far, for sources that dislike far jumps. Of a ``MixSource`` each source is shuffled. Of a
            source that is read in blocks (``BlockSource``), True is ``ShuffleWindow(blocks=16)``, which a
            ``TokenBudget`` does not go with. Of an ``IterableSource``, ``ShuffleWindow(records=n)`` has windows of each
            lane's records, and True is an error.
        sampler: which records an epoch has, how often and in which order: ``WeightedSampler``,
            ``ClassBalancedSampler`` or ``IndexSampler``. None is every record once.
        batch_by: which records come together: ``LengthGroups(lengths)`` makes batches of similar length, and
            ``TokenBudget(tokens, lengths)`` batches of as many records as make so many tokens, at most ``batch_size``.
        shard: which of several hosts this one is: a ``ShardOptions``, or ``"jax"`` for JAX's process index and count.
            Of every global batch, ``batch_size`` records times the number of shards, each gets its own rows. All get
            equally many batches, so ``drop_last`` or ``pad_last`` must say what becomes of the rest of an epoch; with
            ``pad_last`` a shard's last batch may be all padding.
        device: the ``jax.Device`` for the arrays, or which one: ``0`` is this process's first of the default backend,
            ``"cpu"`` or ``"gpu:1"`` one of a platform. None is JAX's default.
        sharding: a ``jax.sharding.Sharding`` over which the arrays are split; a ``PartitionSpec`` for the mesh in force
            when the pipeline is made; a ``Mesh``, over whose first axis the rows are split; or a dict of these by
            field, nested as records are, with None for a copy on every device. A spec longer than a field has axes
            counts as far as they go. A ``NamedSharding`` whose mesh spans several JAX processes makes
            global arrays, and ``shard`` follows from it: processes that hold the same rows are one shard and read the
            same records. ``batch_size`` stays the rows of one shard; ``batch.batch_size``, the arrays and the mask have
            those of all shards, ``batch.metadata`` describes those of this one.
        output: ``"jax"``, or ``"numpy"`` for NumPy arrays that look into the workers' memory, of the records' own
            dtypes, without touching JAX's runtime. ``"torch"`` is the same as CPU tensors; it needs
            ``datarax-mp[torch]``.
        on_error: what happens when reading a record, or a stage that works on it, raises, or when the record does not
            fit the others. ``"raise"``: the exception reaches the caller once the batches before are received, with the
            record in its notes and the worker's traceback as its ``__cause__``; the iterator has then ended, and the
            pipeline can be iterated again. ``"skip"``: the record is logged (the first ten of an epoch), counted in
            ``skipped``, listed in ``skips`` (the newest 1,000) and left out. All others stay in the batch where they
            belong, which is that much smaller; with ``pad_last`` it keeps its size. A batch that loses all its records
            is left out unless ``pad_last`` is set. What a ``MapBatch`` or a device stage raises concerns no single
            record and is always raised.
        on_skip: called in this process with a ``SkippedRecord`` (``record``, ``epoch``, ``step``, ``reason``) for each
            record that is skipped, when the batch that lacks it is received. What it raises comes out of ``next``, and
            the iterator has ended then.
        retries: how often reading a record, or those of a batch, is tried again when it raises (a network file system),
            with pauses of 0.1 s, then twice as long each time, at most 10 s; each is logged as a warning. What the last
            attempt raises counts.
        timeout: seconds that a batch may take once it is waited for. When they are over, the worker in question is
            ended and ``WorkerTimeoutError`` says what it was at, with its Python stack. None waits for ever.
        restart_workers: whether a worker process that dies is replaced, with a warning in the log, and its work done
            again. A record that kills two workers is a ``WorkerError`` all the same. False makes every death one.
        worker_init: called without arguments in every worker before it reads its first record, also in one that takes
            a dead one's place, and again when the source or a stage was changed; ``worker_info()`` says there which
            worker it is. With ``num_workers=0`` it is called once in the calling process, where ``worker_info()`` is
            None, so that the source and the stages find the same.
        memory_budget: bytes that batches in flight may take, in shared memory where there are workers. None is enough
            for two batches (or runs of small ones) per worker and those that the caller and ``prefetch_size`` hold.
            Less lowers what is worked on at a time; more lets workers go on while one of them is slow, and lets the
            caller keep more batches before they are copied out. With a source that is read in blocks it bounds the
            blocks in memory, too: batches take half of it at most.
        num_epochs: how many epochs one iterator goes through, as one stream that is worked on across the border; None
            is without end. It ends where a multiple of so many epochs, counted from the first, is over, so that a state
            says no more than where it is. What is changed in the source or a stage holds from the next iterator on.
        ledger: a file to which a line is appended for every batch when the caller receives it: where it comes, and
            hashes of its records and fields, by the workers, before device stages. ``python -m datarax_mp diff A B``
            names the first record and field in which two runs differ. A run that goes on from a state goes on in the
            same file; of several hosts each has one of its own. Needs ``datarax-mp[ledger]``.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: an argument has no meaning, alone or together with others.
        OSError: the ledger cannot be opened.
        ImportError: ``output="torch"`` without torch, or another argument needs a package that is not there.

    Errors that concern records (``RecordError``), shared memory (``SharedMemoryError``) and worker processes
    (``WorkerError``) are raised from ``iter`` and ``next``.

    >>> import numpy as np
    >>> pipeline = Pipeline(source={"x": np.arange(10)}, batch_size=4, num_workers=2)
    >>> [batch["x"].tolist() for batch in pipeline]
    [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    >>> pipeline.close()
    """

    @overload
    def __init__(
        self: Pipeline[Batch[jax.Array]],
        *,
        output: Literal["jax"] = "jax",
        enforce_batch: Literal[True] = True,
        **others: Unpack[Arguments],
    ) -> None: ...

    @overload
    def __init__(
        self: Pipeline[Batch[np.ndarray]],
        *,
        output: Literal["numpy"],
        enforce_batch: Literal[True] = True,
        **others: Unpack[Arguments],
    ) -> None: ...

    @overload
    def __init__(
        self: Pipeline[Batch[torch.Tensor]],
        *,
        output: Literal["torch"],
        enforce_batch: Literal[True] = True,
        **others: Unpack[Arguments],
    ) -> None: ...

    @overload
    def __init__(
        self: Pipeline[dict[str, Any]],
        *,
        output: Output = "jax",
        enforce_batch: Literal[False],
        **others: Unpack[Arguments],
    ) -> None: ...

    @overload
    def __init__(
        self: Pipeline[Any], *, output: Output = "jax", enforce_batch: bool = True, **others: Unpack[Arguments]
    ) -> None: ...

    @ours_by_name
    def __init__(
        self,
        *,
        source: Any,
        batch_size: int,
        stages: Iterable[Any] = (),
        fields: Sequence[str] | None = None,
        rngs: Any = None,
        seed: int | None = None,
        num_workers: int | Literal["auto"] = 0,
        workers: Workers | None = None,
        prefetch_size: int = 2,
        enforce_batch: bool = True,
        drop_last: bool = False,
        pad_last: bool = False,
        shuffle: bool | ShuffleWindow | None = None,
        sampler: Sampler | None = None,
        batch_by: BatchBy | None = None,
        shard: ShardOptions | Literal["jax"] | None = None,
        device: Any = None,
        sharding: Any = None,
        output: Output = "jax",
        on_error: Literal["raise", "skip"] = "raise",
        on_skip: Callable[[SkippedRecord], Any] | None = None,
        retries: int = 0,
        timeout: float | None = None,
        restart_workers: bool = True,
        worker_init: Callable[[], Any] | None = None,
        memory_budget: int | None = None,
        num_epochs: int | None = 1,
        ledger: str | os.PathLike[str] | None = None,
    ) -> None:
        config = Config.of(
            batch_size=batch_size,
            stages=stages,
            fields=fields,
            enforce_batch=enforce_batch,
            drop_last=drop_last,
            pad_last=pad_last,
            shuffle=shuffle,
            sampler=sampler,
            batch_by=batch_by,
            shard=shard,
            device=device,
            sharding=sharding,
            output=output,
            on_error=on_error,
            on_skip=on_skip,
            retries=retries,
            worker_init=worker_init,
            num_workers=num_workers,
            workers=workers,
            prefetch_size=prefetch_size,
            timeout=timeout,
            restart_workers=restart_workers,
            memory_budget=memory_budget,
            num_epochs=num_epochs,
            ledger=ledger,
        )
        facts = SourceFacts.of(source)
        if facts.lanes is None:
            source = as_source(source)
            facts = SourceFacts.of(source)
        self._blueprint = Blueprint(source, facts, config)
        self._config, self._records = config, None if facts.lanes is not None else len(source)
        self._iterators: weakref.WeakSet[PipelineIterator[Any]] = weakref.WeakSet()
        self._closed = False
        self._skips = Skips(config.on_skip)
        order = self._blueprint.order(seed=seed, rngs=rngs)
        self._ledger = None if config.ledger is None else Ledger(config.ledger, self._records or 0)
        prepare(config.options.workers, config.options.num_workers)  # it starts up while the caller builds a model
        self._course = Course(self._blueprint, order)
        let_look(self._overview())

    @classmethod
    def from_dag(
        cls, *, source: Any, nodes: Any, edges: Any, sink: Any, batch_size: int, rngs: Any = None, **others: Any
    ) -> Pipeline[Any]:
        """A pipeline whose device stages are a graph.

        Args:
            source: as for ``Pipeline``.
            nodes: by name a ``DeviceStage``, a ``RandomDeviceStage``, an ``nnx.Module`` or a function of a batch's
                arrays; all of them run on the device.
            edges: for a node the names of those before it, whose results it is called with, one argument for each;
                ``[]`` is the batch itself.
            sink: the node whose result is what the pipeline yields.
            batch_size: as for ``Pipeline``.
            rngs: as for ``Pipeline``.
            **others: further arguments of ``Pipeline``; ``stages`` are host stages then.

        Raises:
            TypeError: ``nodes`` or ``edges`` are no dicts, or a node cannot be called.
            ValueError: there is a cycle, or a name that no node has.

        >>> double = lambda batch: {"x": batch["x"] * 2}
        >>> both = lambda one, other: {"x": one["x"] + other["x"]}
        >>> nodes = {"double": double, "again": double, "both": both}
        >>> edges = {"double": [], "again": ["double"], "both": ["double", "again"]}
        >>> pipeline = Pipeline.from_dag(source={"x": [1.0]}, nodes=nodes, edges=edges, sink="both", batch_size=1)
        >>> next(iter(pipeline))["x"].tolist()
        [6.0]
        """
        from datarax_mp.stages.graph import graph_stage  # delayed: it imports JAX

        stages = [*others.pop("stages", ()), graph_stage(nodes, edges, sink)]
        return cls(source=source, batch_size=batch_size, stages=stages, rngs=rngs, **others)

    @property
    def source(self) -> Any:
        """What records are read from: the source that was given, or the ``MemorySource`` made of plain data."""
        return self._blueprint.source

    @property
    def stages(self) -> list[Any]:
        """The stages, as they were given."""
        return list(self._config.stages)

    @property
    def batch_size(self) -> int:
        """The batch size that was given; of several shards or processes, that of this one."""
        return self._config.batch_size

    @property
    def num_workers(self) -> int:
        """How many worker processes there may be, of ``"auto"`` the most."""
        return self._config.options.num_workers

    def __iter__(self) -> PipelineIterator[Yielded]:
        """Begin the next epoch, or ``num_epochs``, or go on in the one that ``set_state`` named.

        Raises:
            Exception: what the source or a stage raised for the first record.
            RecordError: the first record cannot become a row of a batch.
            SharedMemoryError: shared memory is too small; the message says how much is needed.
            TypeError: the source or a stage does not pickle; the message names the attribute.
            ValueError: the source's length is another than when the pipeline was made.
            RuntimeError: the pipeline is closed.
        """
        return self._begin()

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """End running epochs and free memory and workers. Batches that were received stay valid.

        When this returns, no code of the source or the stages runs in a worker any more. Idle workers stay for the next
        pipeline. Any thread may call it, more than once; a thread that waits in ``next`` gets StopIteration.

        Args:
            timeout: seconds to let workers finish what they are at. Those that do not are killed.
        """
        deadline = time.monotonic() + timeout
        self._closed = True
        for iterator in list(self._iterators):
            iterator.close(max(0.0, deadline - time.monotonic()))
        self._course.close(deadline)
        self._overview().end()
        if self._ledger is not None:
            self._ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        lanes, records = self._blueprint.facts.lanes, f"{self._records} records"
        return (
            f"Pipeline({type(self._blueprint.source).__name__}, {records if lanes is None else f'{lanes} lanes'}, "
            f"batch_size={self.batch_size}, num_workers={self.num_workers})"
        )
