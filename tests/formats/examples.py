"""tf.train.Example as Google's protobuf writes it, and TFRecord files, for tests."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import google_crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_STRING, _BYTES, _FLOAT, _INT64, _MESSAGE = 9, 12, 2, 3, 11
_LISTS = {"bytes": _BYTES, "float": _FLOAT, "int64": _INT64}


def _message(proto: Any, name: str) -> Any:
    message = proto.message_type.add()
    message.name = name
    return message


def _field(message: Any, name: str, number: int, kind: int, *, repeated: bool = False, of: str = "") -> Any:
    field = message.field.add()
    field.name, field.number, field.type, field.label = name, number, kind, 3 if repeated else 1
    if of:
        field.type_name = f".t.{of}"
    return field


def _classes(packed: bool) -> Any:
    proto = descriptor_pb2.FileDescriptorProto()
    proto.name, proto.package, proto.syntax = f"example_{packed}.proto", "t", "proto3"
    for name, kind in _LISTS.items():
        field = _field(_message(proto, f"{name}List"), "value", 1, kind, repeated=True)
        if name != "bytes":
            field.options.packed = packed
    feature = _message(proto, "Feature")
    feature.oneof_decl.add().name = "kind"
    for number, name in enumerate(_LISTS, 1):
        _field(feature, f"{name}_list", number, _MESSAGE, of=f"{name}List").oneof_index = 0
    features = _message(proto, "Features")
    entry = features.nested_type.add()
    entry.name = "FeatureEntry"
    entry.options.map_entry = True
    _field(entry, "key", 1, _STRING)
    _field(entry, "value", 2, _MESSAGE, of="Feature")
    _field(features, "feature", 1, _MESSAGE, repeated=True, of="Features.FeatureEntry")
    _field(_message(proto, "Example"), "features", 1, _MESSAGE, of="Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(proto)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Example"))


_EXAMPLE = {packed: _classes(packed) for packed in (False, True)}


def example(features: Mapping[str, Any], *, packed: bool = True) -> bytes:
    """An Example of lists: of bytes, of floats, of ints; None is a feature that holds nothing."""
    message = _EXAMPLE[packed]()
    for name, values in features.items():
        feature = message.features.feature[name]
        if values is not None:
            kind = {bytes: "bytes", float: "float", int: "int64"}[type(values[0])] if len(values) else "float"
            getattr(feature, f"{kind}_list").value.extend(values)
            getattr(feature, f"{kind}_list").SetInParent()
    return message.SerializeToString()


def checksum(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def framed(records: Iterable[bytes]) -> bytes:
    """Records as a TFRecord file has them."""
    parts = []
    for data in records:
        length = struct.pack("<Q", len(data))
        parts += [length, struct.pack("<I", checksum(length)), data, struct.pack("<I", checksum(data))]
    return b"".join(parts)


def write(path: Path, records: Iterable[bytes]) -> Path:
    path.write_bytes(framed(records))
    return path
