"""Which record goes where: pure functions of (seed, epoch, step, shard), the same in every process."""

from datarax_mp.order.epoch import Epoch as Epoch
from datarax_mp.order.permutation import mix64 as mix64
from datarax_mp.order.permutation import permute as permute
from datarax_mp.order.shard import ShardOptions as ShardOptions
from datarax_mp.order.steps import Order as Order
