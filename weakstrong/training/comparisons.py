"""Rows of one text, and rows of two: comparisons, scored by a model with one output (paper §4.1, A.3).

A text is ``str``, or a pair of them: a prompt with its first and with its second completion. Tokens follow the same
form. The logits of a comparison are the two rewards, so its class probabilities are
``softmax(r_1, r_2)``, that is ``sigmoid(r_2 - r_1)`` for the second class, and every objective applies as it is.
No torch here.

Legend: B rows, N rows, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")
Text = str | tuple[str, str]
Tokens = list[int] | tuple[list[int], list[int]]
REWARD = ("reward",)
"""The one label of a reward model."""


def are_pairs(rows: Sequence[Text] | Sequence[Tokens]) -> bool:
    """Whether rows are comparisons; all rows of a task are of one form."""
    return len(rows) > 0 and isinstance(rows[0], tuple)


def flat(rows: Sequence[T | tuple[T, T]]) -> list[T]:
    """All texts (or their tokens); of comparisons the first ones, then the second ones.

    >>> flat([("a", "b"), ("c", "d")])
    ['a', 'c', 'b', 'd']
    """
    firsts = [row[0] if isinstance(row, tuple) else row for row in rows]
    return firsts + [row[1] for row in rows if isinstance(row, tuple)]


def row_length(row: Tokens) -> int:
    """Tokens of a row, of a comparison those of both texts."""
    return len(row[0]) + len(row[1]) if isinstance(row, tuple) else len(row)


def one_output(weight_DC: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A probe of comparisons as the one output of a reward model, float32 [D, 1].

    The probe sees x_2 - x_1 with two columns; its log-odds are (w_1 - w_0)·(x_2 - x_1), the difference of the rewards
    x·(w_1 - w_0).
    """
    return np.ascontiguousarray(weight_DC[:, 1:] - weight_DC[:, :1])
