"""Records for workers: what those cannot import goes by value, all else stays quick."""

from __future__ import annotations

import pickle
import sys
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


def test_plain_data_is_a_plain_pickle() -> None:
    for value in ({"text": "made of __main__", "n": 3}, np.arange(3), [b"\x93"]):
        assert dumps_for_workers()(value) == pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def test_what_does_not_pickle_is_an_error_either_way() -> None:
    for function in (dumps, dumps_for_workers()):
        with pytest.raises(TypeError, match="generator"):
            function(i for i in range(3))
