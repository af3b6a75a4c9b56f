"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of ``doctor``.

    Attributes:
        name: what was looked at.
        found: what is there, in a few words.
        remedy: what to do about it; empty where nothing is to be done.
        works: False where something does not work, and not only slowly or in another way.

    >>> print(Finding("cores", "8"))
    ok    cores: 8
    >>> print(Finding("cores", "1", "give it two"))
    note  cores: 1
          give it two
    """

    name: str
    found: str
    remedy: str = ""
    works: bool = True

    @property
    def mark(self) -> str:
        """``ok``, ``note`` (something would be better otherwise) or ``FAIL``."""
        if not self.works:
            return "FAIL"
        return "note" if self.remedy else "ok"

    def __str__(self) -> str:
        lines = [f"{self.mark:<6}{self.name}: {self.found}", *([f"      {self.remedy}"] if self.remedy else [])]
        return "\n".join(lines)


def gigabytes(size: float) -> str:
    """Bytes in words: ``gigabytes(64e6) == "0.064 GB"``."""
    return f"{size / 1e9:.3g} GB"
