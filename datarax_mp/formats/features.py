"""What is wanted of each tf.train.Example: which features, of which dtype and shape."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from datarax_mp.core.record import RecordError
from datarax_mp.core.strays import is_interruption
from datarax_mp.formats.example import Values, spans_of, values_of
from datarax_mp.sources.decode import decode_image, require_decoders

Shape: TypeAlias = tuple[int | None, ...]
Wish: TypeAlias = Any
"""What a user says of a feature: ``bytes``, ``str``, a dtype, a function of bytes, or a pair of one of the first three
and a shape, whose first length may be None, for any."""


@dataclass(frozen=True)
class Feature:
    """What is wanted of one feature.

    Attributes:
        name: its name.
        shape: of how many values; () is a single one.
        dtype: what numbers become; None where bytes are wanted.
        convert: what is done to each value of bytes.
    """

    name: str
    shape: Shape
    dtype: np.dtype | None
    convert: Callable[[bytes], Any] = bytes

    @classmethod
    def asked(cls, name: str, wish: Wish) -> Feature:
        """What a user says of it.

        Raises:
            TypeError, ValueError: that is nothing of the kind.
        """
        kind, shape = wish if isinstance(wish, (tuple, list)) and len(wish) == 2 else (wish, ())
        shape = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
        if not all(size is None or (isinstance(size, int) and size >= 0) for size in shape) or None in shape[1:]:
            raise ValueError(f"features[{name!r}]: expected a shape such as (16,) or (None, 3), got {shape!r}")
        if kind is bytes or kind is str:
            return cls(name, shape, None, bytes if kind is bytes else bytes.decode)
        if callable(kind) and not isinstance(kind, type):
            return cls(name, shape, None, kind)
        dtype: np.dtype | None = None
        if kind is not None:
            with contextlib.suppress(TypeError):
                dtype = np.dtype(kind)
        if dtype is None or dtype.kind not in "iubf" or dtype == np.float16:
            raise TypeError(
                f"features[{name!r}]: expected bytes, str, a dtype of integers, bool, float32 or float64, a function "
                f"of bytes, or a pair such as (np.float32, (16,)), got {wish!r}"
            )
        return cls(name, shape, dtype)

    @cached_property
    def _expected(self) -> tuple[int, bool, str]:
        """How many values there are, or a multiple of how many, whether it is that, and of what kind."""
        kind = "bytes" if self.dtype is None else "float32" if self.dtype.kind == "f" else "int64"
        return math.prod(size for size in self.shape if size is not None), None in self.shape, kind

    def of(self, found: Values) -> Any:
        """A feature's value as it is wanted.

        Raises:
            ValueError: it holds something else; the message says what.
        """
        count, (known, grows, expected) = len(found.values), self._expected
        fits = known > 0 and count % known == 0 if grows else count == known
        if not fits or (found.kind != expected and (count or found.kind)):
            number = "1" if self.shape == () else f"{self.shape}".rstrip(",)").lstrip("(").replace("None", "any")
            raise ValueError(f"expected {number} {expected} values, found {count} {found.kind}".rstrip())
        if self.dtype is None:
            values = [self.convert(value) for value in found.values]
            return values[0] if self.shape == () else _nested(values, self.shape[1:])
        return self._cast(found.values)

    def _cast(self, values: Any) -> Any:
        assert self.dtype is not None
        own = np.float32 if self.dtype.kind == "f" else np.int64
        array = np.asarray(values, own).astype(self.dtype)
        if self.dtype.kind != "f" and self.dtype != own and (array.astype(own) != values).any():
            raise ValueError(f"expected {self.dtype}, found {np.asarray(values)[array.astype(own) != values][0]}")
        shape = tuple(-1 if size is None else size for size in self.shape)
        return array[0] if shape == () else array.reshape(shape)


@dataclass(frozen=True)
class Features:
    """What is wanted of each Example.

    Attributes:
        wanted: the features.
        user_code: whether there are functions of the user's among them.
    """

    wanted: tuple[Feature, ...]
    user_code: bool

    @classmethod
    def asked(cls, wishes: Mapping[str, Wish] | None) -> Features | None:
        """What the argument ``features`` says; None where records are to be bytes.

        Raises:
            ImportError: an image is wanted, and the decoders are not installed.
            TypeError, ValueError: it says nothing of the kind.
        """
        if wishes is None:
            return None
        if not isinstance(wishes, Mapping) or not wishes:
            raise TypeError(f'features must be a dict such as {{"image": bytes, "label": np.int64}}, got {wishes!r}')
        wanted = tuple(Feature.asked(name, wish) for name, wish in wishes.items())
        functions = [one.convert for one in wanted if one.convert not in (bytes, bytes.decode)]
        if decode_image in functions:
            require_decoders()
        return cls(wanted, any(function is not decode_image for function in functions))

    def of(self, data: bytes) -> dict[str, Any]:
        """The features of an Example.

        Raises:
            ValueError: the data are none, or a feature is not there, or is not what is wanted.
        """
        spans = spans_of(data)
        record: dict[str, Any] = {}
        for one in self.wanted:
            if (parts := spans.get(one.name)) is None:
                there = ", ".join(f"{name} ({_told(values_of(data, spans[name]))})" for name in sorted(spans))
                raise ValueError(f"feature {one.name!r} is not there; there are {there or 'none'}")
            try:
                record[one.name] = one.of(values_of(data, parts))
            except ValueError as error:
                if is_interruption(error):
                    raise
                raise ValueError(f"feature {one.name!r}: {error}") from error
        return record


def about(error: Exception, where: str) -> RecordError:
    """What is raised of a record that has led to an error: with where it lies, and what was wrong with it.

    Raises:
        Exception: the error itself, if the record had no part in it.
    """
    if isinstance(error, (ImportError, MemoryError)) or is_interruption(error):
        raise error
    return RecordError(f"{where}: {error if isinstance(error, ValueError) else repr(error)}")


def _told(found: Values) -> str:
    return f"{len(found.values)} {found.kind}".rstrip()


def _nested(values: list[Any], rest: Shape) -> list[Any]:
    """Values as lists of lists, of this shape from the second axis on."""
    for size in reversed(rest):
        assert size is not None
        values = [values[at : at + size] for at in range(0, len(values), size)]
    return values
