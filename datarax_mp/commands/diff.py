"""``diff``: the first step, record and field in which two ledgers differ."""

from __future__ import annotations

import argparse

from datarax_mp.commands.table import Refused

_CODES = {"alike": 0, "different": 1, "nothing": 2}


def arguments(parser: argparse.ArgumentParser) -> None:
    """See ``Command``."""
    parser.epilog = "Exit code: 0 where they are alike as far as both reach, 1 where they differ, 2 otherwise."
    parser.add_argument("A", help="what a pipeline with ledger=A has written")
    parser.add_argument("B", help="what another run has written")


def run(options: argparse.Namespace) -> int:
    """See ``Command``."""
    from datarax_mp.ledger.compare import compare
    from datarax_mp.ledger.reading import Batches, read

    found: list[Batches] = []
    for path in (options.A, options.B):
        try:
            found.append(read(path))
        except (OSError, ValueError) as error:
            raise Refused(f"{path} cannot be read as a ledger: {error}") from None
    comparison = compare(*found)
    print(comparison.text)
    return _CODES[comparison.verdict]
