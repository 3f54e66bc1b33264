"""Sentences from film reviews, each rated by 15 to 29 people.

Source and files: `weakstrong.tasks._rated`. Within thirty lines that follow each other a place in the list of ratings
stands for one person (leniency persists there); in the three other sets it does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from weakstrong.tasks._rated import ARCHIVE, RatedTask
from weakstrong.tasks.base import TASKS


@TASKS.register
class MovieSnippets(RatedTask):
    """Is the sentence positive? Label = sign of the mean human rating in [-4, 4]; weak opinions are dropped."""

    source: ClassVar[str] = ARCHIVE + "movieReviewSnippets_GroundTruth.txt"
    sha256: ClassVar[str] = "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350"
    ratings: ClassVar[str] = ARCHIVE + "movieReviewSnippets_anonDataRatings.txt"
    ratings_sha256: ClassVar[str] = "658a086bc7239b98b750baa232cab80e6447789020f96a6c847cc1248d7c82f4"
    size: ClassVar[int | None] = 10_043
    instruction: ClassVar[str] = "Say whether the opinion of the film review is negative or positive."

    kind: Literal["movie-snippets"] = "movie-snippets"

    def groups(self, ids: Sequence[str], texts: Sequence[str]) -> None:
        """By text: the ids are plain numbers, which do not tell the review."""
