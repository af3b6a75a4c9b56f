"""Text has one hash value in all workers of a process, whoever they are and whomever they replace."""

from __future__ import annotations

from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

Script = Callable[..., CompletedProcess[str]]

LOOK = """
import os
from datarax_mp import Pipeline
from datarax_mp.crews.processes.pool import pool

def stage(record):
    return {"hash": hash("train/cat.jpg"), "variable": os.environ.get("PYTHONHASHSEED", "none")}

def seen(**how):
    with Pipeline(source=list(range(8)), batch_size=2, stages=[stage], output="numpy", **how) as pipeline:
        for batch in pipeline:
            yield from zip(batch["hash"].tolist(), batch.info["variable"])

found = set(seen(num_workers=2))
pool().close()  # another nursery
found |= set(seen(num_workers=1))
[(value, variable)] = found
assert variable == os.environ.get("PYTHONHASHSEED", "none"), variable
assert (value == hash("train/cat.jpg")) == variable.isdecimal()
"""


@pytest.mark.parametrize("seed", [None, "random", "0", "17"])
def test_it_is_one_in_all_nurseries_and_mains_where_the_variable_says_which(
    seed: str | None, run_script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed is None:
        monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    else:
        monkeypatch.setenv("PYTHONHASHSEED", seed)
    run_script(LOOK)
