"""What goes wrong where a cache finds out whether something is what it was."""

from __future__ import annotations


class FingerprintError(TypeError):
    """It cannot be known whether a source or a stage is what it was; the message says of what."""
