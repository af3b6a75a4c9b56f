"""A state of any released version goes on where it was taken: the promise that checkpoints outlive an upgrade."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.states.pipelines import KINDS
from tests.states.write import values

FILES = sorted(Path(__file__).parent.joinpath("states").glob("*.json"))
STATES = [(file.stem, kind, entry) for file in FILES for kind, entry in json.loads(file.read_text()).items()]


def test_there_are_states_of_every_kind() -> None:
    assert FILES
    assert {kind.partition(",")[0] for _, kind, _ in STATES} == KINDS.keys()


@pytest.mark.parametrize(("version", "kind", "entry"), STATES, ids=[f"{version}-{kind}" for version, kind, _ in STATES])
def test_a_state_of_an_earlier_version_goes_on_exactly_there(version: str, kind: str, entry: Any) -> None:
    with KINDS[kind.partition(",")[0]]() as pipeline:
        # What entered an epoch elastically is of another order than the pipeline's: the state says from where on.
        pipeline.set_state(entry["state"])
        assert [values(item) for item in pipeline] == entry["rest"]
