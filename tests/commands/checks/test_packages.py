"""Packages, decoders and the pipeline that is tried."""

from __future__ import annotations

from importlib import metadata

import pytest

from datarax_mp import Pipeline
from datarax_mp.commands.checks import decoders as decoders_module
from datarax_mp.commands.checks import self_test as self_test_module
from datarax_mp.commands.checks.decoders import decoders
from datarax_mp.commands.checks.packages import extras, requirements
from datarax_mp.commands.checks.self_test import self_test


@pytest.fixture
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [
        "numpy>=2.0",
        "zlib-like>=1.8",
        "pillow>=10.3; extra == 'images'",
        'no-such>=1; extra == "speed"',
        'datarax-mp[images,speed]; extra == "tar"',
        "pytest>=8; extra == 'test'",
    ]
    versions = {"numpy": "2.4.6", "zlib-like": "1.10.dev1", "pillow": "9.5.0"}

    def version(package: str) -> str:
        if package not in versions:
            raise metadata.PackageNotFoundError(package)
        return versions[package]

    monkeypatch.setattr(metadata, "requires", lambda package: wanted)
    monkeypatch.setattr(metadata, "version", version)


@pytest.mark.usefixtures("_known")
def test_extras_are_told_with_versions_and_what_installs_them() -> None:
    images, speed, tar = extras()
    assert images.found == "pillow 9.5.0, older than 10.3" and 'pip install "datarax-mp[images]"' in images.remedy
    assert speed.found == "no-such is missing" and speed.works
    assert tar.found == "pillow 9.5.0, older than 10.3; no-such is missing"


@pytest.mark.usefixtures("_known")
def test_versions_are_compared_as_numbers() -> None:
    _, found = requirements()
    assert (found.mark, found.found) == ("ok", "numpy 2.4.6; zlib-like 1.10.dev1")


def test_what_is_needed_and_missing_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda package: ["no-such-package>=1"])
    _, found = requirements()
    assert found.mark == "FAIL" and found.found == "no-such-package is missing"


def test_a_package_that_is_only_importable_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(package: str) -> list[str]:
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "requires", requires)
    assert [one.mark for one in requirements()] == ["ok", "note"] and list(extras()) == []


def test_decoders_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [one.mark for one in decoders()] == ["ok"]
    monkeypatch.setattr(decoders_module, "_MODULES", {"PIL": "Pillow", "no_such_decoder": "Nothing"})
    [found] = decoders()
    assert found.mark == "note" and "Nothing is missing" in found.found and "datarax-mp[images]" in found.remedy


def test_the_self_test_says_what_it_has_compared() -> None:
    [found] = self_test(0.0)
    assert (found.mark, found.found) == ("ok", "2 workers, 32 batches, the same as without")


def test_workers_that_cannot_be_started_fail_the_self_test(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(Pipeline, "__iter__", refuse)
    [found] = self_test(0.0)
    assert found.mark == "FAIL" and found.found == "OSError: no more processes" and "num_workers=0" in found.remedy


def test_another_stream_fails_the_self_test(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(range(10**6))
    monkeypatch.setattr(self_test_module, "drawn", lambda record, rng: {**record, "draw": next(drawn)})
    [found] = self_test(0.0)
    assert found.mark == "FAIL" and "field 'draw' differs" in found.found
