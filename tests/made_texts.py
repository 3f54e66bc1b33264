"""Texts of random words, and rows of them, for tests of what is alike and what leaks."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from weakstrong.data import make_rows

VOCABULARY = [f"word{i}" for i in range(400)]


def sentence(rng: np.random.Generator, words: int) -> str:
    return " ".join(rng.choice(VOCABULARY, words))


def named(texts: list[str], others: list[str] | None = None, groups: list[str] | None = None) -> pa.Table:
    """Rows r0, r1, …, each a group of its own unless said otherwise."""
    ids = [f"r{i}" for i in range(len(texts))]
    return make_rows(texts, [0] * len(texts), ids=ids, groups=groups or ids, others=others)
