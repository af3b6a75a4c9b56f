"""Files that are open for reading are opened anew by every worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import pytest

from datarax_mp import Pipeline

LINES = [f"{'ä' * (n % 7)} line {n}" for n in range(50)]


class Lines:
    """The idiom of JSON lines: an index of positions, and one open file."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.positions = [0]
        while self.file.readline():
            self.positions.append(self.file.tell())

    def __len__(self) -> int:
        return len(self.positions) - 1

    def __getitem__(self, number: int) -> dict[str, Any]:
        self.file.seek(self.positions[number])
        line = self.file.readline()
        return {"x": len(line), "number": int(line.split()[-1])}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "lines").write_bytes("\r\n".join(LINES).encode())
    return tmp_path / "lines"


@pytest.fixture(params=["r", "rb", "raw", "kept line ends"])
def file(path: Path, request: Any) -> Iterator[TextIO | BinaryIO]:
    match request.param:
        case "r":
            opened: Any = path.open(encoding="utf-8")
        case "rb":
            opened = path.open("rb")
        case "raw":
            opened = path.open("rb", buffering=0)
        case _:
            opened = path.open(encoding="utf-8", newline="")
    with opened:
        yield opened


def records(source: Any, workers: int) -> list[tuple[int, int]]:
    options: dict[str, Any] = {"num_workers": workers, "output": "numpy", "enforce_batch": False}
    with Pipeline(source=source, batch_size=4, **options) as pipeline:
        return [(int(record["x"]), int(record["number"])) for record in pipeline]


def test_each_worker_reads_from_a_position_of_its_own(file: Any) -> None:
    source = Lines(file)
    position = file.tell()
    found = records(source, 2)
    assert [number for _, number in found] == list(range(50))
    assert file.tell() == position
    assert found == records(source, 0)


def test_a_file_that_cannot_be_opened_anew_is_named(tmp_path: Path, path: Path) -> None:
    with path.open() as file:
        source = Lines(file)
        path.unlink()
        with pytest.raises(TypeError, match=r"source \(Lines\)\.file cannot be sent"):
            records(source, 1)
    with pytest.raises(TypeError, match=r"source \(Lines\)\.file cannot be sent .*closed"):
        records(source, 1)
    source.positions = [0]
    with (tmp_path / "log").open("w") as source.file:
        source.positions = [0, 0, 0]
        with pytest.raises(TypeError, match=r"source \(Lines\)\.file cannot be sent"):
            records(source, 1)
