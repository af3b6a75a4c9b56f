"""Who may do the work of a pipeline, for tests that hold whoever does it."""

from __future__ import annotations

from typing import Any

import pytest

WAYS: dict[str, dict[str, Any]] = {
    "in this process": {"num_workers": 0},
    "1 worker": {"num_workers": 1},
    "3 workers": {"num_workers": 3},
    "3 threads": {"num_workers": 3, "workers": "threads"},
}
ways = pytest.mark.parametrize("way", WAYS)
