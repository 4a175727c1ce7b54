"""The parting of an epoch's updates into calls of the graph."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cyclical import chunks

SIZES = st.lists(st.sampled_from([1, 3, 8]), min_size=1, max_size=30)


@given(SIZES, st.integers(1, 20))
def test_calls_and_their_stretches_hold_every_update_once_in_order(
    sizes: list[int], most: int
) -> None:
    cuts = np.cumsum([0, *sizes]).astype(np.int32)
    order = np.random.default_rng(0).permutation(cuts[-1]).astype(np.int32)
    rates = np.arange(1, len(sizes) + 1, dtype=np.float32)
    batches: list[list[int]] = []
    seen: list[float] = []
    for begin, end in chunks.calls(cuts, most):
        assert cuts[end] - cuts[begin] <= most or end - begin == 1
        called = cuts[begin : end + 1]
        for each in chunks.stretches(order, called, rates[begin:end], most):
            room, size = each.batches.shape
            assert room == len(each.rates) == max(1, most // size)
            assert not each.batches[each.updates :].any()
            assert not each.rates[each.updates :].any()
            batches += each.batches[: each.updates].tolist()
            seen += each.rates[: each.updates].tolist()
    assert [len(batch) for batch in batches] == sizes
    assert [example for batch in batches for example in batch] == order.tolist()
    assert seen == rates.tolist()


def test_equal_sizes_that_follow_each_other_share_a_stretch() -> None:
    cuts = np.cumsum([0, 64, 64, 64, 44, 64]).astype(np.int32)
    stretches = chunks.stretches(np.zeros(300, np.int32), cuts, np.ones(5, np.float32), 512)
    assert [(int(each.updates), each.batches.shape) for each in stretches] == [
        (3, (8, 64)),
        (1, (11, 44)),
        (1, (8, 64)),
    ]
