"""datarax_mp beside other loaders: one command, one table.

    pip install "datarax-mp[bench]"
    python scripts/benchmark.py --folder FOLDER --json rates.json --chart rates.png     # about an hour
    python scripts/benchmark.py --workloads table --rounds 1 --seconds 0.5              # some 2 minutes
    python scripts/benchmark.py --systems datarax_mp torch --workloads large photos --folder FOLDER
    python scripts/benchmark.py --au --folder FOLDER --chart au.png                     # a training step, emulated
    python scripts/benchmark.py --cpu-step --folder FOLDER                              # a training step on the CPU

FOLDER holds JPEG files; without it the photos are skipped. A system that is not installed is skipped, too; one that has
not warmed up after ``--limit`` seconds (60) did not finish. Lines under the table say why. Ctrl-C shows the workloads
that are complete. JAX runs on the CPU unless JAX_PLATFORMS says something else.

Workloads (``_benchmark/workloads.py``), shuffled unless it says otherwise:

    large       64 x 224x224x3 uint8 and a label, 9.6 MB a batch, 617 MB in memory
    small       256 x 32x32x3 uint8 and a label, 0.8 MB a batch, 315 MB in memory
    table       128 x (16 float32 and a label), 9 kB a batch, 17 MB in memory
    tokens      64 windows of 1,025 tokens, int32, out of one memory-mapped file of uint16, 0.26 MB a batch
    photos      JPEG files, decoded, random resized crop to 224; 64 a batch. The cut depends on the record alone
    busy        16 x 16 float32, for each of which Python holds the GIL for 5 ms of CPU time; in order
    ragged      64 lists of 1 to 512 int32 tokens, padded to the longest of the batch, 17 MB in memory
    stragglers  as busy, for 1 to 100 ms, log-uniform by record number (21 ms in the mean); only when asked for

Systems (``_benchmark/systems``), each in the best forms that were found, with ``--workers`` processes (2); ours also
with 0, 1 and twice as many. "Records" reads, and collates, one by one; "batched fetch" asks for all rows of a batch in
one call. Every worker has one thread for BLAS, OpenMP and OpenCV, and up to two finished batches waiting:

    datarax_mp          a MemorySource, or the source as it is; ``Pad`` for ragged lists. "NumPy out" leaves arrays in
                        host memory. Windows of tokens are read in one call (``__getitems__``)
    NumPy in main       a plain loop in the main process, no loader: ``array[idx]``, or record by record
    jax-dataloader      its "jax" backend, which works in the main process
    torch               forked, persistent workers, tensors in shared memory; ``in_order=False`` for stragglers
    Grain               MapDataset, ``mp_prefetch``, one reading thread; its default of 16 is slower and needs more
                        memory. Workers are spawned, and data in memory is sent to each: see "cold" and "PSS"
    SPDL                an ``iterate_in_subprocess`` per worker, which take turns: with its ring, out of which it
                        copies; its pool of segments, which gives out views; and neither, a queue of pickles
    + jitted identity   arrays go to the device by ``jax.jit(lambda *a: a)`` instead of ``jax.device_put``, which is
                        faster for small ones; ours chooses by itself

What is the same for all: records, functions, and bytes. Before anything is timed, every system runs some short epochs
in which each record must come once and every array have the shape, dtype and bytes that the workload says, or it is
"wrong". Every measurement is a fresh process, and the systems take turns, round by round. Every batch is brought to
the device and waited for (``block_until_ready``), or a byte of every page is read where it stays in host memory, and
only the current one is kept. (workers x 3 + 2) batches at least, and 0.3 s, are not counted. Data is made before the
clock starts. Epochs end while it measures: a loader that drains then pays for it, and Grain, which repeats, does not.

How to read it:

    batches/s       the median of the rounds, the slowest and the fastest
    ratio           to datarax_mp with ``--workers`` processes and arrays on the device, in the same round
    of limit        the part of what the machine can do, measured in the same round and shown as "limit": as many
                    processes as cores, gathering batches (``np.take`` into buffers in use already, or the workload's
                    function) without a loader; photos, busy, stragglers: one process's rate times the cores, which
                    two logical cores of one physical core cannot reach
    p50, p99        waits until the next batch is on the device: ``next()``, transfer and ``block_until_ready``
    CPU             user and system time of the main process and all that it started, those that ended included, while
                    it measured; CPU s/GB means nothing where batches are tiny and work is large, see CPU µs/sample
    peak, PSS       the process tree's memory, shared memory counted once, in the first round: the largest sample since
                    the loader was made (ten a second until it is warm) and since it was warm (two a second). It holds
                    the data, and what the main process imports: JAX, with jax-dataloader also torch
    cold            from making the loader, with everything imported and the data made, to the first batch on the
                    device. Ours puts the data into shared memory meanwhile. Torch's and SPDL's workers are forked
                    before JAX starts, and JAX's start is in nobody's time
    warm            from a second ``iter`` to its first batch, after the first epoch has ended; median of four, with
                    epochs of eight batches

``--au`` emulates a device that is busy for T ms a batch while the host sleeps, and shows MLPerf Storage's accelerator
utilisation, busy / (busy + waiting); 90 % passes (✓). Peers have one, ``--workers`` and twice as many. The host waits
for each step, as a loop does that prints its loss; with ``--ahead 1`` it gets the next batch meanwhile, as JAX lets it,
and with ``--prefetch`` it calls ``iterator.start_prefetch()`` between starting a step and waiting for it.

``--cpu-step`` feeds a jitted step on the CPU (matrix products on all cores, ``--step-ms`` alone). "Alone" is its time
with the same batch again and again beside a loader that rests, before and after; "fed" its time with the loader at
work; "loop" the time for step and batch. "Slower" compares them with "alone".

When a loader is *not* worth using: where "NumPy in main" keeps up with the training step, which ``--au`` shows. Workers
compete with the main process for cores, so on a machine with two of them they gain little on work in memory; what they
are for is work in stages, and hiding it behind the step.

Figures: ``results/benchmark-2026-11-25.txt``, and ours before and after a change of shape:
``results/benchmark-2026-11-26.txt``.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from _benchmark import chart, runs, table, watch
from _benchmark.workloads import WORKLOADS

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
    add("--ahead", type=int, default=0, help="steps that the host of --au may be ahead of the device (0)")
    add("--prefetch", action="store_true", help="call start_prefetch, where an iterator has it, while the device works")
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
    if min(options.workers, options.rounds) < 1:
        parser.error("--workers and --rounds must be at least 1")
    if options.ahead < 0:
        parser.error("--ahead must be at least 0")
    if min(options.seconds, options.limit, options.step_ms, *options.steps) <= 0:
        parser.error("--seconds, --limit, --steps and --step-ms must be more than 0")
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
    heading = f"{table.conditions(*PACKAGES)}; {options.rounds} x {options.seconds:g} s"
    outcomes: list[runs.Outcome] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the child is cleared up behind
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        try:
            for outcome in measure(options, Path(scratch)):
                outcomes.append(outcome)
                save(options, heading, outcomes)
        except KeyboardInterrupt:
            print("interrupted: only the workloads that are complete are shown", file=sys.stderr)
        except (watch.DidNotFinish, watch.Failed) as error:  # of a limit; a system's goes into its row
            print(f"the limit could not be measured, the rest is left out: {error}", file=sys.stderr)
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
