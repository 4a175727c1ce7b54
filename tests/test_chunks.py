"""The parting of an epoch's updates into calls of the graph."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cyclical import chunks


@given(st.lists(st.sampled_from([1, 3, 8]), min_size=1, max_size=30), st.integers(1, 20))
def test_stretches_hold_every_update_once_in_order_and_no_more_than_fits(
    sizes: list[int], limit: int
) -> None:
    cuts = np.cumsum([0, *sizes]).astype(np.int32)
    order = np.random.default_rng(0).permutation(cuts[-1]).astype(np.int32)
    rates = np.arange(1, len(sizes) + 1, dtype=np.float32)
    whole, chunks.EXAMPLES["GPU"] = chunks.EXAMPLES["GPU"], limit
    try:
        stretches = list(chunks.stretches(order, cuts, rates))
    finally:
        chunks.EXAMPLES["GPU"] = whole
    made = [batch for each in stretches for batch in each.batches[: each.updates]]
    assert [len(batch) for batch in made] == sizes
    assert np.concatenate(made).tolist() == order.tolist()
    assert [rate for each in stretches for rate in each.rates[: each.updates]] == rates.tolist()
    for each in stretches:
        room, size = each.batches.shape
        assert room == len(each.rates) == max(1, limit // size)
        assert not each.batches[each.updates :].any()
        assert not each.rates[each.updates :].any()


def test_equal_sizes_that_follow_each_other_share_a_call_as_long_as_they_fit() -> None:
    cuts = np.cumsum([0, *[32_768] * 3, 8, 8]).astype(np.int32)
    stretches = chunks.stretches(np.zeros(cuts[-1], np.int32), cuts, np.ones(5, np.float32))
    assert [(int(each.updates), each.batches.shape) for each in stretches] == [
        (2, (2, 32_768)),
        (1, (2, 32_768)),
        (2, (8192, 8)),
    ]
