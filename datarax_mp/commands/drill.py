"""``drill``: a pipeline under kills, freezes, resumes and a small /dev/shm, compared with an undisturbed run."""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

from datarax_mp.commands.table import Refused
from datarax_mp.commands.target import HELP, pipeline_at

if TYPE_CHECKING:
    from datarax_mp.commands.drilling.disturbances import Disturbance
    from datarax_mp.commands.drilling.reference import Reference

_SECONDS = 20.0
_BATCHES = 1000
_ELSEWHERE_SECONDS = 120.0  # beside what the run itself takes: a fresh process imports the user's modules and JAX


def arguments(parser: argparse.ArgumentParser) -> None:
    """See ``Command``."""
    parser.epilog = (
        "Kills, freezes and resumes come at random, each followed by a comparison of every batch, by hash, with a run "
        "that nothing disturbed. Exit code: 0 where all are the same, 1 where one differs."
    )
    parser.add_argument("pipeline", help=HELP)
    parser.add_argument("--seconds", type=float, default=_SECONDS, help="how long rounds are begun (%(default)g)")
    parser.add_argument("--batches", type=int, default=_BATCHES, help="of so many at most, the first (%(default)s)")
    parser.add_argument("--seed", type=int, help="that of another drill, which does the same again")


def run(options: argparse.Namespace) -> int:
    """See ``Command``."""
    from datarax_mp.commands.drilling.reference import undisturbed

    if options.seconds <= 0 or options.batches < 1:
        raise Refused(f"--seconds {options.seconds:g} and --batches {options.batches} must be greater than 0")
    seed = random.SystemRandom().randrange(1 << 31) if options.seed is None else options.seed
    with closing(pipeline_at(options.pipeline)) as pipeline:
        began = time.monotonic()
        reference = undisturbed(pipeline, most=options.batches, seconds=options.seconds / 4)
        if not reference.seen:
            raise Refused(f"{options.pipeline} yields no batch from where it stands")
        lasted = time.monotonic() - began
        end = "to the end" if reference.whole else "the first ones"
        print(f"undisturbed: {len(reference.seen)} batches, {end}, in {lasted:.2g} s; --seed {seed}", flush=True)
        rounds, difference = _rounds(pipeline, reference, seed, time.monotonic() + options.seconds)
    if difference is None:
        difference = _elsewhere(options.pipeline, reference, _ELSEWHERE_SECONDS + 10 * lasted)
    if difference is None:
        print(f"The stream is the same: {rounds} rounds, and a fresh process.")
        return 0
    print(f"The stream is NOT the same: {difference}")
    return 1


def _rounds(pipeline: Any, reference: Reference, seed: int, deadline: float) -> tuple[int, str | None]:
    """Rounds until it is time, or until one differs: how many there were, and the difference."""
    from datarax_mp.commands.drilling.rounds import Round

    chance = random.Random(seed)
    for count, disturb in enumerate(_disturbances(reference.processes), 1):
        one = Round.of(chance, len(reference.seen))
        told, difference = one.run(pipeline, reference, disturb, chance)
        verdict = "the same" if difference is None else difference
        print(f"round {count}, from batch {one.begin}: {told} (behind batch {one.at}): {verdict}", flush=True)
        if difference is not None or time.monotonic() > deadline:
            return count, difference
    raise AssertionError("there is always another disturbance")


def _disturbances(processes: bool) -> Iterator[Disturbance]:
    """One after the other, without end; of pipelines without worker processes only that which needs none."""
    from datarax_mp.commands.drilling.disturbances import OF_PROCESSES, none

    if not processes:
        print("no worker processes: there is nothing to kill or to stop", flush=True)
    return itertools.cycle(OF_PROCESSES if processes else (none,))


def _elsewhere(target: str, reference: Reference, seconds: float) -> str | None:
    from datarax_mp.commands.drilling.elsewhere import MEGABYTES, compared, small_shm

    before = small_shm()
    where = "a fresh process"
    if before is None:
        print("a small /dev/shm cannot be had here: it takes unshare (util-linux), and root or user namespaces")
    else:
        where += f" whose /dev/shm has {MEGABYTES} MB"
    sys.stdout.flush()
    difference = compared(target, reference, before=before or [], seconds=seconds)
    print(f"{where}: {'the same' if difference is None else difference}", flush=True)
    return None if difference is None else f"{where}: {difference}"
