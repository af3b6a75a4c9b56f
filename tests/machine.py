"""What is logged about the machine as it is just now: it may come into any test, and is never what one is about."""

from __future__ import annotations

from collections.abc import Iterable

# A test of what killed runs leave behind may run beside this one; a first batch takes long, and memory is short, where
# others have the machine.
_TOLD = ("removed from /dev/shm what", '"datarax_mp.hints.start"', '"datarax_mp.hints.memory"')


def without_the_machine(messages: Iterable[str]) -> list[str]:
    """Messages of a log, or its lines, but for those about the machine."""
    return [message for message in messages if not any(told in message for told in _TOLD)]
