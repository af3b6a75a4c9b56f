"""The C library that this process runs on, for what neither Python nor NumPy offers."""

from __future__ import annotations

import ctypes
from typing import Any


def open_libc() -> Any:
    """Its functions, whose calls let other threads run; None where it has no name to find it by, as on Windows."""
    try:
        return ctypes.CDLL(None, use_errno=True)
    except (OSError, TypeError):
        return None
