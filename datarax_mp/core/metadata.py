"""What is known about one element besides its arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import jax

from datarax_mp.core.batch.record_key import decode, encode


@dataclass(frozen=True, init=False)
class Metadata:
    """Where an element comes from: plain Python, immutable, and a pytree.

    The pytree's leaves are the numbers, the key of randomness, and the record's key as an array of bytes; so two
    Metadata have one structure whatever their keys are, a jitted function is traced once for them, and each comes back
    with its own key. (In a trace, where there is no text, ``key`` is None.) ``source_info`` may hold anything and is no
    part of the structure: it stays with the object through ``jax.tree.map`` and ``jax.device_put``, and does not go
    through ``jit`` and other traces, as nothing does that is on the host.

    Args:
        index: the record's number in the source; None for padding, and where nobody knows.
        epoch: the epoch, from 0.
        global_step: batches before this one, over all epochs.
        batch_idx: the batch's step in its epoch.
        shard_id: the shard that served it.
        rng_key: a JAX key, if somebody attached one.
        source_info: anything else, among it the record's fields that are no arrays (text, bytes, objects); None is
            none.
        key: the record's key as text; also read as ``record_key`` and ``entry_key``. Of a long one, what comes out of
            a pytree are the first 128 bytes.

    >>> Metadata(index=3, key="photo-3").replace(epoch=1).record_key
    'photo-3'
    """

    index: int | None
    epoch: int | None
    global_step: int | None
    batch_idx: int | None
    shard_id: int | None
    rng_key: Any
    source_info: dict[str, Any]
    key: str | None

    def __init__(
        self,
        index: int | None = 0,
        epoch: int | None = 0,
        global_step: int | None = 0,
        batch_idx: int | None = None,
        shard_id: int | None = None,
        rng_key: Any = None,
        source_info: dict[str, Any] | None = None,
        key: str | None = None,
    ) -> None:
        # At once, for there is one for every record: frozen attributes set one by one take three times as long.
        self.__dict__.update(
            index=index,
            epoch=epoch,
            global_step=global_step,
            batch_idx=batch_idx,
            shard_id=shard_id,
            rng_key=rng_key,
            source_info={} if source_info is None else source_info,
            key=key,
        )

    if not TYPE_CHECKING:  # or every name would be an attribute to type checkers

        def __getattr__(self, name: str) -> Any:
            """The text of a key that came out of a pytree: reading an array waits for it, so only who asks does."""
            if name != "key" or "_key_array" not in self.__dict__:
                raise AttributeError(f"'{type(self).__name__}' has no attribute {name!r}")
            return decode(self.__dict__["_key_array"])

    @property
    def record_key(self) -> str | None:
        """The record's key, as datarax calls it."""
        return self.key

    @property
    def entry_key(self) -> str | None:
        """The record's key, as datarax called it before."""
        return self.key

    def replace(self, **changes: Any) -> Self:
        """A copy with some attributes changed; ``record_key`` is ``key``.

        Raises:
            TypeError: there is no such attribute.
        """
        changes = _with_key(changes)
        if unknown := [name for name in changes if name not in _NAMES]:
            raise TypeError(f"{type(self).__name__} has no attribute {unknown[0]!r}; it has {list(_NAMES)}")
        copy = object.__new__(type(self))
        copy.__dict__.update({**self.__dict__, **changes})
        return copy

    def merge(self, other: Metadata | None) -> Self:
        """A copy with what ``other`` knows: its numbers that are not 0, and whatever else is neither None nor empty.

        >>> Metadata(index=3, epoch=1).merge(Metadata(epoch=2, batch_idx=5)).to_dict()["epoch"]
        2
        """
        if other is None:
            return self
        known = {name: value for name in _NAMES if (value := getattr(other, name)) is not None}
        return self.replace(**{name: value for name, value in known.items() if name == "rng_key" or value})

    def to_dict(self) -> dict[str, Any]:
        """The attributes as a dict, ``key`` as ``record_key``; ``source_info`` is copied."""
        values = {name: getattr(self, name) for name in _LEAVES}
        return {**values, "source_info": dict(self.source_info), "record_key": self.key}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of ``to_dict``; the key may also be called ``key``.

        Raises:
            TypeError: a name is no attribute of Metadata.
        """
        return cls(**_with_key(values))

    # --- moving on

    def increment_step(self) -> Self:
        """A copy one batch later."""
        return self.replace(global_step=_after(self.global_step))

    def increment_epoch(self) -> Self:
        """A copy at the beginning of the next epoch."""
        return self.replace(epoch=_after(self.epoch), batch_idx=0)

    def increment_batch(self) -> Self:
        """A copy of the next batch in its epoch, which is 0 where there was none."""
        return self.replace(batch_idx=0 if self.batch_idx is None else self.batch_idx + 1)

    def with_shard(self, shard_id: int) -> Self:
        """A copy that another shard served."""
        return self.replace(shard_id=shard_id)

    # --- randomness

    def split_rng(self, num: int = 2) -> list[Any]:
        """``num`` keys made of ``rng_key``; Nones where there is none."""
        return [None] * num if self.rng_key is None else list(jax.random.split(self.rng_key, num))

    def next_rng(self) -> Self:
        """A copy with another ``rng_key``, the second of two that this one is split into."""
        return self.replace(rng_key=self.split_rng()[1])


class RecordMetadata(Metadata):
    """What a source knows about one of its records: a Metadata that has a number and a key.

    >>> RecordMetadata(3, "photos:3").record_key
    'photos:3'
    """

    def __init__(
        self,
        index: int,
        record_key: str,
        rng_key: Any = None,
        epoch: int = 0,
        global_step: int = 0,
        batch_idx: int | None = None,
        shard_id: int | None = None,
        source_info: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(index, epoch, global_step, batch_idx, shard_id, rng_key, source_info, record_key)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of ``to_dict``; the key may also be called ``key``.

        Raises:
            TypeError: a name is no attribute of RecordMetadata.
        """
        named = _with_key(values)
        return cls(record_key=named.pop("key"), **named)


_LEAVES = ("index", "epoch", "global_step", "batch_idx", "shard_id", "rng_key")
_NAMES = (*_LEAVES, "source_info", "key")

UNKNOWN = Metadata(index=None, epoch=None, global_step=None)
"""What is known of an element that nobody described."""


def create_metadata(
    index: int | None = 0,
    epoch: int | None = 0,
    global_step: int | None = 0,
    batch_idx: int | None = None,
    shard_id: int | None = None,
    rng_key: Any = None,
    source_info: dict[str, Any] | None = None,
    record_key: str | None = None,
    seed: int | None = None,
) -> Metadata:
    """A Metadata, with a key of randomness made of ``seed``.

    Args:
        index: as for ``Metadata``, as are the next ones.
        epoch: likewise.
        global_step: likewise.
        batch_idx: likewise.
        shard_id: likewise.
        rng_key: likewise.
        source_info: likewise.
        record_key: the record's key as text.
        seed: an int of which ``rng_key`` is made.

    Raises:
        ValueError: there are both a ``seed`` and an ``rng_key``.

    >>> create_metadata(index=3, record_key="photo-3", seed=0).record_key
    'photo-3'
    """
    if seed is not None:
        if rng_key is not None:
            raise ValueError("seed and rng_key both say which key of randomness it has; give one of them")
        rng_key = jax.random.key(seed)
    return Metadata(index, epoch, global_step, batch_idx, shard_id, rng_key, source_info, record_key)


def split_rng_tree(metadata: Metadata, num: int) -> dict[str, Any]:
    """``num`` keys made of the metadata's, by name: ``a``, ``b``, ``key_2``, ``key_3`` ...; without one, all are None.

    Args:
        metadata: whose ``rng_key`` is split.
        num: how many keys.

    >>> list(split_rng_tree(create_metadata(seed=0), 3)), split_rng_tree(Metadata(), 2)
    (['a', 'b', 'key_2'], {'key_0': None, 'key_1': None})
    """
    first = () if metadata.rng_key is None else ("a", "b")[:num]
    names = [*first, *(f"key_{place}" for place in range(len(first), num))]
    return dict(zip(names, metadata.split_rng(num), strict=True))


def batch_metadata(metadata: Sequence[Metadata]) -> Metadata:
    """One Metadata for many: the first's, with the largest epoch and step, the first batch and shard that are known.

    Args:
        metadata: one for each element; without any it is ``Metadata()``.

    >>> batch_metadata([Metadata(3), Metadata(4, epoch=1, shard_id=2)]).to_dict()["shard_id"]
    2
    """
    if not metadata:
        return Metadata()
    return metadata[0].replace(
        epoch=_known([item.epoch for item in metadata], max),
        global_step=_known([item.global_step for item in metadata], max),
        batch_idx=_known([item.batch_idx for item in metadata], lambda found: found[0]),
        shard_id=_known([item.shard_id for item in metadata], lambda found: found[0]),
    )


def update_metadata_batch(metadata: Metadata, batch_size: int) -> Metadata:
    """A copy one batch of ``batch_size`` later: ``global_step`` counts its elements, ``batch_idx`` the batch.

    It may be traced; outside of a trace it is two additions, which need no compiled function.

    Args:
        metadata: what is copied; a number that is not known counts as 0.
        batch_size: how many elements the batch had.

    >>> update_metadata_batch(Metadata(global_step=64), 32).to_dict()["global_step"]
    96
    """
    return metadata.replace(global_step=_after(metadata.global_step, batch_size), batch_idx=_after(metadata.batch_idx))


def _after(number: Any, steps: Any = 1) -> Any:
    return steps if number is None else number + steps


def _known(found: list[Any], choose: Any) -> Any:
    known = [item for item in found if item is not None]
    return choose(known) if known else None


def _with_key(values: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes by name, of which the key may be called ``record_key``."""
    if "record_key" not in values:
        return dict(values)
    if "key" in values:
        raise TypeError("record_key and key are two names of one attribute; give one of them")
    return {("key" if name == "record_key" else name): value for name, value in values.items()}


# --- as a pytree


class _Beside:
    """What is no part of the structure and yet travels with it: all are equal, so none is a reason to trace again."""

    def __init__(self, source_info: dict[str, Any]) -> None:
        self.source_info = source_info

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Beside)

    def __hash__(self) -> int:
        return hash(_Beside)


def _flatten(metadata: Metadata) -> tuple[tuple[Any, ...], _Beside]:
    parts = metadata.__dict__
    key = encode(parts["key"]) if "key" in parts else parts["_key_array"]
    leaves = (*(parts[name] for name in _LEAVES), key)
    return leaves, _Beside(_on_host(leaves, metadata.source_info))


def _on_host(leaves: Sequence[Any], source_info: dict[str, Any]) -> dict[str, Any]:
    """Empty in a trace: what is compiled runs for other elements, too, which have other information."""
    return {} if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves) else source_info


def _register(kind: type[Metadata]) -> None:
    paths = tuple(jax.tree_util.GetAttrKey(name) for name in (*_LEAVES, "key"))

    def flatten_with_keys(metadata: Metadata) -> tuple[tuple[tuple[Any, Any], ...], _Beside]:
        leaves, beside = _flatten(metadata)
        return tuple(zip(paths, leaves, strict=True)), beside

    def unflatten(beside: _Beside, leaves: tuple[Any, ...]) -> Metadata:
        metadata = object.__new__(kind)
        metadata.__dict__.update(zip((*_LEAVES, "_key_array"), leaves, strict=True))
        metadata.__dict__["source_info"] = _on_host(leaves, beside.source_info)
        return metadata

    jax.tree_util.register_pytree_with_keys(kind, flatten_with_keys, unflatten, _flatten)


_register(Metadata)
_register(RecordMetadata)
