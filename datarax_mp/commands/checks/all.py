"""All checks, in the order in which they are told. A new one is a file beside this and a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from datarax_mp.commands.checks.calls import calls
from datarax_mp.commands.checks.cores import cores
from datarax_mp.commands.checks.decoders import decoders
from datarax_mp.commands.checks.descriptors import descriptors
from datarax_mp.commands.checks.devices import devices
from datarax_mp.commands.checks.finding import Finding
from datarax_mp.commands.checks.memory import huge_pages, memory
from datarax_mp.commands.checks.packages import extras, requirements
from datarax_mp.commands.checks.self_test import self_test
from datarax_mp.commands.checks.shared_memory import shared_memory
from datarax_mp.commands.checks.start import start

CHECKS: tuple[Callable[[], Iterable[Finding]], ...] = (
    requirements,
    cores,
    memory,
    shared_memory,
    huge_pages,
    descriptors,
    calls,
    start,
    devices,
    decoders,
    extras,
    self_test,
)


def findings(checks: Iterable[Callable[[], Iterable[Finding]]] = CHECKS) -> Iterator[Finding]:
    """What checks find, one after the other; one that raises is a finding, too, and the others go on."""
    for check in checks:
        try:
            yield from check()
        except Exception as error:
            name = check.__name__.replace("_", " ")
            remedy = "please report this, with the message, as a fault of doctor's"
            yield Finding(name, f"could not be looked at: {type(error).__name__}: {error}", remedy, works=False)
