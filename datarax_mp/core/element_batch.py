"""Elements and batches: the module that scripts import them from, as they do from datarax; they live in ``batch``."""

from datarax_mp.core.batch.batch import Batch as Batch
from datarax_mp.core.batch.batch import make_batch as make_batch
from datarax_mp.core.batch.create import create_batch_from_arrays as create_batch_from_arrays
from datarax_mp.core.batch.create import create_element as create_element
from datarax_mp.core.batch.element import Element as Element
from datarax_mp.core.batch.loops import conditional_transform as conditional_transform
from datarax_mp.core.batch.loops import iterative_transform as iterative_transform
from datarax_mp.core.batch.loops import while_transform as while_transform
from datarax_mp.core.batch.ops import BatchOps as BatchOps
from datarax_mp.core.batch.view import BatchView as BatchView
