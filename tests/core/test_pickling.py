"""Records for workers: what those cannot import goes by value, all else stays quick."""

from __future__ import annotations

import pickle
import sys
import threading
from types import ModuleType
from typing import Any

import cloudpickle
import numpy as np
import pytest

from datarax_mp.core.pickling import dumps, dumps_for_workers

CODE = """
class Tag:
    def __init__(self, number): self.number = number
    def double(self): return helper(self.number)
def helper(number): return FACTOR * number
FACTOR = 2
"""


@pytest.fixture(params=["made", "__mp_main__"])
def module(request: Any, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    made = ModuleType(request.param)
    exec(CODE, vars(made))
    monkeypatch.setitem(sys.modules, request.param, made)
    return made


def test_an_object_of_a_module_that_workers_lack_goes_by_value(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    pickled = dumps_for_workers()({"tag": module.Tag(4)})
    monkeypatch.delitem(sys.modules, module.__name__)
    assert pickle.loads(pickled)["tag"].double() == 8


def test_what_cloudpickle_sends_by_value_is_afterwards_as_it_was(module: ModuleType) -> None:
    before = cloudpickle.list_registry_pickle_by_value()
    dumps_for_workers()(module.Tag(1))
    assert cloudpickle.list_registry_pickle_by_value() == before


def test_two_threads_may_send_the_same_module_by_value(module: ModuleType) -> None:
    # One ends while the other is in the middle of it.
    inside, ended = threading.Event(), threading.Event()
    value = module.Tag(1)
    value.wait = Meeting(inside, ended)
    value.other = module.helper
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.append(dumps_for_workers()(value)))
    thread.start()
    assert inside.wait(60)
    dumps_for_workers()(module.Tag(2))
    ended.set()
    thread.join()
    del sys.modules[module.__name__]
    assert pickle.loads(found[0]).other(4) == 8


class Meeting:
    """Tells when it is being pickled by value, and waits there."""

    def __init__(self, inside: threading.Event, ended: threading.Event) -> None:
        self.events = (inside, ended)
        self.times = 0

    def __reduce__(self) -> Any:
        self.times += 1
        if self.times == 2:  # the first is the plain pickle that mentions the module
            self.events[0].set()
            assert self.events[1].wait(60)
        return int, ()


def test_plain_data_is_a_plain_pickle() -> None:
    for value in ({"text": "made of __main__", "n": 3}, np.arange(3), [b"\x93"]):
        assert dumps_for_workers()(value) == pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def test_what_does_not_pickle_is_an_error_either_way() -> None:
    for function in (dumps, dumps_for_workers()):
        with pytest.raises(TypeError, match="generator"):
            function(i for i in range(3))
