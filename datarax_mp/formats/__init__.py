"""Files that training data lie in, as sources: thin layers over the libraries that read them.

One file a format; ``files.py`` finds files by name, pattern and folder.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datarax_mp.formats.npy import NpySource as NpySource
    from datarax_mp.formats.parquet import ParquetSource as ParquetSource
else:
    from datarax_mp.core.public import offer

    _HOME = {"NpySource": "formats.npy", "ParquetSource": "formats.parquet"}
    __getattr__, __dir__, __all__ = offer(__name__, _HOME)
