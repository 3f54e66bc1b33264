"""Tweets, each rated by 20 people, a thousand of them by some 95.

Source and files: `weakstrong.tasks._rated`. Names and addresses are replaced, ``&amp;`` and its like are left, as
published. Some 200 texts were made from 30 others by capitals, marks and strengthening words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from weakstrong.tasks._rated import ARCHIVE, RatedTask, wording
from weakstrong.tasks.base import TASKS


@TASKS.register
class RatedTweets(RatedTask):
    """Is the tweet positive? Tweets that differ in case and punctuation only are a group."""

    source: ClassVar[str] = ARCHIVE + "tweets_GroundTruth.txt"
    sha256: ClassVar[str] = "dfbe7102e2f92579ed8b19df9a3822491880697c67adf712fb66e520cc05102f"
    ratings: ClassVar[str] = ARCHIVE + "tweets_anonDataRatings.txt"
    ratings_sha256: ClassVar[str] = "390d6f8f1b5c7e6f9f94ad7fea1e461ed718312d1856ae71c5812ab8ae943fa6"
    noun: ClassVar[str] = "tweets"
    size: ClassVar[int | None] = 3_362
    instruction: ClassVar[str] = "Say whether the mood of the tweet is negative or positive."

    kind: Literal["rated-tweets"] = "rated-tweets"

    def groups(self, ids: Sequence[str], texts: Sequence[str]) -> list[str]:
        return [wording(text) for text in texts]
