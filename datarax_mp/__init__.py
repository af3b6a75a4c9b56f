"""datarax_mp: a multiprocess shared-memory data loader for JAX and Flax NNX.

Importing this package imports neither JAX nor Flax; a name that needs them loads them on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from datarax_mp.checkpoint import PipelineRestore as PipelineRestore
    from datarax_mp.checkpoint import PipelineSave as PipelineSave
    from datarax_mp.core import Batch as Batch
    from datarax_mp.core import BatchOps as BatchOps
    from datarax_mp.core import Element as Element
    from datarax_mp.core import Metadata as Metadata
    from datarax_mp.core import RecordError as RecordError
    from datarax_mp.core import WorkerError as WorkerError
    from datarax_mp.core import WorkerTimeoutError as WorkerTimeoutError
    from datarax_mp.crews import RayWorkers as RayWorkers
    from datarax_mp.crews import WorkerInfo as WorkerInfo
    from datarax_mp.crews import worker_info as worker_info
    from datarax_mp.formats import ArrayRecordSource as ArrayRecordSource
    from datarax_mp.formats import ArrowSource as ArrowSource
    from datarax_mp.formats import CsvSource as CsvSource
    from datarax_mp.formats import HDF5Source as HDF5Source
    from datarax_mp.formats import JsonLinesSource as JsonLinesSource
    from datarax_mp.formats import NpySource as NpySource
    from datarax_mp.formats import ParquetSource as ParquetSource
    from datarax_mp.formats import TarSource as TarSource
    from datarax_mp.formats import TFRecordSource as TFRecordSource
    from datarax_mp.formats import ZarrSource as ZarrSource
    from datarax_mp.order import ClassBalancedSampler as ClassBalancedSampler
    from datarax_mp.order import IndexSampler as IndexSampler
    from datarax_mp.order import LengthGroups as LengthGroups
    from datarax_mp.order import ShardOptions as ShardOptions
    from datarax_mp.order import ShuffleWindow as ShuffleWindow
    from datarax_mp.order import TokenBudget as TokenBudget
    from datarax_mp.order import WeightedSampler as WeightedSampler
    from datarax_mp.pipeline import Pipeline as Pipeline
    from datarax_mp.pipeline import SkippedRecord as SkippedRecord
    from datarax_mp.pipeline import scan as scan
    from datarax_mp.ring import SharedMemoryError as SharedMemoryError
    from datarax_mp.sources import BlockSource as BlockSource
    from datarax_mp.sources import ConcatSource as ConcatSource
    from datarax_mp.sources import ImageError as ImageError
    from datarax_mp.sources import ImageFolderSource as ImageFolderSource
    from datarax_mp.sources import IterableSource as IterableSource
    from datarax_mp.sources import MemorySource as MemorySource
    from datarax_mp.sources import MemorySourceConfig as MemorySourceConfig
    from datarax_mp.sources import MixSource as MixSource
    from datarax_mp.sources import PackedSource as PackedSource
    from datarax_mp.sources import SubsetSource as SubsetSource
    from datarax_mp.sources import WindowSource as WindowSource
    from datarax_mp.sources import decode_image as decode_image
    from datarax_mp.sources import split as split
    from datarax_mp.stages import IMAGENET_MEAN as IMAGENET_MEAN
    from datarax_mp.stages import IMAGENET_STD as IMAGENET_STD
    from datarax_mp.stages import Cache as Cache
    from datarax_mp.stages import CenterCrop as CenterCrop
    from datarax_mp.stages import ColorJitter as ColorJitter
    from datarax_mp.stages import CutMix as CutMix
    from datarax_mp.stages import DeviceStage as DeviceStage
    from datarax_mp.stages import Filter as Filter
    from datarax_mp.stages import FlatMap as FlatMap
    from datarax_mp.stages import MapBatch as MapBatch
    from datarax_mp.stages import MapElement as MapElement
    from datarax_mp.stages import MixUp as MixUp
    from datarax_mp.stages import Normalize as Normalize
    from datarax_mp.stages import Pad as Pad
    from datarax_mp.stages import RandomCrop as RandomCrop
    from datarax_mp.stages import RandomDeviceStage as RandomDeviceStage
    from datarax_mp.stages import RandomFlip as RandomFlip
    from datarax_mp.stages import RandomMapBatch as RandomMapBatch
    from datarax_mp.stages import RandomMapElement as RandomMapElement
    from datarax_mp.stages import RandomResizedCrop as RandomResizedCrop
    from datarax_mp.stages import Resize as Resize
    from datarax_mp.stages import chain as chain
    from datarax_mp.stages import one_of as one_of
    from datarax_mp.stages import sometimes as sometimes
    from datarax_mp.storage import Storage as Storage
else:
    from datarax_mp.core.public import offer

    _HOME = {
        "ArrayRecordSource": "formats",
        "ArrowSource": "formats",
        "Batch": "core",
        "BatchOps": "core",
        "BlockSource": "sources",
        "Cache": "stages",
        "CenterCrop": "stages",
        "ClassBalancedSampler": "order",
        "ColorJitter": "stages",
        "ConcatSource": "sources",
        "CsvSource": "formats",
        "CutMix": "stages",
        "DeviceStage": "stages",
        "Element": "core",
        "Filter": "stages",
        "FlatMap": "stages",
        "HDF5Source": "formats",
        "IMAGENET_MEAN": "stages",
        "IMAGENET_STD": "stages",
        "ImageError": "sources",
        "ImageFolderSource": "sources",
        "IndexSampler": "order",
        "IterableSource": "sources",
        "JsonLinesSource": "formats",
        "LengthGroups": "order",
        "MapBatch": "stages",
        "MapElement": "stages",
        "MemorySource": "sources",
        "MemorySourceConfig": "sources",
        "Metadata": "core",
        "MixSource": "sources",
        "MixUp": "stages",
        "Normalize": "stages",
        "NpySource": "formats",
        "PackedSource": "sources",
        "Pad": "stages",
        "ParquetSource": "formats",
        "Pipeline": "pipeline",
        "PipelineRestore": "checkpoint",
        "PipelineSave": "checkpoint",
        "RandomCrop": "stages",
        "RandomDeviceStage": "stages",
        "RandomFlip": "stages",
        "RandomMapBatch": "stages",
        "RandomMapElement": "stages",
        "RandomResizedCrop": "stages",
        "RayWorkers": "crews",
        "RecordError": "core",
        "Resize": "stages",
        "ShardOptions": "order",
        "SharedMemoryError": "ring",
        "ShuffleWindow": "order",
        "SkippedRecord": "pipeline",
        "Storage": "storage",
        "SubsetSource": "sources",
        "TFRecordSource": "formats",
        "TarSource": "formats",
        "TokenBudget": "order",
        "WeightedSampler": "order",
        "WindowSource": "sources",
        "WorkerError": "core",
        "WorkerInfo": "crews",
        "WorkerTimeoutError": "core",
        "ZarrSource": "formats",
        "chain": "stages",
        "decode_image": "sources",
        "one_of": "stages",
        "scan": "pipeline",
        "sometimes": "stages",
        "split": "sources",
        "worker_info": "crews",
    }
    __getattr__, __dir__, __all__ = offer(__name__, _HOME, "__version__")
