"""Fingerprints: the same for the same things in every process, another one for anything that changes what comes out."""

from __future__ import annotations

import functools
import inspect
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import ml_dtypes
import numpy as np
import pyarrow.compute
import pytest
import zarr

from datarax_mp import MemorySource, MemorySourceConfig
from datarax_mp.cache.fingerprint import FingerprintError, fingerprint
from datarax_mp.formats.zarr import ZarrSource
from datarax_mp.stages.map_element import MapElement
from datarax_mp.storage.options import Storage
from datarax_mp.storage.remote import Remote

MODULE = """
import functools, re
import numpy as np
{imports}
SCALE = {scale}
WORDS = {{"b", "a", "c"}}
PATTERN = re.compile("{pattern}")

def helper(x):
    return x * {factor}  # {comment}

@functools.lru_cache
def cached(x):
    return x + {added}

class Base:
    shift = {shift}

    def move(self, x):
        return x - self.shift

class Stage(Base):
    def __init__(self, sizes):
        self.sizes = sizes

    def __call__(self, record):
        if "name" in {{"b", "name"}} and record.get("n") in WORDS:
            return None
        return {{"x": cached(self.move(helper(record["x"]) * SCALE)), "y": PATTERN.match("a")}}
"""
PLAIN = {
    "imports": "", "scale": 2, "factor": 3, "comment": "", "added": 1, "shift": 5, "pattern": "a+", "sizes": "[1, 2]"
}  # fmt: skip

SHOW = """
import sys
sys.path.insert(0, {folder!r})
from datarax_mp.cache.fingerprint import fingerprint
import stage_of_user
print(fingerprint({{"stage": stage_of_user.Stage({sizes})}}))
"""


def shown(folder: Path, hash_seed: str = "0", **changed: Any) -> str:
    """The fingerprint of a stage of a user's module, taken by another process."""
    values = PLAIN | changed
    (folder / "stage_of_user.py").write_text(MODULE.format(**values))
    script = SHOW.format(folder=str(folder), sizes=values["sizes"])
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_other_processes_have_the_same_one_and_every_edit_of_code_gives_another(tmp_path: Path) -> None:
    plain = shown(tmp_path)
    assert len(plain) == 32
    assert shown(tmp_path, hash_seed="1", comment="faster") == plain
    others = [
        shown(tmp_path, **{name: value})
        for name, value in {
            "scale": 4,
            "factor": 4,
            "added": 2,
            "shift": 6,
            "pattern": "b+",
            "sizes": "[1, 3]",
        }.items()
    ]
    assert len({plain, *others}) == 7


def test_a_module_that_is_referred_to_counts_as_far_as_it_is_used(tmp_path: Path) -> None:
    helper = tmp_path / "helper_of_user.py"
    texts = (
        "import stage_of_user\ndef used(x): return x\ndef unused(x): return x",
        "import stage_of_user\ndef used(x): return x\ndef unused(x): return -x",
        "import stage_of_user\ndef used(x): return -x\ndef unused(x): return x",
    )
    found = []
    for text in texts:
        helper.write_text(text)
        found.append(shown(tmp_path, imports="import helper_of_user", factor="helper_of_user.used(3)"))
    assert found[0] == found[1] != found[2]


def of(value: Any) -> str:
    return fingerprint({"value": value})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, 2], [1, 3]),
        (1, True),
        ("a", b"a"),
        (["ab", "c"], ["a", "bc"]),
        ([list(range(100))], [[*range(99), 0]]),
        (np.arange(4), np.arange(4).reshape(2, 2)),
        (np.arange(4, dtype=np.int32), np.arange(4, dtype=np.uint32)),
        (np.array(["a", None], object), np.array(["a", 1], object)),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (functools.partial(max, 1), functools.partial(max, 2)),
        (MapElement(lambda record: record), MapElement(lambda record: [record])),
        (np.float32(1), np.float64(1)),
        (np.ones(3, ">i4"), np.full(3, 1 << 24, "<i4")),
        (np.zeros(3, ml_dtypes.float8_e4m3fn), np.zeros(3, ml_dtypes.float8_e5m2)),
        (len, max),
        (pickle.PickleBuffer(b"a"), pickle.PickleBuffer(b"b")),
        (pickle.PickleBuffer(np.arange(4)[::2]), pickle.PickleBuffer(np.arange(4)[1::2])),
        (pyarrow.compute.field("a").isin(["x"]), pyarrow.compute.field("a").isin(["y"])),
        (datasets.Dataset.from_dict({"a": [1, 2]}), datasets.Dataset.from_dict({"a": [1, 3]})),
    ],
)
def test_what_differs_has_another_one(one: Any, other: Any) -> None:
    assert of(one) != of(other)


def test_it_does_not_matter_which_objects_are_shared() -> None:
    array = np.arange(3)
    assert of([array, array]) == of([array, array.copy()])
    assert of({"a", "b", "c"}) == of({"c", "b", "a"})
    ring: list[Any] = []
    ring.append(ring)
    assert of(ring) == of(ring)


def test_a_file_counts_by_its_size_and_time(tmp_path: Path) -> None:
    class Source:
        def data_files(self) -> list[str]:
            return [str(tmp_path / "a")]

    (tmp_path / "a").write_text("one")
    values: list[Callable[[], Any]] = [Source, lambda: tmp_path / "a"]
    before = [of(value()) for value in values]
    assert before == [of(value()) for value in values]
    os.utime(tmp_path / "a", ns=(1, 1))
    after = [of(value()) for value in values]
    (tmp_path / "a").write_text("two and more")
    assert not {*before} & {*after}
    assert not {*after} & {of(value()) for value in values}


def test_a_file_that_lies_elsewhere_counts_by_url_size_and_tag_and_not_by_how_it_is_reached(tmp_path: Path) -> None:
    class Source:
        def __init__(self, url: str, size: int, tag: str, **options: Any) -> None:
            self.storage = Storage(**options)
            self.files = [Remote(url, size, tag, self.storage)]

    before = of(Source("s3://bucket/a", 3, "x"))
    assert before == of(Source("s3://bucket/a", 3, "x", cache_folder=tmp_path, retries=1, options={"anon": True}))
    others = [Source("s3://bucket/b", 3, "x"), Source("s3://bucket/a", 4, "x"), Source("s3://bucket/a", 3, "y")]
    assert len({before, *map(of, others)}) == 4
    servers = [Source("s3://bucket/a", 3, "", options={"endpoint_url": url}) for url in ("http://a", "http://b")]
    assert of(servers[0]) != of(servers[1])


def test_a_mapped_array_counts_by_its_file(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(10_000))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    before = of(mapped[10:])
    assert before == of(np.load(tmp_path / "x.npy", mmap_mode="r")[10:]) != of(mapped[11:])
    os.utime(tmp_path / "x.npy", ns=(1, 1))
    assert of(mapped[10:]) != before


def test_memory_counts_by_what_it_holds_wherever_it_lies_and_not_by_where_it_stands() -> None:
    def source(**config: Any) -> MemorySource:
        return MemorySource(MemorySourceConfig(**config), {"x": np.arange(1000), "text": ["a"] * 1000})

    placed, plain = source(), source(shuffle=True)
    before = of(plain)
    assert of(placed) == before
    placed.place()
    next(iter(placed))
    assert of(placed) == before
    assert of(MemorySource(MemorySourceConfig(), {"x": np.arange(1, 1001), "text": ["a"] * 1000})) != before
    assert of(MemorySource(MemorySourceConfig(), {"y": np.arange(1000), "text": ["a"] * 1000})) != before


class Scaled(MemorySource):
    """A source whose records depend on more than its columns."""

    def __init__(self, scale: int, **config: Any) -> None:
        super().__init__(MemorySourceConfig(**config), {"x": np.arange(10)}, rngs=np.random.default_rng(scale))
        self.scale = scale
        self.files: list[Any] = [scale]  # which is the name that sources of this package have for their files

    def __getitem__(self, number: int) -> Any:
        return {"x": super().__getitem__(number)["x"] * self.scale}


def test_what_a_class_derived_from_memory_has_beside_its_columns_counts() -> None:
    one, same = Scaled(2), Scaled(2, shuffle=True)
    before = of(one)
    assert before == of(same) != of(Scaled(3))
    same.place()
    next(iter(same))
    assert of(same) == before


@dataclass(frozen=True)
class ScaledConfig(MemorySourceConfig):
    scale: int = 1


class Configured(MemorySource):
    """A source whose records depend on its config."""

    def __init__(self, config: ScaledConfig) -> None:
        super().__init__(config, {"x": np.arange(10)})


def test_a_config_of_a_derived_class_counts() -> None:
    assert of(Configured(ScaledConfig(scale=2))) == of(Configured(ScaledConfig(scale=2)))
    assert of(Configured(ScaledConfig(scale=2))) != of(Configured(ScaledConfig(scale=3)))


def test_a_path_of_a_folder_counts_by_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    before = of(tmp_path)
    assert before == of(tmp_path)
    (tmp_path / "b").touch()
    assert of(tmp_path) != before


def test_a_zarr_store_counts_by_what_is_in_it(tmp_path: Path) -> None:
    found = []
    for _ in range(2):
        zarr.save_group(str(tmp_path / "train.zarr"), x=np.arange(3))
        found.append(of(ZarrSource(tmp_path / "train.zarr")))
        assert of(ZarrSource(tmp_path / "train.zarr")) == found[-1]
    assert found[0] != found[1]


def test_handles_and_what_is_found_when_it_is_needed_do_not_count(tmp_path: Path) -> None:
    class Source:
        def __init__(self) -> None:
            self.file: Any = None
            self.lock = threading.Lock()

        @functools.cached_property
        def size(self) -> int:
            return 3

    source = Source()
    before = of(source)
    assert source.size == 3
    with open(tmp_path / "a", "w") as source.file:
        assert of(source) == before


def test_what_shows_nothing_of_itself_is_an_error_that_names_it() -> None:
    class Source:
        def __init__(self) -> None:
            self.parts = {"numbers": iter([1]), "frames": inspect.currentframe()}

    with pytest.raises(FingerprintError, match=r"value\.parts\[\.\.\.\].*frame"):
        of(Source())


def test_a_random_generator_is_an_error_that_names_it() -> None:
    rng = np.random.default_rng(0)

    def stage(record: Any) -> Any:
        return record + rng.random()

    with pytest.raises(ValueError, match="variable 'rng' is a random generator"):
        of(MapElement(stage))
