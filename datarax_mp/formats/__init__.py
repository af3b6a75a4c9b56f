"""Files that training data lie in, as sources: thin layers over the libraries that read them.

One file a format; ``files.py`` finds files by name, pattern and folder.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datarax_mp.formats.array_record import ArrayRecordSource as ArrayRecordSource
    from datarax_mp.formats.arrow import ArrowSource as ArrowSource
    from datarax_mp.formats.csv import CsvSource as CsvSource
    from datarax_mp.formats.hdf5 import HDF5Source as HDF5Source
    from datarax_mp.formats.json_lines import JsonLinesSource as JsonLinesSource
    from datarax_mp.formats.npy import NpySource as NpySource
    from datarax_mp.formats.parquet import ParquetSource as ParquetSource
    from datarax_mp.formats.tar import TarSource as TarSource
    from datarax_mp.formats.tfrecord import TFRecordSource as TFRecordSource
    from datarax_mp.formats.zarr import ZarrSource as ZarrSource
else:
    from datarax_mp.core.public import offer

    _HOME = {
        "ArrayRecordSource": "formats.array_record",
        "ArrowSource": "formats.arrow",
        "CsvSource": "formats.csv",
        "HDF5Source": "formats.hdf5",
        "JsonLinesSource": "formats.json_lines",
        "NpySource": "formats.npy",
        "ParquetSource": "formats.parquet",
        "TFRecordSource": "formats.tfrecord",
        "TarSource": "formats.tar",
        "ZarrSource": "formats.zarr",
    }
    __getattr__, __dir__, __all__ = offer(__name__, _HOME)
