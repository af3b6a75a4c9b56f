"""An NNX module whose parts are plain dicts until somebody asks for Variables.

This is what is underneath ``Batch``: it keeps the parts in the instance, hands JAX and NNX what they ask a module for,
and makes an ``nnx.Variable`` of a part when that part is read as one. The underscored methods replace hooks of
``nnx.Pytree`` (flax 0.12); tests run every transformation through them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import nnx
from flax.nnx import graphlib

from datarax_mp.core.metadata import Metadata

MetadataThunk = Callable[[], list[Metadata]]
InfoThunk = Callable[[], dict[str, Any]]

_PATHS = tuple(jax.tree_util.GetAttrKey(name) for name in ("data", "states", "batch_state", "valid_mask"))


class _LazyMeta(type(nnx.Module)):  # type: ignore[misc]
    """Leaves out the attributes that ``nnx.Module`` gives every instance; ours says itself what is in it."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        batch: Any = object.__new__(cls)
        batch.__init__(*args, **kwargs)
        return batch


class LazyModule(nnx.Module, metaclass=_LazyMeta):
    """Parts, and the hooks through which JAX and NNX see them; ``Batch`` says what they mean."""

    def _variable(self, name: str) -> Any:
        value = self.__dict__[name]
        if isinstance(value, (dict, list)):
            value = self.__dict__[name] = nnx.Variable(value)
        return value

    def _check_valid_context(self, error_msg: Callable[[], str]) -> None:
        """Nothing to check: the Variables, where there are any, know the trace they belong to."""

    def _setattr(self, name: str, value: Any) -> None:
        if not isinstance(getattr(type(self), name, None), property):
            raise AttributeError(f"a Batch has no attribute {name!r} to set; put it in its batch_state or metadata")
        object.__setattr__(self, name, value)

    def __getstate__(self) -> dict[str, Any]:
        parts = {name: raw(value) for name, value in self.__dict__.items()}
        return {**parts, "_metadata": self.metadata, "_info": self.info}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __deepcopy__(self, memo: Any = None) -> Any:
        batch = object.__new__(type(self))
        batch.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return batch

    def _pytree__flatten(self) -> tuple[tuple[Any, ...], None]:
        return (raw(self._data), raw(self._states), raw(self._batch_state), self._mask), None

    def _pytree__flatten_with_paths(self) -> tuple[tuple[tuple[Any, Any], ...], None]:
        children, _ = self._pytree__flatten()
        return tuple(zip(_PATHS, children, strict=True)), None

    @classmethod
    def _pytree__unflatten(cls, static: None, children: Sequence[Any]) -> Any:
        batch = object.__new__(cls)
        fill(batch, *children)
        return batch

    def _graph_node_flatten(self) -> tuple[list[tuple[str, Any]], type]:
        parts = [(name, getattr(self, name)) for name in ("batch_state", "data", "states")]
        if self._mask is not None:
            parts.append(("valid_mask", self._mask))
        return [(name, graphlib.DataElem(part)) for name, part in parts], type(self)

    @staticmethod
    def _graph_node_create_empty(node_type: type[Any]) -> Any:
        batch = object.__new__(node_type)
        fill(batch, {}, {}, {}, None)
        return batch

    def _graph_node_init(self, attributes: Any) -> None:
        before = self._size
        for name, value in attributes:
            setattr(self, name, value)
        self.__dict__["_size"] = None
        if before is not None and self.batch_size != before:  # other rows than those that it was made for
            self.__dict__.update(_metadata=None, _info=None)

    def _graph_node_clear(self) -> None:
        # Called for the caller's own batch when a function of NNX's transforms is through: arrays come anew, and what
        # never went into the function stays.
        self.__dict__.update(_size=self.batch_size, _data={}, _states={}, _batch_state={}, _mask=None)

    def _graph_node_pop_key(self, key: str) -> Any:
        value = getattr(self, key)
        setattr(self, key, None if key == "valid_mask" else {})
        return value


def fill(
    batch: Any,
    data: Any,
    states: Any,
    batch_state: Any,
    mask: Any,
    *,
    size: int | None = None,
    metadata: list[Metadata] | MetadataThunk | None = None,
    info: dict[str, Any] | InfoThunk | None = None,
) -> None:
    """Set all parts of a new instance at once."""
    # Straight into the instance: NNX's own attribute setting checks every value, for a tenth of a millisecond each.
    batch.__dict__.update(
        _data=data,
        _states=states,
        _batch_state=batch_state,
        _mask=mask,
        _size=size,
        _metadata=metadata,
        _info=info,
        _batch_metadata=None,
    )


def raw(part: Any) -> Any:
    """A part as the dict that it is or holds, or the list, where states are one for each element."""
    # Exact types first: NNX's isinstance check for Variables takes ten microseconds.
    if type(part) is dict or type(part) is list:
        return part
    return part.get_raw_value() if type(part) is nnx.Variable or isinstance(part, nnx.Variable) else part
