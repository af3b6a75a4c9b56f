from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp.core.distinct import distinct


@given(st.lists(st.integers(-9, 9)))
def test_every_value_is_there_once_in_order(values: list[int]) -> None:
    array = np.array(values, np.int64)
    assert distinct(array).tolist() == sorted(set(values))
    assert array.tolist() == values


def test_what_workers_ask_of_orders_imports_no_masked_arrays(run_script: Callable[..., Any]) -> None:
    run_script(
        "import sys\n"
        "import numpy as np\n"
        "from datarax_mp import ClassBalancedSampler, ConcatSource, LengthGroups, MixSource, ShuffleWindow\n"
        "from datarax_mp.order import Batches, Shuffled\n"
        "labels, where = np.arange(90) % 7, np.arange(90)\n"
        "for choice in (\n"
        "    ShuffleWindow(records=9).over(90),\n"
        "    ClassBalancedSampler(labels).over(90),\n"
        "    LengthGroups(labels).over(Shuffled(90), 90, Batches(8, 1, False)),\n"
        "    MixSource([{'x': where}, {'x': where}], [1, 2], schedule=[(7, [1, 1])]).choice(True),\n"
        "):\n"
        "    choice.at(0, 0, where)\n"
        "ConcatSource([{'x': where}, {'x': where}]).__getitems__([3, 99])\n"
        "assert 'numpy.ma' not in sys.modules\n"
    )
