"""Every script starts, measures a little, and prints what it measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"

# The least that each can be asked for, and what its output then has.
LEAST = {
    "benchmark": (
        ["--workloads", "table", "--systems", "datarax_mp, 2", "--rounds", "1", "--seconds", "0.2"],
        "table",
    ),
    "measure_augment": (["{folder}", "--rounds", "1", "--photos", "4"], "Generators.of"),
    "measure_batch": (["--rounds", "1"], "nnx.jit call"),
    "measure_blocks": (
        [
            "--files",
            "1",
            "--groups",
            "2",
            "--rows",
            "300",
            "--workers",
            "1",
            "--rounds",
            "1",
            "--systems",
            "ours, in order",
        ],
        "row groups",
    ),
    "measure_border": (
        ["--workers", "1", "--rounds", "1", "--step-ms", "1", "--work-ms", "0", "--epochs", "2"],
        "one stream",
    ),
    "measure_cache": (["{folder}", "--rounds", "1"], "folder, another pipeline"),
    "measure_choice": (["--rounds", "1", "--seconds", "0.05", "--code", "python", "rows"], "because"),
    "measure_decoders": (["{folder}", "--rounds", "1"], "simplejpeg"),
    "measure_device": (
        ["--quick", "--rounds", "1", "--seconds", "0.02", "--workers", "1", "--resnet-ms", "5"],
        "checksums: 0 of 1,024 records",
    ),
    "measure_formats": (
        ["--megabytes", "0.1", "--rounds", "1", "--workers", "0", "--formats", "csv", "arrow"],
        "datarax_mp",
    ),
    "measure_ledger": (["--rounds", "1", "--steps", "2", "--megabytes", "2"], "photographs"),
    "measure_order": (["--records", "20000", "--batches", "20"], "Grain"),
    "measure_pages": (["--megabytes", "9", "--processes", "1", "--rounds", "1", "--seconds", "0.05"], "gather"),
    "measure_parts": (
        ["--workers", "1", "--outputs", "numpy", "--rounds", "2", "--batches", "64"],
        "gather alone",
    ),
    "measure_prediction": (["--seconds", "0.1", "--workers", "1", "--work-ms", "2", "--step-ms", "1"], "computing"),
    "measure_ray": (["--actors", "1", "--seconds", "0.2", "--rounds", "1"], "ray actors"),
    "measure_records": (["--records", "256", "--rounds", "1", "--batch-size", "16"], "ragged"),
    "measure_remote": (
        ["--no-peers", "--files=1", "--groups=2", "--rows=300", "--latency-ms=1", "--workers", "1", "--rounds=1"],
        "ours, 1 workers, warm",
    ),
    "measure_resume": (["--workers", "1", "--rounds", "2", "--output", "numpy"], "elastic, k = 1 000 000"),
    "measure_scan": (["--workers", "1", "--rounds", "1", "--steps", "20"], "losses bit-equal: True"),
    "measure_shards": (
        ["--megabytes", "0.1", "--rounds", "1", "--workers", "0", "--formats", "tfrecord"],
        "datarax_mp",
    ),
    "measure_shipping": (["--megabytes", "2", "--workers", "0", "1", "--kinds", "array"], "array"),
    "measure_start": (["--workers", "1", "--rounds", "1", "--output", "numpy"], "cold"),
    "measure_transfer": (["--rounds", "1", "--calls", "3"], "device_put"),
    "measure_watching": (["--rounds", "2", "--seconds", "0.02"], "photos"),
    "profile_memory": (["--workers", "1", "--records", "2000", "--epochs", "1", "--output-dir", "{folder}/out"], "MB"),
    "soak": (["--minutes", "0.05", "--seed", "1"], "rounds"),
}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    image = pytest.importorskip("PIL.Image")
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 255, (300, 400, 3), np.uint8)
        image.fromarray(pixels).save(tmp_path / f"{number}.jpg")
    return tmp_path


def test_every_script_is_tried_here() -> None:
    assert sorted(LEAST) == sorted(script.stem for script in SCRIPTS.glob("*.py"))


@pytest.mark.parametrize("name", LEAST)
def test_a_script_runs(name: str, photos: Path) -> None:
    if name == "measure_ray":
        pytest.importorskip("ray")
    arguments, printed = LEAST[name]
    command = [sys.executable, str(SCRIPTS / f"{name}.py"), *(word.format(folder=photos) for word in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=photos)
    assert done.returncode == 0, done.stderr
    assert printed in done.stdout
