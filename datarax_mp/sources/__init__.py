"""Where records come from.

A source is anything with ``__len__`` and ``__getitem__(int) -> mapping | array | scalar``; see ``as_source``.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datarax_mp.sources.adapt import BatchedSource as BatchedSource
    from datarax_mp.sources.adapt import Source as Source
    from datarax_mp.sources.adapt import WritingSource as WritingSource
    from datarax_mp.sources.adapt import as_source as as_source
    from datarax_mp.sources.blocks import BlockSource as BlockSource
    from datarax_mp.sources.concat import ConcatSource as ConcatSource
    from datarax_mp.sources.config import MemorySourceConfig as MemorySourceConfig
    from datarax_mp.sources.decode import ImageError as ImageError
    from datarax_mp.sources.decode import decode_image as decode_image
    from datarax_mp.sources.images import ImageFolderSource as ImageFolderSource
    from datarax_mp.sources.iterable import IterableSource as IterableSource
    from datarax_mp.sources.memory_source import MemorySource as MemorySource
    from datarax_mp.sources.mixing import MixSource as MixSource
    from datarax_mp.sources.packing import PackedSource as PackedSource
    from datarax_mp.sources.subset import SubsetSource as SubsetSource
    from datarax_mp.sources.subset import split as split
    from datarax_mp.sources.windows import WindowSource as WindowSource
else:
    from datarax_mp.core.public import offer

    _HOME = {
        "BatchedSource": "sources.adapt",
        "Source": "sources.adapt",
        "BlockSource": "sources.blocks",
        "ConcatSource": "sources.concat",
        "ImageError": "sources.decode",
        "ImageFolderSource": "sources.images",
        "IterableSource": "sources.iterable",
        "MemorySource": "sources.memory_source",
        "MemorySourceConfig": "sources.config",
        "MixSource": "sources.mixing",
        "PackedSource": "sources.packing",
        "SubsetSource": "sources.subset",
        "WindowSource": "sources.windows",
        "WritingSource": "sources.adapt",
        "as_source": "sources.adapt",
        "decode_image": "sources.decode",
        "split": "sources.subset",
    }
    __getattr__, __dir__, __all__ = offer(__name__, _HOME)
