"""Which rows go through a model together: by length for a forward pass, by seed for training.

Legend: N rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


def batches_by_length(lengths_N: Sequence[int], budget: int) -> list[IntArray]:
    """Cut rows, sorted by length, into batches of at most ``budget`` padded tokens (at least one row each).

    >>> [b.tolist() for b in batches_by_length([3, 9, 4], 8)]
    [[0, 2], [1]]
    """
    order = np.argsort(np.asarray(lengths_N), kind="stable")
    batches: list[IntArray] = []
    start = 0
    for end in range(1, len(order) + 1):
        # Sorted, so the row at ``end`` would be the longest of the batch that it joins.
        if end == len(order) or (end - start + 1) * lengths_N[order[end]] > budget:
            batches.append(order[start:end])
            start = end
    return batches


def share_of_batch(lengths_N: Sequence[int], budget: int, rank: int, size: int, even: bool) -> list[IntArray]:
    """The micro-batches of process ``rank`` of ``size``: rows are dealt by length, so that all have alike much to do.

    An empty micro-batch stands for a pass that counts for nothing: where a process has no row at all, and with
    ``even`` until all processes have equally many.

    >>> [[b.tolist() for b in share_of_batch([3, 9, 4], 8, rank, 2, even=True)] for rank in (0, 1)]
    [[[0], [1]], [[2], []]]
    """
    if size == 1:
        return batches_by_length(lengths_N, budget)
    lengths = np.asarray(lengths_N)
    longest_first = np.argsort(-lengths, kind="stable")
    cuts = []
    for other in range(size):
        rows = longest_first[other::size]
        cuts.append([rows[part] for part in batches_by_length(lengths[rows].tolist(), budget)])
    passes = max(len(cut) for cut in cuts) if even else 1
    nothing: IntArray = np.empty(0, np.int64)
    return cuts[rank] + [nothing] * (passes - len(cuts[rank]))


def epoch_batches(
    lengths_N: Sequence[int], batch_rows: int, seed: int, epoch: int, group_by_length: bool, window: int = 16
) -> list[IntArray]:
    """The batches of one epoch: every row once, in an order that depends on ``seed`` and ``epoch`` only.

    With ``group_by_length`` a random order is cut into windows of ``window`` batches, each is sorted by length, and
    the batches are shuffled: little padding, and which rows meet still changes every epoch.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths_N))
    if group_by_length:
        lengths = np.asarray(lengths_N)
        size = batch_rows * window
        parts = [order[i : i + size] for i in range(0, len(order), size)]
        order = np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in parts])
    batches = [order[i : i + batch_rows] for i in range(0, len(order), batch_rows)]
    return [batches[i] for i in generator.permutation(len(batches))] if group_by_length else batches


def steps_per_epoch(rows: int, batch_rows: int) -> int:
    """Number of batches of one epoch."""
    return math.ceil(rows / batch_rows)
