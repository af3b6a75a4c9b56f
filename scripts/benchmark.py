"""datarax_mp beside other loaders: one command, one table.

    pip install "datarax-mp[bench,monitoring]"
    python scripts/benchmark.py --folder FOLDER

TODO docstring
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from _benchmark import chart, runs, table
from _benchmark.workloads import WORKLOADS
from _rounds import conditions

PACKAGES = ("datarax-mp", "jax", "flax", "numpy", "torch", "grain", "spdl-core", "jax-dataloader")
DEFAULTS = {
    "rate": [name for name, load in WORKLOADS.items() if load.default],
    "au": ["large", "small", "photos"],
    "step": ["large", "small", "photos"],
}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="datarax_mp beside other loaders.")
    add = parser.add_argument
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--au", dest="mode", action="store_const", const="au", help="an emulated accelerator's use")
    mode.add_argument("--cpu-step", dest="mode", action="store_const", const="step", help="a CPU step beside a loader")
    add("--workloads", nargs="+", choices=WORKLOADS, help="which (all but stragglers; with --au and --cpu-step, three)")
    add("--systems", nargs="+", default=[""], metavar="PART", help="those whose name contains one of these (all)")
    add("--workers", type=int, default=2, help="processes for the comparison; ours also with 0, 1 and twice (2)")
    add("--rounds", type=int, default=3, help="rounds over all systems (3)")
    add("--seconds", type=float, default=3.0, help="seconds to measure for, each (3)")
    add("--limit", type=float, default=60.0, help="seconds within which a system must be warm (60)")
    add("--steps", type=float, nargs="+", default=[1, 2, 5, 10, 20, 50, 100], help="ms of --au (1 2 5 10 20 50 100)")
    add("--step-ms", type=float, default=10.0, help="ms that the step of --cpu-step takes alone (10)")
    add("--folder", type=Path, help="JPEG files, for the photos")
    add("--json", type=Path, help="a file for every round's figures")
    add("--chart", type=Path, help="a picture, PNG")
    add("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.mode = options.mode or "rate"
    options.workloads = options.workloads or DEFAULTS[options.mode]
    if options.chart and options.mode == "step":
        parser.error("--cpu-step has no chart")
    for name, least in (("workers", 1), ("rounds", 1)):
        if getattr(options, name) < least:
            parser.error(f"--{name} must be at least {least}")
    return options


def main() -> None:
    """Measure and print a table."""
    options = parse()
    if options.child:
        from _benchmark import child  # delayed: the measuring process needs neither the systems' modules nor JAX

        child.main(json.loads(options.child))
        return
    if options.chart:
        chart.require_matplotlib()
    if options.folder is None and "photos" in options.workloads:
        print("photos: skipped, they need --folder FOLDER with JPEG files")
        options.workloads.remove("photos")
    heading = f"{conditions(*PACKAGES)}, {date.today()}; {options.rounds} rounds of {options.seconds:g} s"
    outcomes: list[runs.Outcome] = []
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        try:
            for outcome in measure(options, Path(scratch)):
                outcomes.append(outcome)
                save(options, heading, outcomes)
        except KeyboardInterrupt:
            print("interrupted: only the workloads that are complete are shown", file=sys.stderr)
    if outcomes:
        print(f"{heading}\n")
        print(show(options, outcomes))


def measure(options: argparse.Namespace, scratch: Path) -> Iterator[runs.Outcome]:
    """The outcome of each workload, as they come."""
    if options.mode == "rate":
        return runs.measure_rates(options, scratch)
    return runs.measure_mode(options.mode, options, scratch)


def show(options: argparse.Namespace, outcomes: Sequence[runs.Outcome]) -> str:
    """The table."""
    if options.mode == "au":
        return table.utilisations(outcomes, options.steps)
    return table.rates(outcomes) if options.mode == "rate" else table.slowdowns(outcomes)


def save(options: argparse.Namespace, heading: str, outcomes: Sequence[runs.Outcome]) -> None:
    """Write the files that were asked for, with what there is so far."""
    if options.json:
        figures: dict[str, Any] = {outcome.name: outcome.as_json() for outcome in outcomes}
        options.json.write_text(
            json.dumps({"conditions": heading, "mode": options.mode, "workloads": figures}, indent=1)
        )
    if options.chart and options.mode == "rate":
        chart.rates(options.chart, outcomes, heading)
    elif options.chart:
        chart.utilisations(options.chart, outcomes, options.steps, heading)


if __name__ == "__main__":
    main()
