"""Which fields of a sample are wanted, and how their bytes are decoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from datarax_mp.core.record import RecordError
from datarax_mp.core.strays import is_interruption
from datarax_mp.formats.by_suffix import DECODERS, Decoder
from datarax_mp.formats.tar_records import Part, Sample
from datarax_mp.sources.decode import ImageError, decode_image, require_decoders

Wanted: TypeAlias = Sequence[str] | Mapping[str, str | Sequence[str]]


@dataclass(frozen=True)
class TarFields:
    """See the module.

    Attributes:
        wanted: each field, with the suffixes of which a sample has one; None is all that a sample has, by suffix.
        decoders: functions of bytes, by suffix.
        user_code: whether there are the user's among them.
    """

    wanted: Mapping[str, tuple[str, ...]] | None
    decoders: Mapping[str, Decoder]
    user_code: bool

    @classmethod
    def asked(cls, fields: Wanted | None, decode: bool | Mapping[str, Decoder]) -> TarFields:
        """What the arguments of ``TarSource`` say.

        Raises:
            TypeError: they say something else.
        """
        wanted = None if fields is None else _wanted(fields)
        if isinstance(decode, bool):
            return cls(wanted, DECODERS if decode else {}, user_code=False)
        if not isinstance(decode, Mapping):
            raise TypeError(f"decode must be a dict of functions by suffix, True or False, got {decode!r}")
        for suffix, decoder in decode.items():
            if not callable(decoder):
                raise TypeError(
                    f"decode[{suffix!r}] must be a function of bytes, got {decoder!r}; the type bytes leaves them"
                )
        own = {_suffix(suffix): decoder for suffix, decoder in decode.items()}
        return cls(wanted, DECODERS | own, user_code=True)

    def check(self, there: Sequence[str]) -> None:
        """Make sure that there can be such fields.

        Args:
            there: the suffixes that there are.

        Raises:
            ImportError: the decoders of images are not installed.
            ValueError: no sample has one of them.
        """
        for name, suffixes in (self.wanted or {}).items():
            if not any(suffix in there for suffix in suffixes):
                raise ValueError(
                    f"no sample has field {name!r} (suffix {' or '.join(suffixes)}); there are {', '.join(there)}"
                )
        wanted = there if self.wanted is None else [one for suffixes in self.wanted.values() for one in suffixes]
        if any(suffix in there and self._decoder(suffix) is decode_image for suffix in wanted):
            require_decoders()

    def of(self, sample: Sample) -> dict[str, Any]:
        """A sample's fields, decoded.

        Raises:
            RecordError: one is not there, or does not decode; archive, sample, field and offset are named.
        """
        fields: dict[str, Any] = {"__key__": sample.key}
        if self.wanted is None:
            return fields | {part.suffix: self._decoded(sample, part) for part in sample.parts}
        parts = {part.suffix: part for part in sample.parts}
        for name, suffixes in self.wanted.items():
            part = next((parts[suffix] for suffix in suffixes if suffix in parts), None)
            if part is None:
                raise RecordError(
                    f"{sample.path}, sample {sample.key!r} at byte {sample.parts[0].at:,}: expected a member with the "
                    f"suffix {' or '.join(suffixes)}, found {', '.join(parts)}"
                )
            fields[name] = self._decoded(sample, part)
        return fields

    def _decoder(self, suffix: str) -> Decoder | None:
        return self.decoders.get(suffix) or self.decoders.get(suffix.rpartition(".")[2])

    def _decoded(self, sample: Sample, part: Part) -> Any:
        data, decoder = part.data.tobytes(), self._decoder(part.suffix)
        if decoder is None:
            return data
        try:
            return decoder(data)
        except (ImportError, MemoryError):
            raise
        except Exception as error:
            if is_interruption(error):
                raise
            why = error.reason if isinstance(error, ImageError) else f"{type(error).__name__}: {error}"
            raise RecordError(
                f"{sample.path}, sample {sample.key!r}: its {part.suffix}, {part.data.size:,} bytes at byte "
                f"{part.at:,}, does not decode: {why}"
            ) from error


def _wanted(fields: Wanted) -> dict[str, tuple[str, ...]]:
    if isinstance(fields, str):
        raise TypeError(f"fields must be a list of suffixes or a dict, got {fields!r}; one field is [{fields!r}]")
    if not isinstance(fields, Mapping):
        fields = {name: name for name in fields}
    return {
        name: tuple(_suffix(suffix) for suffix in ([suffixes] if isinstance(suffixes, str) else suffixes))
        for name, suffixes in fields.items()
    }


def _suffix(name: str) -> str:
    return name.lower().lstrip(".")
