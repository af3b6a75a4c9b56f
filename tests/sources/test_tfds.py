"""Data sets of TensorFlow Datasets, by their random access (``as_data_source``), as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarax_mp import Pipeline

tfds = pytest.importorskip("tensorflow_datasets")


class Tiny(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc, name-defined]
    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = Path(__file__).parent

    def _info(self) -> Any:
        image = tfds.features.Tensor(shape=(4, 4), dtype=np.uint8)
        label = tfds.features.ClassLabel(num_classes=3)
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict({"image": image, "label": label}))

    def _split_generators(self, manager: Any) -> Any:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Any:
        for number in range(50):
            yield number, {"image": np.full((4, 4), number, np.uint8), "label": number % 3}


@pytest.mark.filterwarnings("ignore")  # its own
def test_a_data_source_is_a_source(tmp_path: Path) -> None:
    builder = Tiny(data_dir=tmp_path, file_format="array_record")
    builder.download_and_prepare()
    streams = []
    for workers in (0, 2):
        source = builder.as_data_source(split="train")
        with Pipeline(source=source, batch_size=8, shuffle=True, seed=0, num_workers=workers, output="numpy") as some:
            streams.append([(batch["image"][:, 0, 0].tolist(), batch["label"].tolist()) for batch in some])
    assert streams[0] == streams[1]
    assert sorted(n for images, _ in streams[0] for n in images) == list(range(50))
    assert all(n % 3 == label for images, labels in streams[0] for n, label in zip(images, labels, strict=True))
