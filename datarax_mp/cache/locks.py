"""Locks of files, which only POSIX has: the module that gives them, or None."""

from __future__ import annotations

from typing import Any

try:
    import fcntl as _fcntl
except ImportError:  # no POSIX; who makes a Cache is told
    fcntl: Any = None
else:
    fcntl = _fcntl
