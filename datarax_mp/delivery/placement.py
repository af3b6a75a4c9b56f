"""Where a pipeline's arrays go: what users pass as ``device`` and ``sharding``, made JAX's own objects and checked.

What does not depend on the records is checked when the pipeline is made: that there is such a device, that the mesh has
such axes, that batches divide by rows. What depends on their shapes is checked when the first one is known, which for
plain data without host stages is then, too.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from datarax_mp.core.record import field_name
from datarax_mp.core.spanning import spans_processes
from datarax_mp.core.spec import FieldSpec, Layout
from datarax_mp.core.strays import is_interruption
from datarax_mp.delivery.per_field import FieldShardings, all_of, of_field, resolve_tree
from datarax_mp.order import Order


def resolve_device(device: Any) -> Any:
    """The ``jax.Device`` that is meant, or None for JAX's default.

    Args:
        device: a ``jax.Device``; an int, which counts this process's devices of the default backend; or a platform's
            name, ``"cpu"``, ``"gpu"``, ``"tpu"``, with or without a number, ``"gpu:1"``.

    Raises:
        TypeError: it is of another kind.
        ValueError: there is no such device, or it is another process's.
    """
    if device is None:
        return None
    import jax  # delayed: only needed where arrays go to a device

    if isinstance(device, jax.Device):
        if device.process_index != jax.process_index():
            raise ValueError(f"device={device} is one of process {device.process_index}, and arrays cannot go there")
        return device
    if isinstance(device, str):
        platform, _, number = device.partition(":")
        return _local_device(device, platform, number or "0")
    if not isinstance(device, bool):
        with suppress(TypeError):
            return _local_device(device, None, str(operator.index(device)))
    remedy = ""
    if isinstance(device, jax.sharding.Sharding | jax.sharding.Mesh | jax.sharding.PartitionSpec):
        remedy = "; give it as sharding"
    elif isinstance(device, Sequence):
        remedy = "; to split batches over several devices, give sharding a Mesh of them"
    raise TypeError(
        f"device must be a jax.Device, an int, or a name such as 'cpu' or 'gpu:1', got {type(device).__name__}{remedy}"
    )


def _local_device(asked: Any, platform: str | None, number: str) -> Any:
    import jax  # delayed, as above

    try:
        there = jax.local_devices(backend="?" if platform == "" else platform)  # "" would be the default
    except RuntimeError as error:
        if is_interruption(error):
            raise
        raise ValueError(f"device={asked!r}: JAX has no platform {platform!r} here ({error})") from None
    if not number.isdecimal() or int(number) >= len(there):
        raise ValueError(f"device={asked!r}: there is no such device; this process has {there}")
    return there[int(number)]


def resolve_sharding(sharding: Any) -> Any:
    """The ``jax.sharding.Sharding`` that is meant, or None.

    Args:
        sharding: a Sharding; a PartitionSpec, which counts for the mesh in force (``jax.set_mesh`` or ``with mesh``);
            a Mesh, over whose first axis the rows are then split; or a dict by field of these (see ``per_field``).

    Raises:
        TypeError: it is of another kind.
        ValueError: no mesh is in force, or it has no such axes or no devices.
    """
    if sharding is None:
        return None
    import jax  # delayed: whoever has a sharding has imported it

    if isinstance(sharding, Mapping):
        return resolve_tree(sharding, resolve_sharding)
    if isinstance(sharding, jax.sharding.Mesh):
        if not sharding.axis_names:
            raise ValueError("sharding is a Mesh without axes, over which no rows can be split")
        return jax.sharding.NamedSharding(sharding, jax.sharding.PartitionSpec(sharding.axis_names[0]))
    if isinstance(sharding, jax.sharding.PartitionSpec):
        return _under_mesh(sharding)
    if not isinstance(sharding, jax.sharding.Sharding):
        remedy = "give it as device" if isinstance(sharding, jax.Device) else "such as PartitionSpec('data')"
        raise TypeError(
            f"sharding must be a jax.sharding.Sharding, a PartitionSpec, a Mesh or a dict of them by field, got "
            f"{sharding!r} of type {type(sharding).__name__}; {remedy}"
        )
    if isinstance(getattr(sharding, "mesh", None), jax.sharding.AbstractMesh):
        raise ValueError(f"{sharding} has an AbstractMesh, which names no devices: make it of a jax.sharding.Mesh")
    _parts_of_axes(sharding)
    return sharding


def _under_mesh(spec: Any) -> Any:
    import jax  # delayed, as above

    mesh = jax.sharding.get_mesh()
    if mesh.empty:
        mesh = _entered_mesh()
    if mesh is None or mesh.empty:
        raise ValueError(
            f"sharding={spec} needs a mesh: make the pipeline under jax.set_mesh(mesh), or give "
            "NamedSharding(mesh, spec)"
        )
    try:
        sharding = jax.sharding.NamedSharding(mesh, spec)
    except ValueError as error:
        raise ValueError(f"sharding={spec} does not fit the mesh in force, {mesh}: {error}") from error
    _parts_of_axes(sharding)
    return sharding


def _entered_mesh() -> Any:
    """The mesh of a ``with mesh`` block, which JAX has deprecated and lets nobody ask for in public."""
    module = sys.modules.get("jax._src.mesh")
    return getattr(getattr(getattr(module, "thread_resources", None), "env", None), "physical_mesh", None)


def _parts_of_axes(sharding: Any) -> list[int] | None:
    """Into how many parts each axis is split that a NamedSharding names; None for other shardings."""
    spec, mesh = getattr(sharding, "spec", None), getattr(sharding, "mesh", None)
    if spec is None or mesh is None:
        return None
    parts = []
    for entry in spec:
        names = entry if isinstance(entry, tuple) else () if entry is None else (entry,)
        if not all(isinstance(name, str) for name in names):
            raise ValueError(f"{spec} leaves an axis open; say how it is split, or None for not at all")
        parts.append(math.prod(mesh.shape[name] for name in names))
    return parts


def field_sharding(sharding: Any, axes: int) -> Any:
    """The sharding of a field's arrays, which have so many axes.

    A spec that names more than they have counts as far as they go: ``P("data", None, "model")`` splits images by rows
    and width, and the labels beside them by rows.
    """
    spec = getattr(sharding, "spec", None)
    if spec is None or len(spec) <= axes:
        return sharding
    import jax  # delayed, as above

    short = jax.sharding.PartitionSpec(*spec[:axes])
    return jax.sharding.NamedSharding(sharding.mesh, short, memory_kind=sharding.memory_kind)


def steps_first(sharding: Any) -> Any:
    """The sharding of arrays ``(steps, rows, ...)`` whose batches lie as those of this sharding do.

    Raises:
        ValueError: nobody can say what it is.
    """
    import jax  # delayed, as above

    if isinstance(sharding, FieldShardings):
        return sharding.each(steps_first)
    if sharding is None or isinstance(sharding, jax.sharding.SingleDeviceSharding):
        return sharding
    if not isinstance(sharding, jax.sharding.NamedSharding):
        raise ValueError(
            f"several batches in one array need a NamedSharding, got {type(sharding).__name__}: give sharding= as "
            "NamedSharding(mesh, PartitionSpec(...))"
        )
    spec = jax.sharding.PartitionSpec(None, *sharding.spec)
    return jax.sharding.NamedSharding(sharding.mesh, spec, memory_kind=sharding.memory_kind)


def check_rows(sharding: Any, order: Order, *, padded: bool) -> None:
    """Make sure that batches can be split by their rows, before there is a record.

    Args:
        sharding: the sharding, or None.
        order: which records make a batch.
        padded: whether all batches are filled up to the same number of rows.

    Raises:
        ValueError: a number of rows does not divide; the message has rows and parts.
    """
    if not len(order):
        return
    for where, one in all_of(sharding):
        if parts := _parts_of_axes(one):
            _check_rows(where, one, parts[0], order, padded=padded)


def _check_rows(where: str, sharding: Any, parts: int, order: Order, *, padded: bool) -> None:
    together = order.shard_count if spans_processes(sharding) else 1
    for rows in row_counts(order, padded=padded):
        if rows * together % parts:
            last = rows not in order.widths()
            each = f" on each of {together} hosts" if together > 1 else ""
            remedy = (
                "use drop_last=True or pad_last=True"
                if last and order.batch_size * together % parts == 0
                else f"choose a batch_size that makes rows of which there are a multiple of {parts}"
            )
            raise ValueError(
                f"{where}{'the last batch' if last else 'a batch'} of {rows} rows{each} cannot be split over {parts} "
                f"devices as {sharding} says: {remedy}"
            )


def row_counts(order: Order, *, padded: bool) -> list[int]:
    """How many rows batches may have, in whole epochs and in one that was entered in the middle."""
    return order.widths() if padded else order.row_counts()


def check_fields(layout: Layout, sharding: Any, order: Order, *, padded: bool) -> None:
    """Make sure that every field's arrays can be split as the sharding says.

    Raises:
        ValueError: an axis of a field does not divide; the message names field, axis, length and parts. Or shards would
            have to know of each other how long a field is.
    """
    if isinstance(sharding, FieldShardings):
        sharding.check(layout)
    together = order.shard_count if spans_processes(sharding) else 1
    for spec in layout.fields:
        one = of_field(sharding, spec.path)
        parts = _parts_of_axes(one)
        name = field_name(spec.path)
        if spec.varies and together > 1:
            raise ValueError(
                f"field '{name}' may be of another length in every batch, and on another of {together} "
                "hosts, which cannot make one array then: use Pad(..., to='fixed')"
            )
        if parts is not None:
            _check_axes(spec, parts, one)
            continue
        for rows in row_counts(order, padded=padded):
            shape = (rows * together, *spec.shape)
            try:
                one.shard_shape(shape)
            except ValueError as error:
                raise ValueError(f"field '{name}': arrays {shape} cannot be split as {one} says: {error}") from error


def _check_axes(spec: FieldSpec, parts: list[int], sharding: Any) -> None:
    shape = ", ".join(["rows", *map(str, spec.shape)])
    for axis, (length, count) in enumerate(zip(spec.shape, parts[1:], strict=False), 1):
        if count > 1 and spec.varies:
            raise ValueError(
                f"field '{field_name(spec.path)}' may be of another length in every batch, so axis {axis} of ({shape}) "
                f"cannot be split into {count} parts as {sharding.spec} says: use Pad(..., to='fixed')"
            )
        if length % count:
            raise ValueError(
                f"field '{field_name(spec.path)}': axis {axis} of ({shape}), which is {length} long, cannot be split "
                f"into {count} equal parts as {sharding.spec} says: resize or pad it in a stage to a multiple of "
                f"{count}, or leave that axis out of the spec"
            )
