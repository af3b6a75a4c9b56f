"""The memory of a pipeline over time: main process, workers, shared memory.

For each number of workers a fresh process runs a pipeline for some epochs, reading every byte of every batch. This
process watches it and all its descendants from outside (``datarax_mp.monitoring.memory``), so that the profiler's own
memory is no part of the result. Two sources show two things:

    arrays    columns of images: the data lies in shared memory once, whatever the number of workers
    objects   a list of small Python dicts: workers read pickles from one shared buffer, and do not grow as a forked
              list of objects would, page by page as reference counts change

    python scripts/profile_memory.py --workers 0 1 2 4 8 --source arrays --output-dir memory-profile
    python scripts/profile_memory.py --workers 0 2 8 --source objects

It needs ``pip install "datarax-mp[monitoring]"``, and writes ``<source>.csv``, all samples, and ``<source>.png``, a
panel for each number of workers, to the output directory.

How to read it (MB are 10^6 bytes): time 0 is where the pipeline is made; before it lie imports and the making of the
data, and the picture ends with the last epoch. "tree PSS" is what the whole program uses, with shared memory counted
once; what one more worker costs is the difference between two lines of the table. Its peak is where data is placed in
shared memory and, for a moment, exists twice. USS is what a process has to itself. Main's USS falls when workers come
to look at the data that it alone had mapped, and a worker's USS holds such slots of the ring as main has not looked at
yet: neither is memory gained or lost. /dev/shm holds the source's data and the ring; it is counted for the whole
system, from where it stood at the start, so other programs' shared memory shows up in it. "growth" is how much larger
the median worker's USS is after the last epoch than after the first: near 0, or something accumulates.

Figures: ``results/profile_memory-2026-11-24.txt``.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import platform
import statistics
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datarax_mp.monitoring.memory import ProcessMemory, Sampler, TreeMemory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MB = 1e6
LINES = {  # label -> colour (Okabe and Ito, for all kinds of eyes) and style
    "whole tree, PSS": ("#000000", "-"),
    "main, USS": ("#0072B2", "-"),
    "all workers, USS": ("#D55E00", "-"),
    "/dev/shm": ("#009E73", "--"),
}


@dataclass(frozen=True)
class Run:
    """What was seen of one number of workers.

    Attributes:
        workers: how many.
        samples: oldest first; the clock is ``time.monotonic``.
        start: the sample taken before the pipeline was made.
        epoch_ends: the sample taken after each epoch.
    """

    workers: int
    samples: tuple[TreeMemory, ...]
    start: TreeMemory
    epoch_ends: tuple[TreeMemory, ...]

    @property
    def in_epochs(self) -> list[TreeMemory]:
        """The samples from the start to the end of the last epoch."""
        return [sample for sample in self.samples if self.start.time <= sample.time <= self.epoch_ends[-1].time]

    def seconds(self, sample: TreeMemory) -> float:
        """Seconds since the pipeline was made."""
        return sample.time - self.start.time

    def shm(self, sample: TreeMemory) -> float:
        """MB in /dev/shm beyond what was there at the start."""
        return (sample.shm - self.start.shm) / MB


def make_source(kind: str, records: int) -> Any:
    """The records. Made in the watched process, and referred to by the pipeline alone."""
    rng = np.random.default_rng(0)
    if kind == "arrays":
        images = rng.integers(0, 256, (records, 64, 64, 3), np.uint8)
        return {"image": images, "label": rng.integers(0, 10, records, np.int32)}
    words = ["a", "list", "of", "small", "dicts", "with", "text", "and", "numbers"]
    return [
        {
            "text": " ".join(words[(number * k) % 9] for k in range(12)) + str(number),
            "author": f"author {number}",
            "label": number % 10,
            "year": 1900 + number % 126,
        }
        for number in range(records)
    ]


def run_child(workers: int, options: argparse.Namespace) -> None:
    """Run the pipeline in this process; say so before it and after each epoch, and go on when a line comes back."""
    import jax  # delayed: the watching process needs neither JAX nor what imports it

    from datarax_mp import Pipeline

    jax.block_until_ready(jax.device_put(0))  # so that what JAX takes at its first use is there before the start
    source = [make_source(options.source, options.records)]
    _report("start")
    with Pipeline(
        source=source.pop(),  # no reference is left here: once placed in shared memory, the original can go
        batch_size=options.batch_size,
        num_workers=workers,
        shuffle=True,
        rngs=np.random.default_rng(0),
    ) as pipeline:
        for epoch in range(options.epochs):
            for batch in pipeline:
                for array in batch.values():
                    np.asarray(array).max()
                if options.source == "objects":
                    assert batch.metadata[0].source_info["text"]
            _report(f"epoch {epoch}")


def _report(what: str) -> None:
    print(what, flush=True)
    sys.stdin.readline()


def watch(workers: int, options: argparse.Namespace, progress: Any) -> Run:
    """Run one number of workers in a fresh process, and sample its tree until it ends."""
    command = [sys.executable, __file__, "--child", str(workers), "--source", options.source]
    for name in ("epochs", "records", "batch_size"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    marks: list[TreeMemory] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None and child.stdout is not None
        with Sampler(options.interval, child.pid) as sampler:
            for _ in child.stdout:
                sample = sampler.sample()  # the child waits meanwhile
                progress.set_postfix_str(
                    f"{workers} workers: {sample.pss / MB:.0f} MB PSS, {sample.shm / MB:.0f} MB in /dev/shm"
                )
                progress.update(len(marks) > 0)
                marks.append(sample)
                child.stdin.write("\n")
                child.stdin.flush()
    if child.returncode:
        raise SystemExit(f"the run with {workers} workers ended with exit status {child.returncode}; see above")
    start, *epoch_ends = marks
    return Run(workers, sampler.samples, start, tuple(epoch_ends))


def print_table(runs: list[Run]) -> None:
    """One line for each number of workers."""
    print(f"{'workers':>7} | main USS, MB | worker USS median (max), MB | {'tree PSS peak, MB':>17} | ", end="")
    print("/dev/shm peak, MB | worker USS growth, MB")
    print("------: | -----------: | --------------------------: | ----------------: | ----------------: | ", end="")
    print("--------------------:")
    for run in runs:
        end = run.epoch_ends[-1]
        seen = [process.uss / MB for sample in run.epoch_ends for process in sample.of("worker")]
        worker, growth = "-", "-"
        if seen:
            worker = f"{statistics.median(seen):.1f} ({max(seen):.1f})"
            growth = f"{_median_uss(end.of('worker')) - _median_uss(run.epoch_ends[0].of('worker')):+.2f}"
        print(
            f"{run.workers:7} | {end.uss('main') / MB:12.0f} | {worker:>27} "
            f"| {max(sample.pss for sample in run.in_epochs) / MB:17.0f} "
            f"| {max(map(run.shm, run.in_epochs)):17.0f} | {growth:>21}"
        )


def _median_uss(processes: tuple[ProcessMemory, ...]) -> float:
    return statistics.median(process.uss for process in processes) / MB


def write_csv(path: Path, runs: list[Run]) -> None:
    """Every sample, a line for each process; /dev/shm is the same for all processes of a sample."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["time_s", "workers", "pid", "role", "uss_mb", "pss_mb", "rss_mb", "shared_mb", "shm_mb"])
        for run in runs:
            for sample in run.samples:
                for process in sample.processes:
                    sizes = (process.uss, process.pss, process.rss, process.shared)
                    writer.writerow(
                        [f"{run.seconds(sample):.3f}", run.workers, process.pid, process.role]
                        + [f"{size / MB:.3f}" for size in sizes]
                        + [f"{run.shm(sample):.3f}"]
                    )


def draw(path: Path, runs: list[Run], title: str) -> None:
    """A panel for each number of workers, all on one scale."""
    import matplotlib  # delayed: the watched process runs this script, too

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = math.ceil(math.sqrt(len(runs)))
    rows = -(-len(runs) // columns)
    pyplot.rcParams["font.size"] = 14  # so that it can be read at half the size
    size = (max(8, 6 * columns), 4 * rows + 2)
    figure, grid = pyplot.subplots(rows, columns, figsize=size, sharey=True, squeeze=False, layout="constrained")
    panels = list(grid.flat)
    for place, panel in enumerate(panels):
        if place >= len(runs):
            panel.set_axis_off()
            continue
        _draw_panel(panel, runs[place])
        panel.set_xlabel("time (s)")
        panel.tick_params(labelleft=True)
        if place % columns == 0:
            panel.set_ylabel("memory (MB)")
    panels[0].set_ylim(0, 1.05 * max(sample.pss for run in runs for sample in run.in_epochs) / MB)  # all share it
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2 if columns == 1 else 3, frameon=False)
    figure.suptitle(textwrap.fill(title, 38 * columns + 20), fontsize=14)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _draw_panel(panel: Axes, run: Run) -> None:
    samples = run.in_epochs
    times = [run.seconds(sample) for sample in samples]
    series = [
        [sample.pss / MB for sample in samples],
        [sample.uss("main") / MB for sample in samples],
        [sample.uss("worker") / MB for sample in samples],
        [run.shm(sample) for sample in samples],
    ]
    for number, end in enumerate(run.epoch_ends):
        label = "end of an epoch" if number == 0 else None
        panel.axvline(run.seconds(end), color="0.75", linewidth=0.8, linestyle=":", zorder=0, label=label)
    for (label, (colour, style)), values in zip(LINES.items(), series, strict=True):
        panel.plot(times, values, color=colour, linestyle=style, linewidth=1.6, label=label)
    panel.set_title(f"{run.workers} worker{'s' * (run.workers != 1)}", fontsize=11)
    panel.set_xlim(0, times[-1])
    panel.grid(axis="y", color="0.92", linewidth=0.8)
    panel.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Profile, and write table, CSV and picture."""
    parser = argparse.ArgumentParser(description="The memory of a pipeline over time.")
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 1, 2, 4, 8], help="numbers of workers to run")
    parser.add_argument("--source", choices=["arrays", "objects"], default="arrays", help="kind of source (arrays)")
    parser.add_argument("--records", type=int, help="records (arrays: 20000 of 12 kB; objects: 200000 of some 0.2 kB)")
    parser.add_argument("--batch-size", type=int, help="records in a batch (arrays: 128; objects: 1000)")
    parser.add_argument("--epochs", type=int, default=4, help="epochs (default: 4)")
    parser.add_argument("--interval", type=float, default=0.1, help="seconds between two samples (default: 0.1)")
    parser.add_argument("--output-dir", type=Path, default=Path("memory-profile"), help="where files go")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.records = options.records or {"arrays": 20_000, "objects": 200_000}[options.source]
    options.batch_size = options.batch_size or {"arrays": 128, "objects": 1000}[options.source]
    if options.child is not None:
        run_child(options.child, options)
        return
    from tqdm import tqdm  # delayed: the watched process runs this script, too

    with tqdm(total=len(options.workers) * options.epochs, unit="epoch") as progress:
        runs = [watch(workers, options, progress) for workers in options.workers]
    title = f"{options.source}: {options.records} records, batches of {options.batch_size}, {options.epochs} epochs"
    versions = ", ".join(f"{package} {version(package)}" for package in ("jax", "flax", "numpy"))
    print(f"{os.cpu_count()} cores, CPU backend, {versions}, Python {platform.python_version()}\n{title}\n")
    print_table(runs)
    options.output_dir.mkdir(parents=True, exist_ok=True)
    csv_path, png_path = (options.output_dir / f"{options.source}.{kind}" for kind in ("csv", "png"))
    write_csv(csv_path, runs)
    draw(png_path, runs, f"Memory of a datarax_mp pipeline\n{title}")
    print(f"\nsamples: {csv_path}\npicture: {png_path}")


if __name__ == "__main__":
    main()
