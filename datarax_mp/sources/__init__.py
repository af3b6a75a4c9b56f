"""Where records come from.

A source is anything with ``__len__`` and ``__getitem__(int) -> mapping | array | scalar``; see ``as_source``.
"""

from datarax_mp.sources.adapt import as_source as as_source
from datarax_mp.sources.config import MemorySourceConfig as MemorySourceConfig
from datarax_mp.sources.decode import ImageError as ImageError
from datarax_mp.sources.decode import decode_image as decode_image
from datarax_mp.sources.images import ImageFolderSource as ImageFolderSource
from datarax_mp.sources.memory_source import MemorySource as MemorySource
from datarax_mp.sources.packing import PackedSource as PackedSource
