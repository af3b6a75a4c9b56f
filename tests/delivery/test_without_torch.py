"""What ``output="torch"`` says before there is a tensor."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from datarax_mp import DeviceStage, Pipeline

SOURCE = {"x": np.arange(4)}


def test_without_torch_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r'output="torch" needs torch: pip install "datarax-mp\[torch\]"'):
        Pipeline(source=SOURCE, batch_size=2, output="torch")


def test_tensors_have_neither_a_device_nor_stages_on_one() -> None:
    with pytest.raises(ValueError, match="output='torch' leaves arrays in host memory"):
        Pipeline(source=SOURCE, batch_size=2, output="torch", device=0)
    pytest.importorskip("torch")
    with pytest.raises(ValueError, match="runs on the device, which output='torch' does not touch"):
        Pipeline(source=SOURCE, batch_size=2, output="torch", stages=[DeviceStage(lambda batch: batch)])
    with pytest.raises(ValueError, match="scan runs on the device, which output='torch' does not touch"):
        Pipeline(source=SOURCE, batch_size=2, output="torch").scan(lambda batch: 0, length=1)
