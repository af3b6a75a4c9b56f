"""Stacking elements, and checking that the parts of a batch fit together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from datarax_mp.core.batch.element import Element
from datarax_mp.core.metadata import UNKNOWN, Metadata
from datarax_mp.core.tensors import as_array


def named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by name, nested names joined by a slash."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def map_lists(fn: Callable[..., list[Any]], *trees: Mapping[str, Any]) -> dict[str, Any]:
    """A function applied to the lists of nested dicts of equal structure.

    >>> map_lists(lambda *lists: sum(lists, []), {"a": {"b": [1]}}, {"a": {"b": [2, 3]}})
    {'a': {'b': [1, 2, 3]}}
    """
    return {
        name: map_lists(fn, *(tree[name] for tree in trees))
        if isinstance(first, Mapping)
        else fn(*(tree[name] for tree in trees))
        for name, first in trees[0].items()
    }


def known(metadata: Iterable[Metadata | None]) -> list[Metadata]:
    """One Metadata per element; of one that was given none, nothing is known."""
    return [UNKNOWN if item is None else item for item in metadata]


def rows_of(data: Any) -> int:
    """The batch size that stacked arrays have: the first one's leading axis, or 0 when there is none."""
    for leaf in jax.tree.leaves(data):
        return int(leaf.shape[0])
    return 0


def cut_states(states: Any, cut: Callable[[Any], Any], cut_list: Callable[[list[Any]], list[Any]]) -> Any:
    """Some rows of per-element state, which is arrays of as many rows, or a list with one state for each."""
    return cut_list(states) if type(states) is list else jax.tree.map(cut, states)


def same_arrays(ours: Any, theirs: Any) -> bool:
    """Whether two trees have the same structure and equal arrays, NumPy's, JAX's or torch's; NaN equals NaN."""
    if jax.tree.structure(ours) != jax.tree.structure(theirs):
        return False
    sides = ([np.asarray(as_array(leaf)) for leaf in jax.tree.leaves(side)] for side in (ours, theirs))
    pairs = zip(*sides, strict=True)
    return all(
        a.dtype == b.dtype and np.array_equal(a, b, equal_nan=jnp.issubdtype(a.dtype, jnp.inexact)) for a, b in pairs
    )


def stack_elements(
    elements: Sequence[Element], *, validate: bool
) -> tuple[dict[str, Any], dict[str, Any], list[Metadata]]:
    """Stack the elements' data and states; return both with the list of their metadata.

    Raises:
        ValueError: an element differs from the first; the message names it and the field.
        OverflowError: a value does not fit into the 32-bit type that JAX makes of its own.
    """
    metadata = known(element.metadata for element in elements)
    if not elements:
        return {}, {}, metadata
    parts = [(element.data, element.state) for element in elements]
    if validate:
        expected = _signature(elements[0])
        for place, element in enumerate(elements):
            found = _signature(element)
            if found != expected:
                name = next(name for name in {**expected, **found} if expected.get(name) != found.get(name))
                raise ValueError(
                    f"element {place}, {name}: expected {expected.get(name, 'no such field')} as in the first element, "
                    f"found {found.get(name, 'no such field')}"
                )

    data, states = jax.tree_util.tree_map_with_path(_stacked, *parts)
    return data, states, metadata


def _stacked(path: Any, *leaves: Any) -> Any:
    if any(isinstance(leaf, jax.Array) for leaf in leaves):
        for place, leaf in enumerate(leaves):
            if isinstance(leaf, (np.ndarray, np.generic)):
                _check_fits(np.asarray(leaf)[None], path, place)
        return jnp.stack(leaves)
    stacked = np.stack(leaves)
    _check_fits(stacked, path, 0)
    return jnp.asarray(stacked)


def _check_fits(values: np.ndarray, path: Any, first: int) -> None:
    """Make sure that JAX's arrays hold the values of some elements, an array ``(elements, ...)``."""
    if values.dtype.kind not in "iufc" or (dtype := jax.dtypes.canonicalize_dtype(values.dtype)) == values.dtype:
        return
    with np.errstate(over="ignore", invalid="ignore"):
        kept = values.astype(dtype)
        changed = kept != values if dtype.kind in "iu" else np.isinf(kept) & ~np.isinf(values)
    if changed.any():
        at = tuple(np.argwhere(changed)[0])
        name = jax.tree_util.keystr(path[1:], simple=True, separator="/")
        raise OverflowError(
            f"element {first + at[0]}, {('field', 'state')[path[0].idx]} '{name}': expected a value that fits {dtype}, "
            f"found {values[at]} ({values.dtype}). JAX holds {values.dtype} only under jax_enable_x64: set that, or "
            "scale the value"
        )


def _signature(element: Element) -> dict[str, str]:
    found = {}
    for part, tree in (("field", element.data), ("state", element.state)):
        for name, leaf in named_leaves(tree).items():
            found[f"{part} '{name}'"] = f"{np.result_type(leaf)} of shape {np.shape(leaf)}"
    return found


def check_parts(data: Mapping[str, Any], states: Any, metadata: Sequence[Metadata | None] | None, mask: Any) -> None:
    """Make sure that the parts of a batch have one size.

    Raises:
        ValueError: they do not; the message names the fields and their sizes.
    """
    fields = named_leaves(data)
    if not fields:
        raise ValueError("data holds no array; a batch needs at least one, such as {'image': images}")
    sizes: dict[str, int] = {}
    by_element = type(states) is list
    stacked = {} if by_element else named_leaves(states)
    for name, leaf in [*fields.items(), *((f"states/{name}", leaf) for name, leaf in stacked.items())]:
        if not np.shape(leaf):
            raise ValueError(f"'{name}' has no batch axis: expected an array (batch_size, ...), found {leaf!r}")
        sizes[name] = np.shape(leaf)[0]
    if len(set(sizes.values())) > 1:
        raise ValueError(f"leading axes must be equal, found {sizes}")
    size = next(iter(sizes.values()))
    for called, entries in (("states, a list,", states if by_element else None), ("metadata_list", metadata)):
        if entries is not None and len(entries) != size:
            raise ValueError(f"{called} must have one entry per element: expected {size}, found {len(entries)}")
    if mask is not None and np.shape(mask) != (size,):
        raise ValueError(f"valid_mask must have shape ({size},), found {np.shape(mask)}")
