"""What happens to records: ``host`` stages run on NumPy in the workers, ``device`` stages on JAX after the transfer."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datarax_mp.stages.cache import Cache as Cache
    from datarax_mp.stages.combine import chain as chain
    from datarax_mp.stages.combine import one_of as one_of
    from datarax_mp.stages.combine import sometimes as sometimes
    from datarax_mp.stages.device import DeviceStage as DeviceStage
    from datarax_mp.stages.device import RandomDeviceStage as RandomDeviceStage
    from datarax_mp.stages.filter import Filter as Filter
    from datarax_mp.stages.flat_map import FlatMap as FlatMap
    from datarax_mp.stages.image import CenterCrop as CenterCrop
    from datarax_mp.stages.image import ColorJitter as ColorJitter
    from datarax_mp.stages.image import RandomCrop as RandomCrop
    from datarax_mp.stages.image import RandomFlip as RandomFlip
    from datarax_mp.stages.image import RandomResizedCrop as RandomResizedCrop
    from datarax_mp.stages.image import Resize as Resize
    from datarax_mp.stages.map_batch import MapBatch as MapBatch
    from datarax_mp.stages.map_element import MapElement as MapElement
    from datarax_mp.stages.mix import CutMix as CutMix
    from datarax_mp.stages.mix import MixUp as MixUp
    from datarax_mp.stages.normalize import IMAGENET_MEAN as IMAGENET_MEAN
    from datarax_mp.stages.normalize import IMAGENET_STD as IMAGENET_STD
    from datarax_mp.stages.normalize import Normalize as Normalize
    from datarax_mp.stages.pad import Pad as Pad
    from datarax_mp.stages.protocols import EpochAware as EpochAware
    from datarax_mp.stages.protocols import RandomRecordMap as RandomRecordMap
    from datarax_mp.stages.protocols import RecordMap as RecordMap
    from datarax_mp.stages.random_map import RandomMapElement as RandomMapElement
    from datarax_mp.stages.random_map_batch import RandomMapBatch as RandomMapBatch
else:
    from datarax_mp.core.public import offer

    _HOME = {
        "RecordMap": "stages.protocols",
        "RandomRecordMap": "stages.protocols",
        "EpochAware": "stages.protocols",
        "Cache": "stages.cache",
        "CenterCrop": "stages.image",
        "ColorJitter": "stages.image",
        "CutMix": "stages.mix",
        "DeviceStage": "stages.device",
        "Filter": "stages.filter",
        "FlatMap": "stages.flat_map",
        "IMAGENET_MEAN": "stages.normalize",
        "IMAGENET_STD": "stages.normalize",
        "MapBatch": "stages.map_batch",
        "MapElement": "stages.map_element",
        "MixUp": "stages.mix",
        "Normalize": "stages.normalize",
        "Pad": "stages.pad",
        "RandomCrop": "stages.image",
        "RandomDeviceStage": "stages.device",
        "RandomFlip": "stages.image",
        "RandomMapBatch": "stages.random_map_batch",
        "RandomMapElement": "stages.random_map",
        "RandomResizedCrop": "stages.image",
        "Resize": "stages.image",
        "chain": "stages.combine",
        "one_of": "stages.combine",
        "sometimes": "stages.combine",
    }
    __getattr__, __dir__, __all__ = offer(__name__, _HOME)
