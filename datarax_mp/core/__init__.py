"""What everybody knows: ``batch`` and ``metadata`` on the JAX side, records, layouts and errors on NumPy's."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datarax_mp.core.element_batch import Batch as Batch
    from datarax_mp.core.element_batch import BatchOps as BatchOps
    from datarax_mp.core.element_batch import BatchView as BatchView
    from datarax_mp.core.element_batch import Element as Element
    from datarax_mp.core.element_batch import conditional_transform as conditional_transform
    from datarax_mp.core.element_batch import create_batch_from_arrays as create_batch_from_arrays
    from datarax_mp.core.element_batch import create_element as create_element
    from datarax_mp.core.element_batch import iterative_transform as iterative_transform
    from datarax_mp.core.element_batch import while_transform as while_transform
    from datarax_mp.core.errors import WorkerError as WorkerError
    from datarax_mp.core.errors import WorkerTimeoutError as WorkerTimeoutError
    from datarax_mp.core.metadata import Metadata as Metadata
    from datarax_mp.core.metadata import RecordMetadata as RecordMetadata
    from datarax_mp.core.metadata import batch_metadata as batch_metadata
    from datarax_mp.core.metadata import create_metadata as create_metadata
    from datarax_mp.core.metadata import split_rng_tree as split_rng_tree
    from datarax_mp.core.metadata import update_metadata_batch as update_metadata_batch
    from datarax_mp.core.record import RecordError as RecordError
else:
    from datarax_mp.core.public import offer

    _HOME = {
        "Batch": "core.element_batch",
        "BatchOps": "core.element_batch",
        "BatchView": "core.element_batch",
        "Element": "core.element_batch",
        "Metadata": "core.metadata",
        "RecordError": "core.record",
        "RecordMetadata": "core.metadata",
        "WorkerError": "core.errors",
        "WorkerTimeoutError": "core.errors",
        "batch_metadata": "core.metadata",
        "conditional_transform": "core.element_batch",
        "create_batch_from_arrays": "core.element_batch",
        "create_element": "core.element_batch",
        "create_metadata": "core.metadata",
        "iterative_transform": "core.element_batch",
        "split_rng_tree": "core.metadata",
        "update_metadata_batch": "core.metadata",
        "while_transform": "core.element_batch",
    }
    __getattr__, __dir__, __all__ = offer(__name__, _HOME)
