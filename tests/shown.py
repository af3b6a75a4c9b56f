"""Names of a test's cases."""

from __future__ import annotations

import re


def shown(value: object) -> str:
    """A value as it is printed, without addresses: every process that collects the tests finds the same names."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
