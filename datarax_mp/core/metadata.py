"""What is known about one element besides its arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax


@dataclass(frozen=True)
class Metadata:
    """Where an element comes from: plain Python, immutable, and a pytree.

    The pytree's leaves are the numbers and the key of randomness; ``key`` and ``source_info`` are static.

    Attributes:
        index: the record's number in the source; None for padding.
        epoch: the epoch, from 0.
        global_step: batches before this one, over all epochs.
        batch_idx: the batch's step in its epoch.
        shard_id: the shard that served it.
        rng_key: a JAX key, if somebody attached one.
        key: the record's key as text; also read as ``entry_key``.
        source_info: anything else, among it the record's fields that are no arrays (text, bytes, objects).

    >>> Metadata(index=3, key="photo-3").replace(epoch=1).entry_key
    'photo-3'
    """

    index: int | None = None
    epoch: int | None = None
    global_step: int | None = None
    batch_idx: int | None = None
    shard_id: int | None = None
    rng_key: Any = None
    key: str | None = None
    source_info: dict[str, Any] = field(default_factory=dict)

    @property
    def entry_key(self) -> str | None:
        """The record's key, as datarax calls it."""
        return self.key

    def replace(self, **changes: Any) -> Metadata:
        """A copy with some attributes changed.

        Raises:
            TypeError: there is no such attribute.
        """
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The attributes as a dict; ``source_info`` is copied."""
        return {**vars(self), "source_info": dict(self.source_info)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Metadata:
        """The inverse of ``to_dict``.

        Raises:
            TypeError: a name is no attribute of Metadata.
        """
        return cls(**values)


_LEAVES = ("index", "epoch", "global_step", "batch_idx", "shard_id", "rng_key")


@dataclass(frozen=True)
class _Static:
    """The static half. ``source_info`` may hold anything, so only the key is hashed."""

    key: str | None
    source_info: dict[str, Any]

    def __hash__(self) -> int:
        return hash(self.key)


def _flatten(metadata: Metadata) -> tuple[tuple[Any, ...], _Static]:
    return tuple(getattr(metadata, name) for name in _LEAVES), _Static(metadata.key, metadata.source_info)


def _flatten_with_keys(metadata: Metadata) -> tuple[tuple[tuple[Any, Any], ...], _Static]:
    leaves, static = _flatten(metadata)
    return tuple((jax.tree_util.GetAttrKey(name), leaf) for name, leaf in zip(_LEAVES, leaves, strict=True)), static


def _unflatten(static: _Static, leaves: tuple[Any, ...]) -> Metadata:
    return Metadata(**dict(zip(_LEAVES, leaves, strict=True)), key=static.key, source_info=static.source_info)


jax.tree_util.register_pytree_with_keys(Metadata, _flatten_with_keys, _unflatten, _flatten)
