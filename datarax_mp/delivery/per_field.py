"""Another sharding for each field: a tree of them, as the records are one.

{"tokens": P("data", "seq"), "meta": P("data")}        "meta" counts for all fields below it
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from datarax_mp.core.record import Path, field_name
from datarax_mp.core.spec import Layout


@dataclass(frozen=True, slots=True)
class FieldShardings:
    """A ``jax.sharding.Sharding`` for each field, or for all below a name.

    Attributes:
        by_path: the shardings by path, in the order in which they were given.
    """

    by_path: tuple[tuple[Path, Any], ...]

    @property
    def is_fully_addressable(self) -> bool:
        """Whether all arrays lie on devices of this process, as a Sharding says it."""
        return all(sharding.is_fully_addressable for _, sharding in self.by_path)

    def of(self, path: Path) -> Any:
        """The sharding of a field.

        Raises:
            ValueError: there is none.
        """
        for place, sharding in self.by_path:
            if path[: len(place)] == place:
                return sharding
        known = ", ".join(field_name(place) for place, _ in self.by_path)
        raise ValueError(
            f"field '{field_name(path)}' has no sharding among those of {known}: add it, with None for a copy on every "
            "device"
        )

    def check(self, layout: Layout) -> None:
        """Make sure that each field has one, and each is a field's.

        Raises:
            ValueError: that is not so; the message names it.
        """
        paths = [spec.path for spec in layout.fields]
        for path in paths:
            self.of(path)
        for place, _ in self.by_path:
            if not any(path[: len(place)] == place for path in paths):
                raise ValueError(
                    f"sharding names '{field_name(place)}', which is no field; there are "
                    f"{', '.join(map(field_name, paths))}"
                )

    def each(self, change: Callable[[Any], Any]) -> FieldShardings:
        """The same with every sharding changed."""
        return FieldShardings(tuple((place, change(sharding)) for place, sharding in self.by_path))


def resolve_tree(tree: Mapping[Any, Any], resolve: Callable[[Any], Any]) -> FieldShardings:
    """The shardings of a tree.

    Args:
        tree: a dict of what a pipeline takes as ``sharding``, of None, and of such dicts.
        resolve: makes a Sharding of what is no dict and not None.

    Raises:
        TypeError: a name is no string, or there is something else in the tree.
        ValueError: it names no sharding, so that nobody knows where copies are to go.
    """
    import jax  # delayed: whoever has a sharding has imported it

    found = [(place, None if given is None else _named(place, given, resolve)) for place, given in _leaves(tree, ())]
    meshes = [sharding.mesh for _, sharding in found if isinstance(sharding, jax.sharding.NamedSharding)]
    if not meshes:
        raise ValueError(f"sharding={tree!r} names no mesh: at least one field needs a PartitionSpec or NamedSharding")
    everywhere = jax.sharding.NamedSharding(meshes[0], jax.sharding.PartitionSpec())
    return FieldShardings(tuple((place, everywhere if given is None else given) for place, given in found))


def _leaves(tree: Mapping[Any, Any], above: Path) -> list[tuple[Path, Any]]:
    found: list[tuple[Path, Any]] = []
    for name, value in tree.items():
        if not isinstance(name, str):
            raise TypeError(f"sharding must be a dict by field, and {name!r} is no field's name")
        found += _leaves(value, (*above, name)) if isinstance(value, Mapping) else [((*above, name), value)]
    return found


def _named(place: Path, given: Any, resolve: Callable[[Any], Any]) -> Any:
    try:
        return resolve(given)
    except (TypeError, ValueError) as error:
        raise type(error)(f"field '{field_name(place)}': {error}") from None


def of_field(sharding: Any, path: Path) -> Any:
    """The sharding of a field, of one sharding for all or of one for each."""
    return sharding.of(path) if isinstance(sharding, FieldShardings) else sharding


def all_of(sharding: Any) -> list[tuple[str, Any]]:
    """All shardings there are, each with a text that says of what, for messages."""
    if isinstance(sharding, FieldShardings):
        return [(f"field '{field_name(place)}': ", one) for place, one in sharding.by_path]
    return [("", sharding)]


def of_rows(sharding: Any) -> Any:
    """The sharding that says how rows are split, for what every batch has beside its fields.

    Of several, it is the first that splits them.
    """
    if not isinstance(sharding, FieldShardings):
        return sharding
    shardings = [one for _, one in sharding.by_path]
    return next((one for one in shardings if tuple(getattr(one, "spec", ()))[:1] not in ((), (None,))), shardings[0])
