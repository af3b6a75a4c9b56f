"""Which record goes where: pure functions of (seed, epoch, step, shard), the same in every process."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datarax_mp.order.balanced import ClassBalancedSampler as ClassBalancedSampler
    from datarax_mp.order.batch_by import BatchBy as BatchBy
    from datarax_mp.order.batch_by import Batches as Batches
    from datarax_mp.order.choice import Among as Among
    from datarax_mp.order.choice import Choice as Choice
    from datarax_mp.order.epoch import Epoch as Epoch
    from datarax_mp.order.hashing import mix64 as mix64
    from datarax_mp.order.length_groups import LengthGrouped as LengthGrouped
    from datarax_mp.order.length_groups import LengthGroups as LengthGroups
    from datarax_mp.order.listed import IndexSampler as IndexSampler
    from datarax_mp.order.mixing import Mixing as Mixing
    from datarax_mp.order.permutation import permute as permute
    from datarax_mp.order.sampler import Sampler as Sampler
    from datarax_mp.order.sequential import Sequential as Sequential
    from datarax_mp.order.shard import ShardOptions as ShardOptions
    from datarax_mp.order.shuffled import Shuffled as Shuffled
    from datarax_mp.order.shuffled import in_order_or_shuffled as in_order_or_shuffled
    from datarax_mp.order.steps import Order as Order
    from datarax_mp.order.token_budget import TokenBudget as TokenBudget
    from datarax_mp.order.uneven import UnevenOrder as UnevenOrder
    from datarax_mp.order.uneven import order_of as order_of
    from datarax_mp.order.weighted import WeightedSampler as WeightedSampler
    from datarax_mp.order.windows import ShuffleWindow as ShuffleWindow
else:
    # Workers import the kinds that they need.
    from datarax_mp.core.public import offer

    _HOME = {
        "Among": "order.choice",
        "BatchBy": "order.batch_by",
        "Batches": "order.batch_by",
        "Choice": "order.choice",
        "ClassBalancedSampler": "order.balanced",
        "Epoch": "order.epoch",
        "IndexSampler": "order.listed",
        "LengthGrouped": "order.length_groups",
        "LengthGroups": "order.length_groups",
        "Mixing": "order.mixing",
        "Order": "order.steps",
        "Sampler": "order.sampler",
        "Sequential": "order.sequential",
        "ShardOptions": "order.shard",
        "ShuffleWindow": "order.windows",
        "Shuffled": "order.shuffled",
        "TokenBudget": "order.token_budget",
        "UnevenOrder": "order.uneven",
        "WeightedSampler": "order.weighted",
        "in_order_or_shuffled": "order.shuffled",
        "mix64": "order.hashing",
        "order_of": "order.uneven",
        "permute": "order.permutation",
    }
    __getattr__, __dir__, __all__ = offer(__name__, _HOME)
