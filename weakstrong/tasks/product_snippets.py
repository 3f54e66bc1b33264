"""Sentences from customer reviews of five products, each rated by 20 people.

Reviews: M. Hu and B. Liu, "Mining and Summarizing Customer Reviews", KDD 2004; ratings, source and files:
`weakstrong.tasks._rated`. The texts are in lower case, with blanks around some marks, as published.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from weakstrong.tasks._rated import ARCHIVE, RatedTask, by_document
from weakstrong.tasks.base import TASKS


@TASKS.register
class ProductSnippets(RatedTask):
    """Is the sentence about a product positive? A review is a group."""

    source: ClassVar[str] = ARCHIVE + "amazonReviewSnippets_GroundTruth.txt"
    sha256: ClassVar[str] = "11a9807a0974a2506a2d3b4851eaf69b3d6d20688ce4923adda2312a4f6dd6c2"
    ratings: ClassVar[str] = ARCHIVE + "amazonReviewSnippets_anonDataRatings.txt"
    ratings_sha256: ClassVar[str] = "d7d909adab91e0b4d5084251fc825f15baff66277c52eaa705b40fc464fa274b"
    size: ClassVar[int | None] = 2_943
    instruction: ClassVar[str] = "Say whether the opinion of the product review is negative or positive."

    kind: Literal["product-snippets"] = "product-snippets"

    def groups(self, ids: Sequence[str], texts: Sequence[str]) -> list[str]:
        return by_document(ids, texts)
