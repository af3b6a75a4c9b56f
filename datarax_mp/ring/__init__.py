"""Memory that batches are collated into: segments, slots and leases. See README.md in this folder."""

from datarax_mp.ring.ring import Ring as Ring
from datarax_mp.ring.segment import Segment as Segment
from datarax_mp.ring.segment import SharedMemoryError as SharedMemoryError
from datarax_mp.ring.segment import megabytes as megabytes
