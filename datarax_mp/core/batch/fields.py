"""The habits of a dict, on the arrays of a batch."""

from __future__ import annotations

import dis
import sys
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from types import FrameType
from typing import TYPE_CHECKING, Any, Generic, overload

import jax
import numpy as np
from flax import nnx

from datarax_mp.core.batch.lazy_module import LazyModule, raw

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # which type checkers bring with them; Python's own has defaults from 3.13 on

    Array = TypeVar("Array", default=jax.Array)
else:
    from typing import TypeVar

    Array = TypeVar("Array")

Default = TypeVar("Default")
_UNPACKS = {dis.opmap["UNPACK_SEQUENCE"], dis.opmap["UNPACK_EX"]}


class Fields(LazyModule, Generic[Array]):
    """A batch's arrays by name. What is set or taken out concerns this batch alone.

    To type checkers they are of one kind: ``jax.Array`` in ``Batch``, ``np.ndarray`` in ``Batch[np.ndarray]``.
    """

    def __getitem__(self, name: str) -> Array:
        try:
            return raw(self._data)[name]
        except KeyError:
            raise KeyError(self._missing(name)) from None

    def _missing(self, name: str) -> str:
        arrays = list(self.keys())
        if name in self.info:
            return f"field {name!r} is no array: its values are in batch.info[{name!r}]; the arrays are {arrays}"
        beside = f" and, in batch.info, {list(self.info)}" if self.info else ""
        return f"no field {name!r}; this batch has {arrays}{beside}"

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def __delitem__(self, name: str) -> None:
        self.pop(name)

    def __contains__(self, name: object) -> bool:
        return name in raw(self._data)

    def __iter__(self) -> Iterator[str]:
        _refuse_unpacking(sys._getframe(1), list(self.keys()))
        return iter(raw(self._data))

    def __len__(self) -> int:
        return len(raw(self._data))

    def __bool__(self) -> bool:
        return True

    def keys(self) -> KeysView[str]:
        """The fields' names."""
        return self.get_data().keys()

    def values(self) -> ValuesView[Array]:
        """The fields' arrays."""
        return self.get_data().values()

    def items(self) -> ItemsView[str, Array]:
        """Names and arrays."""
        return self.get_data().items()

    @overload
    def get(self, name: str) -> Array | None: ...

    @overload
    def get(self, name: str, default: Default) -> Array | Default: ...

    def get(self, name: str, default: Any = None) -> Any:
        """A field's array, or ``default`` where there is no such field."""
        return raw(self._data).get(name, default)

    @overload
    def pop(self, name: str) -> Array: ...

    @overload
    def pop(self, name: str, default: Default, /) -> Array | Default: ...

    def pop(self, name: str, *default: Any) -> Any:
        """Take a field out of this batch, and return its array.

        Raises:
            KeyError: there is no such field, and no default.
        """
        if default and name not in self:
            return default[0]
        value = self[name]
        self._rows()
        self._replace({field: array for field, array in raw(self._data).items() if field != name})
        return value

    def update(self, fields: Mapping[str, Any]) -> None:
        """Add arrays ``(batch_size, ...)`` as fields, or replace what these names have.

        Raises:
            ValueError: one has another number of rows; then the batch stays as it was.
        """
        rows = self._rows()
        for name, value in fields.items():
            shapes = [np.shape(leaf) for leaf in jax.tree.leaves(value)]
            if not shapes or any(shape[:1] != (rows,) for shape in shapes):
                found = shapes[0] if shapes else type(value).__name__
                raise ValueError(f"field {name!r} must be of shape ({rows}, ...), one row per element, found {found}")
        self._replace({**raw(self._data), **fields})

    def get_data(self) -> dict[str, Array]:
        """The stacked arrays as a plain dict."""
        return dict(raw(self._data))

    def to_dict(self) -> dict[str, Any]:
        """All that the rows hold, as a plain dict: the arrays, and what is no array as lists with a value per row.

        >>> from datarax_mp import Pipeline
        >>> [batch] = Pipeline(source=[{"x": 1, "text": "one"}, {"x": 2, "text": "two"}], batch_size=2)
        >>> {name: list(map(str, value)) for name, value in batch.to_dict().items()}
        {'x': ['1', '2'], 'text': ['one', 'two']}
        """
        return _merged(self.get_data(), self.info)

    def _rows(self) -> int:
        """The number of elements, from now on also when no field is left that says it."""
        size = self.__dict__["_size"] = self.batch_size
        return size

    def _replace(self, fields: dict[str, Any]) -> None:
        if isinstance(self._data, nnx.Variable):
            self._data.set_value(fields)
        else:
            self.__dict__["_data"] = fields


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two trees without a leaf in common as one."""
    found = dict(one)
    for name, value in other.items():
        found[name] = _merged(found[name], value) if name in found else value
    return found


def _refuse_unpacking(caller: FrameType, names: list[str]) -> None:
    """``image, label = batch`` would bind the names of the fields, as it does with a dict, and nobody means that.

    The message does not propose ``batch.values()``: JAX sorts a dict's names on the way through ``jit``.
    """
    code, at = caller.f_code.co_code, caller.f_lasti
    if 0 <= at < len(code) and code[at] in _UNPACKS:
        raise TypeError(
            f"a Batch is unpacked by its fields' names, as a dict is, not by its arrays: write "
            f"{', '.join(f'batch[{name!r}]' for name in names)}"
        )
