"""Write the states of this version; see the package."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.states.pipelines import ELASTIC, KINDS


def values(item: Any) -> list[int]:
    """The records of what a pipeline yields."""
    return [int(n) for n in item["n"].reshape(-1)]


def main(version: str) -> None:
    found: dict[str, Any] = {}
    for kind, make in KINDS.items():
        with make() as pipeline:
            list(pipeline)
            iterator = iter(pipeline)
            for _ in range(3):
                next(iterator)
            found[kind] = {"state": pipeline.get_state(), "rest": [values(item) for item in iterator]}
    for kind in ELASTIC:
        with KINDS[kind]() as pipeline:
            state = found[kind]["state"]
            other = {**state, "fingerprint": {**state["fingerprint"], "batch_size": 5}}
            pipeline.set_state(other, elastic=True)
            iterator = iter(pipeline)
            next(iterator)
            found[f"{kind}, elastic"] = {"state": pipeline.get_state(), "rest": [values(item) for item in iterator]}
    lines = [f"  {json.dumps(kind)}: {json.dumps(entry)}" for kind, entry in found.items()]
    path = Path(__file__).parent / f"{version}.json"
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1])
