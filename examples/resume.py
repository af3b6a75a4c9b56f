"""Kill a training run in the middle of an epoch, go on from its last checkpoint, get the same parameters to the bit.

    python examples/resume.py
    python examples/resume.py --num-workers 0 --epochs 6

The network of ``train_digits.py`` is trained on handwritten digits, shuffled anew in every epoch and moved about at
random. Every eight steps Orbax saves the model, the optimizer and the position in the data, in the background. This is
done three times:

1. from beginning to end;
2. in another process, which is killed (SIGKILL) once a checkpoint of its step 40 or later is complete;
3. in a third one, with another number of workers, which finds the checkpoints of the second and goes on.

One sees where the second run was killed and where the third went on. The exit code is 1 unless the first and the third
end with the same parameters, bit for bit. (On the CPU backend, which adds up in the same order every time.)
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from train_digits import read_digits, start, train_step

from datarax_mp import MemorySource, MemorySourceConfig, Pipeline, PipelineRestore, PipelineSave, RandomMapElement

try:
    import orbax.checkpoint as ocp
except ImportError as error:
    raise ImportError(
        f'this example needs the package {error.name!r}: pip install "datarax-mp[examples]"', name=error.name
    ) from error

SAVE_EVERY = 8  # steps; an epoch has 21, so that a position is in the middle of one
KILL_FROM = 40


def move(record: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Move an image by up to one pixel; what leaves it on one side comes in on the other, where it is dark."""
    return {**record, "image": np.roll(record["image"], rng.integers(-1, 2, 2), axis=(0, 1))}


def train(folder: Path, epochs: int, num_workers: int) -> list[np.ndarray]:
    """Train, or go on from the newest checkpoint in the folder; returns the parameters. Prints every step."""
    digits, _ = read_digits()
    pipeline = Pipeline(
        source=MemorySource(MemorySourceConfig(shuffle=True), digits, rngs=nnx.Rngs(0)),
        batch_size=64,
        stages=[RandomMapElement(move)],
        num_workers=num_workers,
        drop_last=True,
    )
    with pipeline, ocp.CheckpointManager(folder) as manager:
        model, optimizer = start(epochs * len(pipeline))
        step = 0
        if (newest := manager.latest_step()) is not None:
            wanted = ocp.args.StandardRestore(nnx.state((model, optimizer)))
            args = ocp.args.Composite(model=wanted, data=PipelineRestore(pipeline))
            nnx.update((model, optimizer), manager.restore(newest, args=args)["model"])
            step = newest
            position = pipeline.get_state()
            print(f"goes on after step {step}: epoch {position['epoch']}, batch {position['step']}", flush=True)
        while pipeline.get_state()["epoch"] < epochs:
            for batch in pipeline:
                train_step(model, optimizer, batch)
                step += 1
                if step % SAVE_EVERY == 0:
                    state = ocp.args.StandardSave(nnx.state((model, optimizer)))
                    manager.save(step, args=ocp.args.Composite(model=state, data=PipelineSave(pipeline)))
                print(f"step {step}", flush=True)
    print(pipeline.report(), file=sys.stderr)  # on the other stream, for the lines here are counted
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model))]


def run(folder: Path, options: argparse.Namespace, num_workers: int) -> subprocess.Popen[str]:
    """Start a process that trains in the folder."""
    command = [sys.executable, __file__, "--train", str(folder), "--epochs", str(options.epochs)]
    return subprocess.Popen([*command, "--num-workers", str(num_workers)], stdout=subprocess.PIPE, text=True)


def kill_in_the_middle(process: subprocess.Popen[str], folder: Path, first: int = KILL_FROM) -> str:
    """Kill a training process once it has a checkpoint of that step or a later one; returns its last printed line."""
    assert process.stdout is not None
    last = ""
    for line in process.stdout:
        last = line.strip()
        # Orbax gives a checkpoint its name when it is complete.
        if any(int(path.name) >= first for path in folder.glob("*") if path.name.isdigit()):
            process.send_signal(signal.SIGKILL)
            break
    process.communicate()
    return last


def finish(process: subprocess.Popen[str], folder: Path) -> tuple[list[str], list[np.ndarray]]:
    """Wait for a training process; returns the lines that it has printed, and the parameters."""
    lines = process.communicate()[0].splitlines()
    if process.returncode:
        raise RuntimeError(f"a training run ended with exit code {process.returncode}")
    with np.load(folder / "parameters.npz") as saved:
        return lines, list(saved.values())


def demonstrate(options: argparse.Namespace) -> str | None:
    """Do the three runs and compare them; returns what went wrong, or None."""
    with tempfile.TemporaryDirectory() as name:
        undisturbed, disturbed = Path(name) / "undisturbed", Path(name) / "disturbed"
        first = run(undisturbed, options, options.num_workers)
        second = run(disturbed, options, options.num_workers)
        last = kill_in_the_middle(second, disturbed)
        if second.returncode != -signal.SIGKILL:
            return f"the run to be killed ended by itself, after {last!r}, with exit code {second.returncode}"
        print(f"killed after {last}")
        lines, resumed = finish(run(disturbed, options, options.num_workers + 1), disturbed)
        print(f"{lines[0]}; ended after {lines[-1]}")
        lines, whole = finish(first, undisturbed)
        print(f"never killed: ended after {lines[-1]}")
    differing = sum(not np.array_equal(ours, theirs) for ours, theirs in zip(whole, resumed, strict=True))
    print(f"{sum(array.size for array in whole)} parameters in {len(whole)} arrays, of which {differing} differ")
    return None if differing == 0 else "the resumed run has other parameters than the one that was never killed"


def main(arguments: Sequence[str] | None = None) -> str | None:
    """Demonstrate, or be one of the runs; returns what went wrong, or None."""
    parser = argparse.ArgumentParser(description="Kill a training run, resume it, and compare parameters.")
    parser.add_argument("--num-workers", type=int, default=2, help="loader processes (default: 2)")
    parser.add_argument("--epochs", type=int, default=8, help="passes over the training digits (default: 8)")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.train is None:
        return demonstrate(options)
    jax.config.update("jax_platforms", "cpu")
    parameters = train(options.train, options.epochs, options.num_workers)
    np.savez(options.train / "parameters.npz", *parameters)
    return None


if __name__ == "__main__":
    sys.exit(main())
