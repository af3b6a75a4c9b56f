"""``python -m datarax_mp show``: a batch as text, or its images as a sheet."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarax_mp import IterableSource, MapElement, Pipeline
from datarax_mp.commands import main
from datarax_mp.commands.described import Shown, described
from datarax_mp.commands.sheet import draw
from datarax_mp.commands.table import COMMANDS, Refused, command


def images() -> Pipeline[Any]:
    data = {
        "image": np.arange(10 * 8 * 8 * 3, dtype=np.uint8).reshape(10, 8, 8, 3),
        "label": np.arange(10) * 11,
        "text": [f"text {number}" for number in range(10)],
    }
    return Pipeline(source=data, batch_size=4, shuffle=True, seed=3)


def elements() -> Pipeline[Any]:
    return Pipeline(
        source=[{"x": np.arange(2), "name": "a"}, {"x": np.arange(2), "name": "b"}], batch_size=1, enforce_batch=False
    )


def streamed() -> Pipeline[Any]:
    source = IterableSource(lambda lane, lanes: ({"x": n} for n in range(lane, 10, lanes)), lanes=2)
    return Pipeline(source=source, batch_size=2)


def failing() -> Pipeline[Any]:
    return Pipeline(source={"x": [1, 2]}, batch_size=1, stages=[MapElement(lambda record: {"x": {}["no"]})])


NOT_ONE = [1, 2]
HERE = "made_for_show"


@pytest.fixture(autouse=True)
def _module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, HERE, sys.modules[__name__])


def test_every_command_has_arguments_help_and_something_to_run() -> None:
    for name in COMMANDS:
        assert callable(command(name).run)
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code == 0


def test_from_a_shell_it_says_which_commands_there_are() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-m", "datarax_mp", "-h"], capture_output=True, text=True)
    assert done.returncode == 0 and all(name in done.stdout for name in COMMANDS), done.stderr


def test_whoever_reads_only_the_first_lines_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import numpy as np\nfrom datarax_mp import Pipeline\n"
        "pipeline = Pipeline(source={'x': np.zeros((2000, 400))}, batch_size=2000, output='numpy')\n"
    )
    command = f"{sys.executable} -m datarax_mp show train:pipeline --step 0 --rows 2000 | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "epoch 0, step 0: 2000 rows\n", "")


def test_a_step_is_told_with_fields_values_and_records(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", f"{HERE}:images", "--epoch", "1", "--step", "1"]) == 0
    records = images().records(1, 1).tolist()
    told = capsys.readouterr().out.splitlines()
    assert told[:2] == ["epoch 1, step 1: 4 rows", f"records: {' '.join(map(str, records))}"]
    assert any(line.startswith("image: uint8 (4, 8, 8, 3), from 0 to 255, mean ") for line in told)
    assert told[told.index("text: no array") + 1] == f"  [0] 'text {records[0]}'"
    assert f"  [0] {records[0] * 11}" in told


@pytest.mark.parametrize("received", [0, 1, 3])
def test_a_state_shows_the_batch_that_comes_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], received: int
) -> None:
    pipeline = images()
    batches = iter(pipeline)
    for _ in range(received):
        next(batches)
    state = tmp_path / "state.json"
    state.write_text(json.dumps(pipeline.get_state()))
    assert main(["show", str(state), f"{HERE}:images"]) == 0
    epoch, step = divmod(received, 3)
    assert capsys.readouterr().out.startswith(f"epoch {epoch}, step {step}: ")


def test_options_may_stand_anywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "state.json")
    (tmp_path / "state.json").write_text(json.dumps(images().get_state()))
    pipeline, rows = f"{HERE}:images", ["--rows", "2"]
    for words in ([path, pipeline, *rows], [path, *rows, pipeline], [*rows, path, pipeline]):
        assert main(["show", *words]) == 0
    told = capsys.readouterr().out.splitlines()
    third = len(told) // 3
    assert told[:third] == told[third : 2 * third] == told[2 * third :]
    for words in (["--step", "0", pipeline], [pipeline, "--step", "0"]):
        assert main(["show", *words]) == 0


@pytest.mark.parametrize(
    "words", [[], ["--"], ["--", "show"], ["shows"], ["show"], ["show", "a", "b", "c"], ["diff", "a"]]
)
def test_words_that_make_no_command_are_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2


def test_steps_that_are_left_out_do_not_come_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = images()
    pipeline.skip([1, 2])
    pipeline.skip([0], epoch=1)
    next(iter(pipeline))
    state = tmp_path / "state.json"
    state.write_text(json.dumps(pipeline.get_state()))
    assert main(["show", str(state), f"{HERE}:images"]) == 0
    assert capsys.readouterr().out.startswith("epoch 1, step 1: ")


def test_an_element_is_shown_as_a_batch_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", f"{HERE}:elements", "--step", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "records: 1",
        "x: int32 (1, 2), from 0 to 1, mean 0.5",
        "  [0] 0 1",
        "name: no array",
        "  [0] 'b'",
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere:images", "--step", "0"], "there is no module 'nowhere'"),
        ([HERE, "--step", "0"], "expected module:attribute"),
        ([f"{HERE}:missing", "--step", "0"], "missing"),
        ([f"{HERE}:NOT_ONE", "--step", "0"], "found a list"),
        ([f"{HERE}:images"], "say where"),
        (["state.json", f"{HERE}:images", "--step", "1"], "say where"),
        (["no/such.json", f"{HERE}:images"], "no/such.json cannot be read"),
        ([f"{HERE}:images", "--step", "3"], "step 3 of epoch 0 does not exist"),
        (
            [f"{HERE}:images", "--step", "0", "--images", "x.png", "--field", "label"],
            "none of those with images: image",
        ),
    ],
)
def test_what_the_user_has_to_put_right_is_one_line(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("python -m datarax_mp show: ") and told in error and error.count("\n") == 1


def test_a_state_of_another_pipeline_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "state.json").write_text(json.dumps(elements().get_state()))
    assert main(["show", str(tmp_path / "state.json"), f"{HERE}:images"]) == 2
    assert "belongs to another pipeline" in capsys.readouterr().err


def test_a_state_of_what_comes_out_of_iterators_is_refused_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state.json").write_text(json.dumps(streamed().get_state()))
    assert main(["show", str(tmp_path / "state.json"), f"{HERE}:streamed"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("python -m datarax_mp show: ") and "iterators" in error and error.count("\n") == 1


def test_what_the_users_code_raises_comes_out_unchanged() -> None:
    with pytest.raises(KeyError, match="no"):
        main(["show", f"{HERE}:failing", "--step", "0"])


def test_images_are_drawn_with_their_pixels(tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "sheet.png"
    assert main(["show", f"{HERE}:images", "--step", "0", "--images", str(path)]) == 0
    sheet = np.asarray(Image.open(path))
    first = np.asarray(images().at(0, 0)["image"])[0]
    assert (sheet[: 8 * 12 : 12, : 8 * 12 : 12] == first).all()
    assert (sheet[8 * 12 : 8 * 12 + 12, :96] < 128).any()  # the label


def test_images_of_any_range_and_padding_can_be_drawn(tmp_path: Path) -> None:
    grey = Shown(0, 0, {"depth": np.linspace(-1, 1, 2 * 300 * 200).reshape(2, 300, 200)}, {}, [1, None])
    draw(grey, None, str(tmp_path / "grey.png"))
    with pytest.raises(Refused, match="cannot be written"):
        draw(grey, None, str(tmp_path / "grey.nonsense"))
    two = grey._replace(arrays={**grey.arrays, "mask": grey.arrays["depth"]})
    with pytest.raises(Refused, match="say which --field to draw: depth, mask"):
        draw(two, None, str(tmp_path / "two.png"))


def test_an_empty_field_has_no_range() -> None:
    told = list(described(Shown(0, 0, {"x": np.zeros((1, 0))}, {}, [0]), rows=1))
    assert told[2:] == ["x: float64 (1, 0)", "  [0] "]
