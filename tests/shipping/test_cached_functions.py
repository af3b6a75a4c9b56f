"""What functools makes of functions, defined in a script, works in a worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

SCRIPT = """
import functools, os
from datarax_mp import Pipeline

calls = []

@functools.lru_cache(maxsize=5, typed=True)
def connection(place):
    calls.append(place)
    return {"pid": os.getpid(), "lock": __import__("threading").Lock()}   # what would not pickle

@functools.cache
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

@functools.singledispatch
def kind(value):
    return 0

@kind.register
def _(value: int):
    return 1 + kind([])

@kind.register(str)
def _(value):
    return 20

class Source:
    opened = 0

    def __len__(self):
        return 40

    @functools.cached_property
    def table(self):
        type(self).opened += 1
        return {n: n * n for n in range(40)}

    @functools.cached_property
    def handle(self):
        return open(os.devnull, "rb+", buffering=0)

    @functools.lru_cache(maxsize=None)
    def row(self, number):
        return self.table[number]

    @functools.singledispatchmethod
    def tag(self, value):
        return -1

    @tag.register
    def _(self, value: str):
        return len(value)

    def __getitem__(self, number):
        assert connection("db")["pid"] == os.getpid() and len(calls) == 1, calls
        assert connection.cache_parameters() == {"maxsize": 5, "typed": True}
        assert self.handle.read() == b""
        record = {"row": self.row(number), "row2": self.row(number), "fib": fibonacci(number), "int": kind(3)}
        return {**record, "str": kind("x"), "other": kind(2.5), "tag": self.tag("four"), "tag2": self.tag(4),
                "opened": self.opened}

source = Source()
expected = [dict(row=n * n, row2=n * n, fib=fibonacci(n), int=1, str=20, other=0, tag=4, tag2=-1, opened=1)
            for n in range(40)]
source[0]  # main has used them: their caches hold what does not pickle
calls.clear()
connection.cache_clear()
for workers in (2, 0):
    with Pipeline(source=source, batch_size=8, num_workers=workers, output="numpy", enforce_batch=False) as pipeline:
        assert [{key: int(value) for key, value in record.items()} for record in pipeline] == expected
"""


def test_caches_and_dispatchers_of_a_script_work_in_workers(run_script: Callable[..., Any]) -> None:
    run_script(SCRIPT)
