"""datarax_mp: a multiprocess shared-memory data loader for JAX and Flax NNX.

Importing this package imports neither JAX nor Flax; a name that needs them loads them on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datarax_mp.checkpoint import PipelineRestore as PipelineRestore
    from datarax_mp.checkpoint import PipelineSave as PipelineSave
    from datarax_mp.core.element_batch import Batch as Batch
    from datarax_mp.core.element_batch import BatchOps as BatchOps
    from datarax_mp.core.element_batch import Element as Element
    from datarax_mp.core.errors import WorkerError as WorkerError
    from datarax_mp.core.errors import WorkerTimeoutError as WorkerTimeoutError
    from datarax_mp.core.metadata import Metadata as Metadata
    from datarax_mp.core.record import RecordError as RecordError
    from datarax_mp.crews.info import WorkerInfo as WorkerInfo
    from datarax_mp.crews.info import worker_info as worker_info
    from datarax_mp.order import ShardOptions as ShardOptions
    from datarax_mp.pipeline import Pipeline as Pipeline
    from datarax_mp.pipeline.scan import scan as scan
    from datarax_mp.pipeline.skips import SkippedRecord as SkippedRecord
    from datarax_mp.ring import SharedMemoryError as SharedMemoryError
    from datarax_mp.sources import ImageError as ImageError
    from datarax_mp.sources import ImageFolderSource as ImageFolderSource
    from datarax_mp.sources import MemorySource as MemorySource
    from datarax_mp.sources import MemorySourceConfig as MemorySourceConfig
    from datarax_mp.sources import PackedSource as PackedSource
    from datarax_mp.sources import decode_image as decode_image
    from datarax_mp.stages.device import DeviceStage as DeviceStage
    from datarax_mp.stages.device import RandomDeviceStage as RandomDeviceStage
    from datarax_mp.stages.filter import Filter as Filter
    from datarax_mp.stages.image import CenterCrop as CenterCrop
    from datarax_mp.stages.image import ColorJitter as ColorJitter
    from datarax_mp.stages.image import RandomCrop as RandomCrop
    from datarax_mp.stages.image import RandomFlip as RandomFlip
    from datarax_mp.stages.image import RandomResizedCrop as RandomResizedCrop
    from datarax_mp.stages.image import Resize as Resize
    from datarax_mp.stages.map_batch import MapBatch as MapBatch
    from datarax_mp.stages.map_element import MapElement as MapElement
    from datarax_mp.stages.normalize import IMAGENET_MEAN as IMAGENET_MEAN
    from datarax_mp.stages.normalize import IMAGENET_STD as IMAGENET_STD
    from datarax_mp.stages.normalize import Normalize as Normalize
    from datarax_mp.stages.pad import Pad as Pad
    from datarax_mp.stages.random_map import RandomMapElement as RandomMapElement

__version__ = "0.1.0"

_HOME = {
    "Batch": "core.element_batch",
    "BatchOps": "core.element_batch",
    "CenterCrop": "stages.image",
    "ColorJitter": "stages.image",
    "DeviceStage": "stages.device",
    "Element": "core.element_batch",
    "Filter": "stages.filter",
    "IMAGENET_MEAN": "stages.normalize",
    "IMAGENET_STD": "stages.normalize",
    "ImageError": "sources",
    "ImageFolderSource": "sources",
    "MapBatch": "stages.map_batch",
    "MapElement": "stages.map_element",
    "MemorySource": "sources",
    "MemorySourceConfig": "sources",
    "Metadata": "core.metadata",
    "Normalize": "stages.normalize",
    "PackedSource": "sources",
    "Pad": "stages.pad",
    "Pipeline": "pipeline",
    "PipelineRestore": "checkpoint",
    "PipelineSave": "checkpoint",
    "RandomCrop": "stages.image",
    "RandomDeviceStage": "stages.device",
    "RandomFlip": "stages.image",
    "RandomMapElement": "stages.random_map",
    "RandomResizedCrop": "stages.image",
    "RecordError": "core.record",
    "Resize": "stages.image",
    "ShardOptions": "order",
    "SharedMemoryError": "ring",
    "decode_image": "sources",
    "scan": "pipeline.scan",
    "SkippedRecord": "pipeline.skips",
    "WorkerError": "core.errors",
    "WorkerInfo": "crews.info",
    "WorkerTimeoutError": "core.errors",
    "worker_info": "crews.info",
}

__all__ = sorted([*_HOME, "__version__"])  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'datarax_mp' has no attribute {name!r}")
    value = getattr(import_module(f"datarax_mp.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
