"""What can change in a program between two epochs is noticed; what has not changed is known without pickling it."""

from __future__ import annotations

import dataclasses
import enum
import functools
import mmap
import threading
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable
from pathlib import Path
from types import MethodType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from datarax_mp import MemorySource, MemorySourceConfig
from datarax_mp.core.compare import address_of
from datarax_mp.shipping.snapshot import Snapshot

NOTHING = memoryview(b"")
FACTOR = [1]


def taken(value: Any) -> Snapshot:
    snapshot = Snapshot.of(value)
    assert snapshot is not None
    assert snapshot.bind({})
    return snapshot


def use_global(record: Any) -> Any:
    return record * FACTOR[0]


use_global.__module__ = "__main__"  # as if it were of the user's script, so that it travels by value


class Plain:
    scale = 2

    def __init__(self) -> None:
        self.items = [("a.jpg", 0), ("b.jpg", 1)]
        self.inner = SimpleNamespace()
        self.number = 1.5


Plain.__module__ = "__main__"


class Slotted:
    __slots__ = ("later", "value")

    def __init__(self) -> None:
        self.value = [1]


class Odd:
    def __getstate__(self) -> dict[str, Any]:
        return {"now": threading.get_ident()}


def closed_over(value: Any) -> Callable[[], Any]:
    def inner() -> Any:
        return value

    def outer(new: Any) -> None:
        nonlocal value
        value = new

    inner.replace = outer  # type: ignore[attr-defined]
    return inner


def with_default(x: Any, more: Any = [1], *, key: Any = {"a": 1}) -> Any:  # noqa: B006
    return x, more, key


with_default.__module__ = "__main__"


class Kind(enum.Enum):
    ONE = 1


@dataclasses.dataclass
class Record:
    """A data class with what all of them have: fields, defaults, a factory."""

    value: Any = Kind.ONE
    values: list[Any] = dataclasses.field(default_factory=list)


Pair = namedtuple("Pair", "first second")
Record.__module__ = Pair.__module__ = Kind.__module__ = "__main__"


def setting(name: str, value: Any) -> Callable[[Any], None]:
    return lambda part: setattr(part, name, value)


def changes() -> dict[str, tuple[Any, Callable[[Any], Any]]]:
    """For each kind of part: one, and how it is changed in place."""
    return {
        "attribute": (Plain(), setting("number", 2.5)),
        "new attribute": (Plain(), setting("extra", 2)),
        "attribute deleted": (Plain(), lambda one: delattr(one, "number")),
        "class of an object": (Plain(), setting("__class__", type("Other", (Plain,), {}))),
        "class": (Plain(), lambda one: setattr(type(one), "scale", type(one).scale + 1)),
        "item of a list": (Plain(), lambda one: one.items.__setitem__(0, ("c.jpg", 0))),
        "list": ([1, 2], lambda one: one.append(3)),
        "dict": ({"a": 1}, lambda one: one.update(a=2)),
        "key": ({"a": 1}, lambda one: one.update(b=one.pop("a"))),
        "set": ({1, 2}, lambda one: one.add(3)),
        "deque": (deque([1]), lambda one: one.append(2)),
        "ordered dict": (OrderedDict(a=1, b=2), lambda one: one.move_to_end("a")),
        "default dict": (defaultdict(list, a=1), lambda one: one["new"]),
        "counter": (Counter("ab"), lambda one: one.update("a")),
        "in a tuple": (([1],), lambda one: one[0].append(2)),
        "data class": (Record(), lambda one: one.values.append(1)),
        "field of a data class": (Record(), setting("value", 2)),
        "named tuple": (Pair([1], 2), lambda one: one.first.append(2)),
        "attribute of a partial": (functools.partial(with_default), setting("flag", True)),
        "slot": (Slotted(), setting("value", 1)),
        "slot that was empty": (Slotted(), setting("later", 1)),
        "in a slot": (Slotted(), lambda one: one.value.append(2)),
        "variable": (closed_over([1]), lambda one: one.replace([2])),
        "in a variable": ([values := [1], closed_over(values)][1], lambda one: one().append(2)),
        "global": (use_global, lambda one: FACTOR.append(2)),
        "default": (with_default, lambda one: one.__defaults__[0].append(2)),
        "keyword default": (with_default, lambda one: one.__kwdefaults__.update(key=3)),
        "code": (with_default, setting("__code__", use_global.__code__)),
        "attribute of a function": (with_default, setting("flag", True)),
        "partial": (functools.partial(with_default, [1]), lambda one: one.args[0].append(2)),
        "method": (MethodType(with_default, Plain()), lambda one: setattr(one.__self__, "number", 2)),
        "cached": (functools.lru_cache(closed_over([1])), lambda one: one.__wrapped__().append(2)),
        "array": (np.zeros(3), lambda one: one.__setitem__(0, 1)),
        "array's shape": (np.zeros((2, 3)), setting("shape", (3, 2))),
        "array made read-only": (np.zeros(3), lambda one: one.setflags(write=False)),
        "strided array": (np.zeros((4, 4))[::2, ::2], lambda one: one.__setitem__((0, 1), 1)),
        "array over other memory": (np.frombuffer(bytearray(80)), lambda one: one.__setitem__(3, 1)),
        "memory source": (
            {"x": (array := np.zeros(9)), "source": MemorySource(MemorySourceConfig(), {"x": array})}["source"],
            lambda one, array=array: array.__setitem__(0, 1),
        ),
    }


@pytest.mark.filterwarnings("ignore:Setting the shape on a NumPy array:DeprecationWarning")  # from NumPy 2.5 on
@pytest.mark.parametrize("kind", changes())
def test_a_change_is_noticed(kind: str) -> None:
    part, change = changes()[kind]
    for around in (part, [part], SimpleNamespace(inner={"part": (part,)})):
        assert taken(around).same(NOTHING)
    snapshot = taken([part])
    change(part)
    assert not snapshot.same(NOTHING)


def test_a_large_array_is_compared_with_what_was_sent() -> None:
    array = np.zeros(100_000)
    sent = bytes(16) + array.tobytes()
    snapshot = Snapshot.of({"x": array})
    assert snapshot is not None
    assert snapshot.bind({(address_of(array), array.nbytes): 16})
    assert snapshot.same(memoryview(sent))
    array[-1] = 1
    assert not snapshot.same(memoryview(sent))
    assert not snapshot.bind({})


def test_what_is_in_a_file_is_not_compared(tmp_path: Path) -> None:
    np.arange(100_000).tofile(tmp_path / "data")
    for mode in ("r", "r+"):
        mapped = np.memmap(tmp_path / "data", np.int64, mode)  # type: ignore[call-overload]
        assert taken([mapped, mapped[3:]]).same(NOTHING)
    assert Snapshot.of(np.memmap(tmp_path / "data", np.int64, "c")) is None


def test_many_records_of_plain_values_are_known_and_one_that_is_replaced_is_noticed() -> None:
    records = [(f"{number}.jpg", number % 10) for number in range(100_000)]
    snapshot = taken({"records": records, "index": dict(records)})
    assert snapshot.same(NOTHING)
    records[77_777] = ("77777.jpg", 0)
    assert not snapshot.same(NOTHING)


@pytest.mark.parametrize(
    "part",
    [Odd(), threading.Lock(), mmap.mmap(-1, 10), iter([1]), np.array([None]), [[number] for number in range(30_000)]],
    ids=lambda part: type(part).__name__,
)
def test_there_is_no_snapshot_of_what_cannot_be_looked_into(part: Any) -> None:
    assert Snapshot.of(SimpleNamespace(part=part)) is None


def test_a_function_that_is_no_longer_found_under_its_name_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    snapshot = taken([yaml.safe_load])
    assert snapshot.same(NOTHING)
    monkeypatch.setattr(yaml, "safe_load", yaml.load)
    assert not snapshot.same(NOTHING)


@pytest.mark.parametrize("size", [0, 10, 100_000])
def test_tensors_are_looked_into(size: int) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.zeros(size)
    sent = bytes(64) + tensor.numpy().tobytes()
    snapshot = Snapshot.of(SimpleNamespace(tensor=tensor))
    assert snapshot is not None
    assert snapshot.bind({(tensor.data_ptr(), 4 * size): 64})
    assert snapshot.same(memoryview(sent))
    if size:
        tensor[-1] = 1
        assert not snapshot.same(memoryview(sent))
    snapshot = Snapshot.of([tensor[: size // 2]])
    assert snapshot is not None
    tensor.requires_grad_()
    assert Snapshot.of([tensor * 2]) is None
    if size:
        assert Snapshot.of([torch.zeros(size, 2).t()]) is None
