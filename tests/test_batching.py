"""Batches: every row once, orders that change with the epoch, budgets that hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weakstrong.training.batching import batches_by_length, epoch_batches, steps_per_epoch

lengths_lists = st.lists(st.integers(1, 60), min_size=1, max_size=200)


@settings(max_examples=50, deadline=None)
@given(lengths_lists, st.integers(1, 40), st.integers(0, 5), st.booleans())
def test_every_row_is_seen_once_per_epoch(
    lengths: list[int], batch_rows: int, epoch: int, grouped: bool
) -> None:
    """Rows lost or doubled where the last batch, or the last window of lengths, is not full."""
    batches = epoch_batches(lengths, batch_rows, 3, epoch, grouped, window=2)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert len(batches) == steps_per_epoch(len(lengths), batch_rows)
    assert max(map(len, batches)) <= batch_rows


@pytest.mark.parametrize("grouped", [False, True])
def test_order_depends_on_seed_and_epoch_only(grouped: bool) -> None:
    """The same order in every epoch or for every seed (a public fault), or one that cannot be repeated."""
    lengths = np.random.default_rng(0).integers(1, 50, 300).tolist()

    def order(seed: int, epoch: int) -> list[int]:
        return np.concatenate(epoch_batches(lengths, 16, seed, epoch, grouped)).tolist()

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_grouping_by_length_saves_padding_and_still_mixes_partners() -> None:
    """Windows that are not sorted save nothing; fixed windows make the same rows meet every epoch."""
    lengths = np.random.default_rng(0).integers(1, 200, 1600)

    def padded(grouped: bool) -> int:
        return sum(len(b) * int(lengths[b].max()) for b in epoch_batches(lengths.tolist(), 16, 0, 0, grouped))

    assert padded(True) < 0.65 * padded(False)
    first, second = (
        {frozenset(b.tolist()) for b in epoch_batches(lengths.tolist(), 16, 0, epoch, True)}
        for epoch in (0, 1)
    )
    assert not first & second


@settings(max_examples=50, deadline=None)
@given(lengths_lists, st.integers(1, 300))
def test_forward_batches_hold_the_budget(lengths: list[int], budget: int) -> None:
    """A batch that does not fit the memory; only a single row may be over the budget."""
    batches = batches_by_length(lengths, budget)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget
