from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "measure_order.py"


def test_every_order_is_measured_beside_grain() -> None:
    command = [sys.executable, str(SCRIPT), "--records", "20000", "--batches", "20"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.rstrip().endswith(("MB", "us"))]
    assert len(rows) == 12
    assert sum(row.startswith("Grain") for row in rows) == 3
