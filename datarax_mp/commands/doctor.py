"""``doctor``: what this machine has and lacks of what a pipeline with workers wants, each line ok or what to do."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict


def arguments(parser: argparse.ArgumentParser) -> None:
    """See ``Command``."""
    parser.epilog = "Exit code: 0 where everything works, 1 where something does not."
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")


def run(options: argparse.Namespace) -> int:
    """See ``Command``."""
    from datarax_mp.commands.checks.all import findings

    found = []
    for finding in findings():
        found.append(finding)
        if not options.json:
            print(finding, flush=True)
    works = all(finding.works for finding in found)
    if options.json:
        print(json.dumps({"works": works, "findings": [{**asdict(one), "mark": one.mark} for one in found]}, indent=1))
    return 0 if works else 1
